"""`search` and `resume` with a real ComfyUI in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from ecad_search.comfyui.queued_search import QueuedSearch
from ecad_search.comfyui.workflow import SearchWorkflow
from ecad_search.core.front import Front

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.fixture
def more(base):
    """What ComfyUI is started with."""
    return ["--base-directory", base, "--cpu"]


def lines(journal):
    return journal.read_bytes().splitlines() if journal.exists() else []


def wait_for(condition, process=None):
    """`process` must live on meanwhile."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


def test_a_search_runs_in_a_comfyui_of_its_own(finished, workflow, comfyui, base, more, tmp_path):
    out = tmp_path / "front.json"
    options = ["--comfyui", comfyui, "--images", 16, "--journal", "a/b", "--out", out]
    found = finished("search", workflow, *options, more=more)
    ecad = base / "output" / "ecad"
    assert str(ecad / "a" / "b.jsonl") == found["journal"]
    assert str(ecad / "a" / "b.front.json") == found["front"]
    assert (False, True, 16) == (found["stopped"], found["finished"], found["images_budget"])
    front = Front.load(found["front"])
    assert front.to_json() == Front.load(out).to_json()
    assert [p.schedule.key for p in front.members] == [p["key"] for p in found["points"]]
    kept = json.loads((ecad / "a" / "b.workflow.json").read_text())
    assert {"2", "3", "4", "6", "7"} == set(kept)  # what feeds the search, and nothing after it
    assert (16, "a/b") == tuple(kept["7"]["inputs"][name] for name in ("images", "journal"))


@pytest.fixture
def whole(finished, workflow, server):
    """The journal of the search of 60 images, not interrupted; made once."""
    journal = server.output / "ecad" / "whole.jsonl"
    if not journal.exists():
        options = ["--server", server.connection.url, "--journal", "whole", "--images", 60]
        finished("search", workflow, *options)
    return journal.read_bytes()


def host_process(base):
    """The process id of the ComfyUI that was started on `base`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if b"main.py" in arguments and str(base).encode() in arguments:
            return int(folder.name)
    raise AssertionError("no ComfyUI runs")


@pytest.mark.parametrize("death", ["ctrl-c", "kill"])
def test_a_search_that_ends_early_goes_on_by_the_command_it_names(
    command, finished, workflow, comfyui, base, more, whole, death
):
    if death == "kill" and not Path("/proc/self/cmdline").exists():
        pytest.skip("finds the process in /proc, which this system has not")
    cut = base / "output" / "ecad" / "cut.jsonl"
    process = command(
        "search", workflow, "--comfyui", comfyui, "--journal", "cut", "--images", 5000, "--", *more
    )
    wait_for(lambda: len(lines(cut)) > 4, process)
    if death == "kill":
        os.kill(host_process(base), signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert {"kill": 1, "ctrl-c": 130}[death] == process.returncode, said
    assert ("ComfyUI was killed" if death == "kill" else f"All of it is in {cut}") in said
    before = cut.read_bytes()
    resume = shlex.split(next(line for line in said.splitlines() if " resume " in line))
    at = resume.index("--")
    assert ["python", "-m", "ecad_search", "resume"] == resume[:4]
    resumed = finished(*resume[3:at], "--images", 60, more=resume[at + 1 :])
    assert resumed["finished"] and str(cut) == resumed["journal"]
    after = cut.read_bytes()
    assert len(before.splitlines()) > 4
    if before.endswith(b"\n"):
        assert after.startswith(before)
    if len(before) < len(whole):  # else the machine was quick, and went past the smaller budget
        assert whole == after


def test_a_search_on_a_server_goes_on_by_its_name_with_a_larger_budget(
    finished, workflow, server, tmp_path
):
    url = server.connection.url
    found = finished("search", workflow, "--server", url, "--images", 12, "--seed", 3)
    name = found["journal"].removeprefix("ecad/").removesuffix(".jsonl")
    journal = server.output / "ecad" / f"{name}.jsonl"
    before = journal.read_bytes()
    assert 12 >= found["images"] > 0
    again = finished("resume", name, "--server", url, "--images", 24)
    assert 24 >= again["images"] > found["images"]
    assert journal.read_bytes().startswith(before)
    by_file = finished("resume", journal, "--server", url)  # nothing is left to do
    assert again["points"] == by_file["points"]
    assert 3 == json.loads(before.splitlines()[0])["settings"]["seed"]


def test_ctrl_c_in_the_queue_of_a_server_leaves_the_running_search_alone(
    command, finished, workflow, server
):
    url = server.connection.url
    ecad = server.output / "ecad"
    first = command("search", workflow, "--server", url, "--journal", "first", "--images", 5000)
    wait_for(lambda: len(lines(ecad / "first.jsonl")) > 2, first)
    second = command("search", workflow, "--server", url, "--journal", "second")
    wait_for(lambda: server.connection.get("/queue")["queue_pending"], second)
    os.kill(second.pid, signal.SIGTERM)
    _, said = second.communicate(timeout=60)
    assert (130, True) == (second.returncode, "before the search began" in said)
    done = len(lines(ecad / "first.jsonl"))
    wait_for(lambda: len(lines(ecad / "first.jsonl")) > done, first)
    os.kill(first.pid, signal.SIGINT)
    assert "resume first --server" in first.communicate(timeout=60)[1]
    assert 130 == first.returncode
    assert not (ecad / "second.jsonl").exists()
    # ComfyUI says that a prompt was interrupted a moment before it takes it off its queue.
    wait_for(lambda: not server.connection.get("/queue")["queue_running"])


def test_a_search_stopped_before_the_answer_to_its_queueing_is_found_in_the_queue(
    command, workflow, server
):
    options = ["--server", server.connection.url, "--images", 5000]
    first = command("search", workflow, *options, "--journal", "before")
    wait_for(lambda: server.connection.get("/queue")["queue_running"], first)
    running = server.connection.get("/queue")["queue_running"][0][1]
    second = QueuedSearch(server.connection, SearchWorkflow.load(workflow))
    second._queue()
    assert second.prompt in server.connection.get("/queue")["queue_pending"][0]
    second.prompt = ""
    second.stop()
    queue = server.connection.get("/queue")
    assert ([], running) == (queue["queue_pending"], queue["queue_running"][0][1])
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)


def test_what_is_wrong_is_said_in_one_line(command, workflow, server, tmp_path):
    url = server.connection.url
    ecad = server.output / "ecad"
    ecad.mkdir(parents=True, exist_ok=True)
    (ecad / "bare.jsonl").write_text("")
    unknown = json.loads(workflow.read_text())
    unknown["4"]["class_type"] = "NoSuchNode"
    (tmp_path / "unknown.json").write_text(json.dumps(unknown))
    for arguments, sentence in (
        (["resume", "nobody"], "There is no journal 'nobody'"),
        (["resume", "bare"], "no bare.workflow.json beside the journal"),
        (["search", workflow, "--images", "1"], "ComfyUI refused the workflow: ECAD_Search"),
        (["search", workflow, "--images", "4"], "ECAD_Search failed: The budget of 4 images"),
        (["search", workflow, "--journal", "../out"], "output/ecad"),
        (["search", tmp_path / "unknown.json"], "has no node NoSuchNode"),
        (["search", workflow, "--python", "python3"], "with --server it runs already"),
    ):
        process = command(*arguments, "--server", url)
        printed, said = process.communicate(timeout=60)
        assert (1, "") == (process.returncode, printed), said
        assert sentence in said.splitlines()[-1]
