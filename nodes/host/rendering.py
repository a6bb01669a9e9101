"""Turns calibration samples into pictures, under a schedule or without: sample, then decode."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch

from ...ecad_search.calibration import CalibrationPrompts
from ...ecad_search.core.architecture import Architecture, Workload
from ...ecad_search.core.presets import uncached
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.errors import SearchError
from .fingerprint import model_fingerprint
from .patching import (
    IRREGULAR,
    CacheOptions,
    apply_schedule,
    cached_schedule,
    detect_architecture,
)
from .progress import stop_if_cancelled

Conditioning = list  # the host's CONDITIONING: [[tensor (1, tokens, width), options], ...]

# Samplers that draw noise while they run draw it for the whole batch from one seed: a sample would
# depend on its neighbours.
ONE_AT_A_TIME = "ancestral sde ddpm lcm seeds_ sa_solver".split()


@dataclass(frozen=True, eq=False)
class EncodedCalibration:
    """Calibration prompts with their conditioning: one entry of `positives` for each prompt."""

    prompts: CalibrationPrompts
    positives: tuple[Conditioning, ...]
    negative: Conditioning
    negative_text: str
    guidance: float  # 0: the model's own default
    clip: str  # fingerprint of the text encoder

    def identity(self) -> dict[str, Any]:
        """What a search on these samples depends on; the texts as a hash, for there may be 500."""
        texts = "\x00".join(self.prompts.prompts).encode()
        return {
            "prompts": hashlib.sha256(texts).hexdigest()[:16],
            "seeds_per_prompt": self.prompts.seeds_per_prompt,
            "seed": self.prompts.seed,
            "negative": self.negative_text,
            "guidance": self.guidance,
            "clip": self.clip,
        }


@dataclass(frozen=True)
class SamplerSettings:
    """How the pictures are sampled. `batch` samples run together; it changes speed, not results."""

    steps: int = 20
    cfg: float = 1.0
    sampler: str = "euler"
    scheduler: str = "simple"
    width: int = 1024  # pixels
    height: int = 1024
    batch: int = 1
    sigmas: tuple[float, ...] | None = None  # replaces steps and scheduler
    fix_small_latents: bool = False  # as in ECAD Cache Loader

    def sigmas_for(self, model: Any) -> torch.Tensor:
        """(steps + 1,) noise levels, as the KSampler node would use them."""
        if self.sigmas is not None:
            return torch.tensor(self.sigmas, dtype=torch.float32)
        sampler = comfy.samplers.KSampler(
            model, self.steps, model.load_device, self.sampler, self.scheduler, denoise=1.0
        )
        return sampler.sigmas.detach().float().cpu()


@dataclass(frozen=True, eq=False)
class SampledBatch:
    """Latents (n, ...) on the CPU of the samples `indices`, and how long sampling them took."""

    indices: tuple[int, ...]
    latents: torch.Tensor
    seconds: float


@dataclass(frozen=True, eq=False)
class Renderer:
    """Renders samples of `calibration` on `model`; `on_step` hears how many images are done."""

    model: Any
    vae: Any
    calibration: EncodedCalibration
    settings: SamplerSettings
    architecture: Architecture = field(init=False)
    sigmas: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        applied = cached_schedule(self.model)
        if applied is not None:
            raise SearchError(
                f"The model already carries the schedule '{applied.name}', but it is measured "
                "against the model without one; connect the model from before Apply ECAD Schedule."
            )
        if self.settings.sampler in IRREGULAR.values():
            raise SearchError(
                f"The sampler '{self.settings.sampler}' chooses its own noise levels, so no "
                "schedule can be followed under it; choose another one, such as euler or dpmpp_2m."
            )
        object.__setattr__(self, "architecture", detect_architecture(self.model))
        object.__setattr__(self, "sigmas", self.settings.sigmas_for(self.model))
        if self.steps < 2:
            raise SearchError(
                f"The sampler settings give {self.steps} steps, but reuse needs at least 2; "
                "raise the steps or connect longer sigmas."
            )

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def workload(self) -> Workload:
        """One sample with its CFG partner; costs are ratios, so the batch is left out."""
        tokens = max(c[0][0].shape[1] for c in self.calibration.positives)
        rows = 1 if self.settings.cfg == 1 else 2
        return Workload(
            batch=rows, width=self.settings.width, height=self.settings.height, text_tokens=tokens
        )

    def identity(self) -> dict[str, Any]:
        """What the pictures depend on. The batch size is not in it, nor is the device."""
        sigmas = ",".join(f"{sigma:.4g}" for sigma in self.sigmas.tolist())
        return {
            "model": model_fingerprint(self.model),
            "vae": model_fingerprint(self.vae.patcher),
            "calibration": self.calibration.identity(),
            "sampler": self.settings.sampler,
            "sigmas": sigmas,
            "cfg": self.settings.cfg,
            "width": self.settings.width,
            "height": self.settings.height,
        }

    def render(
        self,
        schedule: Schedule | None,
        indices: Sequence[int],
        on_step: Callable[[float], None] | None = None,
    ) -> torch.Tensor:
        """Pictures (N, H, W, 3) in [0, 1] on the CPU, in the order of `indices`."""
        done = 0.0
        sampled: list[SampledBatch] = []
        model = self.model_with(schedule)
        for batch in self.batches(indices):
            sampled += self.sample(model, batch, on_step and _shifted(on_step, done))
            done += len(batch)
        return self.decode(sampled, indices)

    def model_with(self, schedule: Schedule | None) -> Any:
        """The model under a schedule; itself for None and for a schedule that reuses nothing."""
        fix = self.settings.fix_small_latents
        if schedule is None or bool(schedule.compute.all()):
            if not fix:
                return self.model
            schedule = uncached(self.architecture, self.steps)
        options = CacheOptions(fix_small_latents=fix, quiet=True)
        return apply_schedule(self.model, schedule, options=options)

    def sample(
        self, model: Any, batch: Sequence[int], on_step: Callable[[float], None] | None = None
    ) -> Iterator[SampledBatch]:
        """One batch of `batches`; when memory runs out it is tried again in two halves."""
        try:
            yield self.sample_whole(model, tuple(batch), on_step)
            return
        except Exception as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
        release_memory()
        half = len(batch) // 2
        yield from self.sample(model, batch[:half], on_step)
        yield from self.sample(model, batch[half:], on_step and _shifted(on_step, half))

    @torch.inference_mode()
    def sample_whole(
        self, model: Any, batch: tuple[int, ...], on_step: Callable[[float], None] | None
    ) -> SampledBatch:
        """One batch of `batches`, whole; when memory runs out, that is an error."""
        stop_if_cancelled()
        samples = [self.calibration.prompts.samples[i] for i in batch]
        empty = self.empty_latent()
        noises: list[Any] = [comfy.sample.prepare_noise(empty, sample.seed) for sample in samples]
        noise = torch.cat(noises)
        positive = stacked([self.calibration.positives[s.prompt_index] for s in samples])
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, self.calibration.negative)
        guider.set_cfg(self.settings.cfg)
        steps = self.steps

        def callback(step: int, *_: Any) -> None:
            stop_if_cancelled()
            if on_step is not None:
                on_step(len(batch) * min((step + 1) / steps, 1.0))

        started = time.perf_counter()
        latents = guider.sample(
            noise,
            torch.zeros_like(noise),
            comfy.samplers.sampler_object(self.settings.sampler),
            self.sigmas,
            callback=callback,
            disable_pbar=True,
            seed=samples[0].seed,
        ).to("cpu")  # waits for the device, so the clock below is honest
        return SampledBatch(batch, latents, time.perf_counter() - started)

    @torch.inference_mode()
    def decode(self, sampled: Sequence[SampledBatch], indices: Sequence[int]) -> torch.Tensor:
        """The pictures of sampled batches, (N, H, W, 3), in the order of `indices`."""
        pictures: dict[int, torch.Tensor] = {}
        for batch in sampled:
            stop_if_cancelled()
            decoded = self.vae.decode(batch.latents)
            decoded = decoded.reshape(-1, *decoded.shape[-3:])  # video VAEs have a frame axis
            for index, picture in zip(batch.indices, decoded, strict=True):
                pictures[index] = picture[..., :3].float().cpu()
        return torch.stack([pictures[i] for i in indices])

    def empty_latent(self) -> torch.Tensor:
        latent_format = self.model.get_model_object("latent_format")
        scale = self.vae.spacial_compression_encode()
        height, width = self.settings.height // scale, self.settings.width // scale
        frames = (1,) if latent_format.latent_dimensions == 3 else ()
        return torch.zeros((1, latent_format.latent_channels, *frames, height, width))

    def batches(self, indices: Sequence[int]) -> list[tuple[int, ...]]:
        """Samples that run together: of one prompt, or with conditionings that stack."""
        size = max(1, self.settings.batch)
        if any(word in self.settings.sampler for word in ONE_AT_A_TIME):
            size = 1
        groups: dict[Any, list[int]] = {}
        for index in indices:
            prompt = self.calibration.prompts.samples[index].prompt_index
            shape = stackable_shape(self.calibration.positives[prompt])
            groups.setdefault(("prompt", prompt) if shape is None else shape, []).append(index)
        return [
            tuple(group[start : start + size])
            for group in groups.values()
            for start in range(0, len(group), size)
        ]


def stackable_shape(conditioning: Conditioning) -> tuple[Any, ...] | None:
    """Equal for two conditionings that may be one batch; None for one that must stay alone."""
    if len(conditioning) != 1 or conditioning[0][0].shape[0] != 1:
        return None
    tensor, options = conditioning[0]
    parts: list[Any] = [tuple(tensor.shape), tensor.dtype]
    for name in sorted(options):
        value = options[name]
        if name in ("pooled_output", "attention_mask") and isinstance(value, torch.Tensor):
            if value.shape[0] != 1:
                return None
            parts.append((name, tuple(value.shape), value.dtype))
        elif value is None or isinstance(value, int | float | str):
            parts.append((name, value))
        else:
            return None
    return tuple(parts)


def stacked(conditionings: Sequence[Conditioning]) -> Conditioning:
    """One conditioning for a batch; all are the same object or have an equal `stackable_shape`."""
    first = conditionings[0]
    if all(conditioning is first for conditioning in conditionings):
        return first
    options = dict(first[0][1])
    for name, value in options.items():
        if isinstance(value, torch.Tensor):
            options[name] = torch.cat([conditioning[0][1][name] for conditioning in conditionings])
    return [[torch.cat([conditioning[0][0] for conditioning in conditionings]), options]]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host counts this error as running out of memory."""
    asks = getattr(comfy.model_management, "is_oom", None)  # newer hosts
    if asks is not None:
        return bool(asks(error))
    return isinstance(error, torch.OutOfMemoryError)


def release_memory() -> None:
    gc.collect()  # the failed run's tensors hang on its traceback
    comfy.model_management.soft_empty_cache()


def _shifted(on_step: Callable[[float], None], images: float) -> Callable[[float], None]:
    return lambda done: on_step(images + done)
