"""A search believes no record that no search has written, and says which line it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ecad_search.architectures import sized
from ecad_search.core import presets
from ecad_search.errors import JournalError, SearchError
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import recorded_search
from ecad_search.evolution.profile_notes import note_of_benefits, note_of_drift
from ecad_search.evolution.quick import Gap
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

TINY = sized("pixart", {"blocks": 2}, hidden=16)
PROBLEM = SearchProblem(TINY, 4, seed=1, n_samples=4)
SETTINGS = SearchSettings(images=60, population=4, offspring=2)


def search_in(journal):
    return Search(SETTINGS, TINY, 4, PROBLEM.workload, PROBLEM.n_samples, journal)


@pytest.fixture
def path(tmp_path):
    """A journal of: header, profile, start, a generation, then the scores of candidates."""
    with Journal(tmp_path / "a.jsonl") as journal:
        search = search_in(journal)
        search.note_profile(note_of_benefits([0.5, 0.1]))
        search.note_profile(note_of_drift([Gap(0, 2, 0)], 3, 0.25))
        search.start_from([presets.fora(TINY, 4, 3)], images=2)
        for _ in range(4):
            PROBLEM.answer(search, search.ask())
    return tmp_path / "a.jsonl"


def changed(path, number, change):
    """The journal with line `number` replaced by what `change` makes of its record."""
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[number - 1])
    change(record)
    lines[number - 1] = json.dumps(record).encode("ascii") + b"\n"
    path.write_bytes(b"".join(lines))
    return path.read_bytes()


def line_with(path, field):
    return next(
        number
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if field in json.loads(line)
    )


@pytest.mark.parametrize(
    ("line", "fields", "said"),
    [
        ("scores", {"scores": ["nan"] * 4}, "'scores' is"),
        ("scores", {"scores": [True] * 4}, "'scores' is"),
        ("scores", {"scores": [1e200] * 4}, "'scores' is"),
        ("scores", {"scores": [0.5]}, "1 scores for samples 0 to 3"),
        ("scores", {"samples": [0, -4]}, "'samples' is"),
        ("scores", {"samples": [0, 9]}, "'samples' is"),
        ("scores", {"samples": [0.0, 4.0]}, "'samples' is"),
        ("scores", {"verdict": "more"}, "'verdict' is"),
        ("scores", {"more": 3}, "'more' is 3"),
        ("scores", {"key": 3}, "'key' is 3"),
        ("scores", {"failed": ""}, "'failed' is"),
        ("scores", {"key": "\x1b[2J"}, "KeyError"),
        ("start", {"images": -5}, "'images' is -5"),
        ("start", {"images": 10**250}, "'images' is"),
        ("start", {"start": {}}, "'start' is no list"),
        ("start", {"start": [{"bits": "zz", "name": "a"}]}, "'bits' is"),
        ("start", {"start": [{"bits": "00", "name": 3}]}, "'name' is 3"),
        ("profile", {"profile": 3}, "'profile' is 3"),
        ("profile", {"profile": {"benefits": [0.5, "a"]}}, "'benefits' is"),
        ("profile", {"profile": {"sample": 0, "drift": 0.5}}, "'gaps' is missing"),
        ("profile", {"profile": {"gaps": [], "sample": 0, "drift": 0.5}}, "'gaps' is []"),
        ("profile", {"profile": {"gaps": [[0, 1]], "sample": 0, "drift": 0.5}}, "'gaps' is"),
        ("profile", {"profile": {"gaps": [[0, 1, -1]], "sample": 0, "drift": 0.5}}, "'gaps' is"),
        ("profile", {"profile": {"gaps": [[0, 1, 0]], "sample": 99, "drift": 0.5}}, "'sample' is"),
        ("profile", {"profile": {"gaps": [[0, 1, 0]], "sample": 0}}, "'drift' is missing"),
        ("generation", {"generation": True}, "'generation' is True"),
        ("generation", {"candidates": [3]}, "'candidates' is no list"),
    ],
)
def test_a_record_that_no_search_wrote_is_named(path, line, fields, said):
    number = line_with(path, line)
    content = changed(path, number, lambda record: record.update(fields))
    for read in (lambda: recorded_search(path), lambda: resumed(path)):
        with pytest.raises(JournalError, match=f"Line {number} of") as error:
            read()
        assert said in str(error.value) and str(error.value).isprintable()
    assert content == path.read_bytes()


def resumed(path):
    with Journal(path) as journal:
        search_in(journal)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (3, "'confirm' is 3"),
        ([], "'confirm' is"),
        ([3], "'confirm' is"),
        (["of nobody"], "KeyError"),
        ([presets.uncached(TINY, 4).key], "does not wait for samples"),
    ],
)
def test_only_candidates_that_wait_for_samples_are_confirmed(keys, said, tmp_path):
    path = tmp_path / "tried.jsonl"
    tried = replace(SETTINGS, tried_on=2, first_block=2)
    with Journal(path) as journal:
        PROBLEM.finish(Search(tried, TINY, 4, PROBLEM.workload, PROBLEM.n_samples, journal))
    assert recorded_search(path).front.members
    changed(path, line_with(path, "confirm"), lambda record: record.update(confirm=keys))
    with pytest.raises(JournalError, match="does not fit the lines before it") as error:
        recorded_search(path)
    assert said in str(error.value)


def test_a_candidate_is_not_scored_where_the_uncached_run_is_not(path):
    lines = path.read_bytes().splitlines(keepends=True)
    first = line_with(path, "scores")
    path.write_bytes(b"".join((*lines[: first - 1], *lines[first:])))
    with pytest.raises(JournalError, match="of which 0 are uncached"):
        recorded_search(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.update(steps=10**12),
        lambda header: header.update(steps=4.0),
        lambda header: header.update(samples=10**12),
        lambda header: header.update(samples="4"),
        lambda header: header.update(scorers=10**9),
        lambda header: header.update(workload=[]),
        lambda header: header.update(architecture=[]),
        lambda header: header["architecture"].update(id=7),
        lambda header: header["architecture"].update(id="\x1b[2J"),
        lambda header: header["architecture"].update(size=[]),
        lambda header: header["settings"].update(confidence=10**290),
        lambda header: header["settings"].update({"\x1b[2J": 1}),
        lambda header: header.pop("settings"),
    ],
)
def test_a_header_of_no_search_is_a_sentence(path, change):
    changed(path, 1, change)
    with pytest.raises((JournalError, SearchError)) as error:
        recorded_search(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 900


def test_an_identity_that_is_no_object_is_passed_over(path):
    changed(path, 1, lambda header: header.update(identity=[1]))
    assert {} == recorded_search(path).journal.identity
