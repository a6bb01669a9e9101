"""A whole front of schedules from a few samplings, without a search.

A few schedules are tried on each of a few samples, among them FORA and what is usually better than
it, see `fresh_ends`. `Response` learns from them what any other would do, evolution finds the best
of every cost by that, and some of these are tried in turn, so that it is right where it counts.
What looks best is partly luck, so what was not tried is trusted less.

A schedule is a path, see `paths`: the ring that computes at each step.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
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

RING_SHARES = (0.1, 0.25, 0.5)  # of the cost of all components
REST_OF = 0.25  # the largest ring is what this one leaves of them, see `freshened`
# The work of a profile, in that of uncached images. Beginning so many short samplings and telling
# what to try takes time too: a small model needs as long as for 15 to 20 of its images.
IMAGES = 17.0
FIRST_SHARE = 0.7  # of these go into what is tried first
REFERENCES = tuple(range(2, 10))  # of FORA
LAST_GAP = 0.7  # see `fresh_ends`
LEAST_INTERVAL = 2.5  # of whole steps, below which nothing grows old in between
TARGETS = (4, 2, 3, 6, 7, 5)  # what is tried then costs what FORA of such an N costs
GENERATIONS = 10  # before the first of them
MORE_GENERATIONS = 2  # after each
CHEAPEST = 0.1  # of the uncached run, below which nothing is left of the picture
# How much more than told (logarithm) something drifts that was chosen for looking good, for it may
# be lucky: that was not tried, as long as nothing was wished for, and of the usual ones, which
# nobody chose.
DOUBT = 0.8
USUAL_DOUBT = 0.3
# A fresh end usually drifts less than FORA of its cost, by 0.4 (logarithm; calibration samples of
# the demo model), and three samples tell them apart to 0.2 or so. So one that was tried has a
# little advance. What the responses tell of it is too much, by 0.5 more than of FORA.
FRESH_LEAD = 0.1
UNTRIED_LEAD = 0.5
# Of the logarithm of what was tried: the less something drifts, the more samples differ about it.
TRIED_DOUBT = 0.06
USUAL_ERROR = 0.5  # of a logarithm, before anything was tried


class Choice(NamedTuple):
    """A schedule, its cost (share of the uncached run) and what it is believed to drift."""

    path: Path
    cost: float
    drift: float


plan_of = partial(quick.plan_of, shares=RING_SHARES, rest_of=REST_OF)


def first_paths(plan: Plan) -> list[Path]:
    """What to try first, the most telling first.

    Where little computes nothing can be told, so there the usual ones are tried, the cheapest
    first. What they and the last one do shows how steps answer, what reuse misses, and what rings
    do.
    """
    steps, whole = plan.steps, len(plan.rings)
    latest = whole_step_numbers(plan)
    numbers = list(latest)

    def ringed() -> Path:
        path = list(fora_path(plan, 7))
        rings = [whole - 1, *range(1, whole - 1)]
        for turn, step in enumerate(range(2, steps, 2)):
            if not path[step] and rings:
                path[step] = rings[turn % len(rings)]
        return tuple(path)

    made: list[Path | None] = []
    for turn, number in enumerate(numbers[:3]):
        made += [*fresh_ends(plan, number)[:1], fora_path(plan, latest[number])]
        if turn == 0:
            made += [fresh_middle(plan, number), *fresh_ends(plan, number, thinned=False)[:1]]
    made.append(ringed())
    made += [path for number in numbers[3:4] for path in fresh_ends(plan, number)[:1]]
    made += [path for number in numbers[:2] for path in fresh_ends(plan, number)[1:]]
    made.append(fora_path(plan, 7))
    return [path for path in dict.fromkeys(made) if path is not None and min(path) < whole]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a profile has measured: of each sample its trials and their drifts, (sample, path).

    `norms`, (samples,), are the squared lengths of the uncached final latents, and `velocities`,
    (samples, calls, d), what the model said uncached, see `Response`. `errors` are how much farther
    (logarithm) each path that was wished for drifted than was told before it was tried.
    """

    plan: Plan
    sampler: Sampler
    trials: tuple[tuple[Trial, ...], ...]
    drifts: Mapping[tuple[int, Path], float]
    norms: Floats
    velocities: npt.NDArray[np.float32]
    errors: tuple[float, ...] = ()

    @cached_property
    def doubt(self) -> float:
        """How much farther (logarithm) than told an untried path of the front is taken to drift.

        What was wished for was the best of many as well, so it is as much as that was told wrongly,
        be it by a bias or at random.
        """
        return float(np.sqrt(np.mean(np.square([DOUBT, *self.errors]))))

    @cached_property
    def usual(self) -> list[Path]:
        return usual_paths(self.plan)

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
        """What the responses are off by (logarithm), the mean of what was tried of whole steps.

        Next to nothing, but for samplers that do not live on predictions alone (CFG++). What rings
        are told wrongly is another matter.
        """
        paths = [path for path in self.tried if set(path) <= {0, len(self.plan.rings)}]
        if not paths:
            return 0.0
        told = self._logs(np.array(paths))
        return float(np.mean(np.log([self.tried[path] for path in paths]) - told))

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
            [*start, *self.usual],
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


