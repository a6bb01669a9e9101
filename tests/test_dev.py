"""dev.py and devtools: what a person meets first, and with nothing installed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from devtools import demo, environment, matrix
from devtools.console import StatusLine, bar, duration
from devtools.environment import (
    Environment,
    SetUp,
    needs_torchaudio,
    requirements,
    torchaudio_for,
    torchvision_for,
)
from devtools.lock import locked
from devtools.marked_page import write_into
from devtools.problem import Problem, require_space
from devtools.server import Server, choose_port, free_port, is_free, make_base
from ecad_search.comfyui.connection import Refused
from ecad_search.comfyui.websocket import MAGIC, WebSocket, WebSocketClosed

ROOT = Path(__file__).resolve().parent.parent

# -- the WebSocket client, against sockets that speak RFC 6455 by hand


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes([0x80 * final | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + bytes([126]) + struct.pack("!H", size) + payload
    return head + bytes([127]) + struct.pack("!Q", size) + payload


@pytest.fixture
def serve():
    """Start a server that shakes hands, sends these chunks, and keeps what the client sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    heard: list[bytes] = []
    threads = []

    def start(*chunks: bytes, accept: str | None = None, wait_for_client: bool = False):
        def answer():
            connection, _ = listener.accept()
            connection.settimeout(10)
            with connection:
                request = connection.recv(4096).decode()
                key = request.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
                digest = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Accept: " + (accept or digest).encode() + b"\r\n\r\n"
                )
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for chunk in chunks:
                    connection.sendall(chunk)
                if wait_for_client:
                    heard.append(connection.recv(4096))

        threads.append(threading.Thread(target=answer, daemon=True))
        threads[-1].start()
        return listener.getsockname()[1]

    start.heard = heard
    yield start
    for thread in threads:
        thread.join(10)
    listener.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_text_message_of_any_length_arrives_whole(serve, size):
    port = serve(frame(1, b"x" * size))
    with WebSocket("127.0.0.1", port, "/ws") as client:
        assert "x" * size == client.receive(5)


def test_a_message_in_fragments_with_a_ping_between_them_arrives_as_one(serve):
    port = serve(
        frame(1, "né".encode()[:2], final=False),
        frame(9, b"still there?"),
        frame(0, "né".encode()[2:], final=False),
        frame(0, b"!"),
        wait_for_client=True,
    )
    with WebSocket("127.0.0.1", port, "/ws") as client:
        assert "né!" == client.receive(5)
    pong = serve.heard or None  # filled when the server's thread has read it
    for _ in range(100):
        if pong:
            break
        threading.Event().wait(0.05)
        pong = serve.heard
    assert pong and pong[0][0] == 0x8A and pong[0][1] == 0x80 | len(b"still there?")


def test_bytes_that_trickle_in_lose_nothing_over_timeouts(serve):
    port = serve(*[bytes([byte]) for byte in frame(1, b"slowly") + frame(1, b"twice")])
    with WebSocket("127.0.0.1", port, "/ws") as client:
        messages = []
        for _ in range(200):
            if (message := client.receive(0.01)) is not None:
                messages.append(message)
            if len(messages) == 2:
                break
    assert ["slowly", "twice"] == messages


def test_binary_messages_are_passed_over(serve):
    port = serve(frame(2, b"\x00preview", final=False), frame(0, b"rest"), frame(1, b"event"))
    with WebSocket("127.0.0.1", port, "/ws") as client:
        assert "event" == client.receive(5)


def test_silence_is_none_and_a_closed_connection_is_an_error(serve):
    port = serve(frame(8, struct.pack("!H", 1001)), wait_for_client=True)
    with WebSocket("127.0.0.1", port, "/ws") as client:
        with pytest.raises(WebSocketClosed, match="closed the connection"):
            client.receive(5)
    port = serve(wait_for_client=True)
    with WebSocket("127.0.0.1", port, "/ws") as client:
        assert client.receive(0.05) is None


