"""Which points of a set are worth keeping: dominance, ranks, crowding and hypervolume.

Every objective is minimised; `points` is always an array of shape (n, m), m objectives.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


def dominates(a: npt.ArrayLike, b: npt.ArrayLike) -> bool:
    """True when `a` is nowhere worse than `b` and somewhere better; equal points do neither."""
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return bool(np.all(first <= second) and np.any(first < second))


def _checked(points: npt.ArrayLike) -> Points:
    array = np.asarray(points, dtype=float)
    if array.ndim != 2:
        raise ValueError(f"points must have the shape (n, m), got {array.shape}.")
    if np.isnan(array).any():
        raise ValueError("points must not hold NaN: leave failed candidates out.")
    return array


def _domination_matrix(points: Points, others: Points) -> npt.NDArray[np.bool_]:
    """(n, k); entry [i, j] is True when point i dominates other j."""
    nowhere_worse = np.ones((len(points), len(others)), dtype=bool)
    somewhere_better = np.zeros_like(nowhere_worse)
    for own, other in zip(points.T, others.T, strict=True):
        nowhere_worse &= own[:, None] <= other[None, :]
        somewhere_better |= own[:, None] < other[None, :]
    return nowhere_worse & somewhere_better


def dominated_by(points: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(n,): whether one of `others`, (k, m), dominates each of `points`, (n, m)."""
    return np.asarray(_domination_matrix(_checked(others), _checked(points)).any(axis=0))


def non_dominated_ranks(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(n,) ranks: 0 for points nothing dominates, 1 for those only rank 0 dominates, and so on."""
    array = _checked(points)
    if array.shape[1] == 2:
        return _ranks_of_two(array)
    dominators = _domination_matrix(array, array)
    remaining = dominators.sum(axis=0)
    ranks = np.full(len(array), -1, dtype=np.int64)
    rank = 0
    while (ranks < 0).any():
        current = np.flatnonzero((remaining == 0) & (ranks < 0))
        ranks[current] = rank
        remaining = remaining - dominators[current].sum(axis=0)
        rank += 1
    return ranks


def _ranks_of_two(points: Points) -> npt.NDArray[np.int64]:
    """The same for two objectives, in one sweep over the points in the order of the first.

    Of a rank's points the sweep has met, the last is least in the second objective, and these
    grow from rank to rank (Jensen 2003): a search finds the first rank whose points spare a point.
    """
    ranks = np.zeros(len(points), dtype=np.int64)
    least: list[float] = []
    last, rank = None, 0
    for index in np.lexsort((points[:, 1], points[:, 0])):
        point = points[index].tolist()
        if point != last:  # equal points share a rank
            rank = bisect_right(least, point[1])
            least[rank : rank + 1] = [point[1]]
            last = point
        ranks[index] = rank
    return ranks


def front_indices(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Indices, ascending, of the points nothing dominates; equal points are all kept."""
    array = _checked(points)
    if array.shape[1] != 2:
        return np.flatnonzero(~_domination_matrix(array, array).any(axis=0)).astype(np.int64)
    return np.flatnonzero(_ranks_of_two(array) == 0)


def crowding_distances(points: npt.ArrayLike) -> Points:
    """(n,) mean over the objectives of the gap between a point's neighbours, scaled by the range.

    Section III-B of Deb et al. 2002 with the edge cases of pymoo 0.6:
    - the ends of an objective are infinitely far away, as is everyone in a set of one or two;
    - an objective in which all points agree adds nothing;
    - of equal points, sorted stably, each sees the other at distance zero.
    """
    array = _checked(points)
    n, m = array.shape
    if n <= 2:
        return np.full(n, np.inf)
    total = np.zeros(n)
    for objective in array.T:
        extent = objective.max() - objective.min()
        if not extent > 0:
            continue
        order = np.argsort(objective, kind="stable")
        gaps = np.diff(objective[order]) / extent
        total[order] += np.concatenate([[np.inf], gaps]) + np.concatenate([gaps, [np.inf]])
    return total / m


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Exact volume that `points` dominate below `reference`, for one, two or three objectives."""
    array = _checked(points)
    limit = np.asarray(reference, dtype=float)
    if limit.shape != (array.shape[1],):
        raise ValueError(f"reference has {limit.size} objectives, points have {array.shape[1]}.")
    if array.shape[1] > 3:
        raise ValueError(f"hypervolume takes up to 3 objectives, got {array.shape[1]}.")
    inside = array[(array < limit).all(axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(limit[0] - inside.min())
    if inside.shape[1] == 2:
        return _area(inside, limit)
    return _volume(inside, limit)


def _area(points: Points, limit: Points) -> float:
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    heights = np.minimum.accumulate(ordered[:, 1])
    widths = np.diff(np.append(ordered[:, 0], limit[0]))
    return float((widths * (limit[1] - heights)).sum())


def _volume(points: Points, limit: Points) -> float:
    """Slices between consecutive values of the last objective; each is an area."""
    ordered = points[np.argsort(points[:, 2], kind="stable")]
    depths = np.diff(np.append(ordered[:, 2], limit[2]))
    return sum(
        (
            _area(ordered[: i + 1, :2], limit[:2]) * float(depth)
            for i, depth in enumerate(depths)
            if depth > 0
        ),
        0.0,
    )
