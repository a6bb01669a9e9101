import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecad_search.architectures import EMOJI_PIXART, FLUX, PIXART, sized
from ecad_search.core import genome, presets
from ecad_search.core.schedule import Schedule
from ecad_search.errors import EcadError, ModelMismatchError, ScheduleError

TINY_PIXART = sized("pixart", {"blocks": 2}, hidden=16)
TINY_FLUX = sized("flux", {"double_blocks": 1, "single_blocks": 2}, hidden=16)


@st.composite
def schedules(draw, architectures=(TINY_PIXART, TINY_FLUX), most_steps=12):
    architecture = draw(st.sampled_from(architectures))
    steps = draw(st.integers(1, most_steps))
    rows = draw(arrays(np.bool_, (steps, architecture.n_cells)))
    rows[0] = True
    return Schedule(architecture, rows)


def values_read(schedule: Schedule) -> list[tuple[int, ...]]:
    """Which stored value each cell gives at each step, by simulation: the phenotype.

    A value is named by the step it was computed at; of a cell that reads others, by theirs.
    """
    architecture = schedule.architecture
    stored: dict[int, object] = {}
    seen = []
    for step, row in enumerate(schedule.compute):
        for cell, component in zip(architecture.cells, architecture.cell_components, strict=True):
            if row[cell.index]:
                inputs = (architecture.cell(cell.group, cell.block, n) for n in component.reads)
                stored[cell.index] = tuple(stored[i.index] for i in inputs) or step
        hidden = {  # what is only ever seen through the cell that reads it
            architecture.cell(cell.group, cell.block, name).index
            for cell, component in zip(
                architecture.cells, architecture.cell_components, strict=True
            )
            for name in component.reads
        }
        seen.append(tuple(stored[c.index] for c in architecture.cells if c.index not in hidden))
    return seen


def test_the_first_step_computes_everything():
    rows = np.ones((3, TINY_PIXART.n_cells), dtype=bool)
    rows[0, 4] = False
    with pytest.raises(ScheduleError, match=r"'x' reuses blocks\.1\.cross_attn in row 0"):
        Schedule(TINY_PIXART, rows, name="x")


@pytest.mark.parametrize(
    "rows",
    [
        np.ones((3, 5), dtype=bool),
        np.ones((0, 6), dtype=bool),
        np.ones(6, dtype=bool),
        np.full((2, 6), 2),
        np.full((2, 6), 0.5),
        np.full((2, 6), "true"),
        np.array(None),
    ],
)
def test_impossible_rows_are_errors(rows):
    with pytest.raises(ScheduleError):
        Schedule(TINY_PIXART, rows)


def test_rows_are_a_copy_that_cannot_be_written():
    rows = np.ones((2, 6), dtype=bool)
    schedule = Schedule(TINY_PIXART, rows)
    rows[1] = False
    assert schedule.compute.all()
    with pytest.raises(ValueError, match="read-only"):
        schedule.compute[1, 1] = False


def test_info_is_a_copy():
    info = {"sampling": {"cfg": 3}}
    schedule = Schedule(TINY_PIXART, np.ones((2, 6), dtype=bool), info=info)
    info["sampling"]["cfg"] = 4
    assert 3 == schedule.info["sampling"]["cfg"]
    assert schedule == copy.deepcopy(schedule)


def test_fractions_count_cells():
    schedule = presets.fora(PIXART, 20, 2)
    assert 0.5 == schedule.computed_fraction == schedule.reused_fraction
    assert 20 == schedule.steps


def test_equality_is_what_a_schedule_does():
    one = presets.fora(PIXART, 20, 2)
    other_name = Schedule(one.architecture, one.compute, name="other", info={"a": 1})
    other_width = Schedule(sized("pixart", {"blocks": 28}, hidden=48), one.compute)
    assert one == other_name == other_width
    assert 1 == len({one, other_name, other_width})
    assert one != presets.fora(PIXART, 20, 3)
    assert one != presets.fora(PIXART, 21, 2)
    assert one != presets.fora(EMOJI_PIXART, 20, 2)
    assert one != "fora"


