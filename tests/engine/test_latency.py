"""What timing makes of rounds of a machine that is not always as fast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search.architectures import FLUX, PIXART
from ecad_search.core.latency import timed_rows
from ecad_search.engine.latency import (
    FEWEST_ROUNDS,
    IMAGES,
    MOST_ROUNDS,
    images_of,
    rounds_of,
    usual,
)


@given(
    true=st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=10),
    speeds=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=9),
)
@settings(deadline=None)
def test_rounds_of_another_speed_change_the_seconds_but_not_their_proportions(true, speeds):
    found = usual([[speed * seconds for seconds in true] for speed in speeds])
    assert np.divide(found, sum(found)) == pytest.approx(np.divide(true, sum(true)))
    assert sum(found) == pytest.approx(np.median(speeds) * sum(true))


def test_one_interruption_does_not_count():
    rounds = [[1.0, 2.0, 3.0] for _ in range(5)]
    rounds[2][1] = 50.0
    assert [1.0, 2.0, 3.0] == pytest.approx(usual(rounds))


@pytest.mark.parametrize("steps", [2, 4, 20, 50])
@pytest.mark.parametrize("architecture", [PIXART, FLUX])
def test_timing_takes_a_few_images_where_a_sampling_has_steps_enough(architecture, steps):
    rows = timed_rows(architecture)
    rounds = rounds_of(rows, steps)
    assert FEWEST_ROUNDS <= rounds <= MOST_ROUNDS
    if rounds > FEWEST_ROUNDS:
        assert images_of(rows, steps) <= 1 + IMAGES
