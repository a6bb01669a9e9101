"""Measures on a loaded model what `evolution.quick` wants to know: a few reuses, and what they do.

Each sample is sampled uncached once. On the way every prediction of the guider is kept, and at one
step it is tried what each component is good for. A gap is then measured by another sampling, which
takes the kept predictions up to the gap's start, for there nothing differs yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from comfy.model_patcher import set_model_options_post_cfg_function
from comfy.patcher_extension import WrappersMP

from ...ecad_search.core.latency import Latency
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.profile import ProbingRun, benefits, probing_schedule
from ...ecad_search.engine.run import Run
from ...ecad_search.errors import SearchError
from ...ecad_search.evolution import quick
from ...ecad_search.evolution.profile_notes import (
    Note,
    ProfileNotes,
    note_of_benefits,
    note_of_drift,
)
from ...ecad_search.evolution.quick import Gap, Measured, Plan
from .patching import CacheOptions, apply_schedule, sampling_in
from .rendering import Renderer

KEY = "ecad_profile"
POST_CFG = "sampler_post_cfg_function"
SIDES = ("cond_denoised", "uncond_denoised")

Listeners = Sequence[Callable[[dict[str, Any]], Any]]


class Kept(NamedTuple):
    """A prediction of the guider, its step, and what guidance told a sampler that listens (CFG++).

    `guidance` has the two `SIDES` that the prediction is made of; of other samplers it is empty.
    """

    step: int
    prediction: torch.Tensor
    guidance: Mapping[str, Any]


def listeners(executor: Any, model_options: Any) -> Listeners:
    """Functions by which the sampler itself, not the model, hears what guidance did."""
    known = executor.class_obj.model_options.get(POST_CFG, [])
    return [one for one in (model_options or {}).get(POST_CFG, []) if one not in known]


def hear(guidance: dict[str, Any], args: dict[str, Any]) -> torch.Tensor:
    guidance |= {name: value for name, value in args.items() if name not in ("denoised", "input")}
    guidance |= {side: args[side].clone() for side in SIDES if args.get(side) is not None}
    return args["denoised"]


def tell(listeners: Listeners, kept: Kept, x: torch.Tensor, timestep: torch.Tensor) -> None:
    for listener in listeners:
        listener({**kept.guidance, "denoised": kept.prediction, "input": x, "sigma": timestep})


@dataclass(eq=False)
class Recorder:
    """A PREDICT_NOISE wrapper that keeps every prediction and probes one step (-1: none)."""

    probed: int
    units: Sequence[Any]  # of cells, (n_cells,) each
    predictions: list[Kept] = field(default_factory=list)
    benefits: Any = None

    def __call__(
        self, executor: Any, x: Any, timestep: Any, model_options: Any = None, *args: Any, **kw: Any
    ) -> Any:
        sampling = sampling_in(model_options)
        if sampling is None or not isinstance(sampling.run, ProbingRun):
            return executor(x, timestep, model_options, *args, **kw)
        run = sampling.run
        step = run.sigma_steps.step(float(timestep.max()))
        again = x.clone()
        listening, guidance, heard = listeners(executor, model_options), {}, model_options
        if listening:
            hearing = partial(hear, guidance)
            heard = set_model_options_post_cfg_function(model_options.copy(), hearing)
        if step != self.probed or self.benefits is not None:
            prediction = executor(x, timestep, heard, *args, **kw)
            self.predictions.append(Kept(step, prediction.clone(), guidance))
        else:
            with run.holding():
                prediction = executor(x, timestep, heard, *args, **kw)
            self.predictions.append(Kept(step, prediction.clone(), guidance))
            self.benefits = benefits(
                run,
                self.units,
                prediction,
                lambda: executor(again.clone(), timestep, model_options, *args, **kw),
            )
            tell(listening, self.predictions[-1], x, timestep)  # it heard of the trials last
        return prediction


class Replay:
    """A PREDICT_NOISE wrapper that gives the kept predictions of the steps before `start`.

    `predictions` are those of one sampling, or those of several put together by `together`.
    """

    def __init__(self, predictions: Sequence[Kept], start: int) -> None:
        self.known = list(takewhile(lambda kept: kept.step < start, predictions))
        self.given = 0

    def __call__(
        self, executor: Any, x: Any, timestep: Any, model_options: Any = None, *args: Any, **kw: Any
    ) -> Any:
        if self.given == len(self.known):
            return executor(x, timestep, model_options, *args, **kw)
        self.given += 1
        kept = self.known[self.given - 1]
        tell(listeners(executor, model_options), kept, x, timestep)
        return kept.prediction.clone()


def together(samplings: Sequence[Sequence[Kept]]) -> list[Kept]:
    """The predictions of one batch that has the samples of all these samplings, in their order."""

    def joined(calls: Sequence[Kept]) -> Kept:
        first = calls[0]
        sides = {
            side: torch.cat([call.guidance[side] for call in calls])
            for side in SIDES
            if first.guidance.get(side) is not None
        }
        prediction = torch.cat([call.prediction for call in calls])
        return Kept(first.step, prediction, {**first.guidance, **sides})

    return [joined(calls) for calls in zip(*samplings, strict=True)]


class Uncached(NamedTuple):
    """One sample: its predictions, and the final latent, (1, ...) on the CPU."""

    predictions: list[Kept]
    latent: torch.Tensor


@dataclass(eq=False)
class Profiler:
    """One profile of the first `samples` samples of the renderer's calibration.

    `prepared` says of a schedule on which noise levels it is made. `on_images` hears how many
    images' work is done, of `images`, and what is being done. Costs are MACs, or seconds by the
    `latency`. Of a limit in `seconds` it makes as many images as these last, `quick.IMAGES` at
    least. What is `known` from a profile that was cut off is not measured again; `on_note`
    hears what should be known to the next one.
    """

    renderer: Renderer
    samples: int
    prepared: Callable[[Schedule], Schedule]
    on_images: Callable[[float, str], None]
    latency: Latency | None = None
    images: float = quick.IMAGES
    seconds: float | None = None
    known: ProfileNotes = field(default_factory=ProfileNotes)
    on_note: Callable[[Note], None] = lambda note: None
    done: float = 0.0
    plan_of: Callable[..., Plan] = quick.plan_of
    uncached: list[Uncached] = field(default_factory=list)
    benefits: Any = None  # (n_units,) of computing each unit alone, once known

    def profile(self) -> tuple[Plan, list[Measured]]:
        plan = self.planned()
        measured: list[Measured] = []
        for number, gap in enumerate(quick.probes(plan, quick.GAPS_SHARE * self.images_left)):
            measured.append(self.measured(plan, (gap,), number % self.samples, "gaps"))
        first = len(measured)
        while wishes := quick.worth_measuring(plan, measured, self.samples, len(measured) - first):
            for gaps, sample in wishes:
                if plan.images(gaps) > self.images_left:
                    return plan, measured
                measured.append(self.measured(plan, gaps, sample, "schedules"))
        return plan, measured

    def planned(self) -> Plan:
        """Every sample uncached, and the rings that this tells."""
        renderer, architecture = self.renderer, self.renderer.architecture
        unit = quick.units(architecture)
        units = [unit == number for number in range(int(unit.max()) + 1)]
        steps = quick.probed_steps(renderer.steps, len(units), self.samples)
        found, took = [], []
        for sample, probed in enumerate(steps):
            started = time.perf_counter()
            found.append(self.sample_uncached(sample, probed, units))
            took.append(time.perf_counter() - started)
        if self.seconds is not None:  # the fastest: others load the model, or probe it
            self.images = min(self.images, max(quick.IMAGES, self.seconds / min(took)))
        if self.known.benefits is None:
            told = [shares for shares in found if shares is not None]
            if not told:
                raise SearchError(
                    "Reusing every component of this model changed nothing, so there is nothing to "
                    "choose by; sample once under a FORA schedule and read its report."
                )
            self.benefits = np.mean(told, axis=0)
            self.on_note(note_of_benefits(self.benefits))
        else:
            self.benefits = np.array(self.known.benefits)
        return self.plan_of(
            architecture, renderer.steps, renderer.workload, self.benefits, latency=self.latency
        )

    @property
    def images_left(self) -> float:
        return self.images - self.done

    def sample_uncached(self, sample: int, probed: int, units: Sequence[Any]) -> Any:
        """What each unit is good for at the step `probed`; None if that cannot be told there."""
        recorder = Recorder(probed if self.known.benefits is None else -1, units)
        steps = [] if probed < 0 else [probed]
        schedule = probing_schedule(self.renderer.architecture, self.renderer.steps, steps)
        latent = self._sampled(recorder, schedule, ProbingRun, (sample,), 1.0, "uncached")
        self.uncached.append(Uncached(recorder.predictions, latent))
        self.done += quick.probing_cost(self.renderer.steps, len(units)) if steps else 0.0
        return recorder.benefits

    def measured(self, plan: Plan, gaps: tuple[Gap, ...], sample: int, what: str) -> Measured:
        images = plan.images(gaps)
        drift = self.known.drifts.get((gaps, sample))
        if drift is None:
            predictions, uncached = self.uncached[sample]
            replay = Replay(predictions, gaps[0].start)
            schedule = plan.schedule(gaps, name="profile")
            latent = self._sampled(replay, schedule, Run, (sample,), images, what)
            drift = relative_drift(latent, uncached)
            self.on_note(note_of_drift(gaps, sample, drift))
        else:
            self.done += images
        return Measured(gaps, sample, drift)

    def _sampled(
        self,
        wrapper: Any,
        schedule: Schedule,
        run: type[Run],
        batch: tuple[int, ...],
        images: float,
        what: str,
    ) -> torch.Tensor:
        """Latents of the samples of one batch, each of which is the work of so many images."""
        model = self.renderer.model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, wrapper)  # around the schedule's
        options = CacheOptions(
            fix_small_latents=self.renderer.settings.fix_small_latents, quiet=True
        )
        model = apply_schedule(model, self.prepared(schedule), options=options, run=run)
        before = self.done
        sampled = self.renderer.sample_whole(
            model, batch, lambda share: self.on_images(before + share * images, what)
        )
        self.done = before + len(batch) * images
        return sampled.latents


def relative_drift(latent: torch.Tensor, uncached: torch.Tensor) -> float:
    """Mean squared difference as a share of the mean square; nothing is worse than `WORST`."""
    difference = (latent.double() - uncached.double()).square().mean()
    drift = float(difference / uncached.double().square().mean())
    return drift if drift < quick.WORST_DRIFT else quick.WORST_DRIFT  # and so is not-a-number