def test_keys_never_change_between_versions():
    assert "95e83ecb6cc0bfe0" == presets.fora(PIXART, 20, 2).key
    assert "d04469f02efe64ec" == presets.fora(FLUX, 20, 3).key


def test_a_forecast_is_another_schedule_and_reuse_is_the_default():
    rows = presets.fora(TINY_PIXART, 6, 2).compute
    plain = Schedule(TINY_PIXART, rows)
    named = Schedule(TINY_PIXART, rows, info={"payload": {"attn": "reuse"}})
    forecast = Schedule(TINY_PIXART, rows, info={"payload": {"attn": "taylor1"}})
    assert plain == named
    assert plain != forecast
    assert {"attn": "taylor1"} == forecast.payload


@pytest.mark.parametrize("payload", [[], {"attn": "taylor9"}, {"head": "reuse"}, {"attn": []}, 3])
def test_an_unknown_payload_is_an_error(payload):
    with pytest.raises(ScheduleError, match="payload"):
        Schedule(TINY_PIXART, np.ones((2, 6), dtype=bool), info={"payload": payload})


def test_a_schedule_that_does_not_fit_names_both_sides():
    expected = (
        "Schedule 'fora-2-20-steps' is made for FLUX with 19 double blocks and 38 single blocks, "
        "this model is PixArt with 28 blocks; choose a schedule made for this model."
    )
    with pytest.raises(ModelMismatchError) as error:
        presets.fora(FLUX, 20, 2).require_fit(PIXART)
    assert expected == str(error.value)
    presets.fora(FLUX, 20, 2).require_fit(FLUX)


# --- canonical form


@given(schedules())
def test_the_canonical_form_is_stable_never_dearer_and_does_the_same(schedule):
    canonical = schedule.canonical()
    assert np.array_equal(canonical.compute, canonical.canonical().compute)
    assert not (canonical.compute & ~schedule.compute).any()
    assert canonical.key == schedule.key
    assert values_read(schedule) == values_read(canonical)


@given(st.data())
def test_equal_phenotypes_and_only_they_have_equal_keys(data):
    # two steps after the first, one single block: small enough to meet itself
    architecture = sized("flux", {"double_blocks": 0, "single_blocks": 1}, hidden=16)
    one, two = (
        genome.from_bits(architecture, 3, data.draw(arrays(np.bool_, (6,)))) for _ in range(2)
    )
    assert (values_read(one) == values_read(two)) == (one.key == two.key)


def test_computing_what_is_stored_already_is_reuse():
    rows = np.ones((3, TINY_FLUX.n_cells), dtype=bool)
    attn, mlp, out = (
        TINY_FLUX.cell("single_blocks", 1, name).index for name in ("attn", "proj_mlp", "proj_out")
    )
    rows[1, [attn, mlp]] = False  # proj_out of step 1 computes from the inputs of step 0 again
    rows[2, out] = False  # nobody reads attn and proj_mlp of step 2
    canonical = Schedule(TINY_FLUX, rows).canonical().compute
    assert not canonical[1:, [attn, mlp, out]].any()
    rows[:, [attn, mlp, out]] = canonical[:, [attn, mlp, out]]
    assert np.array_equal(rows, canonical)


def test_pixart_schedules_and_forecasts_are_canonical_as_they_are():
    rng = np.random.default_rng(0)
    rows = rng.random((20, PIXART.n_cells)) < 0.5
    rows[0] = True
    assert np.array_equal(rows, Schedule(PIXART, rows).canonical().compute)
    rows = rng.random((20, FLUX.n_cells)) < 0.5
    rows[0] = True
    assert not np.array_equal(rows, Schedule(FLUX, rows).canonical().compute)
    forecast = Schedule(FLUX, rows, info={"payload": {"attn": "taylor1"}})
    assert np.array_equal(rows, forecast.canonical().compute)


# --- other numbers of steps


