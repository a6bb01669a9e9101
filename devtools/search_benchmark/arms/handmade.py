"""What needs no search: every hand-made schedule of one family, scored in full."""

from __future__ import annotations

from ecad_search.core import presets

from ..meter import Meter


def fora(meter: Meter, seed: int) -> None:
    meter.scores(meter.uncached)
    for every in range(2, meter.steps + 1):
        meter.scores(presets.fora(meter.architecture, meter.steps, every))


def fewer_steps(meter: Meter, seed: int) -> None:
    """The uncached run of n steps for every n; its loss is to the uncached run of all steps."""
    meter.scores(meter.uncached)
    for steps in range(meter.steps - 1, 1, -1):
        meter.scores(presets.uncached(meter.architecture, steps))
