"""A whole front of schedules from a few samplings, without a search.

A few schedules are tried on each of a few samples. `Response` learns from them what any other would
do, evolution finds the best of every cost by that, and some of these are tried in turn, so that it
is right where it counts. What looks best is partly luck, so what was not tried is trusted less.

A schedule is a path, see `paths`: the ring that computes at each step.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..core import cost, presets
from ..core.architecture import Workload
from ..core.front import Front, FrontPoint
from ..core.schedule import Schedule
from . import quick
from .paths import Path, evolved
from .quick import Plan
from .response import Response, Sampler, Trial

Floats = npt.NDArray[np.float64]

# The work of a profile, in that of uncached images. Beginning so many short samplings and telling
# what to try takes time too: a small model needs as long as for 16 to 18 of its images.
IMAGES = 12.0
FIRST_SHARE = 0.6  # of these go into what is tried first
REFERENCES = quick.REFERENCES  # of FORA
TARGETS = (6, 2, 4, 7, 3, 6, 5)  # what is tried then costs what FORA of such an N costs
GENERATIONS = 14  # before the first of them
MORE_GENERATIONS = 4  # after each
CHEAPEST = 0.1  # of the uncached run, below which nothing is left of the picture
# How much more than told (logarithm) something drifts that was chosen for looking good, for it may
# be lucky: that was not tried, and FORA, which nobody chose.
DOUBT = 0.8
FORA_DOUBT = 0.3
# Of the logarithm of what was tried: the less something drifts, the more samples differ about it.
TRIED_DOUBT = 0.06
USUAL_ERROR = 0.5  # of a logarithm, before anything was tried


class Choice(NamedTuple):
    """A schedule, its cost (share of the uncached run) and what it is believed to drift."""

    path: Path
    cost: float
    drift: float


def first_paths(plan: Plan) -> list[Path]:
    """What to try first, the most telling first.

    FORA of a large N, begun at several steps, shows what reuse misses after each of them, and how
    other steps answer; two more have rings in their gaps.
    """
    steps, whole = plan.steps, len(plan.rings)
    made: list[Path] = []

    def computing(every: int, start: int) -> list[int]:
        full = {*range(start), *range(start, steps, every)}
        return [whole if step in full else 0 for step in range(steps)]

    def ringed(first: int) -> list[int]:
        path = computing(7, 0)
        rings = [whole - 1, *range(1, whole - 1)]
        for turn, step in enumerate(range(2 + first, steps, 2)):
            if not path[step] and rings:
                path[step] = rings[turn % len(rings)]
        return path

    for path in (
        computing(7, 0),
        computing(6, 0),
        computing(4, 0),
        ringed(0),
        computing(7, 4),
        computing(7, 2),
        ringed(1),
        computing(7, 6),
    ):
        known = tuple(path)
        if known not in made and min(known) < whole:
            made.append(known)
    return made


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a profile has measured: of each sample its trials and their drifts, (sample, path).

    `norms`, (samples,), are the squared lengths of the uncached final latents, and `velocities`,
    (samples, calls, d), what the model said uncached, see `Response`.
    """

    plan: Plan
    sampler: Sampler
    trials: tuple[tuple[Trial, ...], ...]
    drifts: Mapping[tuple[int, Path], float]
    norms: Floats
    velocities: npt.NDArray[np.float32]

    @cached_property
    def responses(self) -> list[Response]:
        shares = np.append(1.0 - np.exp(self.plan.reliefs), 1.0)
        return [
            Response(self.sampler, trials, shares, velocities)
            for trials, velocities in zip(self.trials, self.velocities, strict=True)
        ]

    @cached_property
    def tried(self) -> dict[Path, float]:
        """The drift of what was tried on every sample, the geometric mean."""
        everywhere: dict[Path, float] = {}
        for path in dict.fromkeys(path for _, path in self.drifts):
            own = [self.drifts.get((sample, path)) for sample in range(len(self.trials))]
            known = [max(drift, quick.SMALLEST_DRIFT) for drift in own if drift is not None]
            if len(known) == len(own):
                everywhere[path] = float(np.exp(np.mean(np.log(known))))
        return everywhere

    @cached_property
    def level(self) -> float:
        """What the responses are off by (logarithm), the mean of all that was tried.

        Next to nothing, but for samplers that do not live on predictions alone (CFG++).
        """
        if not self.tried:
            return 0.0
        told = self._logs(np.array(list(self.tried)))
        return float(np.mean(np.log(list(self.tried.values())) - told))

    def told(self, paths: npt.NDArray[np.intp]) -> Floats:
        """(n,): what each of (n, steps) paths drifts by the responses, the geometric mean."""
        return np.exp(self._logs(paths) + self.level)

    def _logs(self, paths: npt.NDArray[np.intp]) -> Floats:
        logs = [
            np.log(np.maximum(response.squares(paths) / norm, quick.SMALLEST_DRIFT))
            for response, norm in zip(self.responses, self.norms, strict=True)
        ]
        return np.mean(logs, axis=0)

    def front(
        self, start: Sequence[Path], generations: int, rng: np.random.Generator
    ) -> list[Path]:
        """Untried paths that drift least for what they cost, by the responses; cheapest first."""
        plan = self.plan
        return evolved(
            self.told,
            ring_costs(plan),
            [*start, *(fora_path(plan, every) for every in REFERENCES if every < plan.steps)],
            generations,
            rng,
            longest=quick.longest_gap(plan.steps),
            cheapest=CHEAPEST,
            tried=self.tried,
        )


