"""A whole front of schedules from a few measured reuses, without a search.

A sampling is cut into *gaps*: between two steps that compute everything lie `length` steps that
reuse everything but a *ring*, the few components that help most for what they cost. Reused values
never outlive the next full step, so what two gaps do to the picture nearly adds up. Some gaps are
measured, one at a time, in samplings that compute everything else; all others are told from these
by Gaussian process regression. Then the best schedule of every cost is a shortest path, found
exactly. Some of these best ones are measured too, for what looks best is partly luck, and the
regression learns from them what adding up leaves out.

That a schedule is a path through costs that were measured on few samples is from DPCache (arXiv
2602.22654), which knows whole steps only and measures every pair of them.

Drift is the mean squared difference of the final latents to those of the uncached run, divided by
the mean square of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..core import cost, presets
from ..core.architecture import Architecture, Workload
from ..core.front import Front, FrontPoint
from ..core.latency import Latency
from ..core.schedule import Schedule
from ..errors import SearchError
from .proposals import gains

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RING_SHARES = (0.1, 0.25, 0.45)  # of the cost of all components; ring 0 is empty
REFERENCES = (2, 3, 4, 5, 6, 7)  # of FORA
LONGEST_SHARE = 0.5  # of the steps: no gap is longer
LONGEST = 12  # steps, nor than this
MOST_STEPS = 120  # for which the shortest paths fit into memory
REUSE_TIME = 0.2  # of a full step's time goes into one that reuses everything, rather less
GAPS_SHARE = 0.45  # of what is left goes into gaps, the rest into whole schedules
START = 12  # schedules that a search begins with, at most
SPREAD = 24  # evenly spread speed-ups that these are taken from
TARGETS = (2, 4, 3, 6)  # these cost what FORA of such an N costs
MOST_TRIES = 2  # of one schedule, on different samples
SAME_COST = 1.001  # costs that differ by less are equal
COST_UNITS = 10_000  # of a whole sampling; costs of a step are rounded to these
# A profile's work, in that of uncached images. Beginning so many short samplings takes time too: a
# small model, of which that is a large part, needs as long as for 14 to 21.
IMAGES = 13.0
MOST_PROBED = 4  # steps at which components are tried
PROBING_IMAGES = 1.8  # which takes no longer than this
SLOWEST_START = 1.3  # speed-up below which a search need not begin: there it loses next to nothing
WORST_DRIFT = 4.0  # what is farther from the uncached run than another picture
SMALLEST_DRIFT = 1e-10  # below this a measurement says nothing about another one


class Gap(NamedTuple):
    """`length` steps from `start` + 1 on reuse what step `start` stored, all but ring `ring`."""

    start: int
    length: int
    ring: int

    @property
    def stop(self) -> int:
        """The next step that computes everything."""
        return self.start + 1 + self.length


@dataclass(frozen=True, eq=False)
class Plan:
    """The schedules that `solve` chooses among.

    `rings` are (n_rings, n_cells): which cells compute in the steps of a gap, each a part of the
    next; the first is empty. `ring_costs` and `full_cost` are those of one step, in MACs or in
    seconds.
    """

    architecture: Architecture
    steps: int
    rings: Bools
    ring_costs: Floats
    full_cost: float

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        longest = max(1, min(LONGEST, round(self.steps * LONGEST_SHARE)))
        return tuple(
            Gap(start, length, ring)
            for start in range(self.steps - 1)
            for length in range(1, min(longest, self.steps - 1 - start) + 1)
            for ring in range(len(self.rings))
        )

    @cached_property
    def echoes(self) -> Floats:
        """(n, 2): how strong gaps that end elsewhere and at the end echo one before, per unit.

        The more of a step is computed, the less of an echo there is.
        """
        rings, stops = np.array([(gap.ring, gap.stop) for gap in self.gaps]).T
        strength = 1 / (1 + self.ring_costs[rings] / self.full_cost / ECHO_SHARE)
        at_end = stops == self.steps
        return np.column_stack([np.where(at_end, 0.0, strength), np.where(at_end, strength, 0.0)])

    @cached_property
    def index(self) -> dict[Gap, int]:
        return {gap: index for index, gap in enumerate(self.gaps)}

    def rows(self, gaps: Sequence[Gap]) -> Bools:
        """(steps, n_cells) of a schedule with these gaps."""
        rows = np.ones((self.steps, self.architecture.n_cells), dtype=np.bool_)
        for gap in gaps:
            rows[gap.start + 1 : gap.stop] = self.rings[gap.ring]
        return rows

    def schedule(self, gaps: Sequence[Gap], name: str = "") -> Schedule:
        return Schedule(self.architecture, self.rows(gaps), name=name)

    def images(self, gaps: Sequence[Gap]) -> float:
        """The time to measure them, in uncached images: what comes before the first is known."""
        saved = sum(
            gap.length * (1 - max(float(self.ring_costs[gap.ring]) / self.full_cost, REUSE_TIME))
            for gap in gaps
        )
        return (self.steps - gaps[0].start - saved) / self.steps


def units(architecture: Architecture) -> npt.NDArray[np.intp]:
    """(n_cells,): a number for each set of cells that only make sense together, from 0 on.

    What feeds another component of the block alone (FLUX's single blocks) is one with it.
    """
    return np.unique(architecture.readers, return_inverse=True)[1].reshape(-1)


def probing_cost(steps: int, n_units: int) -> float:
    """Images' worth of time to try every unit at one step: all of them compute once."""
    return (2 + n_units * REUSE_TIME) / steps


def probed_steps(steps: int, n_units: int, samples: int) -> list[int]:
    """For each sample the step at which components are tried; -1 for none."""
    affordable = int(PROBING_IMAGES / probing_cost(steps, n_units))
    count = min(samples, MOST_PROBED, max(affordable, 1), steps - 1)
    places = np.linspace(0, steps - 1, count + 2)[1:-1]
    return [max(1, round(place)) for place in places] + [-1] * (samples - count)


def plan_of(
    architecture: Architecture,
    steps: int,
    workload: Workload,
    benefits: npt.ArrayLike,
    *,
    latency: Latency | None = None,
) -> Plan:
    """Rings of those units that help most for what they cost, in MACs unless there is a `latency`.

    `benefits`, (n_units,), say how much smaller a reusing step's error is when the unit computes.
    """
    if steps > MOST_STEPS:
        raise SearchError(
            f"Quick schedules are for at most {MOST_STEPS} steps, got {steps}; make them for fewer "
            "steps, a schedule is stretched to any number."
        )
    unit = units(architecture)
    n_units = int(unit.max()) + 1
    if latency is None:
        cells = cost.cell_macs(architecture, workload).astype(np.float64)
        base = cost.base_step_macs(architecture, workload)

        def step_costs(rows: Bools) -> Floats:
            return base + rows @ cells
    else:

        def step_costs(rows: Bools) -> Floats:
            return latency.seconds_of(architecture, rows[:, np.newaxis])

    everything = np.ones((1, architecture.n_cells), dtype=np.bool_)
    full_cost = float(step_costs(everything)[0])
    # What leaving out one unit saves; where that could not be measured, next to nothing.
    saved = full_cost - step_costs(unit != np.arange(n_units)[:, np.newaxis])
    saved = np.maximum(saved, 1e-9 * full_cost)
    benefits = np.asarray(benefits, dtype=np.float64)
    rings = [np.zeros(architecture.n_cells, dtype=np.bool_)]
    chosen = np.zeros(n_units, dtype=np.bool_)
    order = [u for u in np.argsort(-benefits / saved, kind="stable") if benefits[u] > 0]
    for share in RING_SHARES:
        for u in order:
            # A little too much is nearer to the share than nothing.
            if not chosen[u] and saved[chosen].sum() + saved[u] / 2 <= share * saved.sum():
                chosen[u] = True
        ring = chosen[unit]
        if not np.array_equal(ring, rings[-1]) and not ring.all():
            rings.append(ring)
    return Plan(architecture, steps, np.array(rings), step_costs(np.array(rings)), full_cost)


# --- from measured schedules to all gaps ----------------------------------------------------------

# The prior of a gap's log drift: a plane over the features, and smooth differences from it.
PLANE_DEVIATION = 2.0
SMOOTH_DEVIATION = 0.6
SCALES = np.array([0.9, 1.2, 0.55, 0.75])  # of the features, over which differences change
# Of a measured log drift: samples that are all more or all less sensitive, and what is left.
SAMPLE_DEVIATION = 0.6
NOISE_DEVIATION = 0.3
# Of what all schedules share: coherence, and the two echoes.
SHARED = np.array([0.15, 0.1, 0.5])
SHARED_DEVIATIONS = np.array([0.2, 0.2, 1.0])
ECHO_SHARE = 0.06  # of a step's cost in a ring halves the echo
SHARED_MOST = np.array([1.0, 1.0, 4.0])
ROUNDS = 8  # of making the model linear where it stands


class Measured(NamedTuple):
    """The drift of one sample under the schedule that has these gaps."""

    gaps: tuple[Gap, ...]
    sample: int
    drift: float


def features(plan: Plan, gaps: Sequence[Gap]) -> Floats:
    """(n, 4): length, steps left when it ends, place, and the ring's share of a step."""
    array = np.asarray(gaps, dtype=np.float64).reshape(-1, 3)
    start, length, ring = array.T
    share = plan.ring_costs[ring.astype(np.intp)] / plan.full_cost
    left = plan.steps - start - length
    return np.column_stack([np.log(length), np.log(left), start / plan.steps, share])


def covariance(a: Floats, b: Floats) -> Floats:
    plane = 1 + (a / SCALES) @ (b / SCALES).T / 4
    distance = (((a[:, None] - b[None]) / SCALES) ** 2).sum(-1)
    return PLANE_DEVIATION**2 * plane + SMOOTH_DEVIATION**2 * np.exp(-distance / 2)


def probes(plan: Plan, budget: float) -> list[Gap]:
    """Which gaps to measure for `budget` images: the most uncertain for their cost, one by one."""
    candidates = list(plan.gaps)
    x = features(plan, candidates)
    costs = np.array([plan.images([gap]) for gap in candidates])
    variance = np.array([covariance(row[None], row[None])[0, 0] for row in x])
    chosen: list[int] = []
    directions = np.zeros((0, len(x)))  # of the Cholesky factor: what the chosen explain
    while True:
        gain = np.where(costs <= budget, variance / np.sqrt(costs), -np.inf)
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        if not np.isfinite(gain[best]):
            return [candidates[i] for i in chosen]
        known = covariance(x[best][None], x)[0] - directions[:, best] @ directions
        direction = known / np.sqrt(variance[best] + NOISE_DEVIATION**2)
        directions = np.vstack([directions, direction])
        variance = np.maximum(variance - direction**2, 0.0)
        chosen.append(best)
        budget -= costs[best]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is known of the drift of each of `plan.gaps`, `logs` (n,), and of several together.

    Drifts of gaps add up where what they do is independent, deviations (their roots) where it is
    alike: `coherence` is 0 for the first and 1 for the second. A gap does more where but one step
    computes between it and the one before, and most where it is the end: `echoes` are what its log
    drift gains for each unit of `Plan.echoes`, elsewhere and at the end.
    `log_error` is how far off the logarithm of one sample's drift usually is, told by leaving out
    one measurement at a time.
    """

    plan: Plan
    logs: Floats
    coherence: float
    echoes: tuple[float, float]
    log_error: float

    def drift(self, gaps: Sequence[Gap]) -> float:
        """Of a schedule with these gaps."""
        if not gaps:
            return 0.0
        logs = self.logs[[self.plan.index[gap] for gap in gaps]]
        logs = logs + echo_features(self.plan, gaps) @ np.array(self.echoes)
        return float(np.exp(_together(logs, self.coherence)[0]))

    def gap_drifts(self, before: int) -> Floats:
        """Of each of `plan.gaps`, (n,), one step after a gap of `before` steps (0: after none)."""
        return np.exp(self.logs + np.log1p(before) * (self.plan.echoes @ np.array(self.echoes)))


def echo_features(plan: Plan, gaps: Sequence[Gap]) -> Floats:
    """(n, 2): the echo of each gap's neighbour before it, if but one step computes between them.

    A unit is the logarithm of the neighbour's length and one more.
    """
    lengths = [0] + [
        before.length if before.stop == gap.start else 0 for before, gap in pairwise(gaps)
    ]
    units = np.log1p(np.array(lengths, dtype=np.float64))
    return units[:, np.newaxis] * plan.echoes[[plan.index[gap] for gap in gaps]]


def _together(logs: Floats, coherence: float) -> tuple[float, Floats, float]:
    """The log drift of gaps with these log drifts; its derivatives by them and by coherence."""
    highest = logs.max()
    drifts, deviations = np.exp(logs - highest), np.exp((logs - highest) / 2)
    apart = np.log(drifts.sum())
    alike = 2 * np.log(deviations.sum())
    by_logs = (1 - coherence) * drifts / drifts.sum() + coherence * deviations / deviations.sum()
    return float(highest + apart + coherence * (alike - apart)), by_logs, float(alike - apart)


def predicted(plan: Plan, measured: Sequence[Measured]) -> Prediction:
    """The most probable log drifts, where each measurement is of a schedule of one or more gaps.

    A Gaussian process over the gaps, a coherence and echoes for all schedules and a level for each
    sample, made linear where it stands until it stands still.
    """
    if not measured:
        raise SearchError("No gap was measured, so nothing can be predicted; profile again.")
    known = sorted({gap for one in measured for gap in one.gaps})
    at = {gap: i for i, gap in enumerate(known)}
    x, every = features(plan, known), features(plan, plan.gaps)
    within, across = covariance(x, x), covariance(every, x)
    y = np.log([max(one.drift, SMALLEST_DRIFT) for one in measured])
    samples = np.array([one.sample for one in measured])
    noise = NOISE_DEVIATION**2 * np.eye(len(y))
    noise += SAMPLE_DEVIATION**2 * (samples[:, None] == samples)
    mean = float(np.median(y))
    columns = [[at[gap] for gap in one.gaps] for one in measured]
    echoed = [echo_features(plan, one.gaps) for one in measured]
    logs, shared = np.full(len(known), mean), SHARED.copy()
    inverse = residual = weights = np.zeros(0)
    for _ in range(ROUNDS):
        slopes, by_shared = np.zeros((len(y), len(known))), np.zeros((len(y), len(SHARED)))
        expected = np.zeros(len(y))
        for i, own in enumerate(columns):
            here = logs[own] + echoed[i] @ shared[1:]
            expected[i], slopes[i, own], by_shared[i, 0] = _together(here, shared[0])
            by_shared[i, 1:] = slopes[i, own] @ echoed[i]
        # What would be measured at the prior's mean, were the model as straight as it is here.
        straight = expected + slopes @ (mean - logs) + by_shared @ (SHARED - shared)
        total = slopes @ within @ slopes.T + noise
        total += by_shared @ np.diag(SHARED_DEVIATIONS**2) @ by_shared.T
        inverse = np.linalg.inv(total)
        residual = inverse @ (y - straight)
        weights = slopes.T @ residual
        logs = mean + within @ weights
        shared = SHARED + SHARED_DEVIATIONS**2 * (by_shared.T @ residual)
        shared = np.clip(shared, 0.0, SHARED_MOST)
    errors = residual / np.diagonal(inverse)
    return Prediction(
        plan,
        mean + across @ weights,
        float(shared[0]),
        (float(shared[1]), float(shared[2])),
        float(np.sqrt(np.mean(errors**2))),
    )


def worth_measuring(
    plan: Plan, measured: Sequence[Measured], samples: int, number: int
) -> tuple[tuple[Gap, ...], int] | None:
    """The next schedule to measure, and on which sample: one of the best of the moment.

    `number` counts these measurements; they go round `TARGETS`, for the best of what is predicted
    is too good to be true until it has been tried.
    """
    choices = [choice for choice in solve(predicted(plan, measured)) if choice.gaps]
    done: dict[tuple[Gap, ...], set[int]] = {choice.gaps: set() for choice in choices}
    for one in measured:
        done.setdefault(one.gaps, set()).add(one.sample)
    left = [choice for choice in choices if len(done[choice.gaps]) < min(samples, MOST_TRIES)]
    if not left:
        return None
    full = -(-plan.steps // TARGETS[number % len(TARGETS)])
    target = (full * plan.full_cost + (plan.steps - full) * plan.ring_costs[0]) / plan.full_cost
    affordable = [choice for choice in left if choice.cost * plan.steps <= target * SAME_COST]
    best = affordable[-1] if affordable else left[0]  # they fall in drift
    turn = [(number + i) % samples for i in range(samples)]
    return best.gaps, next(sample for sample in turn if sample not in done[best.gaps])


# --- from gaps to schedules -----------------------------------------------------------------------


class Choice(NamedTuple):
    """The gaps of a schedule, its cost (share of the uncached run) and its predicted drift."""

    gaps: tuple[Gap, ...]
    cost: float
    drift: float


def solve(prediction: Prediction) -> list[Choice]:
    """For every cost the least sum of its gaps' drifts, echoes included; cheapest first.

    Exact but for the costs of steps being rounded, see `COST_UNITS`.
    """
    plan = prediction.plan
    full = COST_UNITS // plan.steps
    ring_units = np.round(plan.ring_costs / plan.full_cost * full).astype(int)
    longest = max(gap.length for gap in plan.gaps)
    most = plan.steps * full
    # least[step, before, spent]: drift so far when `step` is next to compute everything and the
    # gap that ended there was of `before` steps, 0 where none did.
    shape = (plan.steps + 1, longest + 1, most + 1)
    least = np.full(shape, np.inf)
    came = np.full(shape, -1, dtype=np.int32)  # by which gap; -1: by a step that computed
    came_before = np.zeros(shape, dtype=np.int16)
    least[0, 0, 0] = 0.0
    drifts = [prediction.gap_drifts(before) for before in range(longest + 1)]
    by_start: dict[int, list[int]] = {}
    for index, gap in enumerate(plan.gaps):
        by_start.setdefault(gap.start, []).append(index)
    for step in range(plan.steps):
        for before in range(longest + 1):
            here = least[step, before]
            reached = np.flatnonzero(np.isfinite(here))
            if not len(reached):
                continue
            for index in (-1, *by_start.get(step, ())):
                gap = Gap(step, 0, 0) if index < 0 else plan.gaps[index]
                spent = reached + int(full + gap.length * ring_units[gap.ring])
                drift = here[reached] + (0.0 if index < 0 else drifts[before][index])
                there = (gap.stop, gap.length)
                better = drift < least[there][spent]
                least[there][spent[better]] = drift[better]
                came[there][spent[better]] = index
                came_before[there][spent[better]] = before
    choices, best = [], np.inf
    ends = least[-1].min(axis=0)
    for spent in np.flatnonzero(np.isfinite(ends)):
        if ends[spent] >= best:
            continue
        best = float(ends[spent])
        gaps: list[Gap] = []
        step, before, left = plan.steps, int(least[-1, :, spent].argmin()), int(spent)
        while step:
            index, earlier = int(came[step, before, left]), int(came_before[step, before, left])
            gap = Gap(step - 1, 0, 0) if index < 0 else plan.gaps[index]
            if gap.length:
                gaps.append(gap)
            left -= int(full + gap.length * ring_units[gap.ring])
            step, before = gap.start, earlier
        gaps.reverse()
        spent = (plan.steps - sum(gap.length for gap in gaps)) * plan.full_cost
        spent += sum(gap.length * plan.ring_costs[gap.ring] for gap in gaps)
        share = float(spent / (plan.steps * plan.full_cost))
        choices.append(Choice(tuple(gaps), share, best))
    return choices


def thinned(choices: Sequence[Choice], count: int) -> list[Choice]:
    """At most `count`: from the cheapest on, the next that drifts less by a certain factor.

    The factor is the least that leaves so few. The last one stays.
    """

    def kept(factor: float) -> list[Choice]:
        chosen = list(choices[:1])
        for choice in choices[1:]:
            if choice.drift <= chosen[-1].drift / factor:
                chosen.append(choice)
        return chosen

    low, high = 1.0, 1e6
    if len(choices) <= count:
        return list(choices)
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if len(kept(middle)) <= count else (middle, high)
    return kept(high)


def start_of(plan: Plan, measured: Sequence[Measured], count: int = START) -> list[Schedule]:
    """Schedules for a search to begin with, each adding most to the front of those before it.

    At most `count`, of speed-ups that are evenly spread. None is predicted to drift farther than
    the worst of the schedules that a search compares with, for its loss is what may still be of
    use.
    """
    prediction = predicted(plan, measured)
    fora = [
        gaps_of(presets.fora(plan.architecture, plan.steps, every))
        for every in presets.COMPARED_FORA
    ]
    known = [gaps for gaps in fora if gaps and all(gap in plan.index for gap in gaps)]
    worst = max((prediction.drift(gaps) for gaps in known), default=np.inf)
    choices = [choice for choice in solve(prediction) if choice.gaps and choice.drift <= worst]
    return [
        replace(plan.schedule(choice.gaps), name=f"quick-{1 / choice.cost:.2f}x")
        for choice in by_gain(spread(choices, SPREAD))[:count]
    ]


def by_gain(choices: Sequence[Choice]) -> list[Choice]:
    """All of them, always next the one that adds most area to the front of those before it.

    The area is that of cost and predicted drift, below the uncached run's cost and the most drift
    of all.
    """
    costs = np.array([choice.cost for choice in choices])
    drifts = np.array([choice.drift for choice in choices])
    corner = np.array([1.0, 1.05 * drifts.max(initial=0.0)])
    front, order = np.array([[1.0, 0.0]]), []
    while len(order) < len(choices):
        added = gains(costs, drifts, front, corner)
        added[order] = -1.0
        order.append(int(np.argmax(added)))
        front = np.vstack([front, [costs[order[-1]], drifts[order[-1]]]])
    return [choices[i] for i in order]


def spread(choices: Sequence[Choice], count: int) -> list[Choice]:
    """At most `count`, the cheapest first: for each of so many speed-ups the best that has it.

    The speed-ups are evenly spaced on a logarithmic scale, from `SLOWEST_START` to the fastest.
    """
    if not choices:
        return []
    fastest = 1 / choices[0].cost
    speedups = np.geomspace(fastest, min(SLOWEST_START, fastest), count)
    chosen: list[Choice] = []
    for speedup in speedups:  # the dearer a choice, the less it drifts
        best = [choice for choice in choices if choice.cost * speedup <= SAME_COST][-1]
        if not chosen or best is not chosen[-1]:
            chosen.append(best)
    return chosen


def gaps_of(schedule: Schedule) -> tuple[Gap, ...] | None:
    """The gaps of a schedule whose steps compute or reuse everything; None of any other."""
    full, empty = schedule.compute.all(axis=1), ~schedule.compute.any(axis=1)
    if not bool((full | empty).all()):
        return None
    starts = [*np.flatnonzero(full).tolist(), schedule.steps]
    return tuple(
        Gap(start, stop - start - 1, 0) for start, stop in pairwise(starts) if stop > start + 1
    )


def front_of(
    plan: Plan, measured: Sequence[Measured], workload: Workload, samples: int, count: int = 32
) -> Front:
    """The best schedules of `count` costs; uncached and FORA stand beside them as references.

    `quality` is minus the predicted drift, and its error how far off predictions of the measured
    gaps are.
    """
    prediction = predicted(plan, measured)

    def point(schedule: Schedule, drift: float, origin: str) -> FrontPoint:
        error = drift * prediction.log_error
        relative = cost.relative_cost(schedule, workload)
        info = {
            **schedule.info,
            "objectives": [
                {"name": "predicted_drift", "value": drift, "stderr": error, "samples": samples},
                {"name": "relative_macs", "value": relative},
            ],
            "provenance": {"mode": "quick", "origin": origin, "measured": len(measured)},
        }
        named = replace(schedule, info=info)
        return FrontPoint(named, relative, -drift, error, samples, is_reference=origin != "quick")

    points = [point(presets.uncached(plan.architecture, plan.steps), 0.0, "uncached")]
    for every in REFERENCES:
        schedule = presets.fora(plan.architecture, plan.steps, every)
        gaps = gaps_of(schedule)
        if gaps and all(gap in plan.index for gap in gaps):
            points.append(point(schedule, prediction.drift(gaps), f"fora {every}"))
    for choice in thinned(solve(prediction), count):
        if choice.gaps:
            schedule = plan.schedule(choice.gaps)
            name = f"quick-{1 / choice.cost:.2f}x-{schedule.key[:8]}"
            drift = prediction.drift(choice.gaps)
            points.append(point(replace(schedule, name=name), drift, "quick"))
    info = {
        "mode": "quick",
        "quality": "minus the predicted drift of the final latents",
        "samples": samples,
        "measured": len(measured),
        "log_error": prediction.log_error,
        "coherence": prediction.coherence,
        "echoes": list(prediction.echoes),
    }
    return Front.of(points, info)
