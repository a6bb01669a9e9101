"""What a schedule costs, in multiply-accumulate operations (MACs), without running it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ScheduleError
from .architecture import Architecture, Workload
from .schedule import Schedule


class Macs(NamedTuple):
    """`linear` layers, and the score and value products of `attention`, which the paper omits."""

    linear: int
    attention: int

    @property
    def total(self) -> int:
        return self.linear + self.attention


def schedule_macs(schedule: Schedule, workload: Workload) -> Macs:
    """MACs of one whole sampling at this workload.

    Counts every cell the schedule says to compute, as the paper does; take `schedule.canonical()`
    for what is left when lost work is not done.
    """
    times = np.count_nonzero(schedule.compute, axis=0)
    return _weighted(schedule.architecture, [int(n) for n in times], schedule.steps, workload)


def uncached_macs(architecture: Architecture, steps: int, workload: Workload) -> Macs:
    """MACs of one whole sampling that computes everything."""
    return _weighted(architecture, [steps] * architecture.n_cells, steps, workload)


def relative_cost(schedule: Schedule, workload: Workload) -> float:
    """MACs with attention as a fraction of the uncached run; 0.25 is four times cheaper."""
    uncached = uncached_macs(schedule.architecture, schedule.steps, workload)
    return schedule_macs(schedule, workload).total / uncached.total


def cell_macs(architecture: Architecture, workload: Workload) -> npt.NDArray[np.int64]:
    """MACs with attention of computing each cell once, (n_cells,)."""
    d = architecture.dimensions(workload)
    macs = [c.macs(d) + c.attention_macs(d) for c in architecture.cell_components]
    if max(macs) > np.iinfo(np.int64).max:
        raise ScheduleError(
            f"One component costs {max(macs):.3g} MACs at "
            f"{workload.width} x {workload.height} px "
            f"and batch {workload.batch}, which is more than can be counted; "
            "expected a smaller picture."
        )
    return np.array(macs, dtype=np.int64)


def base_step_macs(architecture: Architecture, workload: Workload) -> int:
    """MACs of what no schedule can switch off, per step: embedders, modulations, the last layer."""
    return architecture.base_macs(architecture.dimensions(workload))


def _weighted(architecture: Architecture, times: list[int], steps: int, workload: Workload) -> Macs:
    # Python integers: exact at any size
    d = architecture.dimensions(workload)
    linear = steps * architecture.base_macs(d)
    attention = 0
    for component, n in zip(architecture.cell_components, times, strict=True):
        linear += n * component.macs(d)
        attention += n * component.attention_macs(d)
    return Macs(linear, attention)
