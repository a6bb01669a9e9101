"""One sampling without any host: real torch modules behind the shims, calls made by hand."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch
from torch import nn

from ecad_search.architectures import sized
from ecad_search.core.architecture import Dimensions
from ecad_search.core.schedule import Schedule
from ecad_search.engine.cache_place import BesideModel
from ecad_search.engine.rounds import Stream
from ecad_search.engine.run import Run
from ecad_search.engine.shims import shimmed
from ecad_search.errors import ModelMismatchError, ScheduleError

ARCHITECTURE = sized("pixart", {"blocks": 1}, hidden=4)
SIGMAS = [float(sigma) for sigma in range(8, -1, -1)]  # step i is at sigma 8 - i
LETTERS = "amc"


class Counter(nn.Module):
    """Gives its input plus the number of times it has computed: a reader sees which value came."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + self.calls


def model():
    block = nn.Module()
    block.attn, block.cross_attn, block.mlp = Counter(), Counter(), Counter()
    transformer = nn.Module()
    transformer.blocks = nn.ModuleList([block])
    return transformer


def run_of(*reusing_steps, steps=8, **options):
    """All three cells reuse at `reusing_steps`."""
    rows = np.ones((steps, 3), dtype=bool)
    rows[list(reusing_steps)] = False
    options.setdefault("one_evaluation_per_step", True)
    schedule = Schedule(ARCHITECTURE, rows, name="by hand")
    return Run(schedule, ARCHITECTURE, sigmas=SIGMAS, itemsize=4, **options)


def call(run, transformer, streams="c", x=None):
    """One model call; returns the output of `attn`, one number per stream."""
    x = torch.zeros(len(streams), 5, 4) if x is None else x
    with run.model_call(streams, Dimensions(4, x.shape[0], x.shape[1], 3)):
        block = transformer.blocks[0]
        value = block.attn(x)
        block.cross_attn(x)
        block.mlp(x)
    return [] if value.is_meta else value[:, 0, 0].tolist()


def shims(run, transformer):
    return shimmed(run, transformer)


def test_values_are_expected_on_the_device_of_their_call():
    """Several GPUs sample side by side, each with streams of its own."""
    place, transformer = BesideModel(), model()
    expected: list[tuple[int, str]] = []
    place.expect = lambda held, device: expected.append((len(list(held)), device.type))
    run = run_of(1, place=place)
    with shims(run, transformer):
        for sigma in SIGMAS[:2]:
            with run.evaluation(sigma, torch.device("cpu")):
                for stream, device in ("a", "cpu"), ("b", "meta"):
                    x = torch.zeros(1, 5, 4, device=device)
                    with run.model_call(stream, Dimensions(4, 1, 5, 3), device=x.device):
                        transformer.blocks[0].attn(x)
    assert [(0, "cpu"), (0, "meta"), (1, "cpu"), (1, "meta")] == expected


def test_a_reused_step_gives_the_last_computed_value():
    run, transformer, seen = run_of(1, 2, 4), model(), []
    with shims(run, transformer):
        for sigma in SIGMAS[:-1]:
            with run.evaluation(sigma):
                seen += call(run, transformer)
    assert [1, 1, 1, 2, 2, 3, 4, 5] == seen
    report = run.report(1.0, finished=True)
    assert (15, 9, 0) == (report.cells_computed, report.cells_reused, report.cells_forced)
    assert run.predicted_bytes() == report.peak_bytes == 3 * 5 * 4 * 4
    assert 0 == run.store.bytes


def test_reused_values_are_copies():
    run, transformer = run_of(1, 2), model()
    with shims(run, transformer):
        for sigma in SIGMAS[:3]:
            with run.evaluation(sigma), run.model_call("c", Dimensions(4, 1, 5, 3)):
                value = transformer.blocks[0].attn(torch.zeros(1, 5, 4))
                assert 1 == value[0, 0, 0]
                value.fill_(9.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: torch.cat([x, x], dim=1),
        lambda x: torch.cat([x, x]),
        lambda x: x.to("meta"),
    ],
    ids=["dtype", "tokens", "batch", "device"],
)
def test_another_kind_of_input_forces_computing(change):
    """T19, T22: shape, dtype or device of the input changed since the value was stored."""
    run, transformer = run_of(1, 2), model()
    x = torch.zeros(1, 5, 4)
    with shims(run, transformer):
        for sigma, x_now in zip(SIGMAS, (x, x, change(x)), strict=False):
            with run.evaluation(sigma):
                call(run, transformer, x=x_now)
    report = run.report(1.0, finished=True)
    assert (6, 3, 3) == (report.cells_computed, report.cells_reused, report.cells_forced)


