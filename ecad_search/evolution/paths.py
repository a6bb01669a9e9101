"""The best schedules of every cost by a number that is cheap to tell, found by evolution.

A schedule is a path: for each step which ring computes, from 0, nothing, to the last one,
everything.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import numpy as np
import numpy.typing as npt

Path = tuple[int, ...]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

BROOD = 96  # new paths a generation
CROSSED = 0.3  # of them have two parents
MOST_CHANGES = 3
TRIES = 6  # for each that is new


def evolved(
    drifts: Callable[[Ints], Floats],
    ring_costs: Floats,
    start: Iterable[Path],
    generations: int,
    rng: np.random.Generator,
    *,
    longest: int,
    cheapest: float,
    tried: Container[Path] = (),
) -> list[Path]:
    """The front of cost and drift, cheapest first, that `start` leads to, but for `tried`.

    `drifts` tells (n, steps) paths apart, `ring_costs`, (rings,), are those of a step. At most
    `longest` steps in a row do not compute everything, and no path costs less than `cheapest` of
    what computing everything does. What was `tried` has children, but stands in nobody's way.
    """
    whole = len(ring_costs) - 1
    known: dict[Path, tuple[float, float]] = {}

    def told(paths: Iterable[Path]) -> None:
        new = list(dict.fromkeys(path for path in paths if path not in known))
        if new:
            rows = np.array(new)
            # Rounded, or of paths that cost the same one would be cheaper by its order.
            costs = np.round(ring_costs[rows].mean(axis=1) / ring_costs[whole], 9)
            known.update(zip(new, zip(costs, drifts(rows), strict=True), strict=True))

    def allowed(paths: Ints) -> npt.NDArray[np.bool_]:
        cost = ring_costs[paths].mean(axis=1) / ring_costs[whole]
        short = _longest_gaps(paths == whole) <= longest
        return (paths[:, 0] == whole) & short & (cost >= cheapest)

    def untried() -> list[Path]:
        return _front({path: known[path] for path in known if path not in tried})

    told(start)
    for _ in range(generations):
        front = _front(known)
        brood: dict[Path, None] = {}
        for _ in range(TRIES):
            born = children(np.array(front), whole, BROOD, rng)
            paths = map(tuple, born[allowed(born)].tolist())
            brood |= dict.fromkeys(path for path in paths if path not in known)
            if len(brood) >= BROOD:
                break
        known = {path: known[path] for path in [*front, *untried()]}
        told(list(brood)[:BROOD])
    return untried()


def _front(known: dict[Path, tuple[float, float]]) -> list[Path]:
    paths = sorted(known, key=lambda path: (*known[path], path))
    best, front = np.inf, []
    for path in paths:
        if known[path][1] < best:
            best = known[path][1]
            front.append(path)
    return front


def _longest_gaps(full: npt.NDArray[np.bool_]) -> Ints:
    """(n,): how many steps in a row are not full, at most, of (n, steps)."""
    gap = longest = np.zeros(len(full), dtype=np.intp)
    for column in full.T:
        gap = np.where(column, 0, gap + 1)
        longest = np.maximum(longest, gap)
    return longest


def children(parents: Ints, whole: int, number: int, rng: np.random.Generator) -> Ints:
    """(number, steps): each one parent's beginning, perhaps another's end, and a few changes.

    `parents` is (n, steps). A change is another ring at a step, two neighbouring steps in each
    other's place, or the next smaller or larger ring.
    """
    steps = parents.shape[1]
    born = parents[rng.integers(len(parents), size=number)]
    others = parents[rng.integers(len(parents), size=number)]
    cuts = rng.integers(1, steps, size=number)
    cuts[rng.random(number) >= CROSSED] = steps
    born = np.where(np.arange(steps) >= cuts[:, np.newaxis], others, born)
    changes = rng.integers(1, MOST_CHANGES + 1, size=number)
    for turn in range(MOST_CHANGES):
        changing = np.flatnonzero(turn < changes)
        n = len(changing)
        places, kinds = rng.integers(1, steps, size=n), rng.integers(3, size=n)
        nearby, drawn = rng.choice([-1, 1], size=n), rng.integers(whole + 1, size=n)
        row, place = changing[kinds == 0], places[kinds == 0]
        born[row, place] = drawn[kinds == 0]
        row, place = changing[kinds == 1], places[kinds == 1]
        other = np.clip(place + nearby[kinds == 1], 1, steps - 1)
        born[row, place], born[row, other] = born[row, other], born[row, place]
        row, place = changing[kinds == 2], places[kinds == 2]
        born[row, place] = np.clip(born[row, place] + nearby[kinds == 2], 0, whole)
    return born