def test_a_server_with_the_wrong_answer_to_the_handshake_is_refused(serve):
    with pytest.raises(WebSocketClosed, match="refused"):
        WebSocket("127.0.0.1", serve(accept="no"), "/ws")


# -- set-up


def test_torch_and_what_needs_no_installing_is_left_out_of_comfyui_s_requirements(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "torch\ntorchvision\ncomfyui-workflow-templates==0.7.25\ncomfyui-frontend-package==1.32.9\n"
        "numpy>=1.25.0\n\n#non essential dependencies:\nkornia>=0.7.1 # filters\ntorchsde\n"
    )
    expected = "requests comfyui-frontend-package==1.32.9 numpy>=1.25.0 kornia>=0.7.1 torchsde"
    assert expected.split() == requirements(tmp_path).split()


@pytest.mark.parametrize(
    "torch, torchvision", [("2.13.0+cpu", "0.28.0"), ("2.5.1", "0.20.1"), ("2.0.0", "0.15.0")]
)
def test_the_torchvision_that_belongs_to_a_torch_is_known(torch, torchvision):
    assert torchvision == torchvision_for(torch)


@pytest.mark.parametrize(
    "torch, torchaudio",
    [("2.13.0+cpu", "2.11.0"), ("2.11.0", "2.11.0"), ("2.9.1", "2.9.1"), ("3.0.0", "2.11.0")],
)
def test_the_torchaudio_that_goes_with_a_torch_is_known(torch, torchaudio):
    assert torchaudio == torchaudio_for(torch)


@pytest.mark.parametrize(
    "version, needed", [("0.3.75", False), ("0.4.0", False), ("0.8.0", True), ("1.0.0", True)]
)
def test_releases_that_do_not_start_without_torchaudio_get_it(tmp_path, version, needed):
    (tmp_path / "comfyui_version.py").write_text(f'# made by hand\n__version__ = "{version}"\n')
    assert needed == needs_torchaudio(tmp_path)


class Stages(SetUp):
    """The stamps alone: `built` lists the stages that ran."""

    def __init__(self, root: Path):
        super().__init__(root, StatusLine(open(os.devnull, "w")))
        self.built: list[str] = []

    def go(self, *stages: tuple[str, str], fails: str = ""):
        def build(name: str):
            if name == fails:
                raise Problem("no")
            self.built.append(name)

        for name, inputs in stages:
            self._stage(name, name, inputs, lambda name=name: build(name))
        return self.built


def test_a_stage_is_built_once(tmp_path):
    assert ["a", "b"] == Stages(tmp_path).go(("a", "1"), ("b", "1"))
    assert [] == Stages(tmp_path).go(("a", "1"), ("b", "1"))


def test_a_changed_stage_is_built_again_with_all_after_it(tmp_path):
    Stages(tmp_path).go(("a", "1"), ("b", "1"), ("c", "1"))
    assert ["b", "c"] == Stages(tmp_path).go(("a", "1"), ("b", "2"), ("c", "1"))


def test_an_interrupted_stage_is_built_again(tmp_path):
    with pytest.raises(Problem):
        Stages(tmp_path).go(("a", "1"), ("b", "1"), fails="b")
    assert ["b"] == Stages(tmp_path).go(("a", "1"), ("b", "1"))


def test_a_package_that_was_being_installed_when_pip_was_killed_is_forgotten(tmp_path):
    site = tmp_path / ".venv" / ("Lib" if os.name == "nt" else "lib/python3.11") / "site-packages"
    for name, record in (("whole-1.0.dist-info", True), ("half-1.0.dist-info", False)):
        (site / name).mkdir(parents=True)
        (site / name / "METADATA").touch()
        if record:
            (site / name / "RECORD").touch()
    Stages(tmp_path)._forget_half_installed()
    assert ["whole-1.0.dist-info"] == [path.name for path in site.iterdir()]


