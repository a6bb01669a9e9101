"""Which row of a schedule an evaluation of the model belongs to, by its noise level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.schedule import MOST_STEPS, Schedule

TOLERANCE = 1e-4  # relative; samplers nudge the first sigma and compute in float32 or float16
OFF_STEP = 0.02  # of a step: how far an end of a run may be from a step and still be it


class SigmaSteps:
    """The noise levels of one run, and the step each evaluation falls into.

    A step reaches from its own sigma down to the next one, so that the second evaluation of a
    two-stage sampler falls into the step whose interval it lies in. No equality test: repeated
    sigmas, nudged sigmas and sigmas of lower precision are all fine.
    """

    def __init__(self, sigmas: Sequence[float]):
        self.sigmas = np.asarray(sigmas, dtype=np.float64)  # (steps + 1,), as the sampler got them
        self.steps = max(len(self.sigmas) - 1, 0)
        # Inversion ("unsampling") runs from the picture to the noise.
        self.rising = self.steps > 0 and bool(self.sigmas[0] < self.sigmas[-1])

    def step(self, sigma: float) -> int:
        if self.steps == 0:
            return 0
        if self.rising:
            passed = np.count_nonzero(self.sigmas[1:] <= sigma + TOLERANCE * sigma)
        else:
            passed = np.count_nonzero(self.sigmas[1:] >= sigma - TOLERANCE * sigma)
        return min(int(passed), self.steps - 1)


def rows_of_run(
    schedule: Schedule, steps: int, span: tuple[float, float] = (0.0, 1.0)
) -> npt.NDArray[np.bool_]:
    """The rows for a run of `steps` steps, (steps, n_cells); the first computes everything.

    `span` is the part of the way from noise (0) to picture (1) that the run covers: img2img and
    `start_at_step` begin late, `end_at_step` stops early. A part that begins and ends with steps of
    the schedule, and has as many, gets these. Otherwise the schedule is resampled to the number of
    steps the whole way would have taken at this pace, and the run gets its part of it. A difference
    of one step is not acted on: schedulers differ by that much in where they start.
    """
    start, end = span
    schedule = schedule.canonical()
    own = _own_rows(schedule, steps, span)
    if own is not None:
        rows = schedule.compute[own].copy()
    else:
        whole = steps
        if end > start:
            whole = min(max(round(steps / (end - start)), steps), MOST_STEPS)
        if whole - steps < 2:
            whole = steps
        first = min(round(start * whole), whole - steps) if whole > steps else 0
        rows = schedule.resampled(whole).compute[first : first + steps].copy()
    rows[:1] = True
    return rows


def _own_rows(schedule: Schedule, steps: int, span: tuple[float, float]) -> slice | None:
    """The rows of the schedule that lie exactly between the two ends of `span`, if `steps` do."""
    ends = [share * schedule.steps for share in span]
    first, last = (round(end) for end in ends)
    off = max(abs(end - near) for end, near in zip(ends, (first, last), strict=True))
    return slice(first, last) if off < OFF_STEP and last - first == steps else None


def span_on(levels: Sequence[float], sigmas: Sequence[float]) -> tuple[float, float]:
    """The part of the way that a run over `sigmas` covers of one over `levels`, both falling.

    Each level of `levels` is one step further on the way; between two of them it is a straight
    line in sigma. What lies outside counts as an end.
    """
    way = np.linspace(0.0, 1.0, len(levels))
    rising = -np.asarray(levels, dtype=np.float64)
    start, end = np.interp([-sigmas[0], -sigmas[-1]], rising, way)
    return float(start), float(end)
