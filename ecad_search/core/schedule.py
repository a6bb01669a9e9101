"""What is computed and what is reused at each step of a sampling."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelMismatchError, ScheduleError
from .architecture import Architecture, is_whole

MOST_STEPS = 10_000  # the host's own limit
PAYLOADS = (
    "reuse",
    "taylor1",
)  # what a reused cell gives: the stored value, or its first-order forecast


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which cells compute at which step.

    `compute` is (steps, n_cells); True computes, False reuses what was stored before the gate
    (Aggarwal et al. 2025, arXiv:2506.15682). The first step computes everything, since nothing is
    stored yet. `info` is whatever else its file says and must be JSON-able. Two schedules are equal
    when they do the same: same family and counts, same canonical rows, same payload.
    """

    architecture: Architecture
    compute: npt.NDArray[np.bool_]
    name: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compute", self._checked_rows())
        object.__setattr__(self, "info", copy.deepcopy(dict(self.info)))
        self._check_payload()
        self._check_noise_levels()

    def _checked_rows(self) -> npt.NDArray[np.bool_]:
        label = self.label
        given = np.asarray(self.compute)
        if given.dtype != np.bool_ and not (
            given.dtype.kind in "iu" and bool(np.isin(given, (0, 1)).all())
        ):
            raise ScheduleError(
                f"{label} has values of type {given.dtype}; "
                "expected true (compute) or false (reuse)."
            )
        n_cells = self.architecture.n_cells
        if given.ndim != 2 or given.shape[1] != n_cells or not 1 <= given.shape[0] <= MOST_STEPS:
            raise ScheduleError(
                f"{label} has the shape {given.shape}; expected 1 to {MOST_STEPS} steps of "
                f"{n_cells} cells for {self.architecture.describe()}."
            )
        rows = np.array(given, dtype=np.bool_, order="C", copy=True)
        if not rows[0].all():
            cell = self.architecture.cells[int(np.argmin(rows[0]))]
            raise ScheduleError(
                f"{label} reuses {cell} in row 0, but nothing has been computed yet; "
                "the first step must compute every cell."
            )
        rows.setflags(write=False)
        return rows

    def _check_payload(self) -> None:
        payload = self.info.get("payload", {})
        names = self.architecture.component_names
        if not isinstance(payload, Mapping):
            raise ScheduleError(
                f"{self.label} has a payload of type {type(payload).__name__}; "
                "expected an object of component: payload."
            )
        for component, kind in payload.items():
            if component not in names or kind not in PAYLOADS:
                raise ScheduleError(
                    f"{self.label} has the payload {str(component)[:60]!r}: {str(kind)[:60]!r}; "
                    f"expected a component ({', '.join(names)}) and one of {', '.join(PAYLOADS)}."
                )

    def _check_noise_levels(self) -> None:
        sampling = self.info.get("sampling")
        levels = sampling.get("sigmas") if isinstance(sampling, Mapping) else None
        if levels is None:
            return
        numbers = isinstance(levels, (list, tuple)) and all(
            isinstance(level, (int, float)) and not isinstance(level, bool) for level in levels
        )
        falling = numbers and all(a >= b >= 0 for a, b in itertools.pairwise(levels))
        if not falling or not 2 <= len(levels) <= MOST_STEPS + 1 or levels[0] == levels[-1]:
            raise ScheduleError(
                f"{self.label} has sampling.sigmas that are no noise levels; expected a list of 2 "
                f"to {MOST_STEPS + 1} falling numbers, or no such field."
            )

    @property
    def noise_levels(self) -> tuple[float, ...]:
        """The noise levels it was made on, falling, (n + 1,); empty when nothing says so.

        From `sampling.sigmas`; n differs from `steps` in a schedule resampled since.
        """
        sampling = self.info.get("sampling")
        levels = sampling.get("sigmas") if isinstance(sampling, Mapping) else None
        return () if levels is None else tuple(float(level) for level in levels)

    @property
    def label(self) -> str:
        """How an error message calls it."""
        return f"Schedule {self.name!r}" if self.name else "The schedule"

    @property
    def steps(self) -> int:
        return self.compute.shape[0]

    @property
    def computed_fraction(self) -> float:
        return int(np.count_nonzero(self.compute)) / self.compute.size

    @property
    def reused_fraction(self) -> float:
        return 1.0 - self.computed_fraction

    @property
    def payload(self) -> dict[str, str]:
        """Component -> payload of the components that do anything but plain reuse."""
        return {c: kind for c, kind in self.info.get("payload", {}).items() if kind != "reuse"}

    @cached_property
    def key(self) -> str:
        """16 hex digits, the same for all schedules that do the same, on every machine."""
        head = json.dumps(
            [
                self.architecture.family,
                list(self.architecture.counts.items()),
                self.steps,
                sorted(self.payload.items()),
                *filter(None, [self.architecture.fingerprint]),
            ],
            separators=(",", ":"),
        )
        digest = hashlib.sha256(head.encode("ascii"))
        digest.update(b"\n")
        digest.update(np.packbits(self.canonical().compute).tobytes())
        return digest.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Schedule) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return (
            f"Schedule({self.name!r}, {self.architecture.id}, {self.steps} steps, "
            f"{self.computed_fraction:.1%} computed, key {self.key})"
        )

    def canonical(self) -> Schedule:
        """The same behaviour written in one way: cells whose value changes nothing are reused.

        Two kinds exist, both in FLUX single blocks, where `proj_out` is a function of the stored
        `attn` and `proj_mlp` alone: a `proj_out` computed although neither input was computed since
        its last computation gives the stored value again; an `attn` or `proj_mlp` computed but
        computed again before `proj_out` next computes (or never read) is lost work. With a forecast
        payload stored values have a history, so nothing is merged.
        """
        if self.payload:
            return self
        rows = self.compute.copy()
        for group in self.architecture.groups:
            names = [component.name for component in group.components]
            for component in group.components:
                if not component.reads:
                    continue
                for block in range(group.count):
                    column = self.architecture.cell(group.name, block, component.name).index
                    start = column - names.index(component.name)
                    inputs = [start + names.index(name) for name in component.reads]
                    _drop_unread(rows, column, inputs)
        if np.array_equal(rows, self.compute):
            return self
        return replace(self, compute=rows)

    def resampled(self, steps: int) -> Schedule:
        """The schedule for another number of steps.

        Steps are matched by their position in the sampling: with T old and N new steps, new step i
        starts at old step floor(i*T/N).

        * N < T: new step i stands for the old steps from floor(i*T/N) up to the start of step i+1,
          and computes a cell if *any* of them computes it.
        * N > T: several new steps lie in one old step; a computed cell computes at the first of
          them and reuses at the others. A cell that computed at *every* old step computes at every
          new one, so an uncached schedule stays uncached.
        * Step 0 computes everything; N = T changes nothing.

        What was measured (`objectives`, the paper's metrics) does not hold for the new schedule and
        is left out of `info`, which gets `"resampled_from": T`.
        """
        if not is_whole(steps) or not 1 <= steps <= MOST_STEPS:
            raise ScheduleError(
                f"{self.label} cannot be resampled to {steps!r} steps; "
                f"expected a whole number from 1 to {MOST_STEPS}."
            )
        old = self.steps
        if steps == old:
            return self
        starts = np.arange(steps) * old // steps
        if steps < old:
            rows = np.logical_or.reduceat(self.compute, starts, axis=0)
        else:
            rows = self.compute[starts]
            later = np.flatnonzero(np.diff(starts) == 0) + 1
            rows[later] = self.compute.all(axis=0)
        rows[0] = True
        info = {name: value for name, value in self.info.items() if name != "objectives"}
        if isinstance(info.get("paper"), Mapping):
            info["paper"] = {
                name: value for name, value in info["paper"].items() if name != "metrics"
            }
        info["resampled_from"] = old
        return replace(self, compute=rows, info=info)

    def require_fit(self, architecture: Architecture) -> None:
        """Raise ModelMismatchError unless the schedule can run on `architecture`."""
        if not self.architecture.fits(architecture):
            raise ModelMismatchError(
                f"{self.label} is made for {self.architecture.describe()}, this model is "
                f"{architecture.describe()}; choose a schedule made for this model."
            )


def _drop_unread(rows: npt.NDArray[np.bool_], reader: int, inputs: list[int]) -> None:
    """Set False, in place, what `Schedule.canonical` calls the same value or lost work."""
    last_computed = dict.fromkeys(inputs, -1)
    unread: set[int] = set()  # inputs computed since the reader last computed
    for step in range(rows.shape[0]):
        for column in inputs:
            if rows[step, column]:
                if column in unread:
                    rows[last_computed[column], column] = False
                last_computed[column] = step
                unread.add(column)
        if rows[step, reader]:
            if unread:
                unread.clear()
            else:
                rows[step, reader] = False
    for column in unread:
        rows[last_computed[column], column] = False
