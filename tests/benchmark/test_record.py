import json

import numpy as np
import pytest

from ecad_search.benchmark.record import Measured, Record
from ecad_search.errors import JournalError, StorageError

COLUMNS = ("uncached", "FORA 2")


def record(folder, identity=None, columns=COLUMNS):
    return Record(folder / "benchmark.jsonl", identity or {"model": "a", "cfg": 3.0}, columns)


def measured(sample, column="uncached", **changes):
    values = {"seconds": 1.5, "scores": {"ssim": 0.5}, "peak_bytes": 7, "problem": ""}
    return Measured(sample, column, **(values | changes))


def test_what_was_measured_is_there_again(tmp_path):
    features = np.array([1.5, -2.25], np.float32)
    rows = [measured(0, features=features), measured(0, "FORA 2", scores={}, problem="is black")]
    record(tmp_path).append(rows)
    again = record(tmp_path)
    assert [0] == again.samples()
    assert rows[1] == again.rows[0]["FORA 2"]
    assert features.tolist() == again.column("uncached")[0].features.tolist()


def test_sample_without_all_its_columns_does_not_count(tmp_path):
    first = record(tmp_path)
    first.append([measured(0), measured(0, "FORA 2"), measured(1)])
    assert [0] == first.samples() == record(tmp_path).samples()


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_kill_in_the_middle_of_a_line_costs_that_line_alone(tmp_path, kept):
    first = record(tmp_path)
    first.append([measured(0), measured(0, "FORA 2")])
    whole = first.path.read_bytes()
    first.append([measured(1)])
    tail = first.path.read_bytes()[len(whole) :]
    first.path.write_bytes(whole + tail[:kept])
    again = record(tmp_path)
    assert [0] == again.samples()
    again.append([measured(1), measured(1, "FORA 2")])
    assert [0, 1] == record(tmp_path).samples()


@pytest.mark.parametrize(
    ("identity", "columns", "said"),
    [
        ({"model": "b", "cfg": 3.0}, COLUMNS, "other model"),
        ({"model": "a", "cfg": 2.0}, COLUMNS, "other cfg"),
        ({"model": "a", "cfg": 3.0}, ("uncached",), "other columns: uncached, FORA 2"),
    ],
)
def test_benchmark_of_other_settings_is_not_gone_on_with(tmp_path, identity, columns, said):
    record(tmp_path)
    with pytest.raises(JournalError, match=said):
        record(tmp_path, identity, columns)


def test_newer_format_and_other_files_are_refused(tmp_path):
    path = record(tmp_path).path
    head = json.loads(path.read_text())
    path.write_text(json.dumps(head | {"version": 2}) + "\n")
    with pytest.raises(JournalError, match="version 2"):
        record(tmp_path)
    path.write_text("hello\n")
    with pytest.raises(JournalError, match="is no record of a benchmark"):
        record(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 20, 60])
def test_a_kill_at_the_first_line_begins_again(tmp_path, kept):
    path = record(tmp_path).path
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    record(tmp_path)
    assert whole == path.read_bytes()


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xfe",
        b"[" * 5000,
        b'{"format": "ecad-benchmark", "version": 1, "columns": 7, "identity": []}',
        b'{"format": "ecad-benchmark", "version": NaN}',
    ],
)
def test_a_broken_first_line_is_a_sentence(tmp_path, head):
    path = record(tmp_path).path
    path.write_bytes(head + b"\n")
    with pytest.raises(JournalError) as error:
        record(tmp_path)
    assert str(error.value).isprintable()
    assert head + b"\n" == path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample": -1}, "'sample' is -1"),
        ({"sample": True}, "'sample' is true"),
        ({"sample": 5}, "sample 5 of 5"),
        ({"column": None}, "'column' is null"),
        ({"seconds": 0}, "'seconds' is 0"),
        ({"seconds": "1.5"}, "'seconds' is"),
        ({"seconds": 10**250}, "'seconds' is 1000"),
        ({"scores": [1]}, "'scores' is"),
        ({"scores": {"ssim": "nan"}}, "'scores' is"),
        ({"peak_bytes": 1.5}, "'peak_bytes' is 1.5"),
        ({"problem": 3}, "'problem' is 3"),
        ({"features": "a"}, "'features' is"),
        ({"features": 7}, "'features' is 7"),
        ({"features": "AADAfw=="}, "'features' is"),
        ({"features": "AAAAAAAAAAA="}, "another number of features"),
    ],
)
def test_a_line_that_is_no_measurement_is_named(tmp_path, changes, said):
    first = record(tmp_path)
    first.append([measured(0, features=np.ones(1, np.float32))])
    line = json.dumps(measured(1).to_json() | changes).encode() + b"\n"
    content = first.path.read_bytes() + line
    first.path.write_bytes(content)
    with pytest.raises(JournalError, match=r"Line 3 of 'benchmark\.jsonl'") as error:
        Record(first.path, {"model": "a", "cfg": 3.0}, COLUMNS, 5)
    assert said in str(error.value)
    assert content == first.path.read_bytes()


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        record(tmp_path / "file" / "inner")
