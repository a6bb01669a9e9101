"""The schedules that a search begins with, from a few measured reuses.

A sampling is cut into *gaps*: between two steps that compute everything lie `length` steps that
reuse everything, but for a few of them, spread over the gap, that *refresh* a *ring*: those
components that help most for what they cost. Reused values never outlive the next full step, so
what two gaps do to the picture nearly adds up. Some gaps are measured, one at a time, in samplings
that compute everything else; all others are told from these by Gaussian process regression. Then
the best schedule of every cost is a shortest path, found exactly. What looks best is partly luck,
so some of these are measured too, beside FORA on the same samples; the regression learns from them
what adding up leaves out, and what was not measured is trusted less.

That a schedule is a path through costs that were measured on few samples is from DPCache (arXiv
2602.22654), which knows whole steps only and measures every pair of them.

Drift is the mean squared difference of the final latents to those of the uncached run, divided by
the mean square of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..core import cost, presets
from ..core.architecture import Architecture, Workload
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
GAPS_SHARE = 0.35  # of what is left goes into gaps, the rest into whole schedules
START = 12  # schedules that a search begins with, at most
SPREAD = 24  # evenly spread speed-ups that these are taken from
REFRESHES = (1, 2)  # of a gap that is not left empty
TRIED_FORA = (6, 7)  # where so little computes that gaps tell least, FORA of such an N is measured
TARGETS = (6, 2, 6, 4, 7, 3)  # the others measured cost what FORA of such an N costs
WISHES = 2  # schedules that are measured before the best are looked for again
SAME_COST = 1.001  # costs that differ by less are equal
COST_UNITS = 5_000  # of a whole sampling; costs of a step are rounded to these
# A profile's work, in that of uncached images. Beginning so many short samplings takes time too: a
# small model, of which that is a large part, needs as long as for 15 to 18.
IMAGES = 13.0
SEARCH_SHARE = 0.1  # of a search's images go into the profile that it begins with
MOST_IMAGES = 120.0  # but no more; it is then as good as it gets
MOST_PROBED = 3  # steps at which components are tried
PROBING_IMAGES = 1.8  # which takes no longer than this
SLOWEST_START = 1.3  # speed-up below which a search need not begin: there it loses next to nothing
WORST_DRIFT = 4.0  # what is farther from the uncached run than another picture
SMALLEST_REST = 0.3  # of an error; benefits that add up to more are not believed
SMALLEST_DRIFT = 1e-10  # below this a measurement says nothing about another one


class Fill(NamedTuple):
    """What of a gap computes: ring `ring`, in `refreshes` of its steps."""

    ring: int
    refreshes: int


class Gap(NamedTuple):
    """`length` steps from `start` + 1 on reuse what step `start` stored, but for a fill.

    `fill` is the place of that in `Plan.fills`.
    """

    start: int
    length: int
    fill: int

    @property
    def stop(self) -> int:
        """The next step that computes everything."""
        return self.start + 1 + self.length


@dataclass(frozen=True, eq=False)
class Plan:
    """The schedules that `solve` chooses among.

    `rings` are (n_rings, n_cells): which cells a refresh may compute, each a part of the next; the
    first is empty. `ring_costs` and `full_cost` are those of one step, in MACs or in seconds.
    `reliefs`, (n_rings,), are the logarithms of what is left of a reusing step's squared error when
    a ring computes, were the benefits of its components to add up.
    """

    architecture: Architecture
    steps: int
    rings: Bools
    ring_costs: Floats
    full_cost: float
    reliefs: Floats

    @cached_property
    def fills(self) -> tuple[Fill, ...]:
        rings = range(1, len(self.rings))
        return (Fill(0, 0), *(Fill(ring, count) for ring in rings for count in REFRESHES))

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        longest = longest_gap(self.steps)
        return tuple(
            Gap(start, length, fill)
            for start in range(self.steps - 1)
            for length in range(1, min(longest, self.steps - 1 - start) + 1)
            for fill, (_, refreshes) in enumerate(self.fills)
            if refreshes <= max(1, length // 2)
        )

    @cached_property
    def echoes(self) -> Floats:
        """(n, 5) features of the echo in each of `gaps` of a gap before it that is of one step."""
        length, left, _, share, _ = features(self, self.gaps).T
        whole = np.log(self.steps)
        ones = np.ones(len(length))
        return np.column_stack([ones, -whole * ones, length - whole, left - whole, share])

    @cached_property
    def index(self) -> dict[Gap, int]:
        return {gap: index for index, gap in enumerate(self.gaps)}

    def rows(self, gaps: Sequence[Gap]) -> Bools:
        """(steps, n_cells) of a schedule with these gaps."""
        rows = np.ones((self.steps, self.architecture.n_cells), dtype=np.bool_)
        for gap in gaps:
            rows[gap.start + 1 : gap.stop] = False
            rows[self.refreshed(gap)] = self.rings[self.fills[gap.fill].ring]
        return rows

    def refreshed(self, gap: Gap) -> list[int]:
        """The steps that compute the gap's ring, rather late: most comes of what is reused long."""
        count = self.fills[gap.fill].refreshes
        places = [round((i + 1) * (gap.length + 1) / (count + 0.5)) for i in range(count)]
        return [gap.start + min(max(place, 1), gap.length) for place in places]

    def gap_cost(self, gap: Gap) -> float:
        """Of all its steps, in the unit of `full_cost`."""
        ring, refreshes = self.fills[gap.fill]
        empty = (gap.length - refreshes) * self.ring_costs[0]
        return float(empty + refreshes * self.ring_costs[ring])

    def cost(self, gaps: Sequence[Gap]) -> float:
        """Of the schedule with these gaps, as a share of the uncached run."""
        full = self.steps - sum(gap.length for gap in gaps)
        spent = full * self.full_cost + sum(self.gap_cost(gap) for gap in gaps)
        return float(spent / (self.steps * self.full_cost))

    def schedule(self, gaps: Sequence[Gap], name: str = "") -> Schedule:
        return Schedule(self.architecture, self.rows(gaps), name=name)

    def images(self, gaps: Sequence[Gap]) -> float:
        """The time to measure them, in uncached images: what comes before the first is known."""
        times = np.maximum(self.ring_costs / self.full_cost, REUSE_TIME)
        saved = 0.0
        for gap in gaps:
            ring, refreshes = self.fills[gap.fill]
            saved += gap.length - (gap.length - refreshes) * times[0] - refreshes * times[ring]
        return float(self.steps - gaps[0].start - saved) / self.steps


