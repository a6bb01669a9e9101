"""Measures on a loaded model how long its components take at the sampler settings of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from comfy.patcher_extension import WrappersMP

from ...ecad_search.core import latency
from ...ecad_search.core.latency import Bools, Latency
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.latency import images_of, rounds_of, timed
from ...ecad_search.engine.profile import ProbingRun, probing_schedule
from ...ecad_search.errors import SearchError
from .patching import CacheOptions, apply_schedule, sampling_in
from .progress import stop_if_cancelled
from .rendering import Renderer

KEY = "ecad_latency"


@dataclass(eq=False)
class Stopwatch:
    """A PREDICT_NOISE wrapper that times evaluations of `rows` at the step `probed`."""

    probed: int
    rows: Sequence[Bools]
    rounds: int
    evaluations: int = 0
    seconds: list[float] = field(default_factory=list)
    device: str = ""

    def __call__(
        self, executor: Any, x: Any, timestep: Any, model_options: Any = None, *args: Any, **kw: Any
    ) -> Any:
        sampling = sampling_in(model_options)
        if sampling is None or not isinstance(sampling.run, ProbingRun):
            return executor(x, timestep, model_options, *args, **kw)
        run = sampling.run
        self.evaluations += 1
        if run.sigma_steps.step(float(timestep.max())) != self.probed or self.seconds:
            return executor(x, timestep, model_options, *args, **kw)
        again = x.clone()

        def evaluate() -> Any:
            stop_if_cancelled()
            return executor(again.clone(), timestep, model_options, *args, **kw)

        with run.holding():
            prediction = executor(x, timestep, model_options, *args, **kw)
        reused = run.cells_reused
        self.seconds = timed(run, self.rows, self.rounds, x.device, evaluate)
        if run.refused or run.cells_reused == reused:
            raise SearchError(
                "Nothing of this model was reused while its components were timed, so its "
                "schedules save no time; sample once under a FORA schedule and read its report."
            )
        self.device = device_name(x.device)
        return prediction


def measured_latency(
    renderer: Renderer,
    prepared: Callable[[Schedule], Schedule],
    on_images: Callable[[float], None],
) -> tuple[Latency, int]:
    """The latency of the renderer's largest batch, and how many pictures' work that was.

    `prepared` says of a schedule on which noise levels it is made.
    """
    architecture, steps = renderer.architecture, renderer.steps
    batch = max(renderer.batches(range(len(renderer.calibration.prompts.samples))), key=len)
    rows = latency.timed_rows(architecture)
    images = round(len(batch) * images_of(rows, steps))
    watch = Stopwatch(max(1, steps // 2), rows, rounds_of(rows, steps))
    schedule = probing_schedule(architecture, steps, [watch.probed])
    model = renderer.model.clone()
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, watch)  # around the schedule's
    options = CacheOptions(fix_small_latents=renderer.settings.fix_small_latents, quiet=True)
    model = apply_schedule(model, prepared(schedule), options=options, run=ProbingRun)
    share = images / len(batch)
    parts = list(renderer.sample(model, batch, lambda done: on_images(done * share)))
    if len(parts) > 1 or not watch.seconds:
        raise SearchError(
            f"{len(batch)} pictures at a time do not fit into memory, so their components cannot "
            "be timed; lower the batch of the sampler settings."
        )
    return (
        latency.fitted(
            architecture,
            renderer.workload,
            watch.rows,
            np.array(watch.seconds),
            evaluations=watch.evaluations / steps,
            pictures=len(batch),
            device=watch.device,
        ),
        images,
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
