"""A limit on what stored values may take: which schedules keep it, and how others are made to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import cost
from ..core.architecture import Architecture, Workload
from ..core.schedule import Schedule
from ..errors import SearchError
from .operators import Compute
from .quick import spread_order, units

MIB = 2**20


@dataclass(frozen=True, eq=False)
class CacheMemory:
    """`predicted` gives the most bytes a schedule holds at once, for one picture.

    `terms` say for what kind of run; any JSON mapping. A search that was limited on others is
    another search.
    """

    predicted: Callable[[Schedule], int]
    terms: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CacheLimit:
    """At most `mib` MiB at once, of schedules of `architecture` at `steps` steps.

    Raises SearchError when not even one component can be stored.
    """

    architecture: Architecture
    steps: int
    workload: Workload
    memory: CacheMemory
    mib: int

    def __post_init__(self) -> None:
        least = int(self.unit_bytes.min())
        if least > self.mib * MIB:
            raise SearchError(
                f"The limit of {self.mib} MiB for stored values leaves nothing to reuse: the "
                f"smallest component takes {least / MIB:.1f} MiB. Raise largest_cache_mib, or set "
                "it to 0 for no limit."
            )

    def fits(self, compute: Compute) -> bool:
        """Whether what runs when this genome, (steps, cells), is tried keeps the limit."""
        return self.memory.predicted(self._schedule(compute)) <= self.mib * MIB

    def fitted(self, compute: Compute, order: Sequence[int] | npt.NDArray[np.int64]) -> Compute:
        """Of the units in this order as many as fit reuse as in `compute`; the others compute.

        A unit is a set of cells as in `quick.units`, so that fewer of them never take more.
        """
        fewest, most = 0, len(order)
        while fewest < most:
            middle = (fewest + most + 1) // 2
            if self.fits(self._only(compute, order[:middle])):
                fewest = middle
            else:
                most = middle - 1
        return self._only(compute, order[:fewest])

    @cached_property
    def unit_bytes(self) -> npt.NDArray[np.int64]:
        """(n_units,) that one reuse of each unit takes."""
        n_units = int(self._units.max()) + 1
        rows = np.ones((self.steps, self.architecture.n_cells), dtype=bool)
        rows[-1] = False
        return np.array(
            [
                self.memory.predicted(self._schedule(self._only(rows, [unit])))
                for unit in range(n_units)
            ],
            dtype=np.int64,
        )

    @cached_property
    def orders(self) -> list[list[int]]:
        """Orders of units to fill the memory in.

        First those that save most for their bytes, equal ones evenly spread over the blocks; then
        from the first block on, and from the last.
        """
        n_units = len(self.unit_bytes)
        macs = np.bincount(
            self._units, weights=cost.cell_macs(self.architecture, self.workload).astype(float)
        )
        place = np.argsort(spread_order(n_units))
        worth = macs / np.maximum(self.unit_bytes, 1)
        best = np.lexsort((place, -worth)).tolist()
        return [best, list(range(n_units)), list(reversed(range(n_units)))]

    @cached_property
    def _units(self) -> npt.NDArray[np.intp]:
        return units(self.architecture)

    def _only(self, compute: Compute, kept: Iterable[int]) -> Compute:
        rows = compute.copy()
        rows[:, ~np.isin(self._units, np.asarray(list(kept), dtype=np.int64))] = True
        return rows

    def _schedule(self, compute: Compute) -> Schedule:
        rows = compute.copy()
        rows[0] = True
        return Schedule(self.architecture, rows).canonical()