def longest_gap(steps: int) -> int:
    return max(1, min(LONGEST, round(steps * LONGEST_SHARE)))


def images_before(budget: int) -> float:
    """The work of a profile, in images, with which a search of so many images begins."""
    return min(max(IMAGES, SEARCH_SHARE * budget), MOST_IMAGES)


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
    shares: Sequence[float] = RING_SHARES,
    rest_of: float | None = None,
) -> Plan:
    """Rings of those units that help most for what they cost, in MACs unless there is a `latency`.

    `benefits`, (n_units,), say how much smaller a reusing step's error is when the unit computes.
    The rings cost these `shares` of all components, as nearly as units allow. One more, the last,
    costs no more than the ring of the share `rest_of` leaves of them.
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

    def grow(share: float, excess: float) -> float:
        """To so much of all components; the last one may be over by this part of it."""
        for u in order:
            part = (1.0 - excess) * saved[u]
            if not chosen[u] and saved[chosen].sum() + part <= share * saved.sum():
                chosen[u] = True
        ring = chosen[unit]
        if not np.array_equal(ring, rings[-1]) and not ring.all():
            rings.append(ring)
        return float(saved[chosen].sum() / saved.sum())

    # A little too much is nearer to a share than nothing.
    grown = {share: grow(share, 0.5) for share in shares}
    if rest_of is not None:
        grow(1.0 - grown[rest_of], 0.0)
    left = [1 - benefits[np.unique(unit[ring])].sum() for ring in rings]
    reliefs = np.log(np.clip(left, SMALLEST_REST, 1.0))
    costs = step_costs(np.array(rings))
    return Plan(architecture, steps, np.array(rings), costs, full_cost, reliefs)


# --- from measured schedules to all gaps ----------------------------------------------------------

# The prior of a gap's log drift: a plane over the features, and smooth differences from it.
PLANE_DEVIATION = 2.0
SMOOTH_DEVIATION = 0.6
SCALES = np.array([0.9, 1.2, 0.55, 0.35, 0.35])  # of the features, over which differences change
# What a ring's relief does to a gap's log drift when it computes once, and twice. Components that
# compute together help more than each alone.
RELIEF = 3.0
TWICE = 1.15
# Of a measured log drift: samples that are all more or all less sensitive, what adding up the gaps
# of a schedule leaves out, and what is left.
SAMPLE_DEVIATION = 0.6
SCHEDULE_DEVIATION = 0.7
ALIKE = 0.5  # of its variance is shared by schedules of like cost
COST_SCALE = 0.3  # of the logarithm of costs
NOISE_DEVIATION = 0.3
# Of what all schedules share: the exponent, and the weights of an echo's features.
SHARED = np.array([0.6, -10.3, 1.8, 0.5, -3.6, -6.0])
SHARED_DEVIATIONS = np.array([0.1, 1.5, 0.5, 0.5, 0.7, 4.0])
EXPONENTS = (0.5, 1.0)
ROUNDS = 8  # of making the model linear where it stands


class Measured(NamedTuple):
    """The drift of one sample under the schedule that has these gaps."""

    gaps: tuple[Gap, ...]
    sample: int
    drift: float


def features(plan: Plan, gaps: Sequence[Gap]) -> Floats:
    """(n, 5): length, steps left when it ends, place, its ring's share of a step, and of two."""
    array = np.asarray(gaps, dtype=np.float64).reshape(-1, 3)
    start, length, fill = array.T
    ring, refreshes = np.array(plan.fills)[fill.astype(np.intp)].T
    share = plan.ring_costs[ring] / plan.full_cost
    left = plan.steps - start - length
    return np.column_stack(
        [np.log(length), np.log(left), start / plan.steps, share, share * (refreshes > 1)]
    )


