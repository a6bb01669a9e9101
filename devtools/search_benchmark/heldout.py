"""An arm's front on prompts and seeds that no search saw: which schedules, and their hypervolume.

The reference point is the cost of the uncached run (1) and a loss of `worst`, the same for all
arms; a hypervolume is a share of the rectangle between it and (0, 0). It may exceed what a loss of
0 would give, for a schedule may score better than the uncached run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecad_search.calibration import CalibrationPrompts
from ecad_search.core import pareto

from .images import ImageSource
from .meter import Meter, Scored


@dataclass(frozen=True)
class Rescored:
    """One schedule of a front: cost, and loss on the calibration and on the held-out samples."""

    key: str
    cost: float
    loss: float
    calibration_loss: float


@dataclass(frozen=True)
class Checkpoint:
    """An arm's front after `images` images."""

    images: int
    hypervolume: float
    hypervolume_calibration: float
    front: int  # schedules on the whole front
    picks: tuple[Rescored, ...]


def share_dominated(points: Sequence[tuple[float, float]], worst: float) -> float:
    """Hypervolume of (cost, loss) below (1, `worst`), as a share of that rectangle."""
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    return pareto.hypervolume(array, [1.0, worst]) / worst


def picked(front: Sequence[Scored], count: int, worst: float) -> list[Scored]:
    """At most `count` of the front, one after the other that adds most to their hypervolume.

    Judged by calibration scores alone: this is what somebody would keep who has seen no others.
    """
    chosen: list[Scored] = []
    left = [point for point in front if point.cost < 1 and point.loss < worst]
    while left and len(chosen) < count:
        shares = [
            share_dominated([(p.cost, p.loss) for p in [*chosen, point]], worst) for point in left
        ]
        best = int(np.argmax(shares))
        chosen.append(left.pop(best))
    return sorted(chosen, key=lambda point: point.cost)


def checkpoint(
    meter: Meter,
    images: int,
    source: ImageSource,
    heldout: CalibrationPrompts,
    *,
    picks: int,
    worst: float,
) -> Checkpoint:
    """The front that the arm had after `images`, scored on all of `heldout`."""
    front = meter.front(images)
    indices = range(len(heldout.samples))
    chosen = picked(front, picks, worst)
    uncached = np.asarray(source.scores(meter.uncached, heldout, indices)) if chosen else None
    rescored = []
    for point in chosen:
        scores = np.asarray(source.scores(point.schedule, heldout, indices))
        loss = float(np.mean(uncached - scores))
        rescored.append(Rescored(point.schedule.key, point.cost, loss, point.loss))
    return Checkpoint(
        images,
        share_dominated([(point.cost, point.loss) for point in rescored], worst),
        share_dominated([(point.cost, point.loss) for point in chosen], worst),
        len(front),
        tuple(rescored),
    )


def curve(
    meter: Meter,
    images_at: Sequence[int],
    source: ImageSource,
    heldout: CalibrationPrompts,
    *,
    picks: int,
    worst: float,
) -> list[Checkpoint]:
    """The checkpoints the arm has reached, and its end where it stopped between two of them."""
    reached = [images for images in images_at if images <= meter.images]
    if not reached or meter.images - reached[-1] >= meter.n_samples:
        reached.append(meter.images)
    return [
        checkpoint(meter, images, source, heldout, picks=picks, worst=worst) for images in reached
    ]
