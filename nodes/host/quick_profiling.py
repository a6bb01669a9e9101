"""Tries schedules on a loaded model for `evolution.quick_front`, and keeps what they deviated by.

Every call of the guider is watched: what the sampler gives it and what it predicts. Latents of more
than `SKETCHED` numbers are kept as a sketch of so many, in which lengths and angles are nearly
right, for a trial has as many latents as calls, twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...ecad_search.core import presets
from ...ecad_search.engine.run import Run
from ...ecad_search.evolution import quick_front
from ...ecad_search.evolution.paths import Path
from ...ecad_search.evolution.quick_front import Evidence, Plan
from ...ecad_search.evolution.response import Sampler, Trial
from .profiling import SIDES, Kept, Profiler, Replay, relative_drift

SKETCHED = 4096
Values = npt.NDArray[np.float32]


class Sketch:
    """Adds up the numbers of a latent, each with a sign, in `SKETCHED` sums drawn by lot.

    A count sketch (Charikar et al. 2002): linear, and lengths are right but for some percent.
    """

    def __init__(self, numel: int) -> None:
        self.numel = numel
        if numel > SKETCHED:
            lot = torch.Generator().manual_seed(0)
            self.places = torch.randint(SKETCHED, (numel,), generator=lot)
            self.signs = 2.0 * torch.randint(2, (numel,), generator=lot) - 1.0

    def __call__(self, latent: torch.Tensor) -> Values:
        flat = latent.detach().reshape(-1).float()
        if self.numel > SKETCHED:
            self.places, self.signs = self.places.to(flat.device), self.signs.to(flat.device)
            flat = flat.new_zeros(SKETCHED).index_add_(0, self.places, flat * self.signs)
        return flat.cpu().numpy().copy()


@dataclass(eq=False)
class Watched:
    """A PREDICT_NOISE wrapper around another one that sees what comes in and out."""

    wrapper: Callable[..., torch.Tensor]
    sketch: Sketch | None = None
    inputs: list[Values] = field(default_factory=list)
    predictions: list[Values] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)

    def __call__(self, executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        if self.sketch is None:
            self.sketch = Sketch(x.numel())
        self.inputs.append(self.sketch(x))
        prediction = self.wrapper(executor, x, timestep, *args, **kwargs)
        self.predictions.append(self.sketch(prediction))
        self.sigmas.append(float(timestep.max()))
        return prediction

    def velocities(self) -> Values:
        """(calls, d): the way from each prediction to its input, per sigma."""
        ways = np.subtract(self.inputs, self.predictions) / np.array(self.sigmas)[:, np.newaxis]
        return ways.astype(np.float32)


@dataclass(eq=False)
class QuickProfiler(Profiler):
    """One profile of the first `samples` samples, for the schedules of `quick_front`."""

    images: float = quick_front.IMAGES
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    watched: list[Watched] = field(default_factory=list)  # every sampling, the uncached ones first
    trials: list[list[Trial]] = field(default_factory=list)  # of each sample
    drifts: dict[tuple[int, Path], float] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)  # of logarithms of what was told

    def evidence(self) -> tuple[Evidence, list[Path]]:
        """All that was measured, and the front that it leads to."""
        plan = self.planned()
        sampler = self.sampler()
        self.trials = [[] for _ in range(self.samples)]
        for path in quick_front.first_paths(plan):
            spent = self.done + self.samples * quick_front.images_of(plan, path)
            if self.drifts and spent > quick_front.FIRST_SHARE * self.images:
                break
            self.try_everywhere(plan, path)
        known = self.known_so_far(plan, sampler)
        front = known.front((), quick_front.GENERATIONS, self.rng)
        number = 0
        while wish := quick_front.wish(known, front, number):
            path, number = wish
            if self.done + self.samples * quick_front.images_of(plan, path) > self.images:
                break
            told = float(known.told(np.array([path]))[0])
            self.try_everywhere(plan, path)
            known = self.known_so_far(plan, sampler)
            self.errors.append(float(np.log(known.tried[path] / told)))
            begun = [one for one in known.tried if one[0] == len(plan.rings)]
            front = known.front([*front, *begun], quick_front.MORE_GENERATIONS, self.rng)
        return known, front

    def known_so_far(self, plan: Plan, sampler: Sampler) -> Evidence:
        return Evidence(
            plan,
            sampler,
            tuple(map(tuple, self.trials)),
            dict(self.drifts),
            np.array([float(one.latent.double().square().sum()) for one in self.uncached]),
            np.array([one.velocities() for one in self.watched]),
        )

    def sampler(self) -> Sampler:
        """How the sampler makes its samplings of predictions, from random ones.

        A sampler that listens to guidance is told that both sides of it are off by as much.
        """
        predictions, latent = self.uncached[0]
        lot = torch.Generator().manual_seed(0)
        changed = []
        for step, prediction, guidance in predictions:
            noise = torch.randn(prediction.shape, generator=lot).to(prediction) * prediction.std()
            moved = {
                side: guidance[side] + noise for side in SIDES if guidance.get(side) is not None
            }
            changed.append(Kept(step, prediction + noise, {**guidance, **moved}))
        replay = Replay(changed, self.renderer.steps)
        schedule = presets.uncached(self.renderer.architecture, self.renderer.steps)
        found = self._sampled(replay, schedule, Run, 0, 0.0, "uncached")
        sketch = self.watched[0].sketch
        assert sketch is not None
        uncached, random = self.watched[0], self.watched.pop()
        return Sampler.of(
            np.subtract(random.inputs, uncached.inputs),
            np.subtract(random.predictions, uncached.predictions),
            np.subtract(sketch(found), sketch(latent)).astype(np.float64),
            np.array([kept.step for kept in predictions]),
            np.array(uncached.sigmas),
        )

    def try_everywhere(self, plan: Plan, path: Path) -> None:
        for sample in range(self.samples):
            predictions, latent = self.uncached[sample]
            replay = Replay(predictions, quick_front.first_store(plan, path))
            schedule = quick_front.schedule_of(plan, path, name="profile")
            images = quick_front.images_of(plan, path)
            found = self._sampled(replay, schedule, Run, sample, images, "schedules")
            uncached, own = self.watched[sample], self.watched.pop()
            inputs = np.subtract(own.inputs, uncached.inputs)
            self.trials[sample].append(
                Trial(path, inputs, np.subtract(own.predictions, uncached.predictions))
            )
            self.drifts[sample, path] = relative_drift(found, latent)

    def _sampled(self, wrapper: Any, *args: Any) -> torch.Tensor:
        sketch = self.watched[0].sketch if self.watched else None
        self.watched.append(Watched(wrapper, sketch))
        return super()._sampled(self.watched[-1], *args)
