"""What is worth holding, and how much that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecad_search.architectures import FLUX, PIXART
from ecad_search.core import schedule_json
from ecad_search.core.architecture import Dimensions, Workload
from ecad_search.core.presets import fora
from ecad_search.core.schedule import Schedule
from ecad_search.engine.liveness import Liveness, peaks, predicted_bytes, stored_sizes

GIB = 1024**3
OFFICIAL = (
    Path(__file__).resolve().parents[3] / "shared/reference/ecad-schedules/flux-256-ours-fast.json"
)


def peak_by_playing_it_through(rows, sizes, calls, one_evaluation):
    """Holds real entries in a dict and adds them up after every event."""
    held, peak = {}, 0
    for step, row in enumerate(rows):
        later = rows[step + 1] if step + 1 < len(rows) else np.ones_like(row)
        held = {key: size for key, size in held.items() if not row[key[2]]}
        for call, streams in enumerate(calls):
            for cell, compute in enumerate(row):
                worth = not later[cell] or (not one_evaluation and not compute)
                for stream in range(streams):
                    key = (call, stream, cell)
                    if compute:
                        held.pop(key, None)
                        if worth:
                            held[key] = sizes[cell]
                    else:
                        assert key in held, "reused without being held"
                        if not worth:
                            del held[key]
                peak = max(peak, sum(held.values()))
    return peak


@pytest.mark.parametrize("calls", [(1,), (2,), (1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("one_evaluation", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_the_predicted_peak_is_what_playing_the_run_through_gives(seed, one_evaluation, calls):
    rng = np.random.default_rng(seed)
    rows = rng.random((int(rng.integers(1, 9)), 7)) < rng.uniform(0.1, 0.9)
    rows[0] = True
    sizes = rng.integers(1, 100, 7)
    liveness = Liveness(rows, one_evaluation)
    expected = peak_by_playing_it_through(rows, sizes, calls, one_evaluation)
    assert expected == liveness.peak_bytes(sizes.tolist(), calls)


def test_a_schedule_that_computes_everything_holds_nothing():
    liveness = Liveness(np.ones((5, 4), dtype=bool), True)
    assert () == liveness.reused_cells
    assert 0 == liveness.peak_bytes([10] * 4, (2,))


def test_a_value_is_held_until_its_last_read():
    rows = np.array([[1, 1], [0, 1], [0, 1], [1, 1], [0, 1]], dtype=bool)
    liveness = Liveness(rows, True)
    assert [1, 1, 0, 1, 0] == liveness.kept_after[:, 0].astype(int).tolist()
    assert not liveness.kept_after[:, 1].any()
    assert (0,) == liveness.reused_cells


def test_pixart_at_1024_px_holds_at_most_three_quarters_of_a_gib():
    """28 blocks x 3 components x 4096 tokens x 1152 x bf16, for one stream."""
    sizes = stored_sizes(PIXART, Dimensions(1152, 1, 4096, 120), 2)
    rows = np.zeros((20, PIXART.n_cells), dtype=bool)
    rows[0] = True
    expected = 28 * 3 * 4096 * 1152 * 2
    assert expected == Liveness(rows, True).peak_bytes(sizes.bytes)
    schedule, picture = Schedule(PIXART, rows), Workload(width=1024, height=1024)
    assert expected == predicted_bytes(schedule, picture, calls=(1,))
    assert 2 * expected == predicted_bytes(schedule, picture)
    assert 4 * expected == predicted_bytes(schedule, Workload(batch=2, width=1024, height=1024))


def test_flux_at_1024_px_holds_two_of_the_seven_gib_that_its_components_take():
    """The halves of a single block's last layer are read only where that layer computes alone."""
    sizes = stored_sizes(FLUX, FLUX.dimensions(Workload()), 2)
    assert 7.01 == round(sum(sizes.bytes) / GIB, 2)
    assert 2.00 == round(predicted_bytes(fora(FLUX, 20, 3), Workload(), calls=(1,)) / GIB, 2)


def test_a_searched_flux_schedule_holds_at_most_2_1_gib_for_a_prompt():
    if not OFFICIAL.is_file():
        pytest.skip("needs the official schedules in ../shared/reference/ecad-schedules")
    schedule = schedule_json.load(OFFICIAL)
    assert 2.06 == round(predicted_bytes(schedule, Workload(), calls=(1,)) / GIB, 2)


@given(
    seed=st.integers(0, 2**32 - 1),
    once=st.booleans(),
    streams=st.integers(1, 3),
    architecture=st.sampled_from((PIXART, FLUX)),
)
@settings(max_examples=25, deadline=None)
def test_the_peaks_of_many_schedules_are_those_of_each(seed, once, streams, architecture):
    rng = np.random.default_rng(seed)
    compute = rng.random((3, 7, architecture.n_cells)) < rng.random((3, 1, 1))
    compute[:, 0] = True
    dimensions = architecture.dimensions(architecture.native_workload())
    sizes = stored_sizes(architecture, dimensions, 2)
    found = peaks(
        compute,
        sizes,
        streams=streams,
        one_evaluation_per_step=once,
        readers=architecture.readers,
    )
    assert [
        Liveness(rows, once, architecture.readers).peak_bytes(sizes.bytes, (streams,), sizes.cells)
        for rows in compute
    ] == found.tolist()