def test_byte_code_that_is_unwanted_beside_sources_is_kept_in_the_host_s_folder(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    variables = environment.child_variables(MORE="1")
    assert str(ROOT / ".host" / "bytecode") == variables["PYTHONPYCACHEPREFIX"]
    assert "PYTHONDONTWRITEBYTECODE" not in variables and "1" == variables["MORE"]
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    assert "PYTHONPYCACHEPREFIX" not in environment.child_variables()


def test_a_second_set_up_in_the_same_folder_waits_for_the_first(tmp_path):
    order: list[str] = []

    def second():
        with locked(tmp_path / "lock", lambda: order.append("waits")):
            order.append("second")

    with locked(tmp_path / "lock", lambda: order.append("never")):
        thread = threading.Thread(target=second)
        thread.start()
        while not order:
            time.sleep(0.01)
        order.append("first")
    thread.join(10)
    assert ["waits", "first", "second"] == order


@pytest.mark.parametrize(
    "printed, sentence",
    [
        ("NewConnectionError: Temporary failure in name resolution", "there is no network"),
        ("OSError: [Errno 28] No space left on device", "is full"),
        ("ERROR: No matching distribution found for torch==2.13.0", "has no release for Python"),
        ("ensurepip is not available", "python3-venv"),
        ("ERROR: something new\n", "ERROR: something new"),
    ],
)
def test_a_failed_step_says_why_in_a_sentence(tmp_path, printed, sentence):
    problem = environment._why("PyTorch", printed, tmp_path / "setup.log", tmp_path)
    assert sentence in str(problem)


def test_a_disk_without_room_is_said_before_anything_is_downloaded(tmp_path):
    with pytest.raises(Problem, match="needs about 1e\\+09 GB free"):
        require_space(tmp_path, 1e9)


def test_a_folder_that_is_not_comfyui_is_said(tmp_path):
    with pytest.raises(Problem, match="is not a ComfyUI folder"):
        environment.prepare(tmp_path, status=StatusLine(), comfyui=tmp_path)


def test_an_older_python_gets_a_sentence_and_not_a_syntax_error():
    source = (ROOT / "dev.py").read_text(encoding="utf-8")
    guard = source.index("sys.version_info < (3, 10)")
    assert guard < source.index("import argparse") < source.index("from devtools")


# -- the server


def comfyui_that(folder: Path, program: str) -> Environment:
    (folder / "main.py").write_text(program)
    return Environment(Path(sys.executable), folder, accelerated=False)


def test_the_base_directory_links_the_pack_and_repairs_a_link_that_points_elsewhere(tmp_path):
    pack, other = tmp_path / "pack", tmp_path / "other"
    for folder in (pack, other):
        folder.mkdir()
    make_base(tmp_path / "base", other)
    make_base(tmp_path / "base", pack)
    base = make_base(tmp_path / "base", pack)
    assert pack == (base / "custom_nodes" / environment.PACK_NAME).resolve()


def test_a_port_that_is_taken_is_said_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(Problem, match=f"Port {port} is taken"):
            choose_port(port)
    with pytest.raises(Problem, match="between 1 and 65535"):
        choose_port(70000)


def test_a_comfyui_that_ends_at_start_shows_its_last_lines(tmp_path):
    host = comfyui_that(tmp_path, "print('one'); print('cannot find torch'); raise SystemExit(3)")
    with pytest.raises(Problem, match=r"(?s)exit code 3.*cannot find torch"):
        with Server(host, make_base(tmp_path / "base", ROOT), free_port()):
            pass


def test_a_refused_workflow_is_one_line():
    body = {
        "error": {"message": "Prompt outputs failed validation"},
        "node_errors": {
            "3": {
                "class_type": "ECAD_Search",
                "errors": [{"message": "Value 0 smaller than min", "details": "images"}],
            }
        },
    }
    refused = Refused(400, json.dumps(body).encode())
    assert "ECAD_Search: Value 0 smaller than min images" == refused.sentence
    assert "gone" == Refused(500, b"gone").sentence


# -- the demo


WORKFLOW = {
    "1": {"class_type": "ECAD_Search", "inputs": {"images": 600}, "_meta": {"title": "Search"}},
    "2": {"class_type": "ECAD_FrontPlot", "inputs": {"front": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "front"}},
}


def test_the_number_of_images_reaches_the_search(tmp_path):
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(WORKFLOW))
    assert 40 == demo.load_workflow(path, 40)["1"]["inputs"]["images"]
    assert WORKFLOW == demo.load_workflow(path)
    with pytest.raises(Problem, match="at least 1"):
        demo.load_workflow(path, 0)


