"""What a run tells of its own uncached time, in numbers to be done in the head."""

from __future__ import annotations

import time

import pytest
import torch

from ecad_search.engine.timing import Timing, uncached_seconds
from ecad_search.engine.watch import Watch


def evaluations(*executed: int, overhead: float = 0.0, warm_up: float = 0.0) -> list[Timing]:
    """One second per 100 MACs executed, 100 MACs uncached."""
    timings = [Timing(macs, 100, overhead + macs / 100) for macs in executed]
    first = timings[0]
    return [Timing(first.executed_macs, 100, first.seconds + warm_up), *timings[1:]]


def test_complete_evaluations_tell_the_uncached_time():
    assert 5.0 == pytest.approx(uncached_seconds(evaluations(100, 100, 10, 100, 10, warm_up=9)))


def test_a_line_through_the_others_tells_it_where_none_is_complete():
    timings = evaluations(100, 60, 20, 40, 10, 50, overhead=0.5, warm_up=9)
    assert 6 * 1.5 == pytest.approx(uncached_seconds(timings))


@pytest.mark.parametrize("executed", [[100], [100, 10, 20, 15, 10], [100, 0, 50]])
def test_a_run_that_cannot_tell_says_none(executed):
    assert uncached_seconds(evaluations(*executed)) is None


def test_times_that_fall_with_the_work_tell_nothing():
    timings = [Timing(m, 100, 2 - m / 100) for m in (100, 80, 60, 40, 20)]
    assert uncached_seconds(timings) is None


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_a_watch_tells_the_time_between_its_making_and_its_stop(device):
    before = time.perf_counter()
    watch = Watch(device)
    time.sleep(0.01)
    watch.stop()
    after = time.perf_counter()
    assert 0.01 <= watch.seconds <= after - before
    assert watch.seconds == watch.seconds  # asked twice, long after


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_watch_does_not_wait_for_the_device():
    device = torch.device("cuda")
    x = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize(device)
    watch = Watch(device)
    for _ in range(50):
        x = x @ x
    watch.stop()
    assert not torch.cuda.current_stream(device).query()
    assert watch.seconds > 0
