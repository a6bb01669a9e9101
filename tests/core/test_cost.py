import json

import numpy as np
import pytest

from ecad_search.architectures import ALL, EMOJI_PIXART, FLUX, PIXART, sized
from ecad_search.core import presets, schedule_json
from ecad_search.core.architecture import Workload
from ecad_search.core.cost import (
    base_step_macs,
    cell_macs,
    relative_cost,
    schedule_macs,
    uncached_macs,
)
from ecad_search.core.schedule import Schedule
from ecad_search.errors import ScheduleError

PAPER = Workload(batch=2, width=256, height=256)


def test_pixart_macs_equal_the_sum_done_by_hand():
    # 256 image and 120 text tokens of width 1152, batch 2
    per_step = 2 * (
        256 * 2 * 2 * 4 * 1152  # patches in
        + 256 * 1152 + 1152 * 1152 + 6 * 1152 * 1152  # timestep, and its modulation
        + 120 * (4096 * 1152 + 1152 * 1152)  # caption
        + 256 * 1152 * 2 * 2 * 8  # patches out
    )  # fmt: skip
    block = 2 * (4 * 1152**2 * 256 + 2 * 1152**2 * (256 + 120) + 8 * 1152**2 * 256)
    assert 1_498_447_872 == per_step == base_step_macs(PIXART, PAPER)
    found = schedule_macs(presets.uncached(PIXART, 20), PAPER)
    assert 20 * (per_step + 28 * block) == found.linear
    assert 20 * 28 * (301_989_888 + 141_557_760) == found.attention
    assert 2_019_308_470_272 == schedule_macs(presets.fora(PIXART, 20, 3), PAPER).linear


def test_flux_macs_equal_the_sum_done_by_hand():
    # 256 image and 512 text tokens of width 3072, batch 2
    found = schedule_macs(presets.fora(FLUX, 20, 3), PAPER)
    assert 69_797_393_989_632 == found.linear
    assert 7 * 57 * 7_247_757_312 == found.attention
    assert 19_643_498_496 == base_step_macs(FLUX, PAPER)
    assert 22_663_397_376 == base_step_macs(FLUX, Workload(batch=2))
    double, single = cell_macs(FLUX, PAPER)[:3], cell_macs(FLUX, PAPER)[-3:]
    h = 3072
    assert [2 * 4 * h * h * 768 + 7_247_757_312, 2 * 8 * h * h * 256, 2 * 8 * h * h * 512] == (
        double.tolist()
    )
    assert [2 * 3 * h * h * 768 + 7_247_757_312, 2 * 4 * h * h * 768, 2 * 5 * h * h * 768] == (
        single.tolist()
    )


def test_emoji_macs_equal_the_sum_done_by_hand():
    # one row of 64 image and 16 text tokens of width 160
    h = 160
    base = 64 * 36 * h + 256 * h + h * h + 6 * h * h + 16 * (96 * h + h * h) + 64 * h * 36
    assert base == base_step_macs(EMOJI_PIXART, Workload(width=96, height=96))
    assert [4 * h * h * 64 + 2 * 64 * 64 * h, 2 * h * h * 80 + 2 * 64 * 16 * h, 8 * h * h * 64] == (
        cell_macs(EMOJI_PIXART, Workload(width=96, height=96))[:3].tolist()
    )


@pytest.mark.parametrize(
    "name",
    [
        "flux-256-fora-n3",
        "flux-256-ours-fast",
        "pixart-alpha-256-fora-n3",
        "pixart-alpha-256-ours-fast",
    ],
)
def test_macs_without_attention_equal_the_official_files_to_the_last_digit(reference, name):
    path = reference / f"{name}.json"
    stated = json.loads(path.read_text())["metrics"]
    schedule = schedule_json.load(path)
    assert stated["total_macs"] == schedule_macs(schedule, PAPER).linear
    base = base_step_macs(schedule.architecture, PAPER)
    for step, row in enumerate(schedule.compute):
        alone = Schedule(
            schedule.architecture, np.stack([np.ones_like(row), row]), name="one step of it"
        )
        first = schedule_macs(presets.uncached(schedule.architecture, 1), PAPER).linear
        by_hand = schedule_macs(alone, PAPER).linear - first
        assert stated["by_inference_step"][f"{step:03d}"]["macs"] == by_hand
        assert by_hand >= base


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.id)
def test_a_schedule_costs_its_base_and_its_computed_cells(architecture):
    rng = np.random.default_rng(3)
    rows = rng.random((7, architecture.n_cells)) < 0.4
    rows[0] = True
    schedule = Schedule(architecture, rows)
    workload = Workload(batch=3, width=320, height=192)
    expected = 7 * base_step_macs(architecture, workload)
    expected += int((rows * cell_macs(architecture, workload)).sum())
    assert expected == schedule_macs(schedule, workload).total


def test_relative_cost_is_one_uncached_and_less_otherwise():
    assert 1.0 == relative_cost(presets.uncached(FLUX, 4), Workload())
    assert 0.5 < relative_cost(presets.fora(FLUX, 4, 2), Workload()) < 0.51
    assert uncached_macs(FLUX, 4, PAPER) == schedule_macs(presets.uncached(FLUX, 4), PAPER)


def test_a_cell_too_dear_to_count_is_an_error():
    huge = sized("pixart", {"blocks": 1}, hidden=65_536, pixels_per_token=1)
    with pytest.raises(ScheduleError, match="more than can be counted"):
        cell_macs(huge, Workload(width=65_536, height=65_536))


def test_a_workload_of_numpy_numbers_does_not_overflow():
    side = np.int32(1024)
    workload = Workload(batch=np.int8(2), width=side, height=side)  # type: ignore[arg-type]
    assert Workload(batch=2) == workload
    assert base_step_macs(FLUX, Workload(batch=2)) == base_step_macs(FLUX, workload)
