"""`front` and `export` on the journal of a real search of a problem without a model."""

import json

import pytest

from ecad_search import cli
from ecad_search.architectures import sized
from ecad_search.core import schedule_json
from ecad_search.core.front import Front
from ecad_search.core.presets import fora
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import front_beside
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

STEPS = 6
TINY = sized("pixart", {"blocks": 3}, hidden=48)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(journal, front) of a finished search; the front file does not exist."""
    path = tmp_path_factory.mktemp("ecad") / "mine.jsonl"
    problem = SearchProblem(TINY, STEPS, seed=1, n_samples=6)
    with Journal(path, {"model": "0123"}) as journal:
        search = Search(
            SearchSettings(images=200),
            TINY,
            STEPS,
            problem.workload,
            problem.n_samples,
            journal,
            seeds=[fora(TINY, STEPS, 5)],
        )
        problem.finish(search)
    return path, search.front


def output(capsys, *arguments) -> str:
    assert 0 == cli.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def error(capsys, *arguments) -> str:
    assert 1 == cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, printed.err.count("\n"))
    return printed.err


def test_front_of_a_journal_is_the_front_of_its_search(capsys, found):
    path, front = found
    printed = json.loads(output(capsys, "front", path, "--json"))
    assert [p.schedule.key for p in front.members] == [p["key"] for p in printed["points"]]
    assert [p.quality for p in front.members] == [p["quality"] for p in printed["points"]]
    assert front.pick_knee().schedule.key == printed["knee"]
    assert front.info == printed["info"]


def test_a_journal_that_is_looked_at_stays_as_it_is(capsys, found):
    path, _ = found
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    output(capsys, "front", path)
    assert before == {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_front_shows_the_same_for_a_front_file(capsys, found, tmp_path):
    path, front = found
    front.save(tmp_path / "a.front.json")
    for more in ([], ["--json"], ["--all"]):
        ours = output(capsys, "front", tmp_path / "a.front.json", *more)
        assert ours == output(capsys, "front", path, *more)


def test_front_has_a_line_for_each_schedule_and_stars_the_knee(capsys, found):
    path, front = found
    lines = output(capsys, "front", path).splitlines()
    rows = lines[1 : 1 + len(front.members)]
    assert [p.schedule.key for p in front.members] == [row.split()[-1] for row in rows]
    starred = [row.split()[-1] for row in rows if row.startswith("*")]
    assert [front.pick_knee().schedule.key] == starred
    everything = output(capsys, "front", path, "--all").splitlines()
    assert len(front.points) == len(everything) - 3


def test_export_takes_the_fuller_schedules_of_the_file_beside_the_journal(capsys, found, tmp_path):
    path, front = found
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    document = json.loads(front.to_json())
    for point in document["points"]:
        point["schedule"]["sampling"] = {"sampler": "euler"}
    front_beside(copy).write_text(json.dumps(document))
    output(capsys, "export", copy, "--out", tmp_path / "out", "--name", "knee")
    saved = schedule_json.load(tmp_path / "out" / "knee.json")
    assert {"sampler": "euler"} == saved.info["sampling"]


def test_a_front_file_that_was_left_behind_is_not_believed(capsys, found, tmp_path):
    path, front = found
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    Front(front.points[:1], front.info).save(front_beside(copy))
    printed = json.loads(output(capsys, "front", copy, "--json"))
    assert len(front.members) == len(printed["points"])


def test_exported_schedules_are_those_of_the_front(capsys, found, tmp_path):
    path, front = found
    written = json.loads(output(capsys, "export", path, "--all", "--out", tmp_path, "--json"))
    assert len(front.members) == len(written) == len(list(tmp_path.iterdir()))
    for point, entry in zip(front.members, written, strict=True):
        assert point.schedule.key == schedule_json.load(entry["target"]).key == entry["key"]


def test_export_picks_as_the_front_does(capsys, found, tmp_path):
    path, front = found

    def exported(*picks):
        printed = output(capsys, "export", path, *picks, "--out", tmp_path, "--json", "--overwrite")
        return [entry["key"] for entry in json.loads(printed)]

    fast, middle = front.members[0], front.members[len(front.members) // 2]
    assert [front.pick_knee().schedule.key] == exported() == exported("--knee")
    best = front.pick_speedup(1.5).schedule.key
    assert [best] == exported("--speedup", "1.5")
    assert [best, fast.schedule.key] == exported(
        "--speedup", "1.5", "--key", fast.schedule.key, "--speedup", "1.5"
    )
    assert [middle.schedule.key] == exported("--quality", repr(middle.quality))


def test_export_into_the_library_of_a_comfyui(capsys, found, tmp_path):
    path, front = found
    (tmp_path / "models").mkdir()
    output(capsys, "export", path, "--comfyui", tmp_path, "--name", "pixart/mine.json")
    file = tmp_path / "models" / "ecad_schedules" / "pixart" / "mine.json"
    assert front.pick_knee().schedule.key == schedule_json.load(file).key
    listed = output(capsys, "list", "--user", file.parents[1]).split()
    assert "my/pixart/mine" in listed


def test_export_replaces_no_file_unless_told_to(capsys, found, tmp_path):
    path, front = found
    last = front.members[-1].schedule.name
    (tmp_path / f"{last}.json").write_text("mine")
    assert "exists already" in error(capsys, "export", path, "--all", "--out", tmp_path)
    assert ["mine"] == [file.read_text() for file in tmp_path.iterdir()]
    output(capsys, "export", path, "--all", "--out", tmp_path, "--overwrite")
    assert len(front.members) == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize(
    ("picks", "message"),
    [
        (["--speedup", "1000"], "best available"),
        (["--quality", "nan"], "finite number"),
        (["--key", "0"], "no schedule with the key"),
        (["--all", "--name", "a"], "names one file"),
        (["--name", "../a"], "a"),
        (["--comfyui", "nowhere"], "not a ComfyUI folder"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(capsys, found, tmp_path, picks, message):
    place = [] if "--comfyui" in picks else ["--out", tmp_path / "out"]
    assert message in error(capsys, "export", found[0], *picks, *place)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b'{"format":"ecad-journal"}\n', b"hello\n"])
def test_a_file_that_is_no_journal_is_an_error_of_one_line(capsys, tmp_path, content):
    (tmp_path / "a.jsonl").write_bytes(content)
    error(capsys, "front", tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["none.jsonl", "none.front.json"])
def test_a_file_that_is_not_there_is_an_error_of_one_line(capsys, tmp_path, name):
    assert name in error(capsys, "front", tmp_path / name)