def test_streams_keep_apart_however_they_are_batched():
    """T4, T5."""
    run, transformer, seen = run_of(1, 2, 3), model(), []
    with shims(run, transformer):
        for sigma, calls in zip(SIGMAS, (["u", "c"], ["uc"], ["cu"], ["c", "u"]), strict=False):
            with run.evaluation(sigma):
                seen.append([call(run, transformer, streams) for streams in calls])
    assert [[[1], [2]], [[1, 2]], [[2, 1]], [[2], [1]]] == seen


def test_a_batch_computes_when_one_of_its_streams_must():
    run, transformer = run_of(1, 2, 3), model()
    with shims(run, transformer):
        for sigma, streams in zip(SIGMAS, ("c", "c", "uc", "uc"), strict=False):
            with run.evaluation(sigma):
                last = call(run, transformer, streams)
    assert [2, 2] == last
    assert 3 == run.report(1.0, finished=True).cells_forced


def test_a_further_round_of_an_evaluation_neither_reads_nor_writes():
    """T6."""
    run, transformer, seen = run_of(1), model(), []
    with shims(run, transformer):
        for sigma in SIGMAS[:2]:
            with run.evaluation(sigma):
                for _ in range(2):
                    with run.round((1, 4, 8, 8)):
                        seen += call(run, transformer)
                seen += call(run, transformer, "xx")[:1] + call(run, transformer, "")
    assert [1, 2, 3, 1, 5, 6] == seen
    assert 6 == run.report(1.0, finished=True).bypassed_calls


def test_the_negative_of_an_area_is_a_stream_of_its_own():
    """T6: the host makes it with the uuid of the positive; here in one call, then in two."""
    positive, negative = Stream("area", 0), Stream("area", 1)
    run, transformer, seen = run_of(1, 2), model(), []
    with shims(run, transformer):
        for step, calls in enumerate(
            ([[negative, positive]], [[positive], [negative]], [[positive]])
        ):
            with run.evaluation(SIGMAS[step]):
                with run.round((1, 4, 8, 8)):
                    seen += [call(run, transformer, streams) for streams in calls]
                with run.round((1, 4, 8, 8)):  # a guider gives it as its only prediction
                    seen += [call(run, transformer, [Stream("area", 0)])]
    assert [[1, 1], [2], [1], [1], [3], [1], [4]] == seen
    report = run.report(1.0, finished=True)
    assert (3, ()) == (report.bypassed_calls, report.messages)


def test_tiles_are_left_uncached_and_told():
    """T6: the same stream twice in a round; nobody knows which tile comes first in a later step."""
    run, transformer, seen = run_of(1, 2), model(), []
    with shims(run, transformer):
        for sigma in SIGMAS[:3]:
            with run.evaluation(sigma), run.round((1, 4, 8, 8)):
                seen += call(run, transformer, "c") + call(run, transformer, "c")
                seen += call(run, transformer, "u")
            assert 0 == len(run.store.held("c"))
    assert [1, 2, 3, 4, 5, 3, 6, 7, 3] == seen
    assert ["5 model calls were for parts"] == [
        message[:28] for message in run.report(1.0, finished=True).messages
    ]


