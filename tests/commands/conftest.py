"""A real ComfyUI as its own process, and a search in it that takes seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecad_search.comfyui.process import OwnComfyUI

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "demo" / "workflow_api.json"
SHIM = """\
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("ecad_torchvision_operators", {path!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)
module.install()
"""


@pytest.fixture(scope="session")
def comfyui() -> Path:
    folder = os.environ.get("COMFYUI_PATH", "")
    if not (Path(folder) / "comfyui_version.py").is_file():
        pytest.skip(
            "needs ComfyUI: run `python dev.py host`, or set COMFYUI_PATH to a ComfyUI folder "
            "(0.3.75 or newer)"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Variables for the processes: one thread each, and a torchvision that imports on a CPU."""
    site = tmp_path_factory.mktemp("site")
    path = str(ROOT / "devtools" / "torchvision_operators.py")
    (site / "sitecustomize.py").write_text(SHIM.format(path=path))
    return {
        **os.environ,
        "PYTHONPATH": str(site),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture
def base(tmp_path) -> Path:
    """A base directory for ComfyUI."""
    return made_base(tmp_path / "base")


def made_base(folder: Path) -> Path:
    (folder / "custom_nodes").mkdir(parents=True)  # ComfyUI does not start without it
    return folder


@pytest.fixture(scope="module")
def server(comfyui, environment, tmp_path_factory):
    """A running ComfyUI."""
    base = made_base(tmp_path_factory.mktemp("server") / "base")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        arguments = ["--cpu", "--base-directory", str(base)]
        with OwnComfyUI(comfyui, python=Path(sys.executable), arguments=arguments) as own:
            yield own


@pytest.fixture
def workflow(tmp_path) -> Path:
    """The demo's search with 4 prompts and 4 steps."""
    nodes = json.loads(WORKFLOW.read_text())
    nodes["4"]["inputs"]["prompts"] = 4
    nodes["6"]["inputs"] |= {"steps": 4, "cfg": 1.0, "batch_size": 2}
    nodes["7"]["inputs"] |= {"images": 40, "population": 4, "profile_first": False}
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(nodes))
    return path


def hear_ctrl_c() -> None:
    """Whoever runs the tests in the background of a script has children that ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(environment):
    """Starts `python -m ecad_search ...`."""

    def start(*arguments) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ecad_search", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hear_ctrl_c if os.name == "posix" else None,
        )

    return start


@pytest.fixture
def finished(command):
    """Runs a command to its end and gives its JSON; `more` goes to ComfyUI."""

    def run(*arguments, more=()):
        process = command(*arguments, "--json", *(["--", *more] if more else []))
        printed, said = process.communicate(timeout=300)
        assert 0 == process.returncode, said
        return json.loads(printed)

    return run