def ring_costs(plan: Plan) -> Floats:
    """(rings + 1,): of a step that computes each ring, and everything."""
    return np.append(plan.ring_costs, plan.full_cost)


def cost_of(plan: Plan, path: Path) -> float:
    return float(ring_costs(plan)[list(path)].mean() / plan.full_cost)


def images_of(plan: Plan, path: Path) -> float:
    """The time to try it, in uncached images: what comes before the first reuse is known."""
    times = np.maximum(ring_costs(plan) / plan.full_cost, quick.REUSE_TIME)
    return float(times[list(path[first_store(plan, path) :])].sum()) / plan.steps


def first_store(plan: Plan, path: Path) -> int:
    """The step before the first that does not compute everything."""
    whole = len(plan.rings)
    return next(step for step, ring in enumerate(path) if ring < whole) - 1


def schedule_of(plan: Plan, path: Path, name: str = "") -> Schedule:
    rings = np.vstack([plan.rings, np.ones_like(plan.rings[:1])])
    return Schedule(plan.architecture, rings[list(path)], name=name)


def fora_path(plan: Plan, every: int) -> Path:
    return tuple(0 if step % every else len(plan.rings) for step in range(plan.steps))


def wish(evidence: Evidence, front: Sequence[Path], number: int) -> tuple[Path, int] | None:
    """The next path to try, and the number after this one; None when there is none.

    It is the best of `front` that costs no more than FORA of the next of `TARGETS`.
    """
    plan = evidence.plan
    for turn in range(number, number + len(TARGETS)):
        target = cost_of(plan, fora_path(plan, TARGETS[turn % len(TARGETS)]))
        affordable = [path for path in front if cost_of(plan, path) <= target * quick.SAME_COST]
        if affordable:  # the dearer, the less it drifts
            return affordable[-1], turn + 1
    return None


def choices(evidence: Evidence, front: Sequence[Path]) -> list[Choice]:
    """Of `front`, what was tried and FORA the best of every cost; cheapest first."""
    plan, tried = evidence.plan, evidence.tried
    known = [fora_path(plan, every) for every in REFERENCES if every < plan.steps]
    begun = [path for path in tried if path[0] == len(plan.rings)]
    paths = list(dict.fromkeys([*front, *begun, *known]))
    believed = [
        Choice(path, cost_of(plan, path), doubted(evidence, path, drift))
        for path, drift in zip(paths, evidence.told(np.array(paths)).tolist(), strict=True)
    ]
    best: list[Choice] = []
    for choice in sorted(believed, key=lambda one: (one.cost, one.drift, one.path)):
        if not best or choice.drift < best[-1].drift:
            best.append(choice)
    return best