def reliefs(plan: Plan, gaps: Sequence[Gap]) -> Floats:
    """(n,): what is expected of each gap's fill, added to its log drift."""
    ring, refreshes = np.array([plan.fills[gap.fill] for gap in gaps]).reshape(-1, 2).T
    return RELIEF * plan.reliefs[ring] * np.where(refreshes > 1, TWICE, 1.0)


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


def effect_covariance(a: Floats, b: Floats) -> Floats:
    """Of what adding up leaves out for schedules of these costs: it is alike where costs are."""
    distance = np.log(a[:, None] / b) / COST_SCALE
    return ALIKE * SCHEDULE_DEVIATION**2 * np.exp(-(distance**2) / 2)


@dataclass(frozen=True, eq=False)
class Effects:
    """What the log drifts of schedules are off from adding up, learnt from the `measured` ones.

    `costs`, `weights`: (n,), of these; `measured` says which of them a schedule is.
    """

    costs: Floats
    weights: Floats
    measured: Mapping[tuple[Gap, ...], int]

    def of(self, gaps: tuple[Gap, ...], cost: float) -> float:
        if not gaps[1:] or not len(self.costs):  # a gap alone needs no adding up
            return 0.0
        alike = float((effect_covariance(np.array([cost]), self.costs) @ self.weights)[0])
        place = self.measured.get(gaps)
        own = 0.0 if place is None else float(self.weights[place])
        return alike + (1 - ALIKE) * SCHEDULE_DEVIATION**2 * own


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is known of the drift of each of `plan.gaps`, `logs` (n,), and of several together.

    Drifts to the power of `exponent` add up: it is 1 where what gaps do is independent, 1/2 where
    it is alike. Where but one step computes between two gaps, the second has an echo of the first
    besides: that step corrects what the first has done to the picture, and reusing it corrects it
    over and over. `echo` are the weights of the features of its log drift, see `echo_features`.
    `effects` are what the log drift of measured schedules is off from adding up.
    `log_error` is how far off the logarithm of one sample's drift usually is, told by leaving out
    one measurement at a time.
    """

    plan: Plan
    logs: Floats
    exponent: float
    echo: Floats
    effects: Effects
    log_error: float

    def drift(self, gaps: tuple[Gap, ...]) -> float:
        """Of a schedule with these gaps."""
        return self.added_up(gaps) * float(np.exp(self.effects.of(gaps, self.plan.cost(gaps))))

    def added_up(self, gaps: Sequence[Gap]) -> float:
        """The same, were there nothing that adding up leaves out."""
        if not gaps:
            return 0.0
        logs = self.logs[[self.plan.index[gap] for gap in gaps]]
        logs = np.concatenate([logs, echo_features(self.plan, gaps) @ self.echo])
        return float(np.exp(together(logs, self.exponent)[0]))

    def addends(self, before: int) -> Floats:
        """Of each of `plan.gaps`, (n,), one step after a gap of `before` steps (0: after none).

        They add up to the drift to the power of `exponent`.
        """
        own = np.exp(self.exponent * self.logs)
        if not before:
            return own
        echoes = (self.plan.echoes + np.log(before) * BEFORE) @ self.echo
        return own + np.exp(self.exponent * echoes)


BEFORE = np.array([0.0, 1.0, 0.0, 0.0, 0.0])  # the feature that is of the gap before


def echo_features(plan: Plan, gaps: Sequence[Gap]) -> Floats:
    """(m, 5), for each of the gaps with but one step between it and the one before.

    Of one: 1, the logarithms of the length before, of the own one and of the steps left when it
    ends, as shares of all steps, and the ring's share of a step.
    """
    pairs = [(one, gap) for one, gap in pairwise(gaps) if one.stop == gap.start]
    known = [plan.echoes[plan.index[gap]] + np.log(one.length) * BEFORE for one, gap in pairs]
    return np.array(known).reshape(-1, len(BEFORE))


def together(logs: Floats, exponent: float) -> tuple[float, Floats, float]:
    """The log drift of what has these log drifts; its derivatives by them and by the exponent."""
    scaled = exponent * logs
    highest = scaled.max()
    terms = np.exp(scaled - highest)
    log = float(highest + np.log(terms.sum())) / exponent
    by_logs = terms / terms.sum()
    return log, by_logs, float(by_logs @ logs - log) / exponent


def predicted(plan: Plan, measured: Sequence[Measured]) -> Prediction:
    """The most probable log drifts, where each measurement is of a schedule of one or more gaps.

    A Gaussian process over the gaps, an exponent and echoes for all schedules, a level for each
    sample and what adding up leaves out for each schedule, made linear where it stands until it
    stands still.
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
    schedules = list(dict.fromkeys(one.gaps for one in measured if one.gaps[1:]))
    places = {gaps: place for place, gaps in enumerate(schedules)}
    of = np.array([places.get(one.gaps, -1) for one in measured])
    costs = np.array([plan.cost(gaps) for gaps in schedules])
    alike = effect_covariance(costs, costs)
    alike += (1 - ALIKE) * SCHEDULE_DEVIATION**2 * np.eye(len(costs))
    several = np.flatnonzero(of >= 0)
    noise[np.ix_(several, several)] += alike[np.ix_(of[several], of[several])]
    mean = float(np.median(y))
    prior = mean + reliefs(plan, known)
    columns = [[at[gap] for gap in one.gaps] for one in measured]
    echoed = [echo_features(plan, one.gaps) for one in measured]
    logs, shared = prior.copy(), SHARED.copy()
    inverse = residual = weights = np.zeros(0)
    for _ in range(ROUNDS):
        slopes, by_shared = np.zeros((len(y), len(known))), np.zeros((len(y), len(SHARED)))
        expected = np.zeros(len(y))
        for i, own in enumerate(columns):
            here = np.concatenate([logs[own], echoed[i] @ shared[1:]])
            expected[i], by_logs, by_shared[i, 0] = together(here, shared[0])
            slopes[i, own] = by_logs[: len(own)]
            by_shared[i, 1:] = by_logs[len(own) :] @ echoed[i]
        # What would be measured at the prior's mean, were the model as straight as it is here.
        straight = expected + slopes @ (prior - logs) + by_shared @ (SHARED - shared)
        total = slopes @ within @ slopes.T + noise
        total += by_shared @ np.diag(SHARED_DEVIATIONS**2) @ by_shared.T
        inverse = np.linalg.inv(total)
        residual = inverse @ (y - straight)
        weights = slopes.T @ residual
        logs = prior + within @ weights
        shared = SHARED + SHARED_DEVIATIONS**2 * (by_shared.T @ residual)
        shared[0] = np.clip(shared[0], *EXPONENTS)
    errors = residual / np.diagonal(inverse)
    return Prediction(
        plan,
        mean + reliefs(plan, plan.gaps) + across @ weights,
        float(shared[0]),
        shared[1:],
        Effects(
            costs,
            np.array([residual[of == place].sum() for place in range(len(schedules))]),
            places,
        ),
        float(np.sqrt(np.mean(errors**2))),
    )


