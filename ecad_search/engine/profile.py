"""Which components, computed alone, bring a reusing step nearest to what computing all gives?

At some steps of a sampling the same evaluation is made again and again: with every component reused
from the step before, and with each of them computing while all others are reused. Each such
evaluation costs one component. Values are stored, found and put in by the shims that run schedules,
so what is measured is what a schedule would do; and as in a schedule, a component that computes
between reused ones sees what those give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..core.architecture import Architecture
from ..core.schedule import Schedule
from .cache_store import CacheStore, Signatures
from .run import Run
from .self_check import random_states, restore

Bools = npt.NDArray[np.bool_]


def probing_schedule(architecture: Architecture, steps: int, probed: Iterable[int]) -> Schedule:
    """What a `ProbingRun` is made with: it stores what these steps would reuse."""
    rows = np.ones((steps, architecture.n_cells), dtype=np.bool_)
    rows[list(probed)] = False
    return Schedule(architecture, rows, name="profile")


class FreezableStore(CacheStore):
    """A store that does not change while it is `frozen`."""

    frozen = False

    def put(
        self,
        stream: Any,
        cell: int,
        part: int,
        value: torch.Tensor,
        given: Signatures,
    ) -> None:
        if not self.frozen:
            super().put(stream, cell, part, value, given)

    def drop(self, stream: Any, cells: Iterable[int]) -> None:
        if not self.frozen:
            super().drop(stream, cells)

    def drop_part(self, stream: Any, cell: int, part: int, *, given_away: bool = False) -> None:
        if not self.frozen:
            super().drop_part(stream, cell, part, given_away=given_away)


class ProbingRun(Run):
    """A sampling under a `probing_schedule` that computes everything, but for what is tried.

    What a probed step computes while `holding` is not stored, so no two may be neighbours.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        # Values are read many times, so none may go at its first read.
        super().__init__(*args, **{**settings, "one_evaluation_per_step": False})
        self.freezable = FreezableStore(settings.get("keep", nullcontext), settings.get("place"))
        self.store = self.freezable
        self._tried: Bools | None = None

    def due(self, stream: Any) -> Bools:
        if self._tried is None:
            return np.ones(self.architecture.n_cells, dtype=np.bool_)
        return self._tried

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Evaluations inside leave the stored values as they are."""
        self.freezable.frozen = True
        try:
            yield
        finally:
            self.freezable.frozen = False

    @contextmanager
    def trying(self, computes: Bools) -> Iterator[None]:
        """Evaluations inside compute only these cells, (n_cells,), and leave no trace."""
        states = random_states()
        self._tried = computes
        try:
            with self.holding():
                yield
        finally:
            self._tried = None
            restore(states)


def benefits(
    run: ProbingRun,
    units: Sequence[Bools],
    uncached: torch.Tensor,
    evaluate: Callable[[], torch.Tensor],
) -> npt.NDArray[np.float64] | None:
    """Of computing each unit alone: by how much the squared error falls, as a share of it.

    `units` are sets of cells, (n_cells,) each. `evaluate` makes the current evaluation of the
    sampler again, whose result is `uncached`. Shares, (n_units,), may be negative; None where
    reusing everything changes nothing, as at a step for which nothing is stored.
    """

    def error(computes: Bools) -> float:
        with run.trying(computes):
            difference = evaluate().double() - uncached.double()
        return float(difference.square().sum())

    whole = error(np.zeros(run.architecture.n_cells, dtype=np.bool_))
    if not 0 < whole < float("inf"):
        return None
    return np.array([1.0 - error(unit) / whole for unit in units])
