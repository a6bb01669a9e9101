import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecad_search import cli
from ecad_search.architectures import FLUX, PIXART, sized
from ecad_search.builtin_schedules import FOLDER, builtin_schedules
from ecad_search.core import presets, schedule_json
from ecad_search.core.architecture import Workload
from ecad_search.core.cost import schedule_macs

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def fora(tmp_path) -> str:
    path = tmp_path / "fora é.json"
    schedule_json.save(presets.fora(PIXART, 20, 3), path)
    return str(path)


def output(capsys, *arguments: str) -> str:
    assert 0 == cli.main(arguments)
    return capsys.readouterr().out


def test_show_prints_what_a_schedule_costs(capsys, fora):
    printed = output(capsys, "show", fora, "--batch", "2", "--resolution", "256")
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert "2019308470272" == lines["macs_without_attention"]
    assert str(2019308470272 + 7 * 28 * (301_989_888 + 141_557_760)) == lines["macs"]
    assert ("pixart", "20", "0.35") == (
        lines["architecture"],
        lines["steps"],
        lines["computed_fraction"],
    )


def test_show_json_says_the_same(capsys, fora):
    printed = output(capsys, "show", fora, "--batch", "2", "--resolution", "256", "--json")
    found = json.loads(printed)
    assert 2019308470272 == found["macs_without_attention"]
    assert 0.35 == found["computed_fraction"]
    assert ("pixart", 20, 2, 256) == tuple(
        found[key] for key in ("architecture", "steps", "batch", "width")
    )


def test_show_reads_the_paper_s_format(capsys, tmp_path):
    path = tmp_path / "paper.json"
    path.write_text(schedule_json.dumps_paper(presets.fora(FLUX, 20, 3)))
    found = json.loads(
        output(capsys, "show", str(path), "--json", "--batch", "2", "--resolution", "256")
    )
    assert 69_797_393_989_632 == found["macs_without_attention"]
    assert "flux" == found["architecture"]


def test_show_takes_a_name_of_the_list(capsys):
    names = output(capsys, "list").split()
    assert set(builtin_schedules()) <= set(names)
    assert "fora-2-20-steps" in output(capsys, "show", "flux/fora-2-20-steps")


def test_show_takes_the_resolution_a_schedule_was_searched_on(capsys, tmp_path):
    schedule = presets.fora(PIXART, 4, 2)
    schedule.info["sampling"] = {"width": 512, "height": 256}  # type: ignore[index]
    schedule_json.save(schedule, tmp_path / "a.json")
    found = json.loads(output(capsys, "show", str(tmp_path / "a.json"), "--json"))
    assert (512, 256, 1) == (found["width"], found["height"], found["batch"])


def test_show_takes_the_frames_of_a_film(capsys):
    def shown(*options):
        found = json.loads(output(capsys, "show", "wan-14b/fora-2-20-steps", "--json", *options))
        return found["frames"], found["macs_without_attention"]

    schedule = builtin_schedules()["wan-14b/fora-2-20-steps"]
    for frames, options in ((81, ()), (161, ("--frames", "161")), (1, ("--frames", "1"))):
        workload = Workload(width=640, height=640, frames=frames)
        assert (frames, schedule_macs(schedule, workload).linear) == shown(*options)


def test_the_official_tgate_schedule_is_refused_in_one_line(capsys, tmp_path):
    path = tmp_path / "tgate.json"
    document = json.loads(schedule_json.dumps_paper(presets.tgate(PIXART, 4, 2)))
    entry = document["cache_schedule"]["schedule"]["000"]["0"]
    entry["custom_compute_attn"] = {"name": "compute_attn_tgate", "kwargs": {"gate_step": 2}}
    path.write_text(json.dumps(document))
    assert 1 == cli.main(["show", str(path)])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert 1 == printed.err.count("\n")
    assert "T-GATE" in printed.err


@pytest.mark.parametrize("arguments", [["none.json"], ["."], ["FILE", "--batch", "0"]])
def test_an_error_is_one_line_and_status_1(capsys, fora, arguments):
    assert 1 == cli.main(["show", *(fora if a == "FILE" else a for a in arguments)])
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert 1 == printed.count("\n")


def test_convert_goes_there_and_back(capsys, fora, tmp_path):
    output(capsys, "convert", fora, "--out", str(tmp_path / "paper.json"), "--paper")
    paper = str(tmp_path / "paper.json")
    output(capsys, "convert", paper, "--out", str(tmp_path / "own.json"))
    assert presets.fora(PIXART, 20, 3) == schedule_json.load(tmp_path / "own.json")
    again = ("convert", fora, "--out", str(tmp_path / "28.json"))
    output(capsys, *again, "--steps", "28")
    assert 28 == schedule_json.load(tmp_path / "28.json").steps
    assert 1 == cli.main(again)
    output(capsys, *again, "--overwrite")
    assert 20 == schedule_json.load(tmp_path / "28.json").steps


