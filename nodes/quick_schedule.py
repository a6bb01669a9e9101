"""The node that makes a whole front of schedules out of one short profile, without a search."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from typing import Any

from comfy_api.latest import io

from ..ecad_search.core.front import Front, FrontPoint
from ..ecad_search.evolution import quick_front
from .host.fingerprint import model_fingerprint
from .host.progress import NodeProgress, spoken_seconds
from .host.quick_profiling import QuickProfiler
from .host.rendering import EncodedCalibration, Renderer, SamplerSettings
from .host.run_report import say
from .host.schema import schema
from .search import made_on, stated
from .types import CalibrationType, FrontType, SamplerSettingsType, ScheduleType

log = logging.getLogger("ComfyUI-ECAD")


class QuickSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_QuickSchedule",
            display_name="ECAD Quick Schedule",
            category="ECAD",
            description=(
                "Schedules for every speed-up in the time of about twenty pictures: measures what "
                "reuse does to your model at a few places and works out the rest. No scorer; what "
                "counts is how far the latents drift from the uncached run."
            ),
            search_aliases=["fast", "profile", "cache schedule", "speed up", "calibrate"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model to speed up, without a schedule on it."),
                io.Vae.Input("vae", tooltip="Tells the size of the latents; it decodes nothing."),
                CalibrationType.Input(
                    "calibration", tooltip="Its first samples are what is measured on."
                ),
                SamplerSettingsType.Input(
                    "sampler_settings", tooltip="How you sample: a schedule is made for that."
                ),
                io.Float.Input(
                    "target_speedup",
                    default=2.0,
                    min=1.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Which schedule goes out: the best of this many times fewer MACs.",
                ),
                io.Int.Input(
                    "samples",
                    default=3,
                    min=1,
                    max=8,
                    tooltip=(
                        "Calibration samples to measure on, one picture each. The time is the "
                        "same: more samples leave fewer measurements for each."
                    ),
                ),
            ],
            outputs=[
                FrontType.Output(
                    display_name="front",
                    tooltip="From fast to faithful. Quality is minus the predicted drift.",
                ),
                ScheduleType.Output(
                    display_name="schedule", tooltip="The one for the speed-up asked for."
                ),
                io.String.Output(display_name="summary", tooltip="What was measured and found."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        calibration: EncodedCalibration,
        sampler_settings: SamplerSettings,
        target_speedup: float = 2.0,
        samples: int = 3,
    ) -> io.NodeOutput:
        renderer = Renderer(model, vae, calibration, sampler_settings)
        samples = min(samples, len(calibration.prompts.samples))
        node_id = cls.hidden.unique_id if cls.hidden else None
        progress = NodeProgress(node_id, quick_front.IMAGES)

        def on_images(images: float, what: str) -> None:
            progress.update(images)
            progress.text(f"{what}: {min(images / quick_front.IMAGES, 1.0):.0%}")

        started = time.monotonic()
        profiler = QuickProfiler(renderer, samples, partial(made_on, renderer.sigmas), on_images)
        evidence, paths = profiler.evidence()
        front = quick_front.front_of(evidence, paths, renderer.workload)
        front = annotated(front, renderer)
        picked = front.pick_speedup(target_speedup)
        text = summary(front, picked, len(evidence.drifts), samples, time.monotonic() - started)
        progress.update(quick_front.IMAGES)
        say(node_id, text)
        log.info("ECAD: %s", text.replace("\n", "; "))
        return io.NodeOutput(front, picked.schedule, text, ui={"text": (text,)})


def annotated(front: Front, renderer: Renderer) -> Front:
    """The front whose schedules also say for which model and sampling they were made."""
    settings, calibration = renderer.settings, renderer.calibration
    sampling: dict[str, Any] = {
        "sampler": settings.sampler,
        "scheduler": settings.scheduler if settings.sigmas is None else "sigmas",
        "cfg": settings.cfg,
        "width": settings.width,
        "height": settings.height,
        **stated(renderer.sigmas),
    }
    if calibration.guidance:
        sampling["guidance"] = calibration.guidance
    made_for = {
        "sampling": sampling,
        "model": {
            "fingerprint": model_fingerprint(renderer.model),
            "family": renderer.architecture.family,
        },
    }

    def with_origin(point: FrontPoint) -> FrontPoint:
        schedule = replace(point.schedule, info={**point.schedule.info, **made_for})
        return replace(point, schedule=schedule)

    return Front(tuple(map(with_origin, front)), front.info)


def summary(front: Front, picked: FrontPoint, measured: int, samples: int, seconds: float) -> str:
    fastest = front.members[0]
    return "\n".join(
        (
            f"{len(front.members)} schedules, up to {fastest.speedup:.2f}x fewer MACs",
            f"{measured} samplings measured on {samples} samples in {spoken_seconds(seconds)}",
            f"picked: {picked.speedup:.2f}x, predicted drift {-picked.quality:.2g} "
            f"± {picked.quality_stderr:.1g} (0 is the uncached latent, 1 another picture)",
        )
    )
