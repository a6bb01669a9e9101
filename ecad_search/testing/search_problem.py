"""A search problem without a model: known losses, noise per sample, and a known true front.

Honest in what makes real ones hard: losses differ by orders of magnitude between cells, every
sample loses differently, and scores carry noise that no common seed removes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core import cost, pareto
from ..core.architecture import Architecture
from ..core.schedule import Schedule
from ..evolution.search import Job, Search

Floats = npt.NDArray[np.float64]


class SearchProblem:
    """Scores of schedules of `architecture` at `steps` steps on `n_samples` samples.

    additive: every reuse loses the same however old its value is, so the true front is known
        (`best_front`). Otherwise losses grow with the age of the value and with each other.
    spread: how differently the samples lose; noise: standard deviation added to every score.
    All is a pure function of `seed`, the schedule's key and the sample.
    """

    def __init__(
        self,
        architecture: Architecture,
        steps: int,
        *,
        seed: int,
        n_samples: int = 16,
        additive: bool = True,
        spread: float = 0.3,
        noise: float = 0.02,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.architecture, self.steps, self.n_samples = architecture, steps, n_samples
        self.additive, self.noise, self.seed = additive, noise, seed
        self.workload = architecture.native_workload(2)
        names = architecture.component_names
        by_component = dict(
            zip(names, rng.permutation(np.geomspace(0.3, 3, len(names))), strict=True)
        )
        components = np.array([by_component[cell.component] for cell in architecture.cells])
        numbers: dict[tuple[str, int], int] = {}
        blocks = [numbers.setdefault((c.group, c.block), len(numbers)) for c in architecture.cells]
        by_block = np.exp(rng.normal(0, 0.8, len(numbers)))
        # The composition forms early, details settle at the very end.
        time = np.linspace(0, 1, steps)
        by_step = np.exp(-time * rng.uniform(1, 4)) + 0.4 * np.exp(-(1 - time) * 8)
        shape = (steps, architecture.n_cells)
        losses = by_step[:, None] * (components * by_block[blocks])[None]
        losses = losses * np.exp(rng.normal(0, 0.6, shape))
        self.losses: Floats = losses / losses[1:].sum()  # reusing everything loses about 1
        self._by_sample = np.exp(rng.normal(0, spread, (n_samples, *shape)))
        self._by_sample *= np.exp(rng.normal(0, spread, (n_samples, 1, 1)))
        self._uncached = rng.normal(0.5, 0.3, n_samples)

    def _loss(self, losses: Floats, compute: npt.NDArray[np.bool_]) -> float:
        if self.additive:
            return float(losses[~compute].sum())
        age = np.zeros(compute.shape)
        for step in range(1, self.steps):
            age[step] = np.where(compute[step], 0.0, age[step - 1] + 1)
        loss = float((losses * age**0.8).sum()) / 2
        return loss * (1 + loss)

    def true_loss(self, schedule: Schedule) -> float:
        """What a schedule really loses, without samples and noise."""
        return self._loss(self.losses, schedule.compute)

    def score(self, schedule: Schedule, samples: tuple[int, ...]) -> list[float]:
        """What a scorer would say of each sample."""
        scores = []
        for sample in samples:
            loss = self._loss(self.losses * self._by_sample[sample], schedule.compute)
            chance = np.random.default_rng([self.seed, int(schedule.key, 16), sample])
            scores.append(float(self._uncached[sample] - loss + chance.normal(0, self.noise)))
        return scores

    def answer(self, search: Search, job: Job) -> None:
        search.tell(job, self.score(job.candidate.schedule, job.samples))

    def finish(self, search: Search) -> Search:
        """Answer every job until there is none."""
        while (job := search.ask()) is not None:
            self.answer(search, job)
        return search

    def best_front(self) -> Floats:
        """(n, 2) costs and true losses of the best schedules of an additive problem.

        Cells reused in the order of loss per MAC saved are the corners of the true front, which
        nothing can beat between them by more than one cell.
        """
        weights = cost.cell_macs(self.architecture, self.workload)
        total = cost.uncached_macs(self.architecture, self.steps, self.workload).total
        savings = np.tile(weights / total, self.steps - 1)
        losses = self.losses[1:].reshape(-1)
        order = np.argsort(losses / savings)
        costs = 1 - np.concatenate([[0.0], np.cumsum(savings[order])])
        return np.column_stack([costs, np.concatenate([[0.0], np.cumsum(losses[order])])])

    def true_hypervolume(self, schedules: list[Schedule], worst: float) -> float:
        """Of their true losses, below cost 1 and loss `worst`, as a share of that rectangle."""
        points = [[cost.relative_cost(s, self.workload), self.true_loss(s)] for s in schedules]
        return pareto.hypervolume(np.array(points).reshape(-1, 2), [1.0, worst]) / worst