@given(schedules(), st.integers(1, 40))
def test_resampling_keeps_its_laws(schedule, steps):
    new = schedule.resampled(steps)
    old = schedule.steps
    assert steps == new.steps
    assert new.compute[0].all()
    if steps == old:
        assert new is schedule
        return
    assert old == new.info["resampled_from"]
    starts = [i * old // steps for i in range(steps)] + [old]
    always = schedule.compute.all(axis=0)
    assert new.compute[:, always].all()
    for i in range(1, steps):
        covered = schedule.compute[starts[i] : max(starts[i + 1], starts[i] + 1)]
        if steps < old:
            expected = covered.any(axis=0)
        elif starts[i] != starts[i - 1]:
            expected = covered[0]
        else:
            expected = always
        assert expected.tolist() == new.compute[i].tolist()
    if steps > old:  # nothing that was to be computed is lost, and nothing is added
        kept = new.compute[:, ~always].sum(axis=0).tolist()
        assert schedule.compute[:, ~always].sum(axis=0).tolist() == kept


@given(schedules(), st.integers(2, 5))
def test_going_to_a_multiple_and_back_changes_nothing(schedule, times):
    assert schedule == schedule.resampled(schedule.steps * times).resampled(schedule.steps)


@pytest.mark.parametrize("steps", [1, 7, 20, 33, 100])
def test_an_uncached_schedule_stays_uncached(steps):
    assert presets.uncached(TINY_FLUX, steps) == presets.uncached(TINY_FLUX, 20).resampled(steps)


def test_what_was_measured_does_not_hold_for_other_steps():
    info = {
        "objectives": [{"name": "macs"}],
        "sampling": {"cfg": 3},
        "paper": {"metrics": {"total_macs": 1}, "config": {}},
    }
    schedule = Schedule(TINY_PIXART, np.ones((4, 6), dtype=bool), name="x", info=info)
    expected = {"sampling": {"cfg": 3}, "paper": {"config": {}}, "resampled_from": 4}
    assert expected == schedule.resampled(8).info
    assert "x" == schedule.resampled(8).name
    assert info == schedule.info


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, 10**9, "8", None])
def test_an_impossible_number_of_steps_is_an_error(steps):
    with pytest.raises(ScheduleError, match="resampled"):
        presets.uncached(TINY_PIXART, 3).resampled(steps)


# --- genomes


@given(schedules())
def test_a_genome_and_its_schedule_are_the_same(schedule):
    bits = genome.to_bits(schedule)
    assert (genome.n_bits(schedule.architecture, schedule.steps),) == bits.shape
    again = genome.from_bits(schedule.architecture, schedule.steps, bits)
    assert np.array_equal(schedule.compute, again.compute)


@settings(max_examples=30)
@given(arrays(np.bool_, (3 * TINY_FLUX.n_cells,)))
def test_every_bit_vector_is_a_schedule(bits):
    assert np.array_equal(bits, genome.to_bits(genome.from_bits(TINY_FLUX, 4, bits)))


def test_the_paper_s_genomes_lose_only_the_first_step():
    assert 1680 - 84 == genome.n_bits(PIXART, 20)
    assert 3420 - 171 == genome.n_bits(FLUX, 20)


@pytest.mark.parametrize(("steps", "bits"), [(3, [True]), (0, []), (2, [[True] * 6])])
def test_a_genome_of_the_wrong_length_is_an_error(steps, bits):
    with pytest.raises(EcadError, match="genome"):
        genome.from_bits(TINY_PIXART, steps, bits)


def test_a_schedule_may_know_its_noise_levels():
    levels = [9.0, 4, 4, 0]
    rows = np.ones((3, PIXART.n_cells), dtype=bool)
    schedule = Schedule(PIXART, rows, info={"sampling": {"sigmas": levels, "cfg": 3}})
    assert (9.0, 4.0, 4.0, 0.0) == schedule.noise_levels
    assert schedule.noise_levels == schedule.resampled(7).noise_levels
    assert () == Schedule(PIXART, rows).noise_levels
    assert () == Schedule(PIXART, rows, info={"sampling": {"cfg": 3}}).noise_levels
