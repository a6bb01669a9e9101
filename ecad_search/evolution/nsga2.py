"""NSGA-II as small pure functions: who may breed, what the children are, who survives.

Deb et al. 2002, with the details of pymoo 0.6.1.3, which the paper's search runs on. All objectives
are minimised; an infeasible individual has infinite objectives, so every feasible one dominates it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..core import pareto
from .operators import Bits, flip_bits, n_point_crossover

MOST_MATINGS = 100  # rounds of mating in which duplicates are thrown away before giving up


class Survivors(NamedTuple):
    """`indices` into the merged population, with rank and crowding at survival, (n,) each."""

    indices: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    crowding: npt.NDArray[np.float64]


def survive(points: npt.NDArray[np.float64], n: int, rng: np.random.Generator) -> Survivors:
    """The `n` best of `points` (k, m): whole ranks, the last by crowding, ties at random."""
    if not len(points):
        nothing = np.zeros(0, dtype=np.int64)
        return Survivors(nothing, nothing, np.zeros(0))
    ranks = pareto.non_dominated_ranks(points)
    crowding = np.zeros(len(points))
    chosen: list[int] = []
    for rank in range(int(ranks.max()) + 1):
        front = np.flatnonzero(ranks == rank)
        with np.errstate(invalid="ignore"):
            crowding[front] = pareto.crowding_distances(points[front])
        free = n - len(chosen)
        if len(front) > free:
            shuffled = rng.permutation(front)
            front = shuffled[np.argsort(-crowding[shuffled], kind="stable")][:free]
        chosen += front.tolist()
        if len(chosen) == n:
            break
    indices = np.asarray(chosen, dtype=np.int64)
    return Survivors(indices, ranks[indices], crowding[indices])


def binary_tournament(
    n: int,
    ranks: npt.NDArray[np.int64],
    crowding: npt.NDArray[np.float64],
    rng: np.random.Generator,
    *,
    points: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.int64]:
    """(n,) winners of `n` duels: the lower rank wins, then the larger crowding, then chance.

    With `points` a duel is decided by dominance instead of rank, which is pymoo's default. The
    duellists come from whole permutations, so everybody enters about equally often.
    """
    size = len(ranks)
    rounds = math.ceil(2 * n / size)
    entries = np.concatenate([rng.permutation(size) for _ in range(rounds)])[: 2 * n]
    first, second = entries.reshape(n, 2).T
    if points is None:
        preference = np.sign(ranks[second] - ranks[first])
    else:
        a, b = points[first], points[second]
        wins = (a <= b).all(axis=1) & (a < b).any(axis=1)
        loses = (b <= a).all(axis=1) & (b < a).any(axis=1)
        preference = wins.astype(np.int64) - loses.astype(np.int64)
    farther = (crowding[first] > crowding[second]).astype(np.int64) - (
        crowding[first] < crowding[second]
    ).astype(np.int64)
    chance = np.where(rng.random(n) < 0.5, 1, -1)
    preference = np.where(preference != 0, preference, np.where(farther != 0, farther, chance))
    return np.where(preference > 0, first, second)


def offspring(
    genomes: Bits,
    n: int,
    rng: np.random.Generator,
    *,
    select: Callable[[int, np.random.Generator], npt.NDArray[np.int64]],
    crossover_points: int = 4,
    crossover_probability: float = 0.9,
    mutation_probability: float = 0.05,
    avoid: Collection[bytes] = (),
    identify: Callable[[Bits], bytes] = lambda genome: np.packbits(genome).tobytes(),
) -> Bits:
    """Up to `n` children of `genomes` (k, bits), none of them a parent, a sibling or in `avoid`.

    `select(count, rng)` gives parents as indices; `identify` says when two genomes are the same.
    Fewer than `n` come back when mating brings nothing new for `MOST_MATINGS` rounds in all.
    """
    known = {identify(genome) for genome in genomes} | set(avoid)
    children: list[Bits] = []
    for _ in range(MOST_MATINGS):
        missing = n - len(children)
        if missing <= 0:
            break
        matings = math.ceil(missing / 2)
        parents = genomes[select(2 * matings, rng)].reshape(matings, 2, -1)
        crossed = np.concatenate(
            n_point_crossover(
                parents[:, 0],
                parents[:, 1],
                rng,
                points=crossover_points,
                probability=crossover_probability,
            )
        )
        for genome in flip_bits(crossed, rng, probability=mutation_probability):
            identity = identify(genome)
            if identity not in known and len(children) < n:
                known.add(identity)
                children.append(genome)
    return np.asarray(children, dtype=bool).reshape(len(children), genomes.shape[1])
