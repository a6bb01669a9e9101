"""Whole steps compute or reuse: two ways to choose them, in the spirit of published ones.

Both look at the final latent only, as a few samples of it say how far a schedule drifts from the
uncached run; the scorer is asked once a mask has been chosen. When they are through and images are
left, they begin again with other samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ecad_search.core.schedule import Schedule

from ..meter import Meter

Mask = tuple[bool, ...]  # one entry a step, True computes; the first is always True
SAMPLES = 2  # per pass


def schedule_of(meter: Meter, mask: Mask) -> Schedule:
    rows = np.repeat(np.array(mask)[:, None], meter.architecture.n_cells, axis=1)
    return Schedule(meter.architecture, rows)


def passes(meter: Meter) -> Iterator[tuple[int, ...]]:
    """The samples of one pass after the other, each sample once."""
    for start in range(0, meter.n_samples - SAMPLES + 1, SAMPLES):
        yield tuple(range(start, start + SAMPLES))


# --- dynamic programming, after DPCache (arXiv:2602.22654) ----------------------------------------

LONGEST_GAP = 9  # reused steps in a row


def dynamic_programming(meter: Meter, seed: int) -> None:
    """Measure every gap alone, then take for each number of computed steps the least total.

    The drift of a gap is that of a schedule that reuses there and computes everywhere else; drifts
    of several gaps are taken to add up. A pass adds two samples to the means.
    """
    meter.scores(meter.uncached)
    steps = meter.steps
    gaps = [
        (start, stop)
        for start in range(steps)
        for stop in range(start + 2, min(start + LONGEST_GAP + 1, steps) + 1)
    ]
    sums = np.full((steps + 1, steps + 1), np.inf)
    for i in range(steps):
        sums[i, i + 1] = 0.0
    tried: set[Mask] = {(True,) * steps}
    for number, samples in enumerate(passes(meter)):
        for start, stop in gaps:
            mask = tuple(not start < step < stop for step in range(steps))
            drift = float(np.mean(meter.drifts(schedule_of(meter, mask), samples)))
            sums[start, stop] = drift + (sums[start, stop] if number else 0.0)
        for mask in best_paths(sums):
            if mask not in tried:
                tried.add(mask)
                meter.scores(schedule_of(meter, mask))


def best_paths(drift: npt.NDArray[np.float64]) -> list[Mask]:
    """The mask of least total drift for each number of computed steps, fewest first.

    `drift[i, j]` is what it costs to compute step i, reuse until j and go on there; infinite where
    that may not be. (steps + 1, steps + 1); the run ends at j = steps.
    """
    steps = len(drift) - 1
    least = np.full((steps + 1, steps + 1), np.inf)  # [steps computed so far, next step]
    came_from = np.zeros((steps + 1, steps + 1), dtype=np.int64)
    least[0, 0] = 0.0
    for computed in range(1, steps + 1):
        totals = least[computed - 1][:, None] + drift
        came_from[computed] = totals.argmin(axis=0)
        least[computed] = totals.min(axis=0)
    masks: list[Mask] = []
    for computed in range(1, steps + 1):
        if not np.isfinite(least[computed, steps]):
            continue
        mask, step = [False] * steps, steps
        for left in range(computed, 0, -1):
            step = int(came_from[left, step])
            mask[step] = True
        masks.append(tuple(mask))
    return masks


# --- simulated annealing, after BudCache (arXiv:2606.13496) ---------------------------------------

ITERATIONS = 100  # of annealing, for one number of computed steps
SWEEPS = 3  # of hill climbing at most
HOT, COLD = 0.3, 0.003  # temperatures, as shares of the drift of the evenly spaced mask


def simulated_annealing(meter: Meter, seed: int) -> None:
    """For each number of computed steps the mask that drifts least; then its score."""
    rng = np.random.default_rng([seed, 1])
    meter.scores(meter.uncached)
    best: dict[int, Mask] = {}
    tried: set[Mask] = set()
    for samples in passes(meter):
        for computed in numbers_of_steps(meter.steps):
            start = best.get(computed) or evenly(meter.steps, computed)
            best[computed] = annealed(meter, start, samples, rng)
            if best[computed] not in tried:
                tried.add(best[computed])
                meter.scores(schedule_of(meter, best[computed]))


def numbers_of_steps(steps: int) -> list[int]:
    """From a tenth to a half of the steps, the middle first, so that an early front is wide."""
    low, high = max(2, round(steps / 10)), max(3, steps // 2)
    numbers = list(range(low, high + 1))
    middle = (low + high) / 2
    spread = [numbers[len(numbers) // 2], numbers[0], numbers[-1]]
    rest = sorted(set(numbers) - set(spread), key=lambda n: abs(n - middle))
    return [*dict.fromkeys([*spread, *rest])]


def evenly(steps: int, computed: int) -> Mask:
    chosen = {round(i * steps / computed) for i in range(computed)}
    return tuple(step in chosen for step in range(steps))


def annealed(meter: Meter, start: Mask, samples: tuple[int, ...], rng: np.random.Generator) -> Mask:
    known: dict[Mask, float] = {}

    def drift(mask: Mask) -> float:
        if mask not in known:
            known[mask] = float(np.mean(meter.drifts(schedule_of(meter, mask), samples)))
        return known[mask]

    mask, scale = start, drift(start)
    for i in range(ITERATIONS):
        other = with_moved(mask, rng)
        temperature = scale * HOT * (COLD / HOT) ** (i / (ITERATIONS - 1))
        worse = drift(other) - drift(mask)
        if worse <= 0 or rng.random() < np.exp(-worse / max(temperature, 1e-300)):
            mask = other
    mask = min(known, key=lambda known_mask: known[known_mask])
    for _ in range(SWEEPS):
        better = min(neighbours(mask), key=drift, default=mask)
        if drift(better) >= drift(mask):
            break
        mask = better
    return mask


def with_moved(mask: Mask, rng: np.random.Generator) -> Mask:
    """One computed step, not the first, becomes a reused one, and one reused step a computed."""
    computed = [i for i in range(1, len(mask)) if mask[i]]
    reused = [i for i in range(1, len(mask)) if not mask[i]]
    if not computed or not reused:
        return mask
    moved = list(mask)
    moved[computed[int(rng.integers(len(computed)))]] = False
    moved[reused[int(rng.integers(len(reused)))]] = True
    return tuple(moved)


def neighbours(mask: Mask) -> list[Mask]:
    """Masks with one computed step a step earlier or later."""
    found = []
    for step in range(1, len(mask)):
        for other in (step - 1, step + 1):
            if mask[step] and 0 < other < len(mask) and not mask[other]:
                moved = list(mask)
                moved[step], moved[other] = False, True
                found.append(tuple(moved))
    return found
