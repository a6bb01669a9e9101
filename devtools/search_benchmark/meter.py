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
from ecad_search.evolution import quick, racing

from .images import ImageSource


class BudgetSpent(Exception):
    """The images asked for would exceed the arm's budget; the arm ends here."""


@dataclass(frozen=True)
class Scored:
    """A schedule scored on enough calibration samples.

    `cost` is its MACs as a share of the uncached run's, `loss` what its scores lose of the uncached
    run's (positive is worse; the mean, but for an arm with caution) over the `samples` that it had
    by then.
    """

    schedule: Schedule
    cost: float
    loss: float
    samples: int


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
        self.enough = self.n_samples  # samples that put a schedule on an arm's front
        self.caution = 0.0  # of the arm, see racing.losses_of
        self.uncached = presets.uncached(architecture, steps)
        self.images = 0
        self._total = uncached_macs(architecture, steps, workload).total
        self._scores: dict[str, dict[int, float]] = {}
        self._at_hand: set[tuple[str, int]] = set()
        self._schedules: dict[str, Schedule] = {}
        # Of each schedule how many samples it had, and after how many images in all.
        self._course: dict[str, list[tuple[int, int]]] = {}

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
        self._schedules[schedule.key] = schedule
        self._course.setdefault(schedule.key, []).append((len(known), self.images))
        return values

    def drifts(self, schedule: Schedule, samples: Sequence[int]) -> list[float]:
        """How far the latents of these samples are from the uncached ones; no scorer needed."""
        self._count(sum((schedule.key, i) not in self._at_hand for i in samples))
        self._at_hand.update((schedule.key, i) for i in samples)
        return self.source.drifts(schedule, self.prompts, samples)

    def profile(self, samples: int, images: float) -> tuple[quick.Plan, list[quick.Measured]]:
        """A profile of the first samples, of `images` images' work. Every sampling of it counts as
        an image, though most skip what is known of theirs."""
        found = self.source.profile(self.prompts, self.steps, samples, images)
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
        """Every schedule that had `enough` samples when `images` were spent (None: by now)."""
        uncached = self._scores.get(self.uncached.key, {})
        found = []
        for key, schedule in self._schedules.items():
            samples = max(
                (n for n, spent in self._course[key] if images is None or spent <= images),
                default=0,
            )
            # In the order of asking, which is the same for every schedule.
            first = list(self._scores[key].items())[:samples]
            if samples >= self.enough and all(i in uncached for i, _ in first):
                differences = np.array([[score - uncached[i] for i, score in first]])
                loss = float(racing.losses_of(differences, self.caution)[0])
                found.append(Scored(schedule, self.cost(schedule), loss, samples))
        return found

    def front(self, images: int | None = None) -> list[Scored]:
        """Those of `scored` that no other dominates, cheapest first."""
        scored = self.scored(images)
        if not scored:
            return []
        kept = pareto.front_indices([[point.cost, point.loss] for point in scored])
        return sorted((scored[i] for i in kept), key=lambda point: point.cost)