def whole_step_numbers(plan: Plan) -> dict[int, int]:
    """How many steps FORA computes, from 2 on, ascending, and the largest N of `REFERENCES` so."""
    latest = {len(range(0, plan.steps, every)): every for every in references(plan)}
    return {number: latest[number] for number in sorted(latest) if number > 1}


def references(plan: Plan) -> list[int]:
    return [every for every in REFERENCES if every < plan.steps]


def even_path(plan: Plan, number: int, last: int) -> Path | None:
    """So many whole steps, evenly spread from the first to `last`; None where they are not."""
    places = {round(last * i / (number - 1)) for i in range(number)}
    if len(places) < number:
        return None
    return tuple(len(plan.rings) if step in places else 0 for step in range(plan.steps))


def freshened(plan: Plan, path: Path, gap: int, *, thinned: bool = True) -> Path | None:
    """A path of whole steps, but one computes the largest ring, and a step in a gap the rest of it.

    The one, which is only `thinned` if asked, is that before the last, or the last where the other
    is the first, which must stay whole. The gap is that after the last whole step for -1, the one
    before for -2; its middle computes. Thinned it costs no more than `path`. What is left out of
    the whole step is what helps least for what it costs, and what the other computes helps most,
    where what is reused is old. None where there is no such step.
    """
    whole, costs = len(plan.rings), ring_costs(plan)
    steps = np.flatnonzero(path).tolist()
    spared = (costs[whole] - costs[whole - 1]) * quick.SAME_COST
    rest = int(np.flatnonzero(costs[:whole] - costs[0] <= spared)[-1])
    start, end = [*steps, plan.steps][gap - 1 :][:2]
    if not rest or len(steps) <= -gap or end - start < 2:
        return None
    changed = list(path)
    changed[(start + end) // 2] = rest
    if thinned:
        changed[steps[max(len(steps) - 2, 1)]] = whole - 1
    return tuple(changed)


def fresh_ends(plan: Plan, number: int, *, thinned: bool = True) -> list[Path]:
    """Evenly spread whole steps and a fresh end: a last gap that is shorter, computing inside.

    `number` is that of the whole steps, see `freshened` for what is `thinned`. The two paths whose
    last gap is nearest to `LAST_GAP` of the others, the nearer one first.
    """
    found: list[tuple[float, Path]] = []
    for last in range(int(LEAST_INTERVAL * (number - 1)) + 1, plan.steps - 1):
        path = even_path(plan, number, last)
        fresh = path and freshened(plan, path, -1, thinned=thinned)
        if fresh:
            off = plan.steps - last - LAST_GAP * last / (number - 1)
            found.append((abs(off), fresh))
    return [path for _, path in sorted(found)[:2]]


def fresh_middle(plan: Plan, number: int) -> Path | None:
    """So many whole steps up to the last but one, and what is fresh is the gap before that."""
    path = even_path(plan, number, plan.steps - 2)
    if path is None or plan.steps - 2 <= LEAST_INTERVAL * (number - 1):
        return None
    return freshened(plan, path, -2)


def usual_paths(plan: Plan) -> list[Path]:
    """FORA and what is often better: those that nobody chose for looking good here."""
    made: list[Path | None] = [fora_path(plan, every) for every in references(plan)]
    for number in whole_step_numbers(plan):
        made += [*fresh_ends(plan, number), fresh_middle(plan, number)]
        made += fresh_ends(plan, number, thinned=False)[:1]
        made += [even_path(plan, number, plan.steps - left) for left in (1, 2)]
    return [path for path in dict.fromkeys(made) if path is not None]


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
    begun = [path for path in tried if path[0] == len(plan.rings)]
    paths = list(dict.fromkeys([*front, *begun, *evidence.usual]))
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
    """The drift of a path, raised where it may look good by luck, and lowered where bad.

    One of the usual ones that was not tried is one of many as well where another of its cost was.
    """
    plan, tried, usual = evidence.plan, evidence.tried, evidence.usual
    is_usual = path in usual
    is_fresh = is_usual and not set(path) <= {0, len(plan.rings)}
    if path in tried and is_usual:
        return tried[path] * float(np.exp(-FRESH_LEAD * is_fresh))
    if path in tried:
        return max(tried[path], tried[path] ** (1 - TRIED_DOUBT))
    rivals = [cost_of(plan, other) for other in usual if other in tried]
    is_one_of_many = (
        not is_usual or np.isclose(cost_of(plan, path), rivals, quick.SAME_COST - 1).any()
    )
    if is_one_of_many:
        return told * float(np.exp(evidence.doubt))
    return told * float(np.exp(USUAL_DOUBT - UNTRIED_LEAD * is_fresh))


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
    workload: Workload,
    count: int = 32,
) -> Front:
    """The best schedules of `count` costs, the tried ones of them always.

    Uncached and FORA stand beside them as references. `quality` is minus the drift as `doubted`,
    and its error what the logarithms of what was told were off by.
    """
    plan, samples, errors = evidence.plan, len(evidence.trials), evidence.errors
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
    numbers = references(plan)
    paths = [fora_path(plan, every) for every in numbers]
    for every, path, told in zip(
        numbers, paths, evidence.told(np.array(paths)).tolist(), strict=True
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
