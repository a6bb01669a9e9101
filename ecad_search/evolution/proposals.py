"""Which schedules to try next in `mode: ecad+`: many cheap proposals, a model to choose a few.

Proposals are structured children of the front so far. The model (surrogate.py) breeds them for some
rounds without rendering anything; then candidates are taken one by one, each for what it would add
to the front were the model right. A random draw from the model in its place, which gives the
uncertain their chance, found less, after 400 images as after 1,600.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import nsga2
from .operators import CROSSOVERS, MUTATIONS, Compute, Grid

Floats = npt.NDArray[np.float64]
Select = Callable[[int, np.random.Generator], npt.NDArray[np.int64]]  # (count, rng) -> parents

POOL = 160  # proposals per round; each round keeps the best half as parents of the next
ROUNDS = 4
CROSSOVER_SHARE = 0.35


class Proposal(NamedTuple):
    """A schedule to try: (steps, cells), and how it came about."""

    compute: Compute
    origin: str
    is_reference: bool = False
    name: str = ""


def children(
    parents: list[Compute],
    n: int,
    rng: np.random.Generator,
    *,
    grid: Grid,
    select: Select,
) -> list[Proposal]:
    """`n` structured children: sometimes of two parents, always with a mutation or more."""
    made: list[Proposal] = []
    for first, second in select(2 * n, rng).reshape(n, 2):
        child, steps = parents[first], []
        if rng.random() < CROSSOVER_SHARE and first != second:
            cross = CROSSOVERS[int(rng.integers(len(CROSSOVERS)))]
            child = cross(child, parents[second], grid, rng)
            steps.append(cross.__name__.replace("_", " "))
        for _ in range(min(int(rng.geometric(0.5)), 4)):
            name, mutate = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
            child = mutate(child, grid, rng)
            steps.append(name)
        made.append(Proposal(child, ", ".join(steps)))
    return made


def unique(made: list[Proposal], known: set[bytes]) -> list[Proposal]:
    """Without repetitions and without what is `known`, which grows by what is returned."""
    fresh = []
    for proposal in made:
        identity = np.packbits(proposal.compute).tobytes()
        if identity not in known:
            known.add(identity)
            fresh.append(proposal)
    return fresh


def tournament(
    points: Floats, n: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Select]:
    """The `n` best of `points` as indices, and a selection of parents among them."""
    survivors = nsga2.survive(points, n, rng)

    def select(count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        return nsga2.binary_tournament(count, survivors.ranks, survivors.crowding, rng)

    return survivors.indices, select


def saturated(losses: Floats, limits: Floats) -> Floats:
    """Losses (..., scorers) as they are where small, flattening towards twice `limits` (scorers,).

    How bad the useless ones are would drown what there is to learn about the useful ones: it is
    many times as much, and decides nothing. Where a limit is infinite, losses stay as they are.
    """
    ceilings = np.where(np.isinf(limits), 1.0, 2 * limits)
    return np.where(np.isinf(limits), losses, ceilings * np.tanh(losses / ceilings))


def gains(costs: Floats, losses: Floats, front: Floats, reference: Floats) -> Floats:
    """(n,) area that each point (cost, loss) alone would add to `front` (k, 2) below `reference`.

    The front's staircase cuts the plane into columns of one height; a point adds, in every column
    to its right, what it lies below that height.
    """
    ordered = front[np.argsort(front[:, 0], kind="stable")]
    ordered = ordered[ordered[:, 0] < reference[0]]
    heights = np.minimum.accumulate(np.append(reference[1], ordered[:, 1]))
    edges = np.concatenate([[-np.inf], ordered[:, 0], [reference[0]]])
    widths = np.clip(edges[None, 1:] - np.maximum(edges[None, :-1], costs[:, None]), 0.0, None)
    depths = np.clip(heights[None, :] - losses[:, None], 0.0, None)
    return (widths * depths).sum(axis=1)


def choose(
    costs: Floats,
    losses: Floats,
    front: Floats,
    n: int,
    rng: np.random.Generator,
    *,
    useful_losses: Floats,
) -> list[int]:
    """Up to `n` indices into a pool of proposals, best first, of which these are the costs (k,).

    Each adds most to the front (m, 1 + scorers) if `losses` (k, scorers) are what it loses. What
    loses more than `useful_losses` (scorers,) adds nothing; where that is infinite, what loses more
    than the worst of the front.

    Every other choice measures loss by its square root: it looks for small losses at small
    speed-ups, which a plain area would give up for large ones at the fast end. Of several scorers
    the one that minds most counts, weighed at random for each choice: over many choices this
    serves the volume under all of them (Golovin and Zhang 2020, arXiv:2006.04655).
    """
    chosen: list[int] = []
    front = front.copy()
    worst = np.where(np.isinf(useful_losses), front[:, 1:].max(axis=0) * 1.05, useful_losses)
    worst = np.maximum(worst, 1e-9)
    for slot in range(n):
        bend = np.sqrt if slot % 2 else np.asarray
        weights = np.ones(1)
        if losses.shape[1] > 1:
            weights = rng.exponential(size=losses.shape[1])
            weights /= weights.max()
        shown = np.column_stack([front[:, 0], _felt(front[:, 1:] / worst, weights, bend)])
        gain = gains(costs, _felt(losses / worst, weights, bend), shown, np.ones(2))
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        if gain[best] <= 0.0:
            free = [i for i in range(len(costs)) if i not in chosen]
            if not free:
                break
            best = int(rng.choice(free))
        chosen.append(best)
        taken = np.array([[costs[best], *np.maximum(losses[best], 0.0)]])
        front = np.concatenate([front, taken])
    return chosen


def _felt(losses: Floats, weights: Floats, bend: Callable[[Floats], Floats]) -> Floats:
    """(n,) the largest of the weighted losses (n, scorers)."""
    return (bend(np.maximum(losses, 0.0)) * weights).max(axis=1)