def test_the_progress_line_shows_what_the_search_says():
    progress = demo.Progress(WORKFLOW)
    progress.follow("executing", {"node": "1"})
    assert "Search" in progress.line
    event = {"generation": 7, "images": 150, "images_budget": 600, "eta_seconds": 80}
    event["best"] = {"speedup": 2.314, "quality": -0.0124}
    progress.follow("ecad.search", event)
    expected = "generation 7 · 150/600 images · best so far 2.31x at quality -0.012 · 1:20 left"
    assert expected in progress.line
    assert bar(0.25) in progress.line
    progress.follow("executing", {"node": "3"})
    assert "SaveImage" in progress.line and "generation" not in progress.line


def test_the_results_are_copied_and_those_of_an_earlier_run_removed(tmp_path):
    base, out = tmp_path / "base", tmp_path / "out"
    (base / "output/ecad/demo").mkdir(parents=True)
    (base / "custom_nodes/pack").mkdir(parents=True)
    (base / "output/ecad/search-1.front.json").write_text("new")
    (base / "output/ecad/demo/summary.json").write_text("rows")
    (base / "output/front_00001_.png").write_text("plot")
    (base / "custom_nodes/pack/best.json").write_text("the pack's own file")
    out.mkdir()
    (out / "grid.png").write_text("old")
    image = {"filename": "front_00001_.png", "subfolder": "", "type": "output"}
    copied = demo.collect(base, WORKFLOW, {"3": {"images": [image]}}, out)
    assert {"front.json": "new", "front.png": "plot", "summary.json": "rows"} == {
        name: path.read_text() for name, path in copied.items()
    }
    assert set(copied) == {path.name for path in out.iterdir()}


def test_the_summary_is_a_table_without_the_columns_that_nobody_filled(tmp_path):
    path = tmp_path / "summary.json"
    rows = [
        {"name": "uncached", "computed_fraction": 1.0, "speedup_measured": 1.0, "images": None},
        {"name": "ecad", "computed_fraction": 0.42, "speedup_measured": 1.937, "images": None},
    ]
    path.write_text(json.dumps(rows))
    expected = [
        "schedule  computed  speed-up",
        "----------------------------",
        "uncached      100%     1.00x",
        "ecad           42%     1.94x",
    ]
    assert expected == demo.summary_table(path).splitlines()


# The demo's own workflow, made as small as a test: inputs by the class of their node.
SMALL = {
    "ECAD_CalibrationPrompts": {"prompts": 2, "seeds_per_prompt": 1},
    "ECAD_SamplerSettings": {"steps": 4, "batch_size": 2},
    "ECAD_Search": {"first_samples": 2},
    "ECAD_CompareSchedules": {"picks": 1, "rounds": 1, "grid_rows": 2},
}


