import numpy as np
import pytest

from ecad_search.architectures import FLUX, PIXART, sized
from ecad_search.core import presets
from ecad_search.errors import ScheduleError


def column(architecture, component):
    return [cell.index for cell in architecture.cells if cell.component == component]


def steps_that_compute(schedule, component):
    """Steps at which all cells of a component compute; every other step must reuse all of them."""
    rows = schedule.compute[:, column(schedule.architecture, component)]
    assert (rows.all(axis=1) == rows.any(axis=1)).all()
    return np.flatnonzero(rows.all(axis=1)).tolist()


def test_uncached_computes_everything():
    assert presets.uncached(FLUX, 5).compute.all()
    assert "uncached-5-steps" == presets.uncached(FLUX, 5).name


@pytest.mark.parametrize("every", [1, 2, 3, 7, 50])
def test_fora_computes_every_nth_step(every):
    schedule = presets.fora(PIXART, 20, every)
    for component in ("attn", "cross_attn", "mlp"):
        assert list(range(0, 20, every)) == steps_that_compute(schedule, component)
    assert f"fora-{every}-20-steps" == schedule.name


def test_attention_fora_leaves_the_rest_computing():
    schedule = presets.fora_attention(PIXART, 10, 4)
    assert [0, 4, 8] == steps_that_compute(schedule, "attn")
    assert [0, 4, 8] == steps_that_compute(schedule, "cross_attn")
    assert list(range(10)) == steps_that_compute(schedule, "mlp")
    flux = presets.fora_attention(FLUX, 10, 4)
    assert [0, 4, 8] == steps_that_compute(flux, "attn")
    for component in ("img_mlp", "txt_mlp", "proj_mlp", "proj_out"):
        assert list(range(10)) == steps_that_compute(flux, component)


@pytest.mark.parametrize("count", range(20))
def test_evenly_spaced_reuses_one_component_that_many_times(count):
    schedule = presets.evenly_spaced(PIXART, 20, "mlp", count)
    computing = steps_that_compute(schedule, "mlp")
    assert 20 - count == len(computing)
    assert list(range(20)) == steps_that_compute(schedule, "attn")
    reusing = sorted(set(range(20)) - set(computing))
    gaps = np.diff(reusing)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_evenly_spaced_schedules_are_all_different():
    made = {
        presets.evenly_spaced(PIXART, 20, component, count)
        for component in ("attn", "cross_attn", "mlp")
        for count in range(1, 20)
    }
    assert 3 * 19 == len(made)


def test_tgate_reuses_cross_attention_from_the_gate_on():
    schedule = presets.tgate(PIXART, 20, 10)
    assert list(range(10)) == steps_that_compute(schedule, "cross_attn")
    assert list(range(20)) == steps_that_compute(schedule, "attn")
    assert list(range(20)) == steps_that_compute(schedule, "mlp")
    assert "tgate-10-20-steps" == schedule.name


def test_tgate_can_thin_out_self_attention():
    schedule = presets.tgate(PIXART, 20, 10, warmup=2, interval_before=3, interval_after=5)
    assert [0, 1, 2, 5, 8, 10, 15] == steps_that_compute(schedule, "attn")
    assert "tgate-10-every-3-5-20-steps" == schedule.name


def test_tgate_without_cross_attention_is_an_error():
    with pytest.raises(ScheduleError, match="cross-attention"):
        presets.tgate(FLUX, 20, 10)


TINY = sized("pixart", {"blocks": 1}, hidden=16)


@pytest.mark.parametrize(
    "make",
    [
        lambda: presets.uncached(TINY, 0),
        lambda: presets.uncached(TINY, 10**6),
        lambda: presets.fora(TINY, 5, 0),
        lambda: presets.fora(TINY, 5, 1.5),
        lambda: presets.fora_attention(TINY, 5, -1),
        lambda: presets.evenly_spaced(TINY, 5, "mlp", 5),
        lambda: presets.evenly_spaced(TINY, 5, "head", 1),
        lambda: presets.tgate(TINY, 5, 0),
        lambda: presets.tgate(TINY, 5, 5),
        lambda: presets.tgate(TINY, 5, 2, interval_before=0),
    ],
)
def test_impossible_settings_are_errors(make):
    with pytest.raises(ScheduleError):
        make()


def test_numbers_of_numpy_are_numbers():
    assert presets.fora(TINY, 6, 2) == presets.fora(TINY, np.int64(6), np.int64(2))  # type: ignore[arg-type]
    assert "fora-2-6-steps" == presets.fora(TINY, np.int64(6), np.int64(2)).name  # type: ignore[arg-type]


def test_every_preset_computes_its_first_step_for_every_small_size():
    for steps in (1, 2, 3):
        assert steps == presets.fora(TINY, steps, 2).steps
        assert steps == presets.fora_attention(TINY, steps, 2).steps
        assert steps == presets.evenly_spaced(TINY, steps, "attn", steps - 1).steps
