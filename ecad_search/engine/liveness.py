"""Which stored values a run will read again, and how many bytes holding them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..core.architecture import Architecture, Dimensions, Workload
from ..core.schedule import Schedule
from ..errors import ModelMismatchError


@dataclass(frozen=True, eq=False)
class Liveness:
    """The lifetime of stored values in a run whose rows are `compute`, (steps, n_cells).

    With `one_evaluation_per_step` a value goes at its last read. Samplers that may evaluate a step
    again hold it until the run leaves the step.
    """

    compute: npt.NDArray[np.bool_]
    one_evaluation_per_step: bool

    @cached_property
    def kept_after(self) -> npt.NDArray[np.bool_]:
        """(steps, n_cells): whether a value present in this step is held beyond its evaluation."""
        kept = np.zeros_like(self.compute)
        kept[:-1] = ~self.compute[1:]
        if not self.one_evaluation_per_step:
            kept |= ~self.compute
        return kept

    @cached_property
    def reused_cells(self) -> tuple[int, ...]:
        """The cells that reuse at least once; no other needs a shim."""
        return tuple(int(cell) for cell in np.flatnonzero(~self.compute.all(axis=0)))

    def peak_bytes(self, stream_bytes: Sequence[int], calls: Sequence[int] = (1,)) -> int:
        """The most bytes held at once.

        `stream_bytes` is what each cell's value takes for one stream, (n_cells,). `calls` is how
        many streams each model call of an evaluation carries: (2,) for a batched CFG pair, (1, 1)
        for two calls.
        """
        sizes = np.asarray(stream_bytes, dtype=np.int64)
        held = np.zeros((len(calls), len(sizes)), dtype=np.bool_)
        streams = np.asarray(calls, dtype=np.int64)
        peak = 0
        for row, kept in zip(self.compute, self.kept_after, strict=True):
            held &= ~row  # what this step computes anew was freed when the step began
            for call, n in enumerate(streams):
                before = int((streams * (held @ sizes)).sum())
                change = n * sizes * (kept.astype(np.int64) - held[call])
                peak = max(peak, before, before + int(np.cumsum(change).max(initial=0)))
                held[call] = kept
        return peak


def value_bytes(
    architecture: Architecture, dimensions: Dimensions, itemsize: int
) -> npt.NDArray[np.int64]:
    """Bytes of each cell's stored value, (n_cells,); `batch` is one stream's rows."""
    if architecture.family != "pixart":
        raise ModelMismatchError(
            f"Reusing components of {architecture.describe()} is not supported yet; "
            "load a PixArt model."
        )
    size = dimensions.batch * dimensions.image_tokens * dimensions.hidden * itemsize
    return np.full(architecture.n_cells, size, dtype=np.int64)


def predicted_bytes(
    schedule: Schedule, workload: Workload, *, itemsize: int = 2, calls: Sequence[int] = (1, 1)
) -> int:
    """The most bytes a run of this schedule will hold, before it starts, on a one-stage sampler.

    `workload.batch` counts the pictures; `calls` see `Liveness.peak_bytes`: a CFG pair in two calls
    is the usual case for PixArt, whose prompts are not padded.
    """
    dimensions = schedule.architecture.dimensions(workload)
    sizes = value_bytes(schedule.architecture, dimensions, itemsize)
    liveness = Liveness(schedule.canonical().compute, one_evaluation_per_step=True)
    return liveness.peak_bytes(sizes.tolist(), calls)
