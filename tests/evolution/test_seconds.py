"""A search that counts in seconds: measured once, kept in the journal, and worth something."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_search.architectures import sized
from ecad_search.core.cost import relative_cost
from ecad_search.core.front import Front
from ecad_search.core.latency import Latency, TimeCost
from ecad_search.errors import JournalError, SearchError
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import recorded_front
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

TINY = sized("pixart", {"blocks": 3}, hidden=48)
PROBLEM = SearchProblem(TINY, 6, seed=0, n_samples=8)
# A machine on which attention takes all the time: another order than that of MACs.
LATENCY = Latency(
    step=0.01,
    blocks={"blocks": 0.001},
    components={"blocks": {"attn": 0.1, "cross_attn": 1e-4, "mlp": 2e-4}},
    pictures=2,
    device="test",
)
MODES = ("ecad+", "paper", "random")


def search_of(journal, *, latency=LATENCY, **fields):
    search = Search(
        SearchSettings(**{"images": 120, "population": 8, "cost": "seconds", **fields}),
        TINY,
        6,
        PROBLEM.workload,
        8,
        journal,
    )
    if search.awaits_latency:
        search.count_in(latency, images=7)
    return search


@functools.lru_cache
def whole_journal(mode):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.jsonl"
        with Journal(path) as journal:
            search = PROBLEM.finish(search_of(journal, mode=mode))
            return path.read_bytes(), search.front.to_json()


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_search_in_seconds_killed_anywhere_writes_the_same_bytes(mode, data, tmp_path_factory):
    """Once measured, a machine of another speed changes nothing."""
    whole, front = whole_journal(mode)
    first_lines = len(b"".join(whole.splitlines(keepends=True)[:2]))
    cut = data.draw(st.integers(0, len(whole)))
    other = Latency(0.5, {"blocks": 0.0}, {"blocks": dict.fromkeys(TINY.component_names, 1.0)})
    path = tmp_path_factory.mktemp("killed") / "search.jsonl"
    path.write_bytes(whole[:cut])
    with Journal(path) as journal:
        made = search_of(journal, mode=mode, latency=other if cut >= first_lines else LATENCY)
        assert front == PROBLEM.finish(made).front.to_json()
    assert whole == path.read_bytes()


@pytest.mark.parametrize("mode", MODES)
def test_points_carry_seconds_and_macs(mode):
    times = TimeCost(TINY, 6, LATENCY)
    front = PROBLEM.finish(search_of(Journal(None), mode=mode)).front
    assert len(front.members) > 2
    for point in front:
        assert float(times.seconds(point.schedule.compute)) == point.seconds
        assert point.seconds / times.uncached_seconds == pytest.approx(point.cost)
        assert relative_cost(point.schedule, PROBLEM.workload) == point.relative_macs
    named = {o["name"]: o.get("value") for o in front.points[0].schedule.info["objectives"]}
    assert {"quality", "relative_seconds", "seconds", "relative_macs"} == set(named)
    assert "faster" in front.points[0].saving
    assert front == Front.from_json(front.to_json())
    assert LATENCY == Latency.from_json(front.info["latency"])


def test_a_journal_tells_the_front_of_a_search_in_seconds_without_its_model(tmp_path):
    whole, front = whole_journal("ecad+")
    path = tmp_path / "search.jsonl"
    path.write_bytes(whole)
    assert front == recorded_front(path).to_json()


def test_a_search_in_seconds_saves_what_takes_time():
    """At the same images, what it finds is faster on that machine than what MACs lead to."""
    times = TimeCost(TINY, 6, LATENCY)

    def fastest(front):
        good = [p for p in front.members if p.quality > -0.1]
        return min(float(times.shares(point.schedule.compute)) for point in good)

    in_seconds = PROBLEM.finish(search_of(Journal(None), images=200)).front
    in_macs = PROBLEM.finish(search_of(Journal(None), images=193, cost="macs")).front
    assert fastest(in_seconds) < fastest(in_macs)


def test_the_images_of_the_measurement_are_of_the_budget():
    search = search_of(Journal(None))
    assert 7 == search.progress.images
    assert PROBLEM.finish(search).progress.images <= 120


def test_nothing_is_asked_for_before_the_measurement_and_none_is_taken_twice():
    search = Search(
        SearchSettings(images=120, cost="seconds"), TINY, 6, PROBLEM.workload, 8, Journal(None)
    )
    with pytest.raises(SearchError, match="no component has been timed yet"):
        search.ask()
    with pytest.raises(SearchError, match="no component has been timed yet"):
        search.start_from([], images=0)
    search.count_in(LATENCY, images=3)
    with pytest.raises(SearchError, match="measured before"):
        search.count_in(LATENCY, images=3)
    with pytest.raises(SearchError, match="counts cost in macs"):
        search_of(Journal(None), cost="macs").count_in(LATENCY, images=3)


def test_a_journal_whose_measurement_is_broken_or_missing_is_named(tmp_path):
    lines = whole_journal("ecad+")[0].splitlines(keepends=True)
    broken = json.loads(lines[1])
    broken["latency"]["step"] = -1.0
    for second in (b"", json.dumps(broken).encode() + b"\n"):
        path = tmp_path / f"{len(second)}.jsonl"
        path.write_bytes(b"".join([lines[0], second, *lines[2:]]))
        with Journal(path) as journal:
            with pytest.raises(JournalError, match=r"Line 2 of .* does not fit"):
                search_of(journal)


def test_a_search_in_macs_and_one_in_seconds_do_not_share_a_journal(tmp_path):
    path = tmp_path / "search.jsonl"
    path.write_bytes(whole_journal("ecad+")[0])
    with Journal(path) as journal:
        with pytest.raises(JournalError, match='cost is "seconds" in the file and null here'):
            search_of(journal, cost="macs")
    assert "cost" not in SearchSettings().course()
    with pytest.raises(SearchError, match="expected one of macs, seconds"):
        SearchSettings(cost="joules")


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_costs_told_all_at_once_are_those_of_each(seed):
    search = search_of(Journal(None))
    rng = np.random.default_rng(seed)
    compute = rng.random((5, 6, TINY.n_cells)) < 0.5
    compute[:, 0] = True
    each = [search._share(search._schedule(rows)) for rows in compute]
    assert each == search._shares(compute).tolist()
