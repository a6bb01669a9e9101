"""A limit on what stored values may take: which schedules keep it, and how others are made to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import cost
from ..core.architecture import Architecture, Workload
from ..core.schedule import Schedule
from ..errors import SearchError
from .quick import units

MIB = 2**20


@dataclass(frozen=True, eq=False)
class CacheMemory:
    """`predicted` gives the most bytes schedules hold at once for one picture: (n, steps, cells)
    of what they compute -> (n,).

    `terms` say for what kind of run; any JSON mapping. A search that was limited on others is
    another search.
    """

    predicted: Callable[[npt.NDArray[np.bool_]], npt.NDArray[np.int64]]
    terms: Mapping[str, Any]

    def of(self, schedule: Schedule) -> int:
        return int(self.predicted(schedule.canonical().compute[np.newaxis])[0])


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

    def fit(self, compute: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(n,) whether what runs when these genomes, (n, steps, cells), are tried is allowed.

        Lost work counts here, which may take more, never less than the same without it.
        """
        rows = compute.copy()
        rows[:, 0] = True
        return self.memory.predicted(rows) <= self.mib * MIB

    def fitted(
        self, compute: npt.NDArray[np.bool_], orders: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """(n, steps, cells): of the units in an order as many as fit reuse as they did.

        The others compute. `orders` are (n, n_units), a permutation for each genome. A unit is a
        set of cells as in `quick.units`, so that fewer of them never take more.
        """
        places = np.argsort(orders, axis=1)[:, self._units]  # (n, cells): when it is its turn
        fewest = np.zeros(len(compute), dtype=np.int64)
        most = np.full(len(compute), orders.shape[1])
        while (fewest < most).any():
            middle = (fewest + most + 1) // 2
            fit = self.fit(self._first(compute, places, middle))
            fewest, most = np.where(fit, middle, fewest), np.where(fit, most, middle - 1)
        return self._first(compute, places, fewest)

    @cached_property
    def unit_bytes(self) -> npt.NDArray[np.int64]:
        """(n_units,) that one reuse of each unit takes."""
        n_units = int(self._units.max()) + 1
        rows = np.ones((n_units, self.steps, self.architecture.n_cells), dtype=np.bool_)
        rows[:, -1] = self._units != np.arange(n_units)[:, None]
        return self.memory.predicted(rows)

    @cached_property
    def orders(self) -> npt.NDArray[np.int64]:
        """(3, n_units) orders to fill the memory in.

        First those that save most for their bytes, equal ones evenly spread over the blocks; then
        from the first block on, and from the last.
        """
        n_units = len(self.unit_bytes)
        macs = np.bincount(
            self._units, weights=cost.cell_macs(self.architecture, self.workload).astype(float)
        )
        place = np.argsort(spread_order(n_units))
        worth = macs / np.maximum(self.unit_bytes, 1)
        best = np.lexsort((place, -worth))
        return np.stack([best, np.arange(n_units), np.arange(n_units)[::-1]])

    @cached_property
    def _units(self) -> npt.NDArray[np.intp]:
        return units(self.architecture)

    @staticmethod
    def _first(
        compute: npt.NDArray[np.bool_], places: npt.NDArray[np.intp], n: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Only the cells whose turn is among the first `n`, (n_genomes,), may still reuse."""
        return compute | (places >= n[:, None])[:, None, :]


def spread_order(n: int) -> list[int]:
    """0 to n - 1: the middle, then the middles of both halves, and so on."""
    order: list[int] = []
    spans = [(0, n)]
    while spans:
        first, end = spans.pop(0)
        if first < end:
            middle = (first + end) // 2
            order.append(middle)
            spans += [(first, middle), (middle + 1, end)]
    return order