@pytest.fixture
def folder(tmp_path) -> Path:
    """As the official repository lays them out: two schedules, a T-GATE one and another file."""
    root = tmp_path / "official"
    texts = {
        "pixart_256/fora.json": schedule_json.dumps_paper(presets.fora(PIXART, 20, 3)),
        "flux_256/fora.json": schedule_json.dumps_paper(presets.fora(FLUX, 20, 3)),
        "pixart_256/manager.json": '{"generation": 10}',
        "pixart_256/readme.txt": "no schedule",
    }
    document = json.loads(texts["pixart_256/fora.json"])
    entry = document["cache_schedule"]["schedule"]["000"]["0"]
    entry["custom_compute_attn"] = {"name": "compute_attn_tgate", "kwargs": {"gate_step": 2}}
    texts["pixart_256/tgate.json"] = json.dumps(document)
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json"))


def test_a_folder_is_converted_and_what_cannot_be_is_said(capsys, folder, tmp_path):
    out = tmp_path / "mine"
    assert 1 == cli.main(["convert", str(folder), "--out", str(out)])
    printed = capsys.readouterr()
    assert ["flux_256/fora.json", "pixart_256/fora.json"] == below(out)
    assert presets.fora(FLUX, 20, 3) == schedule_json.load(out / "flux_256/fora.json")
    told = [line.split(" -> ")[0] for line in printed.out.splitlines()]
    assert [str(folder / "flux_256/fora.json"), str(folder / "pixart_256/fora.json")] == told
    manager, tgate, count = printed.err.splitlines()
    assert "manager.json: format is missing" in manager
    assert "tgate.json" in tgate and "T-GATE" in tgate
    assert "error: 2 of 4 files were not converted." == count


def test_a_folder_below_the_converted_one_is_not_converted_again(capsys, folder):
    arguments = ["convert", str(folder), "--out", str(folder / "mine"), "--overwrite"]
    assert [1, 1] == [cli.main(arguments), cli.main(arguments)]
    capsys.readouterr()
    assert 4 + 2 == len(below(folder))


def test_convert_json_says_what_became_of_each_file(capsys, folder, tmp_path):
    arguments = ["convert", str(folder / "pixart_256"), "--out", str(tmp_path / "o"), "--json"]
    assert 1 == cli.main([*arguments, "--steps", "10"])
    fora, manager, tgate = json.loads(capsys.readouterr().out)
    key = presets.fora(PIXART, 20, 3).resampled(10).key
    assert ("pixart", 10, key) == (fora["architecture"], fora["steps"], fora["key"])
    assert str(tmp_path / "o" / "fora.json") == fora["target"]
    assert {"source", "error"} == set(manager) == set(tgate)


def test_two_files_never_become_one(capsys, folder, tmp_path):
    files = [str(folder / name / "fora.json") for name in ("flux_256", "pixart_256")]
    assert 1 == cli.main(["convert", *files, "--out", str(tmp_path / "o"), "--overwrite"])
    assert "different folders" in capsys.readouterr().err
    assert "flux" == schedule_json.load(tmp_path / "o" / "fora.json").architecture.id


def test_an_architecture_can_be_stated_where_it_fits(capsys, tmp_path):
    small = presets.fora(sized("pixart", {"blocks": 10}, hidden=48), 20, 2)
    (tmp_path / "small.json").write_text(schedule_json.dumps_paper(small))
    arguments = ["convert", str(tmp_path / "small.json"), "--out", str(tmp_path / "o.json")]
    output(capsys, *arguments, "--architecture", "emoji-pixart")
    assert "emoji-pixart" == schedule_json.load(tmp_path / "o.json").architecture.id
    assert 1 == cli.main([*arguments, "--architecture", "flux", "--overwrite"])
    printed = capsys.readouterr().err
    assert "small.json: " in printed and "choose the architecture of the file" in printed
    assert 1 == cli.main([*arguments, "--architecture", "none", "--overwrite"])
    assert "expected one of pixart" in capsys.readouterr().err


def test_an_empty_folder_is_an_error(capsys, tmp_path):
    assert 1 == cli.main(["convert", str(tmp_path)])
    assert "holds no .json file" in capsys.readouterr().err


def test_names_are_printed_as_json_too(capsys):
    assert list(builtin_schedules()) == json.loads(output(capsys, "presets", "--json"))
    assert output(capsys, "list").split() == json.loads(output(capsys, "list", "--json"))


def test_presets_are_written_into_a_folder(capsys, tmp_path):
    output(capsys, "presets", "--write", str(tmp_path))
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")}
    assert {f"{name}.json" for name in builtin_schedules()} == written
    for name in written:
        assert (FOLDER / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_module_runs_without_torch_and_in_a_poor_console(tmp_path, fora):
    probe = (
        "import sys; sys.modules['torch'] = None; from ecad_search import cli;"
        f"sys.exit(cli.main(['show', {fora!r}]))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (0, "") == (run.returncode, run.stderr)
    run = subprocess.run(
        [sys.executable, "-m", "ecad_search", "show", "é"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert 1 == run.returncode
    assert r"error: \xe9 cannot be read" in run.stderr
