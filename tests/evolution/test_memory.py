"""A search under a limit on stored values: the limit is kept, resumed, and worth something."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_search.architectures import sized
from ecad_search.core import presets
from ecad_search.core.front import Front
from ecad_search.core.schedule import Schedule
from ecad_search.engine.liveness import peaks, predicted_bytes, stored_sizes
from ecad_search.errors import JournalError, SearchError
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import recorded_front
from ecad_search.evolution.memory import MIB, CacheLimit, CacheMemory, spread_order
from ecad_search.evolution.quick import units
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

STEPS = 6
PROBLEMS = {
    "pixart": SearchProblem(sized("pixart", {"blocks": 3}, hidden=48), STEPS, seed=0, n_samples=8),
    "flux": SearchProblem(
        sized("flux", {"double_blocks": 2, "single_blocks": 3}, hidden=48),
        STEPS,
        seed=0,
        n_samples=8,
    ),
}
MODES = ("ecad+", "random")


def memory_of(problem, itemsize=2):
    architecture = problem.architecture
    sizes = stored_sizes(architecture, architecture.dimensions(problem.workload), itemsize)
    predicted = functools.partial(
        peaks,
        sizes=sizes,
        streams=1,
        one_evaluation_per_step=True,
        readers=architecture.readers,
    )
    return CacheMemory(predicted, {"itemsize": itemsize})


def held_by(problem, schedule):
    return predicted_bytes(schedule, problem.workload, itemsize=2, calls=(1,))


def largest_mib(problem):
    """What FORA holds: everything at once."""
    fora = presets.fora(problem.architecture, STEPS, 2)
    return memory_of(problem).of(fora) // MIB


def search_of(problem, journal, *, mib, memory=None, **fields):
    return Search(
        SearchSettings(**{"images": 120, "population": 8, **fields}, largest_cache_mib=mib),
        problem.architecture,
        STEPS,
        problem.workload,
        problem.n_samples,
        journal,
        memory=memory or memory_of(problem),
    )


@functools.lru_cache
def whole_journal(family, mode, mib):
    """The bytes of one undisturbed search, and its front."""
    import tempfile

    problem = PROBLEMS[family]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.jsonl"
        with Journal(path) as journal:
            search = problem.finish(search_of(problem, journal, mib=mib, mode=mode))
            return path.read_bytes(), search.front.to_json()


@pytest.mark.parametrize("family", PROBLEMS)
@given(data=st.data())
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_is_rendered_that_takes_more_than_allowed_but_references(family, data):
    problem = PROBLEMS[family]
    mode = data.draw(st.sampled_from(MODES))
    mib = data.draw(st.integers(1, largest_mib(problem)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    search = search_of(problem, Journal(None), mib=mib, mode=mode, seed=seed)
    rendered = 0
    while (job := search.ask()) is not None:
        is_reference = job.candidate.origin.split()[0] in ("uncached", "fora") and (
            "fit" not in job.candidate.origin
        )
        if not is_reference or mode == "random":
            rendered += job.candidate.origin != "uncached"
            assert held_by(problem, job.candidate.schedule) <= mib * MIB
        problem.answer(search, job)
    assert rendered > 3
    assert all(point.cache_bytes <= mib * MIB for point in search.front.members)
    assert all(held_by(problem, p.schedule) == p.cache_bytes for p in search.front)


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_limited_search_killed_anywhere_writes_the_same_bytes(mode, data, tmp_path_factory):
    family = data.draw(st.sampled_from(sorted(PROBLEMS)))
    whole, front = whole_journal(family, mode, 2)
    path = tmp_path_factory.mktemp("killed") / "search.jsonl"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with Journal(path) as journal:
        search = PROBLEMS[family].finish(search_of(PROBLEMS[family], journal, mib=2, mode=mode))
        assert front == search.front.to_json()
    assert whole == path.read_bytes()


def test_a_journal_tells_the_front_of_a_limited_search_without_its_model(tmp_path):
    whole, front = whole_journal("pixart", "ecad+", 2)
    path = tmp_path / "search.jsonl"
    path.write_bytes(whole)
    read = recorded_front(path)
    points = json.loads(front)["points"]
    assert [p["schedule"]["compute"] for p in points] == [
        p["schedule"]["compute"] for p in json.loads(read.to_json())["points"]
    ]
    within = [point.get("within_limits", True) for point in points]
    assert False in within
    assert within == [point.within_limits for point in read]
    # of the uncached run the journal says nothing
    assert [p["cache_bytes"] for p in points[:-1]] == [p.cache_bytes for p in read.points[:-1]]


def test_references_beyond_the_limit_stand_beside_the_front_but_are_no_members():
    problem = PROBLEMS["pixart"]
    front = problem.finish(search_of(problem, Journal(None), mib=2)).front
    beyond = [point for point in front if not point.within_limits]
    assert beyond and all(point.is_reference for point in beyond)
    assert not {p.schedule.key for p in beyond} & {p.schedule.key for p in front.members}
    assert front.pick_speedup(1.05).within_limits
    assert front == Front.from_json(front.to_json())


def test_a_limit_leaves_schedules_that_save_something():
    """A quarter of the memory: FORA of what fits and its children, not just the uncached run."""
    for problem in PROBLEMS.values():
        search = search_of(problem, Journal(None), mib=largest_mib(problem) // 4 or 1)
        members = problem.finish(search).front.members
        assert min(point.cost for point in members) < 0.9
        assert len(members) > 3


def test_given_and_profiled_schedules_beyond_the_limit_are_left_out():
    problem = PROBLEMS["pixart"]
    rows = np.ones((STEPS, problem.architecture.n_cells), dtype=bool)
    rows[2:4] = False
    whole = Schedule(problem.architecture, rows, name="whole")
    rows[:, 1:] = True
    part = Schedule(problem.architecture, rows, name="part")
    journal = Journal(None)
    search = search_of(problem, journal, mib=2)
    search.start_from([whole, part], images=0)
    problem.answer(search, search.ask())
    search.ask()
    first = next(record for record in journal.records if record.get("generation") == 0)
    keys = [candidate["key"] for candidate in first["candidates"]]
    assert part.key in keys and whole.key not in keys


def test_a_search_without_a_limit_tells_what_its_schedules_take():
    """And its journal is the one that it writes when nothing is known of memory."""
    problem = PROBLEMS["pixart"]
    journals = Journal(None), Journal(None)
    with_memory = search_of(problem, journals[0], mib=None)
    without = Search(
        with_memory.settings, problem.architecture, STEPS, problem.workload, 8, journals[1]
    )
    for search in (with_memory, without):
        problem.finish(search)
    assert journals[1].header == journals[0].header
    assert journals[1].records == journals[0].records
    assert all(point.within_limits for point in with_memory.front)
    assert 0 == with_memory.front.points[-1].cache_bytes  # uncached
    assert {None} == {point.cache_bytes for point in without.front}
    names = [o["name"] for o in with_memory.front.points[0].schedule.info["objectives"]]
    assert ["quality", "relative_macs", "cache_bytes"] == names


def test_another_limit_or_precision_is_another_search(tmp_path):
    problem = PROBLEMS["pixart"]
    path = tmp_path / "search.jsonl"
    with Journal(path) as journal:
        search_of(problem, journal, mib=2)
    with Journal(path) as journal:
        with pytest.raises(JournalError, match="largest_cache_mib is 2 in the file and 3 here"):
            search_of(problem, journal, mib=3)
        with pytest.raises(JournalError, match=r"cache.itemsize is 2 in the file and 4 here"):
            search_of(problem, journal, mib=2, memory=memory_of(problem, itemsize=4))


def test_a_setting_that_came_later_is_in_the_journal_only_where_it_is_chosen():
    assert "largest_cache_mib" not in SearchSettings().course()
    assert 5 == SearchSettings(largest_cache_mib=5).course()["largest_cache_mib"]
    chosen = SearchSettings(largest_cache_mib=5)
    assert chosen == SearchSettings.from_json(json.loads(json.dumps(chosen.course())))
    assert SearchSettings().hash != chosen.hash


def test_a_limit_below_one_component_is_refused():
    problem = SearchProblem(sized("pixart", {"blocks": 1}, hidden=1152), 4, seed=0, n_samples=4)
    with pytest.raises(SearchError, match=r"limit of 1 MiB .* smallest component takes 9.0 MiB"):
        Search(
            SearchSettings(largest_cache_mib=1),
            problem.architecture,
            4,
            problem.workload,
            4,
            Journal(None),
            memory=memory_of(problem, itemsize=1),
        )


def test_a_limit_needs_to_know_what_is_stored_and_paper_mode_has_none():
    problem = PROBLEMS["pixart"]
    search = Search(
        SearchSettings(largest_cache_mib=4),
        problem.architecture,
        STEPS,
        problem.workload,
        8,
        Journal(None),
    )
    with pytest.raises(SearchError, match="nothing tells what they take on PixArt with 3 blocks"):
        search.ask()
    with pytest.raises(SearchError, match="'paper' is the published search"):
        SearchSettings(mode="paper", largest_cache_mib=4)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_made_to_fit_fits_and_reuses_as_much_as_it_can(data):
    problem = PROBLEMS[data.draw(st.sampled_from(sorted(PROBLEMS)))]
    mib = data.draw(st.integers(1, largest_mib(problem)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    limit = CacheLimit(problem.architecture, STEPS, problem.workload, memory_of(problem), mib)
    compute = rng.random((3, STEPS, problem.architecture.n_cells)) < rng.random()
    compute[:, 0] = True
    n_units = len(limit.unit_bytes)
    orders = rng.permuted(np.tile(np.arange(n_units), (3, 1)), axis=1)
    fitted = limit.fitted(compute, orders)
    assert limit.fit(fitted).all()
    assert not (~fitted & compute).any()  # nothing reuses that did not before
    unit = units(problem.architecture)
    for made, given_one, order in zip(fitted, compute, orders, strict=True):
        back = [u for u in order if not np.array_equal(made[:, unit == u], given_one[:, unit == u])]
        if back:  # the next one in the order would have been too much
            more = made.copy()
            more[:, unit == back[0]] = given_one[:, unit == back[0]]
            assert not limit.fit(more[np.newaxis]).any()


@given(seed=st.integers(0, 2**32 - 1), family=st.sampled_from(sorted(PROBLEMS)))
@settings(max_examples=40, deadline=None)
def test_lost_work_takes_no_less_than_the_same_without_it(seed, family):
    problem = PROBLEMS[family]
    rng = np.random.default_rng(seed)
    rows = rng.random((1, STEPS, problem.architecture.n_cells)) < rng.random()
    rows[:, 0] = True
    memory = memory_of(problem)
    assert memory.of(Schedule(problem.architecture, rows[0])) <= memory.predicted(rows)[0]


@given(st.integers(0, 60))
def test_an_even_order_is_spread_over_the_whole_range(n):
    order = spread_order(n)
    assert list(range(n)) == sorted(order)
    if n >= 7:
        assert {"low", "middle", "high"} == {
            "low" if i < n / 3 else "high" if i >= 2 * n / 3 else "middle" for i in order[:3]
        }
