"""What a schedule costs in seconds, told from a few evaluations that were timed.

The time of an evaluation is taken to be a sum: what no schedule can save (everything reused), what
it takes to enter a block in which anything computes (norms, modulations, which a block that reuses
everything goes without), and each computed component. Reusing a component takes time as well; it
is in the first part, so what stands for a component is what computing takes longer than reusing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ScheduleError
from .architecture import LARGEST_BATCH, Architecture, Workload, is_whole
from .cost import cell_macs

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
DIGITS = 6  # of a measured number; the rest is chance
LONGEST = 1e6  # seconds of one evaluation


class Kind(NamedTuple):
    """Components of a block group that only make sense together: all of them compute, or none.

    A component that feeds another one alone (in FLUX's single blocks) is of one kind with it.
    """

    group: str
    components: tuple[str, ...]


def kinds(architecture: Architecture) -> tuple[Kind, ...]:
    """In the order of the cells."""
    found: dict[tuple[str, int], list[str]] = {}
    for cell, reader in zip(architecture.cells, architecture.readers, strict=True):
        if cell.block == 0:
            found.setdefault((cell.group, reader), []).append(cell.component)
    return tuple(Kind(group, tuple(names)) for (group, _), names in found.items())


def timed_rows(architecture: Architecture) -> list[Bools]:
    """The evaluations to time, (n_cells,) each: nothing computes, everything does, each kind alone
    and all kinds but one."""
    nothing = np.zeros(architecture.n_cells, dtype=np.bool_)
    alone = [_cells_of(architecture, kind) for kind in kinds(architecture)]
    rows = [nothing, ~nothing, *alone, *(~cells for cells in alone)]
    return [row for i, row in enumerate(rows) if not any(np.array_equal(row, r) for r in rows[:i])]


def _cells_of(architecture: Architecture, kind: Kind) -> Bools:
    return np.array(
        [c.group == kind.group and c.component in kind.components for c in architecture.cells]
    )


@dataclass(frozen=True)
class Latency:
    """Seconds of a sampling of `pictures` pictures at a time on `device`.

    `step` is an evaluation that reuses everything, `blocks` what is added for a block of each group
    in which anything computes, `components` for each component (by group) that does. A step of the
    sampler makes `evaluations` of them.
    """

    step: float
    blocks: Mapping[str, float]
    components: Mapping[str, Mapping[str, float]]
    evaluations: float = 1.0
    pictures: int = 1
    device: str = ""

    def seconds_of(self, architecture: Architecture, compute: Bools) -> Floats:
        """(...,) seconds per picture of schedules (..., steps, n_cells)."""
        total = np.full(compute.shape[:-2], compute.shape[-2] * self.step)
        first = 0
        for group in architecture.groups:
            shape = (group.count, len(group.components))
            cells = compute[..., first : first + shape[0] * shape[1]]
            cells = cells.reshape(*compute.shape[:-1], *shape)
            first += shape[0] * shape[1]
            # One by one: the same bits on every machine, for one schedule and for many.
            for component, times in zip(
                group.components, np.moveaxis(cells.sum(axis=(-3, -2)), -1, 0), strict=True
            ):
                total = total + times * self.components[group.name][component.name]
            total = total + self.blocks[group.name] * cells.any(axis=-1).sum(axis=(-2, -1))
        return total * (self.evaluations / self.pictures)

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "blocks": dict(self.blocks),
            "components": {name: dict(of) for name, of in self.components.items()},
            "evaluations": self.evaluations,
            "pictures": self.pictures,
            "device": self.device,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Latency:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        latency = cls(
            step=_measured(document["step"]),
            blocks=_times(document["blocks"]),
            components={
                group: _times(of) for group, of in _mapping(document["components"]).items()
            },
            evaluations=_measured(document["evaluations"]),
            pictures=document["pictures"],
            device=str(document["device"]),
        )
        numbers = [latency.step, *latency.blocks.values()]
        numbers += [value for of in latency.components.values() for value in of.values()]
        if sum(numbers) <= 0 or latency.evaluations <= 0:
            raise ValueError("a latency must hold a time above 0")
        if not is_whole(latency.pictures) or not 1 <= latency.pictures <= LARGEST_BATCH:
            raise ValueError(f"a latency of {latency.pictures!r} pictures at a time")
        return latency


def _measured(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a latency has {value!r} in the place of a number")
    if not 0 <= value <= LONGEST:
        raise ValueError(f"a latency has {value!r}, expected 0 to {LONGEST:g}")
    return float(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a latency has a {type(value).__name__} in the place of an object")
    return value


def _times(value: Any) -> dict[str, float]:
    return {name: _measured(seconds) for name, seconds in _mapping(value).items()}


@dataclass(frozen=True, eq=False)
class TimeCost:
    """Seconds of schedules of `architecture`, and their share of the uncached run's."""

    architecture: Architecture
    steps: int
    latency: Latency

    def __post_init__(self) -> None:
        """KeyError where a group or component has no time, ValueError where nothing takes any."""
        if not self.uncached_seconds > 0:
            raise ValueError("a latency by which the uncached run takes no time")

    def seconds(self, compute: Bools) -> Floats:
        """(...,) per picture, of (..., steps, n_cells)."""
        return self.latency.seconds_of(self.architecture, compute)

    def shares(self, compute: Bools) -> Floats:
        """(...,) of (..., steps, n_cells), in (0, 1]."""
        return np.minimum(self.seconds(compute) / self.uncached_seconds, 1.0)

    @cached_property
    def uncached_seconds(self) -> float:
        rows = np.ones((self.steps, self.architecture.n_cells), dtype=np.bool_)
        return float(self.seconds(rows))


def fitted(
    architecture: Architecture,
    workload: Workload,
    rows: Sequence[Bools],
    seconds: npt.ArrayLike,
    *,
    evaluations: float = 1.0,
    pictures: int = 1,
    device: str = "",
) -> Latency:
    """The latency that explains evaluations of these rows, (n_cells,) each, best.

    No part may be negative: where reusing is no faster than computing, computing costs nothing.
    The components of one kind share its time in proportion to their MACs.
    """
    y = np.asarray(seconds, dtype=np.float64)
    if not np.isfinite(y).all() or not (y > 0).all() or len(y) != len(rows):
        raise ScheduleError(
            f"{len(rows)} evaluations were timed with the seconds {y.tolist()}; expected a "
            "positive number for each. Measure again."
        )
    found = kinds(architecture)
    # Where a group has one kind only, its blocks and its components cannot be told apart.
    groups = [g.name for g in architecture.groups if sum(k.group == g.name for k in found) > 1]
    columns = [np.ones(len(rows))]
    for name in groups:
        columns.append(np.array([_touched(architecture, name, row) for row in rows], dtype=float))
    for kind in found:
        cells = _cells_of(architecture, kind)
        width = len(kind.components)
        columns.append(np.array([np.count_nonzero(row & cells) / width for row in rows]))
    solution = _non_negative(np.column_stack(columns), y)
    blocks = {group.name: 0.0 for group in architecture.groups}
    blocks |= dict(zip(groups, solution[1:], strict=False))
    macs = cell_macs(architecture, workload)
    components: dict[str, dict[str, float]] = {group.name: {} for group in architecture.groups}
    for kind, value in zip(found, solution[1 + len(groups) :], strict=True):
        weights = [
            float(macs[architecture.cell(kind.group, 0, name).index]) for name in kind.components
        ]
        for name, weight in zip(kind.components, weights, strict=True):
            components[kind.group][name] = _rounded(value * weight / sum(weights))
    return Latency(
        step=_rounded(solution[0]),
        blocks={name: _rounded(value) for name, value in blocks.items()},
        components=components,
        evaluations=_rounded(evaluations),
        pictures=pictures,
        device=device,
    )


def _touched(architecture: Architecture, group: str, row: Bools) -> int:
    """In how many blocks of the group anything computes."""
    return len({c.block for c in architecture.cells if c.group == group and row[c.index]})


def _non_negative(a: Floats, y: Floats) -> Floats:
    """Least squares without negative numbers: the most negative one is left out, one by one."""
    solution = np.zeros(a.shape[1])
    free = list(range(a.shape[1]))
    while free:
        part = np.linalg.lstsq(a[:, free], y, rcond=None)[0]
        worst = int(np.argmin(part))
        if part[worst] >= 0:
            solution[free] = part
            break
        free.pop(worst)
    return solution


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
