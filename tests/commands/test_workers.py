"""Searches shared out to Ray workers: the same journal, whoever renders and whoever dies."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def ray():
    return pytest.importorskip("ray", reason="needs Ray: pip install ray")


@pytest.fixture(scope="module")
def ecad(server):
    return server.output / "ecad"


@pytest.fixture
def alone(finished, workflow, server, ecad):
    """The journal of the search without workers; made once."""
    if not (ecad / "alone.jsonl").exists():
        finished("search", workflow, "--server", server.connection.url, "--journal", "alone")
    return (ecad / "alone.jsonl").read_bytes()


def workers_in(log: str) -> dict[int, int]:
    """Process ids by the workers' numbers, as the search told them in ComfyUI's log."""
    return {int(n): int(p) for n, p in re.findall(r"worker (\d+) is process (\d+) on", log)}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_ray_worker_writes_the_same_journal(finished, workflow, server, ecad, alone):
    url = server.connection.url
    found = finished(
        "search", workflow, "--server", url, "--journal", "one", "--ray-address", "local"
    )
    assert found["finished"]
    assert alone == (ecad / "one.jsonl").read_bytes()
    front = json.loads((ecad / "one.front.json").read_text())
    assert json.loads((ecad / "alone.front.json").read_text()) == front
    assert {1} == set(workers_in(server.log.read_text()))


def test_a_worker_that_is_killed_is_replaced_and_the_journal_is_the_same(
    command, workflow, server, ecad, alone
):
    before = len(server.log.read_text())
    journal = ecad / "two.jsonl"
    process = command(
        "search", workflow, "--server", server.connection.url, "--journal", "two", "--workers", 2
    )

    def log():
        return server.log.read_text()[before:]

    wait_for(lambda: len(workers_in(log())) == 2 and journal.stat().st_size > 0)
    os.kill(workers_in(log())[1], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert 0 == process.returncode, said
    assert alone == journal.read_bytes()
    assert "worker 1 died and is replaced" in log()


def test_a_search_that_is_stopped_with_two_workers_goes_on_without_any(
    command, finished, workflow, server, ecad, alone
):
    before = len(server.log.read_text())
    journal = ecad / "stopped.jsonl"
    options = ["--server", server.connection.url]
    process = command("search", workflow, *options, "--journal", "stopped", "--workers", 2)
    wait_for(lambda: journal.exists() and len(journal.read_bytes().splitlines()) > 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert 130 == process.returncode, said
    pids = workers_in(server.log.read_text()[before:]).values()
    assert pids
    wait_for(lambda: not any(map(is_running, pids)), 30)
    assert alone != journal.read_bytes() and alone.startswith(journal.read_bytes())
    finished("resume", "stopped", *options, "--workers", 1)
    assert alone == journal.read_bytes()


def test_a_worker_whose_graph_gives_something_else_is_refused(
    command, workflow, server, tmp_path, environment
):
    """A prompt file that changes between the search and its workers."""
    nodes = json.loads(workflow.read_text())
    nodes["4"]["inputs"] |= {"source": "file", "file": "prompts.txt", "prompts": 0}
    workflow.write_text(json.dumps(nodes))
    prompts = server.output.parent / "input" / "prompts.txt"
    prompts.parent.mkdir(exist_ok=True)
    prompts.write_text("red circle\nblue square\n")
    before = len(server.log.read_text())
    process = command(
        "search", workflow, "--server", server.connection.url, "--workers", 2, "--images", 12
    )
    journals = server.output / "ecad"
    known = set(journals.glob("search-*.jsonl"))
    wait_for(lambda: set(journals.glob("search-*.jsonl")) - known)
    prompts.write_text("red circle\ngreen square\n")
    _, said = process.communicate(timeout=300)
    assert 1 == process.returncode, said
    assert "its graph gives another calibration than the search has" in said
    assert {} == workers_in(server.log.read_text()[before:])
