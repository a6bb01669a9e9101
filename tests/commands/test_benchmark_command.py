"""`benchmark`: its workflow, and a run with a real ComfyUI in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from ecad_search.cli import main
from ecad_search.commands.benchmark import BenchmarkWorkflow
from ecad_search.errors import SearchError


@pytest.fixture
def benchmark(workflow, tmp_path):
    """The demo model under FORA on 5 prompts."""
    nodes = json.loads(workflow.read_text())
    search = nodes.pop("7")["inputs"]
    kept = {id: fields for id, fields in nodes.items() if id in "23456"}
    inputs = {name: search[name] for name in ("model", "vae", "sampler_settings", "scorer")}
    inputs |= {"prompts": search["calibration"], "picks": 0, "fora": True}
    inputs |= {"grid_rows": 2, "name": "bench"}
    kept["4"]["inputs"]["prompts"] = 5
    kept["20"] = {"class_type": "ECAD_Benchmark", "inputs": inputs}
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(kept))
    return path


def test_a_workflow_without_a_benchmark_is_refused(workflow):
    with pytest.raises(SearchError, match=r"needs one ECAD Benchmark node, but .* has none"):
        BenchmarkWorkflow.load(workflow)


def test_one_of_several_benchmarks_has_to_be_named(benchmark):
    nodes = json.loads(benchmark.read_text())
    nodes["21"] = nodes["20"]
    benchmark.write_text(json.dumps(nodes))
    with pytest.raises(SearchError, match=r"2 of them \(20, 21\); name one of them with --node"):
        BenchmarkWorkflow.load(benchmark)
    assert "21" == BenchmarkWorkflow.load(benchmark, "21").id


def test_a_place_to_run_is_required(benchmark, capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", str(benchmark)])
    assert "--server" in capsys.readouterr().err


@pytest.mark.host
@pytest.mark.slow
def test_a_stopped_benchmark_goes_on_by_the_same_command(
    command, finished, benchmark, comfyui, base
):
    more = ["--base-directory", base, "--cpu"]
    record = base / "output" / "ecad" / "mine" / "benchmark.jsonl"
    options = [benchmark, "--comfyui", comfyui, "--name", "mine"]
    process = command("benchmark", *options, "--", *more)
    deadline = time.monotonic() + 240
    while not record.exists() or len(record.read_bytes().splitlines()) < 2:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert 130 == process.returncode, said
    assert "the same command goes on" in said
    begun = record.read_bytes()
    found = finished("benchmark", *options, more=more)
    assert record.read_bytes().startswith(begun)
    assert ["uncached", "FORA 2", "FORA 3"] == [row["name"] for row in found["rows"]]
    assert 5 == found["prompts"]["measured"]
    assert str(record.with_name("report.md")) == found["report"]
    assert record.with_name("report.md").is_file()