def worth_measuring(
    plan: Plan, measured: Sequence[Measured], samples: int, number: int
) -> list[tuple[tuple[Gap, ...], int]]:
    """The next schedules to measure, and on which sample; none when there is no more to learn.

    First FORA where it is hardest to beat, then some of the best of the moment: `number` counts
    these measurements, which go round `TARGETS`. All begin with the first sample, for two schedules
    are told apart best on the same one.
    """
    done: dict[tuple[Gap, ...], set[int]] = {}
    for one in measured:
        done.setdefault(one.gaps, set()).add(one.sample)
    if untried := [(gaps, 0) for gaps in tried_fora(plan) if gaps not in done]:
        return untried
    wishes: list[tuple[tuple[Gap, ...], int]] = []
    choices = best_choices(predicted(plan, measured))
    for turn in range(len(TARGETS)):
        every = TARGETS[(number + turn) % len(TARGETS)]
        target = plan.cost(gaps_of(presets.fora(plan.architecture, plan.steps, every)) or ())
        affordable = [choice for choice in choices if choice.cost <= target * SAME_COST]
        if affordable:
            best = affordable[-1]  # they fall in drift
            left = set(range(samples)) - done.get(best.gaps, set())
            if left and (best.gaps, min(left)) not in wishes:
                wishes.append((best.gaps, min(left)))
        if len(wishes) == WISHES:
            break
    return wishes


