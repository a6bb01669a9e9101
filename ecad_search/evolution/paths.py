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

    def allowed(path: Ints) -> bool:
        gaps = np.diff(np.flatnonzero(np.append(path == whole, True)), prepend=-1)
        cost = ring_costs[path].mean() / ring_costs[whole]
        return bool(path[0] == whole and gaps.max() <= longest + 1 and cost >= cheapest)

    def untried() -> list[Path]:
        return _front({path: known[path] for path in known if path not in tried})

    told(start)
    for _ in range(generations):
        front = _front(known)
        parents = [np.array(path) for path in front]
        brood: dict[Path, None] = {}
        for _ in range(TRIES * BROOD):
            child = changed(parents, whole, rng)
            path = tuple(child.tolist())
            if path not in known and allowed(child):
                brood[path] = None
            if len(brood) == BROOD:
                break
        known = {path: known[path] for path in [*front, *untried()]}
        told(brood)
    return untried()


def _front(known: dict[Path, tuple[float, float]]) -> list[Path]:
    paths = sorted(known, key=lambda path: (*known[path], path))
    best, front = np.inf, []
    for path in paths:
        if known[path][1] < best:
            best = known[path][1]
            front.append(path)
    return front


def changed(parents: list[Ints], whole: int, rng: np.random.Generator) -> Ints:
    """A child: one parent's beginning and perhaps another one's end, and one to three changes.

    A change is another ring at a step, two neighbouring steps in each other's place, or the next
    smaller or larger ring.
    """
    child = parents[rng.integers(len(parents))].copy()
    steps = len(child)
    if rng.random() < CROSSED:
        cut = rng.integers(1, steps)
        child[cut:] = parents[rng.integers(len(parents))][cut:]
    for _ in range(rng.integers(1, MOST_CHANGES + 1)):
        step, kind = int(rng.integers(1, steps)), rng.integers(3)
        if kind == 0:
            child[step] = rng.integers(whole + 1)
        elif kind == 1:
            other = min(max(step + int(rng.choice([-1, 1])), 1), steps - 1)
            child[[step, other]] = child[[other, step]]
        else:
            child[step] = min(max(child[step] + rng.choice([-1, 1]), 0), whole)
    return child