def doubted(evidence: Evidence, path: Path, told: float) -> float:
    """The drift of a path, raised where it may look good by luck.

    FORA that was not tried is one of many as well where another one of its cost was.
    """
    plan, tried = evidence.plan, evidence.tried
    references = [fora_path(plan, every) for every in REFERENCES]
    is_fora = path in references
    if path in tried:
        return tried[path] if is_fora else max(tried[path], tried[path] ** (1 - TRIED_DOUBT))
    rivals = [cost_of(plan, other) for other in references if other in tried]
    is_one_of_many = (
        not is_fora or np.isclose(cost_of(plan, path), rivals, quick.SAME_COST - 1).any()
    )
    return told * float(np.exp(DOUBT if is_one_of_many else FORA_DOUBT))


def thinned(choices: Sequence[Choice], count: int, staying: Container[Path] = ()) -> list[Choice]:
    """At most `count`: from the cheapest on, the next that drifts less by a certain factor.

    The factor is the least that leaves so few. The first one stays, and so do those with the paths
    of `staying`, be they more than `count`.
    """

    def kept(factor: float) -> list[Choice]:
        chosen = list(choices[:1])
        for choice in choices[1:]:
            if choice.path in staying or choice.drift <= chosen[-1].drift / factor:
                chosen.append(choice)
        return chosen

    low, high = 1.0, 1e6
    if len(choices) <= count:
        return list(choices)
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if len(kept(middle)) <= count else (middle, high)
    return kept(high)


def front_of(
    evidence: Evidence,
    front: Sequence[Path],
    errors: Sequence[float],
    workload: Workload,
    count: int = 32,
) -> Front:
    """The best schedules of `count` costs, the tried ones of them always.

    Uncached and FORA stand beside them as references. `quality` is minus the drift as `doubted`,
    and its error what the logarithms of what was told were off by, `errors`.
    """
    plan, samples = evidence.plan, len(evidence.trials)
    log_error = float(np.sqrt(np.mean(np.square(errors)))) if errors else USUAL_ERROR
    tried = len(evidence.drifts)

    def point(schedule: Schedule, drift: float, origin: str) -> FrontPoint:
        error = drift * log_error
        relative = cost.relative_cost(schedule, workload)
        info = {
            **schedule.info,
            "objectives": [
                {"name": "predicted_drift", "value": drift, "stderr": error, "samples": samples},
                {"name": "relative_macs", "value": relative},
            ],
            "provenance": {"mode": "quick", "origin": origin, "measured": tried},
        }
        named = replace(schedule, info=info)
        return FrontPoint(named, relative, -drift, error, samples, is_reference=origin != "quick")

    points = [point(presets.uncached(plan.architecture, plan.steps), 0.0, "uncached")]
    references = [every for every in REFERENCES if every < plan.steps]
    paths = [fora_path(plan, every) for every in references]
    for every, path, told in zip(
        references, paths, evidence.told(np.array(paths)).tolist(), strict=True
    ):
        schedule = presets.fora(plan.architecture, plan.steps, every)
        points.append(point(schedule, doubted(evidence, path, told), f"fora {every}"))
    best = choices(evidence, front)
    for choice in thinned(best, count, staying=evidence.tried):
        schedule = schedule_of(plan, choice.path)
        name = f"quick-{1 / choice.cost:.2f}x-{schedule.key[:8]}"
        points.append(point(replace(schedule, name=name), choice.drift, "quick"))
    info = {
        "mode": "quick",
        "quality": "minus the predicted drift of the final latents",
        "samples": samples,
        "measured": tried,
        "log_error": log_error,
    }
    return Front.of(points, info)
