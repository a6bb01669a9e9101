"""With several scorers each is an objective of its own, and nothing else changes."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_search.architectures import sized
from ecad_search.core import pareto
from ecad_search.core.front import Front
from ecad_search.errors import JournalError, ScorerError, SearchError
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import recorded_front
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

TINY = sized("pixart", {"blocks": 3}, hidden=48)
IDENTITY = {"model": "tiny"}
MODES = ("ecad+", "paper", "random")


@functools.lru_cache
def problems():
    """What one scorer minds, another one hardly does."""
    return tuple(SearchProblem(TINY, 6, seed=seed, n_samples=8, noise=0.005) for seed in (0, 3))


def search_of(journal, scorers=2, **fields):
    first = problems()[0]
    return Search(
        SearchSettings(**{"images": 200, "population": 8, **fields}),
        TINY,
        first.steps,
        first.workload,
        first.n_samples,
        journal,
        scorers=scorers,
    )


def finished(search):
    while (job := search.ask()) is not None:
        scores = [p.score(job.candidate.schedule, job.samples) for p in problems()]
        search.tell(job, *scores[: search.n_scorers])
    return search


@functools.lru_cache
def whole(mode="ecad+", scorers=2, **fields):
    """The bytes of one undisturbed search, and its front."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.jsonl"
        with Journal(path, IDENTITY) as journal:
            search = finished(search_of(journal, scorers, mode=mode, **fields))
            return path.read_bytes(), search.front


def true_volume(front):
    """Of what every schedule of the front really costs and loses by both, up to a loss of 1."""
    points = [[p.cost, *(q.true_loss(p.schedule) for q in problems())] for p in front]
    return pareto.hypervolume(points, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("mode", MODES)
def test_the_front_has_whatever_nothing_beats_by_every_scorer(mode):
    front = whole(mode)[1]
    points = np.array([[p.cost, *(-q for q in p.qualities)] for p in front.members])
    assert 3 == points.shape[1]
    assert list(range(len(points))) == pareto.front_indices(points).tolist()
    by_first = {p.schedule.key for p in front.by_scorer(0).members}
    by_second = {p.schedule.key for p in front.by_scorer(1).members}
    assert by_first - by_second and by_second - by_first
    assert by_first | by_second <= {p.schedule.key for p in front.members}


def test_a_search_by_both_serves_both_better_than_one_by_the_first_alone():
    assert true_volume(whole(images=400)[1]) > true_volume(whole(scorers=1, images=400)[1])


def test_a_search_by_both_is_guided_better_than_chance():
    assert true_volume(whole(images=400)[1]) > true_volume(whole("random", images=400)[1])


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_resumes_anywhere_with_the_same_bytes(data, tmp_path_factory):
    text, front = whole()
    path = tmp_path_factory.mktemp("killed") / "search.jsonl"
    path.write_bytes(text[: data.draw(st.integers(0, len(text)))])
    with Journal(path, IDENTITY) as journal:
        search = finished(search_of(journal))
    assert text == path.read_bytes()
    assert front.to_json() == search.front.to_json()


def test_its_front_survives_its_file_and_is_read_from_the_journal_alone(tmp_path):
    text, front = whole()
    assert front == Front.from_json(front.to_json())
    path = tmp_path / "search.jsonl"
    path.write_bytes(text)
    assert [p.qualities for p in front] == [p.qualities for p in recorded_front(path)]


def test_another_number_of_scorers_is_another_search(tmp_path):
    path = tmp_path / "search.jsonl"
    path.write_bytes(whole()[0])
    with Journal(path, IDENTITY) as journal, pytest.raises(JournalError, match="scorers"):
        search_of(journal, scorers=1)


def test_every_scorer_must_be_told(tmp_path):
    with Journal(tmp_path / "search.jsonl", IDENTITY) as journal:
        search = search_of(journal)
        job = search.ask()
        assert job is not None
        with pytest.raises(ScorerError, match="Scores of 1 scorers were told, this search has 2"):
            search.tell(job, [0.0] * len(job.samples))
        search.tell(job, [0.0] * len(job.samples), [1.0] * len(job.samples))


def test_picks_mind_the_scorer_that_is_worst_off():
    front = whole()[1]
    picked = front.pick_speedup(1.3)
    fast = [p for p in front.members if p.speedup >= 1.3 * (1 - 1e-3)]
    qualities = np.array([p.qualities for p in front.members])
    ranges = np.ptp(qualities, axis=0)

    def worst(point):
        return ((np.array(point.qualities) - qualities.max(axis=0)) / ranges).min()

    assert max(map(worst, fast)) == worst(picked)
    assert front.pick_knee() in front.members


def test_a_scorer_that_a_front_lacks_is_refused():
    front = whole()[1]
    assert 2 == front.n_scorers
    with pytest.raises(SearchError, match="qualities of 2 scorers, scorer 3 was asked for"):
        front.by_scorer(2)
