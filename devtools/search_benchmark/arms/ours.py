"""The pack's own search in its modes, and ecad+ without one of its parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ecad_search.evolution import nsga2, proposals, quick, seeding
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.proposals import Proposal
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings

from ..meter import Meter
from ..plan import POPULATION

NODE_CONFIDENCE = 0.9  # the Search node's default
PROFILED_SAMPLES = 4  # as the Search node's


def finish(
    meter: Meter,
    settings: SearchSettings,
    kind: type[Search] = Search,
    *,
    profiled: bool = False,
    work: float | None = None,
    watch: Callable[[Search], None] = lambda search: None,
) -> Search:
    """Search to the end; `watch` sees the search after each job.

    `work` is that of the profile, in images, where it is not what the Search node gives to one.
    """
    meter.caution = settings.caution
    meter.enough = settings.trial_of(meter.n_samples)
    search = kind(
        settings,
        meter.architecture,
        meter.steps,
        meter.workload,
        meter.n_samples,
        Journal(None),
    )
    if profiled:
        before = meter.images
        work = quick.images_before(settings.images) if work is None else work
        start = quick.start_of(*meter.profile(PROFILED_SAMPLES, work))
        search.start_from(start, images=meter.images - before)
    while (job := search.ask()) is not None:
        search.tell(job, meter.scores(job.candidate.schedule, job.samples))
        watch(search)
    return search


def paper(meter: Meter, seed: int) -> None:
    settings = SearchSettings(mode="paper", seed=seed, images=meter.budget, population=POPULATION)
    finish(meter, settings)


def random(meter: Meter, seed: int) -> None:
    finish(meter, SearchSettings(mode="random", seed=seed, images=meter.budget))


def ecad_settings(meter: Meter, seed: int, **changes: object) -> SearchSettings:
    begun = SearchSettings(seed=seed, images=meter.budget, confidence=NODE_CONFIDENCE)
    return SearchSettings.from_json({**begun.for_new(meter.n_samples).to_json(), **changes})


def ecad(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed), profiled=True)


def quick_schedule(meter: Meter, seed: int) -> None:
    """The schedules of a profile, scored one after the other; no search."""
    plan, measured = meter.profile(PROFILED_SAMPLES, quick.IMAGES)
    meter.scores(meter.uncached)
    for schedule in quick.start_of(plan, measured, quick.SPREAD):
        meter.scores(schedule)


def without_surrogate(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed, guided=False), profiled=True)


def without_racing(meter: Meter, seed: int) -> None:
    """A first block of as many samples as a job may have, and a judge that is never sure."""
    first = min(meter.n_samples, 32)
    changes = {"first_block": first, "confidence": 1.0, "tried_on": None}
    finish(meter, ecad_settings(meter, seed, **changes), profiled=True)


def without_caution(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed, caution=0.0), profiled=True)


def without_long_profile(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed), profiled=True, work=quick.IMAGES)


def without_profile(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed))


def without_profile_and_surrogate(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed, guided=False))


class RandomStart(Search):
    """ecad+ that begins with as many random schedules as it would place itself."""

    def _next_generation(self, number: int, rng: np.random.Generator) -> list[Proposal]:
        if number:
            return super()._next_generation(number, rng)
        count = len(seeding.ecad_population(self.architecture, self.steps))
        made = seeding.random_population(self.architecture, self.steps, count, rng)
        return [self._proposal(seed) for seed in made]


def without_start(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed), RandomStart)


class FlatChildren(Search):
    """ecad+ whose children are made as the paper's, but with about one flipped bit each.

    The paper's own mutation flips one in twenty children, so most would be mere recombinations.
    """

    def _children(
        self,
        parents: list[npt.NDArray[np.bool_]],
        rng: np.random.Generator,
        select: proposals.Select,
    ) -> list[Proposal]:
        made = nsga2.offspring(
            np.stack([parent[1:].reshape(-1) for parent in parents]),
            proposals.POOL,
            rng,
            select=select,
            mutation_probability=1.0,
        )
        first = np.ones((1, self.architecture.n_cells), dtype=bool)
        return [
            Proposal(
                np.concatenate([first, genome.reshape(self.steps - 1, -1)]),
                "crossover and mutation",
            )
            for genome in made
        ]


def without_structure(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed), FlatChildren, profiled=True)


def without_profile_and_structure(meter: Meter, seed: int) -> None:
    finish(meter, ecad_settings(meter, seed), FlatChildren)
