"""Journals that a released version wrote open in every later one. Never rewrite these files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ecad_search.architectures import sized
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import recorded_front
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

JOURNALS = Path(__file__).parent / "journals"
TINY = sized("pixart", {"blocks": 3}, hidden=48)
FRONTS = {  # the keys of the front, cheapest first, as the version that wrote it saw them
    "version-1.jsonl": (
        "dcf5524b437af8b3 66d5805339178f7c a1554778dc713f4c 44c1d84a509c7461 "
        "372fc92317b43f0e 608347e9c0caf79b e37cb69fcb790791 04a1cb562bd31dfb"
    ),
    "version-1-paper.jsonl": (
        "dcf5524b437af8b3 42fdacf2da82c081 6642638fff9d7079 c3773bc37d1199ae "
        "b19e8f8ead92f963 cb9985bfc398d02b 7a535a6d4c573ad5 04a1cb562bd31dfb"
    ),
}
FIELDS = {
    "version-1.jsonl": {"mode": "ecad+", "population": 8},
    "version-1-paper.jsonl": {"mode": "paper", "population": 8},
}


@pytest.mark.parametrize("name", FRONTS)
def test_its_front_is_read_as_it_was(name):
    assert FRONTS[name].split() == [p.schedule.key for p in recorded_front(JOURNALS / name).members]


@pytest.mark.parametrize("name", FRONTS)
def test_it_goes_on_and_keeps_what_it_had(name, tmp_path):
    path = Path(shutil.copy(JOURNALS / name, tmp_path))
    problem = SearchProblem(TINY, 6, seed=0, n_samples=8)
    written = path.read_bytes()
    with Journal(path, {"model": "tiny"}) as journal:
        search = Search(
            SearchSettings(images=160, **FIELDS[name]),
            TINY,
            problem.steps,
            problem.workload,
            problem.n_samples,
            journal,
        )
        before = search.progress.images
        problem.finish(search)
    assert before < search.progress.images <= 160
    assert path.read_bytes().startswith(written)
