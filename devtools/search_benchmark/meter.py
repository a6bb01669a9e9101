"""What an arm sees of the benchmark: it asks for numbers, every image is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecad_search.calibration import CalibrationPrompts
from ecad_search.core import pareto, presets
from ecad_search.core.architecture import Architecture, Workload
from ecad_search.core.cost import schedule_macs, uncached_macs
from ecad_search.core.schedule import Schedule
from ecad_search.evolution import quick

from .images import ImageSource


class BudgetSpent(Exception):
    """The images asked for would exceed the arm's budget; the arm ends here."""


@dataclass(frozen=True)
class Scored:
    """A schedule scored on every calibration sample.

    `cost` is its MACs as a share of the uncached run's, `loss` the mean difference of its scores to
    the uncached run's (positive is worse), `images` how many the arm had asked for by then.
    """

    schedule: Schedule
    cost: float
    loss: float
    images: int


class Meter:
    """Hands numbers about images to one arm and counts the images.

    Every image that is asked for counts, whoever rendered it before: nothing is shared between arms
    or runs. An image asked for twice counts twice, for an arm that has forgotten it would have to
    render it again; an arm with a memory does not ask twice. The one exception is a score of an
    image whose drift was asked for before: that picture is still at hand.
    """

    def __init__(
        self,
        source: ImageSource,
        prompts: CalibrationPrompts,
        architecture: Architecture,
        steps: int,
        workload: Workload,
        budget: int,
    ) -> None:
        self.source = source
        self.prompts = prompts
        self.architecture = architecture
        self.steps = steps
        self.workload = workload
        self.budget = budget
        self.n_samples = len(prompts.samples)
        self.uncached = presets.uncached(architecture, steps)
        self.images = 0
        self._total = uncached_macs(architecture, steps, workload).total
        self._scores: dict[str, dict[int, float]] = {}
        self._at_hand: set[tuple[str, int]] = set()
        self._finished: dict[str, tuple[Schedule, int]] = {}  # with the images counted by then

    def cost(self, schedule: Schedule) -> float:
        """Of a schedule of any number of steps, relative to the uncached run of all steps."""
        return schedule_macs(schedule, self.workload).total / self._total

    def scores(self, schedule: Schedule, samples: Sequence[int] | None = None) -> list[float]:
        """The raw score of each of these calibration samples, or of all."""
        indices = list(range(self.n_samples)) if samples is None else list(samples)
        self._count(sum((schedule.key, i) not in self._at_hand for i in indices))
        values = self.source.scores(schedule, self.prompts, indices)
        known = self._scores.setdefault(schedule.key, {})
        known.update(zip(indices, values, strict=True))
        if len(known) == self.n_samples:
            self._finished.setdefault(schedule.key, (schedule, self.images))
        return values

    def drifts(self, schedule: Schedule, samples: Sequence[int]) -> list[float]:
        """How far the latents of these samples are from the uncached ones; no scorer needed."""
        self._count(sum((schedule.key, i) not in self._at_hand for i in samples))
        self._at_hand.update((schedule.key, i) for i in samples)
        return self.source.drifts(schedule, self.prompts, samples)

    def profile(self, samples: int) -> tuple[quick.Plan, list[quick.Measured]]:
        """A profile of the first samples; every sampling of it counts as an image, though most
        skip what is known of theirs."""
        found = self.source.profile(self.prompts, self.steps, samples)
        self._count(samples + len(found.measured))
        plan = quick.plan_of(self.architecture, self.steps, self.workload, found.benefits)
        measured = [
            quick.Measured(tuple(quick.Gap(*gap) for gap in gaps), sample, drift)
            for gaps, sample, drift in found.measured
        ]
        return plan, measured

    def _count(self, images: int) -> None:
        if self.images + images > self.budget:
            raise BudgetSpent
        self.images += images

    def scored(self, images: int | None = None) -> list[Scored]:
        """Every schedule scored in full when `images` images had been spent (None: by now)."""
        uncached = self._scores.get(self.uncached.key, {})
        if len(uncached) < self.n_samples:
            return []
        found = []
        for key, (schedule, spent) in self._finished.items():
            if images is None or spent <= images:
                losses = [uncached[i] - score for i, score in self._scores[key].items()]
                found.append(Scored(schedule, self.cost(schedule), float(np.mean(losses)), spent))
        return found

    def front(self, images: int | None = None) -> list[Scored]:
        """Those of `scored` that no other dominates, cheapest first."""
        scored = self.scored(images)
        if not scored:
            return []
        kept = pareto.front_indices([[point.cost, point.loss] for point in scored])
        return sorted((scored[i] for i in kept), key=lambda point: point.cost)
