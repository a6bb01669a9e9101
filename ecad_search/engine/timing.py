"""How long would this very run have taken uncached? Told from the times of its own evaluations."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_UNCACHED = 2  # evaluations
FEWEST_FITTED = 4  # evaluations
FEWEST_SHARE = 0.25  # of the MACs: extrapolating further than fourfold tells nothing


@dataclass(frozen=True)
class Timing:
    """One evaluation of a sampler: MACs it executed, MACs it would have uncached, its seconds."""

    executed_macs: int
    uncached_macs: int
    seconds: float


def uncached_seconds(timings: Sequence[Timing]) -> float | None:
    """Seconds of the same evaluations uncached; None when the run cannot tell.

    From the evaluations that did compute everything where there are enough, else from a line
    (overhead + seconds per MAC) through all of them. The first evaluation is left out of both: it
    also warms caches and loads weights.
    """
    warm = [t for t in timings[1:] if t.uncached_macs]
    total = sum(t.uncached_macs for t in timings)
    complete = [t.seconds / t.uncached_macs for t in warm if t.executed_macs == t.uncached_macs]
    if len(complete) >= FEWEST_UNCACHED:
        return total * statistics.median(complete)
    executed = np.array([t.executed_macs for t in warm], dtype=np.float64)
    most = max((t.uncached_macs for t in warm), default=0)
    if len(warm) < FEWEST_FITTED or np.ptp(executed) < FEWEST_SHARE * most:
        return None
    slope, overhead = np.polyfit(executed / most, [t.seconds for t in warm], 1)
    if slope <= 0:
        return None
    return float(max(overhead, 0.0) * len(timings) + slope * total / most)
