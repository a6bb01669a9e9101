"""The journal survives being killed, tells other searches apart, and lets one writer in."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_search.errors import JournalError, StorageError
from ecad_search.evolution import journal as journal_module
from ecad_search.evolution.journal import Journal, encode_line

HEADER = {"settings": {"seed": 1, "population": 24}, "steps": 20}
IDENTITY = {"model": "abc", "scorers": ["emoji-reward"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.jsonl"


def write(path, n=3):
    with Journal(path, IDENTITY) as journal:
        journal.begin(HEADER)
        for i in range(n):
            journal.append({"n": i, "scores": [0.1 * i]})
    return path.read_bytes()


def test_what_was_appended_is_there_when_opened_again(path):
    write(path)
    with Journal(path, IDENTITY) as journal:
        journal.begin(HEADER)
        assert [{"n": i, "scores": [0.1 * i]} for i in range(3)] == journal.records
        assert [] == journal.messages


def test_a_journal_in_memory_writes_no_file(tmp_path):
    with Journal(None) as journal:
        journal.begin(HEADER)
        journal.append({"n": 1})
        assert [{"n": 1}] == journal.records
    assert [] == list(tmp_path.iterdir())


@given(cut=st.integers(1, 400))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_torn_last_line_is_repaired_wherever_it_broke(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("torn") / "search.jsonl"
    whole = write(path)
    cut = min(cut, len(whole) - 1)
    path.write_bytes(whole[:cut])
    complete = whole[:cut].rfind(b"\n") + 1
    with Journal(path, IDENTITY) as journal:
        assert whole[:cut] == path.read_bytes()
        journal.begin(HEADER)
        for i in range(len(journal.records), 3):
            journal.append({"n": i, "scores": [0.1 * i]})
        torn = whole[complete:cut]
        assert bool(torn) == bool(journal.messages)
        if torn:
            assert torn == path.with_name("search.jsonl.torn").read_bytes().rstrip(b"\n")
    assert whole == path.read_bytes()


def test_a_last_line_of_garbage_is_set_aside(path):
    whole = write(path)
    path.write_bytes(whole + b"\0\0\0\0\n")
    with Journal(path, IDENTITY) as journal:
        assert 3 == len(journal.records)
        journal.begin(HEADER)
        journal.append({"n": 3})
        assert 1 == len(journal.messages)
    assert whole + encode_line({"n": 3}) == path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole.replace(b'"version":1', b'"version":9', 1),
        lambda whole: whole.replace(b'"seed":1', b'"seed":2', 1),
        lambda whole: whole.replace(b'{"n":1', b'"n":1', 1),
    ],
    ids=["another version", "another search", "a broken line"],
)
def test_a_journal_that_is_refused_stays_as_it_was(path, change):
    torn = change(write(path)) + b'{"n":3,"sco'
    path.write_bytes(torn)
    with pytest.raises(JournalError), Journal(path, IDENTITY) as journal:
        journal.begin(HEADER)
    assert torn == path.read_bytes()
    assert ["search.jsonl"] == [p.name for p in path.parent.iterdir()]


@pytest.mark.parametrize(
    "record",
    [
        b'{"n":1,"scores":[NaN]}',
        b'{"n":1,"scores":[1e999]}',
        b'{"n":1,"n":2}',
        b'{"n":' + b"9" * 5000 + b"}",
        b'{"n":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"n":"\xff"}',
        '{"n":1}'.encode("utf-16"),
    ],
)
def test_what_no_json_has_is_no_record(path, record):
    lines = write(path).splitlines(keepends=True)
    path.write_bytes(b"".join((lines[0], record, b"\n", *lines[2:])))
    with pytest.raises(JournalError, match=r"Line 2 of .*is not a journal record"):
        Journal(path, IDENTITY)


def test_a_message_about_another_search_can_be_shown(path):
    fields = {f"f{i}": i for i in range(40)}
    with Journal(path, {**IDENTITY, "\x1b[2J": "a" * 9000}) as journal:
        journal.begin(fields)
    with Journal(path, IDENTITY) as journal, pytest.raises(JournalError, match="and 33 more") as e:
        journal.begin({})
    assert str(e.value).isprintable() and len(str(e.value)) < 2000


@pytest.mark.parametrize("seconds", ["NaN", "1e999", "-5", '"12"', "[1]", "9" * 400, "true"])
def test_times_that_were_never_measured_do_not_count(path, seconds):
    write(path)
    path.with_name("search.jsonl.times").write_text(
        f'{{"record":1,"seconds":0.5}}\n{{"record":2,"seconds":{seconds}}}\n', encoding="ascii"
    )
    assert Journal(path, IDENTITY, readonly=True).seconds in (0.5, 1.5)


def test_a_corrupt_line_in_the_middle_is_named(path):
    lines = write(path).splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + b'{"n": 1, "sco\n' + lines[3])
    with pytest.raises(JournalError, match=r"Line 3 of .*is not a journal record"):
        Journal(path, IDENTITY)
    write_again = path.with_name("other.jsonl")
    write(write_again)  # and the lock of the broken one was given back
    assert not path.with_name("search.jsonl.lock").exists()


@pytest.mark.parametrize(
    "content", [b"notes without a newline", b'{"format":"x"}\n', b"\xff\xd8\n"]
)
def test_a_file_that_is_no_journal_is_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(JournalError, match="is not a search journal"):
        Journal(path, IDENTITY)
    assert content == path.read_bytes()
    assert ["search.jsonl"] == [p.name for p in path.parent.iterdir()]


def test_a_journal_of_another_search_names_both_sides_field_by_field(path):
    write(path)
    with Journal(path, {**IDENTITY, "model": "xyz"}) as journal:
        with pytest.raises(JournalError) as error:
            journal.begin({"settings": {"seed": 1, "population": 72}, "steps": 20})
    assert "settings.population is 24 in the file and 72 here" in str(error.value)
    assert 'identity.model is "abc" in the file and "xyz" here' in str(error.value)
    assert "seed" not in str(error.value)


def test_a_field_that_nobody_knows_is_a_difference_even_if_it_is_empty(path):
    with Journal(path, IDENTITY) as journal:
        journal.begin({"text_toke.s": None})
    with Journal(path, IDENTITY) as journal, pytest.raises(JournalError, match="unknown here"):
        journal.begin({"text_tokens": None})


def test_a_newer_version_is_told_so(path):
    write(path)
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":9', 1))
    with pytest.raises(JournalError, match="version 9, this pack reads version 1"):
        Journal(path, IDENTITY)


def test_nan_never_reaches_the_file(path):
    with Journal(path, IDENTITY) as journal:
        journal.begin(HEADER)
        before = path.read_bytes()
        with pytest.raises(ValueError, match="JSON"):
            journal.append({"score": float("nan")})
    assert before == path.read_bytes()


def test_seconds_stay_out_of_the_journal(path):
    whole = write(path, n=1)
    path.unlink()
    with Journal(path, IDENTITY) as journal:
        journal.begin(HEADER)
        journal.append({"n": 0, "scores": [0.0]}, seconds=12.5)
    assert whole == path.read_bytes()
    with open(path.with_name("search.jsonl.times"), "ab") as file:
        file.write(b'{"rec')
    with Journal(path, IDENTITY) as journal:
        assert 12.5 == journal.seconds


def test_a_full_disk_is_one_sentence_and_leaves_no_half_line(path, monkeypatch):
    journal = Journal(path, IDENTITY)
    journal.begin(HEADER)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            journal.append({"n": 1})
    assert before == path.read_bytes()
    assert [] == journal.records
    with pytest.raises(JournalError, match="Open the journal again"):
        journal.append({"n": 1})
    journal.close()


def test_a_second_search_in_this_process_is_one_clear_sentence(path):
    with Journal(path, IDENTITY):
        with pytest.raises(JournalError, match="already being written by another search of this"):
            Journal(path, IDENTITY)
    Journal(path, IDENTITY).close()


def _hold(path, holding, release):
    with Journal(path, IDENTITY):
        holding.set()
        release.wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="uses fork to stay fast")
def test_a_second_process_is_told_who_holds_the_journal(path):
    context = multiprocessing.get_context("fork")
    holding, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(path, holding, release))
    other.start()
    try:
        assert holding.wait(30)
        with pytest.raises(JournalError, match=f"process {other.pid} on"):
            Journal(path, IDENTITY)
    finally:
        release.set()
        other.join(30)
    Journal(path, IDENTITY).close()


@pytest.mark.skipif(sys.platform == "win32", reason="uses fork to stay fast")
def test_the_lock_of_a_killed_process_is_taken_over(path):
    context = multiprocessing.get_context("fork")
    holding, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(path, holding, release))
    other.start()
    assert holding.wait(30)
    other.kill()
    other.join(30)
    lock = path.with_name("search.jsonl.lock")
    assert lock.exists()
    with Journal(path, IDENTITY) as journal:
        journal.begin(HEADER)
    assert not lock.exists()


def test_a_lock_of_an_earlier_process_with_our_number_is_stale(path):
    # A container's first process is always number 1.
    lock = path.with_name("search.jsonl.lock")
    lock.write_text(
        json.dumps({"pid": os.getpid(), "host": platform.node(), "process": "an earlier one"})
    )
    Journal(path, IDENTITY).close()
    assert not lock.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 9000, b"\xff", b"[]", b'{"pid":true}', b'{"pid":%d}' % 10**40, b'{"pid":"7"}'],
)
def test_a_lock_that_cannot_be_read_is_left_to_its_user(path, content):
    lock = path.with_name("search.jsonl.lock")
    lock.write_bytes(content.replace(b"{", b'{"host":"%s",' % platform.node().encode(), 1))
    before = lock.read_bytes()
    with pytest.raises(JournalError, match=r"delete '.*search\.jsonl\.lock'"):
        Journal(path, IDENTITY)
    assert before == lock.read_bytes()


def test_a_lock_of_another_machine_is_not_judged(path):
    lock = path.with_name("search.jsonl.lock")
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "process": "x"}))
    with pytest.raises(JournalError, match=r"process 1 on 'elsewhere'.*delete '"):
        Journal(path, IDENTITY)
    assert lock.exists()


def test_reading_needs_no_lock_and_repairs_nothing(path):
    whole = write(path)
    path.write_bytes(whole + b'{"n"')
    with Journal(path, IDENTITY) as writer:
        path.write_bytes(whole + b'{"n"')
        with Journal(path, readonly=True) as reader:
            assert 3 == len(reader.records)
            with pytest.raises(JournalError, match="reading only"):
                reader.append({"n": 9})
        assert whole + b'{"n"' == path.read_bytes()
        assert 3 == len(writer.records)


def test_a_missing_journal_cannot_be_read(path):
    with pytest.raises(JournalError, match="There is no journal"):
        Journal(path, readonly=True)


def test_one_record_is_one_line():
    assert b'{"a":[1,2.5],"b":"\\u00e9\\n"}\n' == encode_line({"a": [1, 2.5], "b": "\u00e9\n"})