def test_a_part_of_the_picture_has_no_values_unless_it_says_where_it_lies():
    """T6: rounds, evaluations and calls of another size than the run's."""
    whole, half = (2, 4, 8, 8), (2, 4, 8, 4)
    run, transformer, seen = run_of(1, shape=whole), model(), []
    x = torch.zeros(2, 5, 4)
    size = Dimensions(4, 2, 5, 3)

    def once(stream, shape):
        with run.model_call([stream], size, shape=shape) as made:
            transformer.blocks[0].attn(x)
            seen.append(made is not None)

    with shims(run, transformer):
        for sigma in SIGMAS[:2]:
            with run.evaluation(sigma, shape=whole):
                with run.round(whole):
                    once("a", whole)
                    once("area", half)
                    once("one picture", (1, 4, 8, 8))
                with run.round(half):
                    once("tile", half)
                for part in ("left", "right"):
                    with run.round(half, part):
                        once("film", half)
            with run.evaluation(sigma, shape=half), run.round(half):
                once("sampler's own size", half)
    assert [True, True, False, False, True, True, False] * 2 == seen
    report = run.report(1.0, finished=True)
    assert (4, 6) == (report.cells_reused, report.bypassed_calls)


def test_windows_that_moved_on_are_freed():
    """T6: a window is a stream of its own, which is not waited for."""
    run, transformer, seen = run_of(1, 2), model(), []
    with shims(run, transformer):
        for step, parts in enumerate((("left", "right"), ("left", "middle"), ("left", "middle"))):
            with run.evaluation(SIGMAS[step], shape=(1, 4, 8, 8)):
                for part in parts:
                    with run.round((1, 4, 8, 6), part):
                        seen += call(run, transformer)
            streams = {stream.part for stream in run._last_rows}
            assert set(parts) == streams
    assert [1, 2, 1, 3, 1, 3] == seen


def test_another_network_or_shape_does_not_get_a_streams_values():
    """T18: patches that replace blocks for some of the steps make it another model."""
    run, transformer, seen = run_of(1, 2, 3, 4), model(), []
    kinds = [((4, 8, 8), 1), ((4, 8, 8), 1), ((4, 8, 8), 2), ((4, 16, 4), 2), ((4, 16, 4), 2)]
    with shims(run, transformer):
        for step, (shape, network) in enumerate(kinds):
            x = torch.zeros(1, 5, 4)
            with (
                run.evaluation(SIGMAS[step]),
                run.model_call(["c"], Dimensions(4, 1, 5, 3), shape=(1, *shape), network=network),
            ):
                seen.append(float(transformer.blocks[0].attn(x).flatten()[0]))
    assert [1, 1, 2, 3, 3] == seen


def test_a_step_missed_by_a_stream_is_made_up_for():
    """T7: step 2 computes; a stream away from 1 to 3 computes at 4, one that was there reuses."""
    run, transformer, seen = run_of(1, 3, 4, 5), model(), []
    with shims(run, transformer):
        for step in range(6):
            with run.evaluation(SIGMAS[step]):
                call(run, transformer, "c")
                if step in (0, 4, 5):
                    seen += call(run, transformer, "u")
    assert [2, 4, 4] == seen


def test_what_a_stream_that_is_away_will_not_read_is_freed():
    run, transformer = run_of(1, 3), model()
    with shims(run, transformer):
        for step, streams in enumerate(("uc", "c", "c")):
            with run.evaluation(SIGMAS[step]):
                held = run.store.held("u")
                call(run, transformer, streams)
    assert () == held
    assert (0, 1, 2) == run.store.held("c")


def test_a_step_evaluated_twice_follows_its_row_twice():
    """T8."""
    run, transformer = run_of(1, one_evaluation_per_step=False), model()
    seen = []
    with shims(run, transformer):
        for sigma in (8.0, 7.5, 7.0, 6.5, 6.0, 5.5):
            with run.evaluation(sigma):
                seen += call(run, transformer)
    assert [1, 2, 2, 2, 3, 4] == seen
    report = run.report(1.0, finished=True)
    assert 0 == report.cells_forced
    assert report.predicted_bytes == report.peak_bytes


def test_going_back_in_noise_turns_the_run_careful_and_says_so():
    run, transformer, seen = run_of(1, 2, 3, 4, 5), model(), []
    with shims(run, transformer):
        for sigma in (8.0, 7.0, 6.0, 7.0, 7.0, 6.0, 5.0):
            with run.evaluation(sigma):
                seen += call(run, transformer)
    assert [1, 1, 1, 2, 2, 3, 4] == seen
    assert "does not go through the steps in order" in run.report(1.0, finished=True).messages[0]


