"""Every cell of a schedule is on its map."""

from __future__ import annotations

import pytest

from ecad_search.architectures import EMOJI_PIXART, FLUX, PIXART
from ecad_search.core import presets
from ecad_search.drawing.canvas import BLUE, GREEN, PURPLE
from ecad_search.drawing.schedule_map import REUSED, rows_of, schedule_map, title_of


def pixels(image, colour):
    return sum(
        count for count, found in image.getcolors(image.width * image.height) if found == colour
    )


@pytest.mark.parametrize("architecture", [EMOJI_PIXART, PIXART, FLUX], ids=lambda a: a.id)
def test_maps_of_all_architectures_have_the_asked_width(architecture, candidate):
    image = schedule_map(candidate(0.4, architecture, 28), width=900)
    assert 900 == image.width
    assert 300 < image.height < 1200


def test_computed_and_reused_cells_take_their_share_of_the_map():
    image = schedule_map(presets.fora(EMOJI_PIXART, 20, 2))
    computed = sum(pixels(image, colour) for colour in (BLUE, PURPLE, GREEN))
    assert 0.5 == pytest.approx(computed / (computed + pixels(image, REUSED)), abs=0.05)


def test_an_uncached_schedule_has_no_pale_cell_but_that_of_the_legend():
    image = schedule_map(presets.uncached(EMOJI_PIXART, 20))
    assert pixels(image, REUSED) < 15 * 15


def test_rows_of_a_panel_are_the_cells_of_one_component(candidate):
    schedule = candidate(0.3)
    group = schedule.architecture.groups[0]
    panel = rows_of(schedule, group, group.components[2])
    assert (20, group.count) == panel.shape
    cell = schedule.architecture.cell("blocks", 4, group.components[2].name)
    assert schedule.compute[:, cell.index].tolist() == panel[:, 4].tolist()


def test_a_forecast_payload_is_named_in_the_title(candidate):
    schedule = candidate(0.3, payload={"attn": "taylor1"})
    group = schedule.architecture.groups[0]
    assert "attn (taylor1)" == title_of(schedule, group, group.components[0])
    assert "mlp" == title_of(schedule, group, group.components[2])


@pytest.mark.parametrize("steps", [1, 2, 400])
def test_few_and_many_steps_can_be_drawn(steps):
    assert 640 == schedule_map(presets.uncached(EMOJI_PIXART, steps), width=640).width


def test_a_long_name_is_shortened(candidate):
    schedule = presets.uncached(EMOJI_PIXART, 20)
    long = type(schedule)(schedule.architecture, schedule.compute, "long-name-" * 15)
    assert 1024 == schedule_map(long).width
