"""A front and schedules to draw, the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from ecad_search.architectures import EMOJI_PIXART
from ecad_search.core import presets
from ecad_search.core.cost import relative_cost
from ecad_search.core.front import Front, FrontPoint
from ecad_search.core.schedule import Schedule


@pytest.fixture
def candidate():
    """Factory of a schedule that computes about a share of its cells."""

    def build(share, architecture=EMOJI_PIXART, steps=20, seed=0, **info):
        rows = np.random.default_rng(seed).random((steps, architecture.n_cells)) < share
        rows[0] = True
        return Schedule(architecture, rows, f"share-{share:g}", info)

    return build


@pytest.fixture
def front(candidate):
    """Nine schedules found, uncached, FORA 2, and a FORA 5 far below all of them."""
    workload = EMOJI_PIXART.native_workload()

    def point(schedule, quality, **more):
        cost = relative_cost(schedule, workload)
        return FrontPoint(schedule, cost, quality, 0.01, 24, **more)

    shares = [0.1 * i for i in range(1, 10)]
    found = [point(candidate(share), -0.1 * (1 - share) ** 2) for share in shares]
    references = [
        point(presets.uncached(EMOJI_PIXART, 20), 0.0, is_reference=True),
        point(presets.fora(EMOJI_PIXART, 20, 2), -0.08, is_reference=True),
        point(presets.fora(EMOJI_PIXART, 20, 5), -3.0, is_reference=True),
    ]
    return Front.of([*found, *references])
