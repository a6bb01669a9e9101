import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecad_search import cli
from ecad_search.architectures import FLUX, PIXART
from ecad_search.builtin_schedules import FOLDER, builtin_schedules
from ecad_search.core import presets, schedule_json

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
    output(capsys, "convert", fora, str(tmp_path / "paper.json"), "--paper")
    output(capsys, "convert", str(tmp_path / "paper.json"), str(tmp_path / "own.json"))
    assert presets.fora(PIXART, 20, 3) == schedule_json.load(tmp_path / "own.json")
    output(capsys, "convert", fora, str(tmp_path / "28.json"), "--steps", "28")
    assert 28 == schedule_json.load(tmp_path / "28.json").steps
    assert 1 == cli.main(["convert", fora, str(tmp_path / "28.json")])
    output(capsys, "convert", fora, str(tmp_path / "28.json"), "--overwrite")
    assert 20 == schedule_json.load(tmp_path / "28.json").steps


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
