"""A schedule as a bit vector: step-major, cells in canonical order, without the first step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ScheduleError
from .architecture import Architecture
from .schedule import Schedule


def n_bits(architecture: Architecture, steps: int) -> int:
    return (steps - 1) * architecture.n_cells


def to_bits(schedule: Schedule) -> npt.NDArray[np.bool_]:
    """(n_bits,) bool, a copy. Step 0 always computes, so it carries no information."""
    return schedule.compute[1:].reshape(-1).copy()


def from_bits(
    architecture: Architecture, steps: int, bits: npt.ArrayLike, *, name: str = ""
) -> Schedule:
    """The inverse of `to_bits`; every bit vector of the right length is a valid schedule."""
    given = np.asarray(bits)
    if steps < 1 or given.shape != (n_bits(architecture, steps),):
        raise ScheduleError(
            f"A genome has the shape {given.shape}; expected "
            f"{(steps - 1) * architecture.n_cells} bits for {steps} steps of "
            f"{architecture.describe()}."
        )
    rows = np.ones((steps, architecture.n_cells), dtype=np.bool_)
    rows[1:] = given.reshape(steps - 1, architecture.n_cells)
    return Schedule(architecture, rows, name=name)