@pytest.mark.host
@pytest.mark.slow
def test_the_demo_finds_a_front_and_leaves_nothing_behind(tmp_path):
    comfyui = os.environ.get("COMFYUI_PATH")
    if not comfyui:
        pytest.skip("needs ComfyUI: run `python3 dev.py test`")
    if subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode:
        pytest.skip("this environment's torchvision does not import: run `python3 dev.py test`")
    workflow = demo.load_workflow(ROOT / "demo" / "workflow_api.json")
    for node in workflow.values():
        node["inputs"] |= SMALL.get(node["class_type"], {})
    small, out = tmp_path / "small.json", tmp_path / "out"
    small.write_text(json.dumps(workflow))
    before = set((ROOT / ".host").glob("demo-*"))
    options = ("--images", "24", "--workflow", small, "--out", out, "--python", sys.executable)
    answer = subprocess.run(
        [sys.executable, "dev.py", "demo", *options, "--comfyui", comfyui],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert 0 == answer.returncode, answer.stdout + answer.stderr
    assert set(demo.RESULTS) == {path.name for path in out.iterdir()}
    assert "ecad-schedule" == json.loads((out / "best.json").read_text())["format"]
    assert "24/24 images" in answer.stdout
    assert "uncached" in answer.stdout
    assert before == set((ROOT / ".host").glob("demo-*"))


# -- the release matrix

REPORT = """<testsuites><testsuite>
<testcase classname="host.test_a" name="test_one"/>
<testcase classname="host.test_a" name="test_two"><failure message="no">no</failure></testcase>
<testcase classname="host.test_a" name="test_three"><error message="no">no</error></testcase>
<testcase classname="host.test_a" name="test_four"><skipped message="too old"/></testcase>
<testcase classname="host.test_a" name="test_five"><skipped message="too old"/></testcase>
</testsuite></testsuites>"""


def test_the_matrix_is_read_from_the_reports_of_its_runs():
    report = ElementTree.fromstring(REPORT)
    old = matrix.outcome_of(report, "0.3.75", "2025-11-26", "Linux")
    new = matrix.Outcome("0.33.0", "", "Linux", 5, (), ("too old",))
    expected = [
        "Linux.",
        "",
        "| ComfyUI | released | passed | failed | skipped |",
        "|---|---|---|---|---|",
        "| 0.3.75 | 2025-11-26 | 1 | 2 | 2 |",
        "| 0.33.0 |  | 5 | 0 | 1 |",
        "",
        "Failed:",
        "",
        "- host.test_a::test_two: 0.3.75",
        "- host.test_a::test_three: 0.3.75",
        "",
        "Skipped:",
        "",
        "- too old: 0.3.75 (2 times), 0.33.0",
    ]
    assert expected == matrix.table([new, old]).splitlines()


def test_the_matrix_is_put_between_its_marks_and_replaces_the_old_one(tmp_path):
    page = tmp_path / "releases.md"
    page.write_text("# Before\n\n<!-- matrix -->\n<!-- end of matrix -->\n\nAfter\n")
    for text in ("first\n", "second\n"):
        write_into(page, "matrix", text)
    expected = "# Before\n\n<!-- matrix -->\nsecond\n<!-- end of matrix -->\n\nAfter\n"
    assert expected == page.read_text()
    page.write_text("no marks")
    with pytest.raises(Problem, match="has no place for the table"):
        write_into(page, "matrix", "table\n")


def test_a_release_is_named_and_dated_by_the_commit_of_its_version(tmp_path):
    (tmp_path / "comfyui_version.py").write_text('# made\n__version__ = "0.33.0"\n')
    assert "0.33.0" == matrix.version_of(tmp_path)
    assert "" == matrix.date_of(tmp_path)
    if shutil.which("git") is None:
        pytest.skip("needs git")
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    date = {"GIT_COMMITTER_DATE": "2026-08-13T12:00:00Z"}
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "0.33.0"]):
        subprocess.run([*git, *command], check=True, env=os.environ | date)
    assert "2026-08-13" == matrix.date_of(tmp_path)


# -- the terminal


def test_durations_read_like_a_clock():
    assert ["0:00", "1:35", "1:01:01", "--:--"] == [duration(s) for s in (0, 95, 3661, None)]


def test_help_needs_nothing_installed():
    answer = subprocess.run(
        [sys.executable, "-S", ROOT / "dev.py", "--help"], capture_output=True, text=True
    )
    assert "demo" in answer.stdout, answer.stderr
