"""Tries schedules on a loaded model for `evolution.quick_front`, and keeps what they deviated by.

Every call of the guider is watched: what the sampler gives it and what it predicts. Latents of more
than `SKETCHED` numbers are kept as a sketch of so many, in which lengths and angles are nearly
right, for a trial has as many latents as calls, twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from .profiling import SIDES, Kept, Profiler, Replay, relative_drift, together
from .rendering import is_out_of_memory, release_memory

SKETCHED = 4096
Values = npt.NDArray[np.float32]


class Sketch:
    """Adds up the numbers of a latent, each with a sign, in `SKETCHED` sums drawn by lot.

    A count sketch (Charikar et al. 2002): linear, and lengths are right but for some percent. Of a
    batch, (B, ...), it is (B, d).
    """

    def __init__(self, numel: int) -> None:
        self.numel = numel
        if numel > SKETCHED:
            lot = torch.Generator().manual_seed(0)
            self.places = torch.randint(SKETCHED, (numel,), generator=lot)
            self.signs = 2.0 * torch.randint(2, (numel,), generator=lot) - 1.0

    def __call__(self, latent: torch.Tensor) -> Values:
        flat = latent.detach().flatten(1).float()
        if self.numel > SKETCHED:
            self.places, self.signs = self.places.to(flat.device), self.signs.to(flat.device)
            sums = flat.new_zeros((len(flat), SKETCHED))
            flat = sums.index_add_(1, self.places, flat * self.signs)
        return flat.cpu().numpy().copy()


@dataclass(eq=False)
class Watched:
    """A PREDICT_NOISE wrapper around another one that sees what comes in and out.

    `inputs` and `predictions` have (B, d) of each call.
    """

    wrapper: Callable[..., torch.Tensor]
    sketch: Sketch | None = None
    inputs: list[Values] = field(default_factory=list)
    predictions: list[Values] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)

    def __call__(self, executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        if self.sketch is None:
            self.sketch = Sketch(x[0].numel())
        self.inputs.append(self.sketch(x))
        prediction = self.wrapper(executor, x, timestep, *args, **kwargs)
        self.predictions.append(self.sketch(prediction))
        self.sigmas.append(float(timestep.max()))
        return prediction

    def velocities(self) -> Values:
        """(calls, d): the way from each prediction of the only sample to its input, per sigma."""
        ways = np.subtract(self.inputs, self.predictions)[:, 0]
        return (ways / np.array(self.sigmas)[:, np.newaxis]).astype(np.float32)


@dataclass(eq=False)
class QuickProfiler(Profiler):
    """One profile of the first `samples` samples, for the schedules of `quick_front`."""

    images: float = quick_front.IMAGES
    plan_of: Callable[..., Plan] = quick_front.plan_of
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    batches: list[tuple[int, ...]] = field(default_factory=list)  # samples tried together
    watched: list[Watched] = field(default_factory=list)  # every sampling, the uncached ones first
    trials: list[list[Trial]] = field(default_factory=list)  # of each sample
    drifts: dict[tuple[int, Path], float] = field(default_factory=dict)

    def evidence(self) -> tuple[Evidence, list[Path]]:
        """All that was measured, and the front that it leads to."""
        plan = self.planned()
        sampler = self.sampler()
        self.begin()
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
            errors, known = known.errors, self.known_so_far(plan, sampler)
            error = float(np.log(known.tried[path] / told))
            known = replace(known, errors=(*errors, error))
            begun = [one for one in known.tried if one[0] == len(plan.rings)]
            front = known.front([*front, *begun], quick_front.MORE_GENERATIONS, self.rng)
        return known, front

    def begin(self) -> None:
        """Before the first trial, once every sample was sampled uncached."""
        self.trials = [[] for _ in range(self.samples)]
        self.batches = self.renderer.batches(range(self.samples))

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
        found = self._sampled(replay, schedule, Run, (0,), 0.0, "uncached")
        sketch = self.watched[0].sketch
        assert sketch is not None
        uncached, random = self.watched[0], self.watched.pop()
        return Sampler.of(
            np.subtract(random.inputs, uncached.inputs)[:, 0],
            np.subtract(random.predictions, uncached.predictions)[:, 0],
            np.subtract(sketch(found), sketch(latent))[0].astype(np.float64),
            np.array([kept.step for kept in predictions]),
            np.array(uncached.sigmas),
        )

    def try_everywhere(self, plan: Plan, path: Path) -> None:
        for batch in list(self.batches):
            self.try_on(plan, path, batch)

    def try_on(self, plan: Plan, path: Path, batch: tuple[int, ...]) -> None:
        """On a batch; when memory runs out on its halves, from then on."""
        predictions = together([self.uncached[sample].predictions for sample in batch])
        replay = Replay(predictions, quick_front.first_store(plan, path))
        schedule = quick_front.schedule_of(plan, path, name="profile")
        images = quick_front.images_of(plan, path)
        try:
            found = self._sampled(replay, schedule, Run, batch, images, "schedules")
        except Exception as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
            half = len(batch) // 2
            at = self.batches.index(batch)
            self.batches[at : at + 1] = halves = [batch[:half], batch[half:]]
        else:
            self.learn(path, batch, found, self.watched.pop())
            return
        self.watched.pop()
        release_memory()
        for part in halves:
            self.try_on(plan, path, part)

    def learn(
        self, path: Path, batch: tuple[int, ...], latents: torch.Tensor, watched: Watched
    ) -> None:
        inputs, predictions = np.array(watched.inputs), np.array(watched.predictions)
        for row, sample in enumerate(batch):
            uncached = self.watched[sample]
            own = inputs[:, row : row + 1] - uncached.inputs
            answers = predictions[:, row : row + 1] - uncached.predictions
            self.trials[sample].append(Trial(path, own[:, 0], answers[:, 0]))
            drift = relative_drift(latents[row : row + 1], self.uncached[sample].latent)
            self.drifts[sample, path] = drift

    def _sampled(self, wrapper: Any, *args: Any) -> torch.Tensor:
        sketch = self.watched[0].sketch if self.watched else None
        self.watched.append(Watched(wrapper, sketch))
        return super()._sampled(self.watched[-1], *args)
