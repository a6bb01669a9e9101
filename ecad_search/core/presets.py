"""Schedules that need no search: the hand-made families of the paper and of older methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..errors import ScheduleError
from .architecture import Architecture, Component, is_whole
from .schedule import MOST_STEPS, Schedule

COMPARED_FORA = (2, 3, 4, 6)  # what a search shows beside its front


def uncached(architecture: Architecture, steps: int) -> Schedule:
    """Everything computes at every step."""
    return Schedule(architecture, _all_compute(architecture, steps), name=f"uncached-{steps}-steps")


def fora(architecture: Architecture, steps: int, every: int) -> Schedule:
    """Everything computes at steps 0, N, 2N, ... and reuses between (FORA, arXiv:2407.01425)."""
    rows = _all_compute(architecture, steps)
    rows[_between(steps, every)] = False
    return Schedule(architecture, rows, name=f"fora-{every}-{steps}-steps")


def fora_attention(architecture: Architecture, steps: int, every: int) -> Schedule:
    """Attention computes at steps 0, N, 2N, ...; everything else computes at every step."""
    rows = _all_compute(architecture, steps)
    rows[np.ix_(_between(steps, every), _columns(architecture, lambda c: c.is_attention))] = False
    return Schedule(architecture, rows, name=f"fora-attention-{every}-{steps}-steps")


def evenly_spaced(architecture: Architecture, steps: int, component: str, count: int) -> Schedule:
    """One component reuses at `count` evenly spread steps; the others always compute.

    `component` is a component name; in FLUX "attn" is the attention of both kinds of block.
    """
    if component not in architecture.component_names:
        raise ScheduleError(
            f"{architecture.describe()} has no component {component!r}; "
            f"expected one of {', '.join(architecture.component_names)}."
        )
    rows = _all_compute(architecture, steps)
    if not is_whole(count) or not 0 <= count < steps:
        raise ScheduleError(
            f"{component} cannot reuse at {count!r} of {steps} steps; expected 0 to {steps - 1}, "
            "since the first step computes everything."
        )
    # the middles of `count` equal parts of the steps after the first
    parts = np.arange(count)
    reusing = 1 + (2 * parts + 1) * (steps - 1) // max(1, 2 * count)
    rows[np.ix_(reusing, _columns(architecture, lambda c: c.name == component))] = False
    return Schedule(
        architecture, rows, name=f"evenly-{component.replace('_', '-')}-{count}-{steps}-steps"
    )


def tgate(
    architecture: Architecture,
    steps: int,
    gate_step: int,
    *,
    warmup: int = 2,
    interval_before: int = 1,
    interval_after: int = 1,
) -> Schedule:
    """Cross-attention reuses from `gate_step` on, after T-GATE (arXiv:2404.02747).

    T-GATE stores the mean of the conditional and unconditional cross-attention; here each stream
    plainly reuses its own. Self-attention computes at every `interval_before`-th step between the
    warm-up and the gate and at every `interval_after`-th step from the gate on; the defaults leave
    it alone.
    """
    if not any(component.name == "cross_attn" for component in architecture.cell_components):
        raise ScheduleError(
            f"T-GATE needs cross-attention, which {architecture.describe()} has not; "
            "choose another preset."
        )
    rows = _all_compute(architecture, steps)
    _require("gate_step", gate_step, 1, steps - 1)
    _require("warmup", warmup, 0, steps)
    _require("interval_before", interval_before, 1, MOST_STEPS)
    _require("interval_after", interval_after, 1, MOST_STEPS)
    cross = _columns(architecture, lambda c: c.name == "cross_attn")
    own = _columns(architecture, lambda c: c.name == "attn")
    rows[gate_step:, cross] = False
    for step in range(1, steps):
        if step >= gate_step:
            reuses = (step - gate_step) % interval_after != 0
        else:
            reuses = step >= warmup and (step - warmup) % interval_before != 0
        if reuses:
            rows[step, own] = False
    name = f"tgate-{gate_step}"
    if interval_before > 1 or interval_after > 1:
        name += f"-every-{interval_before}-{interval_after}"
    return Schedule(architecture, rows, name=f"{name}-{steps}-steps")


def _all_compute(architecture: Architecture, steps: int) -> npt.NDArray[np.bool_]:
    _require("steps", steps, 1, MOST_STEPS)
    return np.ones((steps, architecture.n_cells), dtype=np.bool_)


def _between(steps: int, every: int) -> npt.NDArray[np.intp]:
    _require("every", every, 1, MOST_STEPS)
    return np.flatnonzero(np.arange(steps) % every != 0)


def _columns(
    architecture: Architecture, wanted: Callable[[Component], bool]
) -> npt.NDArray[np.intp]:
    return np.flatnonzero([wanted(component) for component in architecture.cell_components])


def _require(name: str, value: int, lowest: int, largest: int) -> None:
    if not is_whole(value) or not lowest <= value <= largest:
        raise ScheduleError(
            f"A preset's {name} is {value!r}; expected a whole number from {lowest} to {largest}."
        )