# --- from gaps to schedules -----------------------------------------------------------------------


class Choice(NamedTuple):
    """The gaps of a schedule, its cost (share of the uncached run) and its predicted drift."""

    gaps: tuple[Gap, ...]
    cost: float
    drift: float


def solve(prediction: Prediction) -> list[Choice]:
    """For every cost the least drift by adding up, echoes included; cheapest first.

    Exact but for the costs of steps being rounded, see `COST_UNITS`.
    """
    plan = prediction.plan
    full = COST_UNITS // plan.steps
    units_of = [full + round(plan.gap_cost(gap) / plan.full_cost * full) for gap in plan.gaps]
    longest = max(gap.length for gap in plan.gaps)
    most = plan.steps * full
    # least[step, before, spent]: drift so far when `step` is next to compute everything and the
    # gap that ended there was of `before` steps, 0 where none did.
    shape = (plan.steps + 1, longest + 1, most + 1)
    least = np.full(shape, np.inf)
    came = np.full(shape, -1, dtype=np.int32)  # by which gap; -1: by a step that computed
    came_before = np.zeros(shape, dtype=np.int16)
    least[0, 0, 0] = 0.0
    addends = np.array([prediction.addends(before) for before in range(longest + 1)])
    by_start: dict[int, list[int]] = {}
    for index, gap in enumerate(plan.gaps):
        by_start.setdefault(gap.start, []).append(index)
    for step in range(plan.steps):
        reached = np.flatnonzero(np.isfinite(least[step]).any(axis=0))
        befores = np.flatnonzero(np.isfinite(least[step]).any(axis=1))
        here = least[step][np.ix_(befores, reached)]
        for index in (-1, *by_start.get(step, ())):
            gap = Gap(step, 0, 0) if index < 0 else plan.gaps[index]
            spent = reached + (full if index < 0 else units_of[index])
            drifts = here if index < 0 else here + addends[befores, index, np.newaxis]
            which = drifts.argmin(axis=0)
            drift = drifts[which, np.arange(len(reached))]
            there = (gap.stop, gap.length)
            better = drift < least[there][spent]
            least[there][spent[better]] = drift[better]
            came[there][spent[better]] = index
            came_before[there][spent[better]] = befores[which[better]]
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
            left -= full if index < 0 else units_of[index]
            step, before = gap.start, earlier
        gaps.reverse()
        drift = best ** (1 / prediction.exponent)
        choices.append(Choice(tuple(gaps), plan.cost(gaps), drift))
    return choices


def best_choices(prediction: Prediction) -> list[Choice]:
    """Of what `solve` finds and what was measured the best of every cost; cheapest first.

    The uncached run is not among them.
    """
    found = {choice.gaps for choice in solve(prediction) if choice.gaps}
    choices = [
        Choice(gaps, prediction.plan.cost(gaps), prediction.drift(gaps))
        for gaps in found | prediction.effects.measured.keys()
    ]
    best: list[Choice] = []
    for choice in sorted(choices, key=lambda one: (one.cost, one.drift, one.gaps)):
        if not best or choice.drift < best[-1].drift:
            best.append(choice)
    return best


def start_of(plan: Plan, measured: Sequence[Measured], count: int = START) -> list[Schedule]:
    """Schedules for a search to begin with, each adding most to the front of those before it.

    At most `count`, of speed-ups that are evenly spread. None is predicted to drift farther than
    the worst of the schedules that a search compares with, for its loss is what may still be of
    use. All by adding up alone: a search scores what it begins with, so it need not doubt what was
    not measured, and a choice among few measured ones would leave gaps in the front.
    """
    prediction = predicted(plan, measured)
    known = [fora_gaps(plan, every) for every in presets.COMPARED_FORA]
    worst = max((prediction.added_up(gaps) for gaps in known if gaps), default=np.inf)
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


def fora_gaps(plan: Plan, every: int) -> tuple[Gap, ...]:
    """The gaps of FORA of this N; none where one of them is longer than those of the plan."""
    gaps = gaps_of(presets.fora(plan.architecture, plan.steps, every)) or ()
    return gaps if all(gap in plan.index for gap in gaps) else ()


def tried_fora(plan: Plan) -> list[tuple[Gap, ...]]:
    """The gaps of each of `TRIED_FORA` that has some which are in the plan."""
    return [gaps for every in TRIED_FORA if (gaps := fora_gaps(plan, every))]
