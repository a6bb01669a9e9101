"""Real images: ComfyUI's modules and the pack, loaded in this process.

The classes of the loaded pack are not the ones that the benchmark imports. Schedules and sample
sets cross this border by value, in `_schedule` and `_renderer`, and only numbers come back.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecad_search.architectures import sized
from ecad_search.calibration import CalibrationPrompts
from ecad_search.core.architecture import Workload
from ecad_search.core.schedule import Schedule

from ..loaded_pack import LoadedPack
from .images import Profile

ROOT = Path(__file__).resolve().parents[2]
# Sampler, CFG scale, scheduler and size are those of the demo.
WORKFLOW = ROOT / "demo" / "workflow_api.json"
BATCH_CPU, BATCH_GPU = 32, 256


class RenderedImages:
    """An ImageSource: the demo model's pictures, judged by its own scorer.

    `side` in pixels replaces the demo's size, `lora` is a file of a variant of the model.
    """

    def __init__(
        self, pack: LoadedPack, steps: int, *, side: int | None = None, lora: Path | None = None
    ) -> None:
        self.pack = pack
        self.steps = steps
        self.settings = sampler_settings()
        if side is not None:
            self.settings |= {"width": side, "height": side}
        self.model, self.clip, self.vae = pack.module("nodes.host.demo_model").load_demo_model()
        if lora is not None:
            weights = importlib.import_module("comfy.utils").load_torch_file(str(lora))
            load = importlib.import_module("comfy.sd").load_lora_for_models
            self.model, _ = load(self.model, None, weights, 1.0, 0.0)
        self.scorer = pack.module("ecad_search.scorers.emoji_reward").EmojiReward()
        self._renderers: dict[tuple[CalibrationPrompts, int, int], Any] = {}
        self._latents: dict[tuple[CalibrationPrompts, int], Any] = {}
        some = self._renderer(CalibrationPrompts(("a",)), steps)
        theirs = some.architecture
        size = dict(theirs.size)
        self.architecture = sized(theirs.family, theirs.counts, id=theirs.id, **size)
        self.workload = Workload(**asdict(some.workload))
        self.identity = self._identity(some)

    def scores(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]:
        evaluation = self.pack.module("nodes.host.evaluation")
        renderer = self._renderer(prompts, schedule.steps)
        evaluator = evaluation.Evaluator(renderer, self.scorer)
        return evaluator.evaluate(self._schedule(schedule, renderer), list(indices))[0]

    def drifts(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]:
        renderer = self._renderer(prompts, self.steps)
        unknown = [i for i in indices if (prompts, i) not in self._latents]
        for i, latent in self._sampled(renderer, None, unknown).items():
            self._latents[prompts, i] = latent
        found = self._sampled(renderer, self._schedule(schedule, renderer), indices)
        drifts = []
        for i in indices:
            uncached = self._latents[prompts, i].double()
            difference = (found[i].double() - uncached).square().mean()
            drifts.append(float(difference / uncached.square().mean()))
        return drifts

    def profile(
        self, prompts: CalibrationPrompts, steps: int, samples: int, images: float
    ) -> Profile:
        renderer = self._renderer(prompts, steps, 1)
        made_on = functools.partial(self.pack.module("nodes.search").made_on, renderer.sigmas)
        profiler = self.pack.module("nodes.host.profiling").Profiler(
            renderer, samples, made_on, lambda done, what: None, images=images
        )
        _, measured = profiler.profile()
        return Profile(
            [float(share) for share in profiler.benefits],
            [([list(gap) for gap in one.gaps], one.sample, one.drift) for one in measured],
        )

    @staticmethod
    def _sampled(renderer: Any, schedule: Any, indices: Sequence[int]) -> dict[int, Any]:
        """Index -> final latent on the CPU."""
        found: dict[int, Any] = {}
        model = renderer.model_with(schedule)
        for batch in renderer.batches(indices):
            for part in renderer.sample(model, batch):
                found.update(zip(part.indices, part.latents, strict=True))
        return found

    def _schedule(self, schedule: Schedule, renderer: Any) -> Any:
        """The same schedule as an object of the loaded pack."""
        kind = self.pack.module("ecad_search.core.schedule").Schedule
        crossed = kind(renderer.architecture, schedule.compute, name=schedule.name)
        assert crossed.key == schedule.key
        return crossed

    def _renderer(self, prompts: CalibrationPrompts, steps: int, batch: int | None = None) -> Any:
        if batch is None:
            batch = BATCH_GPU if self.pack.accelerated else BATCH_CPU
        known = self._renderers.get((prompts, steps, batch))
        if known is not None:
            return known
        calibration = self.pack.module("ecad_search.calibration")
        nodes = self.pack.module("nodes.calibration_prompts")
        progress = self.pack.module("nodes.host.progress")
        rendering = self.pack.module("nodes.host.rendering")
        import torch

        crossed = calibration.CalibrationPrompts(
            prompts.prompts, prompts.seeds_per_prompt, prompts.seed, prompts.source
        )
        with torch.inference_mode():
            encoded = nodes.encode(self.clip, crossed, "", 0.0, progress.NodeProgress(None, 1))
        settings = self.settings
        made = rendering.Renderer(
            self.model,
            self.vae,
            encoded,
            rendering.SamplerSettings(
                steps=steps,
                cfg=settings["cfg"],
                sampler=settings["sampler_name"],
                scheduler=settings["scheduler"],
                width=settings["width"],
                height=settings["height"],
                batch=batch,
            ),
        )
        return self._renderers.setdefault((prompts, steps, batch), made)

    def _identity(self, renderer: Any) -> dict[str, Any]:
        """What the numbers depend on, prompts and seeds aside."""
        import torch

        identity = {k: v for k, v in renderer.identity().items() if k != "calibration"}
        identity["clip"] = renderer.calibration.clip
        weights = Path(self.scorer.weights).read_bytes()
        identity["scorer"] = f"{self.scorer.name} {hashlib.sha256(weights).hexdigest()[:16]}"
        identity["torch"] = torch.__version__
        identity["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        return identity


def sampler_settings() -> dict[str, Any]:
    nodes = json.loads(WORKFLOW.read_text(encoding="utf-8")).values()
    return next(n["inputs"] for n in nodes if n["class_type"] == "ECAD_SamplerSettings")