def test_an_error_in_a_call_forgets_its_streams_and_frees_the_slot():
    """T12."""
    run, transformer = run_of(1, 2, 3), model()
    with shims(run, transformer):
        with run.evaluation(8.0):
            call(run, transformer)
        with pytest.raises(KeyboardInterrupt), run.evaluation(7.0):
            with run.model_call("c", Dimensions(4, 1, 5, 3)):
                raise KeyboardInterrupt
        assert run.current_call is None
        assert 0 == run.store.bytes
        with run.evaluation(6.0):
            assert [2] == call(run, transformer)
    assert not any("forward" in module.__dict__ for module in transformer.modules())


def test_shims_leave_with_an_error_and_put_back_what_was_there():
    """T12, T18."""
    run, transformer = run_of(1), model()

    def theirs(x):
        return x

    transformer.blocks[0].mlp.forward = theirs
    with pytest.raises(KeyboardInterrupt), shims(run, transformer):
        assert transformer.blocks[0].mlp.forward is not theirs
        raise KeyboardInterrupt
    assert transformer.blocks[0].mlp.__dict__["forward"] is theirs
    assert "forward" not in transformer.blocks[0].attn.__dict__


def test_calls_in_another_thread_see_no_call_of_this_one():
    """T28."""
    run, seen = run_of(1), []
    with run.evaluation(8.0), run.model_call("c", Dimensions(4, 1, 5, 3)):
        thread = threading.Thread(target=lambda: seen.append(run.current_call))
        thread.start()
        thread.join()
        assert run.current_call is not None
    assert [None] == seen


def test_a_closed_run_holds_no_tensor():
    """T11."""
    run, transformer = run_of(1, 2), model()
    with shims(run, transformer):
        with run.evaluation(8.0):
            call(run, transformer, x=torch.zeros(1, 77, 4))
        assert 3 * 77 * 4 * 4 == run.store.bytes
    run.close()
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is torch.Tensor and 77 in o.shape]
    assert [] == alive and 0 == run.store.bytes


def test_macs_tell_the_speedup():
    run, transformer = run_of(1, 2, 3, 4, 5, 6, 7), model()
    with shims(run, transformer):
        for sigma in SIGMAS[:-1]:
            with run.evaluation(sigma):
                call(run, transformer)
    d = Dimensions(4, 1, 5, 3)
    cells = sum(c.macs(d) + c.attention_macs(d) for c in ARCHITECTURE.cell_components)
    base = ARCHITECTURE.base_macs(d)
    expected = 8 * (base + cells) / (8 * base + cells)
    assert expected == pytest.approx(run.report(1.0, finished=True).predicted_speedup)


def test_a_report_is_one_line():
    run = run_of(1, irregular="dpm_fast")
    line = run.report(2.5, finished=False).line()
    assert line.startswith("by hand: reused 0% of the cells in 0 evaluations (8 steps)")
    assert "Dpm_fast does not" in line and "stopped" in line and "\n" not in line


def test_schedules_the_engine_cannot_run_are_refused():
    rows = np.ones((2, 3), dtype=bool)
    forecast = Schedule(ARCHITECTURE, rows, info={"payload": {"mlp": "taylor1"}})
    with pytest.raises(ScheduleError, match="forecast payload"):
        Run(forecast, ARCHITECTURE, sigmas=SIGMAS, itemsize=4)
    other = sized("pixart", {"blocks": 2}, hidden=4)
    with pytest.raises(ModelMismatchError, match="2 blocks"):
        Run(Schedule(ARCHITECTURE, rows), other, sigmas=SIGMAS, itemsize=4)


def test_a_component_that_is_no_module_is_refused():
    transformer = model()
    del transformer.blocks[0].mlp
    transformer.blocks[0].mlp = lambda x: x
    with (
        pytest.raises(ModelMismatchError, match="mlp that is function"),
        shims(run_of(1), transformer),
    ):
        pass
