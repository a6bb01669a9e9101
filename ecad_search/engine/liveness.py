"""Which stored values a run will read again, and how many bytes holding them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..core.architecture import Architecture, Dimensions, Workload
from ..core.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Liveness:
    """The lifetime of stored values in a run whose rows are `compute`, (steps, n_cells).

    With `one_evaluation_per_step` a value goes at its last read. Samplers that may evaluate a step
    again hold it until the run leaves the step. `readers` is `Architecture.readers`: a value that
    another component reads is read when that one computes, any other whenever it is reused.
    """

    compute: npt.NDArray[np.bool_]
    one_evaluation_per_step: bool
    readers: tuple[int, ...] | None = None

    @cached_property
    def read(self) -> npt.NDArray[np.bool_]:
        """(steps, n_cells): whether a stored value is read in this step."""
        read = ~self.compute
        if self.readers is not None:
            readers = np.asarray(self.readers)
            inner = readers != np.arange(len(readers))
            read &= ~inner | self.compute[:, readers]
        return read

    @cached_property
    def kept_after(self) -> npt.NDArray[np.bool_]:
        """(steps, n_cells): whether a value present in this step is held beyond its evaluation."""
        kept = np.zeros_like(self.compute)
        for step in range(len(kept) - 2, -1, -1):
            later = ~self.compute[step + 1] & kept[step + 1]
            kept[step] = self.read[step + 1] | later
        if not self.one_evaluation_per_step:
            kept |= self.read
        return kept

    @cached_property
    def reused_cells(self) -> tuple[int, ...]:
        """The cells that reuse at least once; no other needs a shim."""
        return tuple(int(cell) for cell in np.flatnonzero(~self.compute.all(axis=0)))

    def peak_bytes(
        self,
        stream_bytes: npt.ArrayLike,
        calls: Sequence[int] = (1,),
        cells: Sequence[int] | None = None,
    ) -> int:
        """The most bytes held at once.

        `stream_bytes` is what each stored tensor takes for one stream, (parts,) or, where the texts
        of the calls differ, (calls, parts), in the order of storing; `cells` the cell each belongs
        to, without it there is one for each cell. `calls` is how many streams each model call of an
        evaluation carries: (2,) for a batched CFG pair, (1, 1) for two calls.
        """
        streams = np.asarray(calls, dtype=np.int64)[:, np.newaxis]
        sizes = streams * np.atleast_2d(np.asarray(stream_bytes, dtype=np.int64))
        owners = np.arange(sizes.shape[1]) if cells is None else np.asarray(cells, dtype=np.int64)
        held = np.zeros(sizes.shape, dtype=np.bool_)
        peak = 0
        for row, kept in zip(self.compute[:, owners], self.kept_after[:, owners], strict=True):
            held &= ~row  # what this step computes anew was freed when the step began
            for call in range(len(calls)):
                before = int(sizes[held].sum())
                after = kept & (row | held[call])
                change = sizes[call] * (after.astype(np.int64) - held[call])
                peak = max(peak, before, before + int(np.cumsum(change).max(initial=0)))
                held[call] = after
        return peak


@dataclass(frozen=True)
class StoredSizes:
    """Bytes of each stored tensor for one stream, in the order of storing, and its cell."""

    cells: tuple[int, ...]
    bytes: tuple[int, ...]


def stored_sizes(architecture: Architecture, dimensions: Dimensions, itemsize: int) -> StoredSizes:
    """`dimensions.batch` counts one stream's rows."""
    parts = architecture.stored_parts
    return StoredSizes(
        tuple(part.cell for part in parts),
        tuple(part.elements(dimensions) * itemsize for part in parts),
    )


def predicted_bytes(
    schedule: Schedule, workload: Workload, *, itemsize: int = 2, calls: Sequence[int] = (1, 1)
) -> int:
    """The most bytes a run of this schedule will hold, before it starts, on a one-stage sampler.

    `workload.batch` counts the pictures; `calls` see `Liveness.peak_bytes`: a CFG pair in two calls
    is the usual case for PixArt, whose prompts are not padded.
    """
    architecture = schedule.architecture
    sizes = stored_sizes(architecture, architecture.dimensions(workload), itemsize)
    rows = schedule.canonical().compute
    liveness = Liveness(rows, one_evaluation_per_step=True, readers=architecture.readers)
    return liveness.peak_bytes(sizes.bytes, calls, sizes.cells)


def peaks(
    compute: npt.NDArray[np.bool_],
    sizes: StoredSizes,
    *,
    streams: int,
    one_evaluation_per_step: bool,
    readers: Sequence[int],
) -> npt.NDArray[np.int64]:
    """(n,) `Liveness.peak_bytes` of many schedules, (n, steps, n_cells), in one call of `streams`.

    All at once, for a search that asks about thousands of them.
    """
    cells = np.asarray(sizes.cells)
    take = streams * np.asarray(sizes.bytes, dtype=np.int64)
    n, steps, n_cells = compute.shape
    inner = np.asarray(readers) != np.arange(n_cells)
    read = ~compute & (~inner | compute[:, :, np.asarray(readers)])
    kept = np.zeros_like(compute)
    for step in range(steps - 2, -1, -1):
        kept[:, step] = read[:, step + 1] | (~compute[:, step + 1] & kept[:, step + 1])
    if not one_evaluation_per_step:
        kept |= read
    held = np.zeros((n, len(cells)), dtype=np.bool_)
    peak = np.zeros(n, dtype=np.int64)
    for step in range(steps):
        row = compute[:, step][:, cells]
        held &= ~row
        before = held @ take
        after = kept[:, step][:, cells] & (row | held)
        change = take * (after.astype(np.int64) - held)
        rise = np.maximum(np.cumsum(change, axis=1).max(axis=1), 0)
        peak = np.maximum(peak, before + rise)
        held = after
    return peak
