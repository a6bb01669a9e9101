"""ComfyUI's own tests of its executor pass with this pack among the custom nodes.

They start `python main.py` in their own folder, so they are run in a copy of ComfyUI. The copy has
the code alone: no models, no other custom nodes, nothing that ComfyUI has written.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from devtools.environment import PACK_NAME, child_variables
from devtools.server import free_port, make_base

ROOT = Path(__file__).resolve().parent.parent
THEIRS = Path("tests/execution/test_execution.py")
# They are parametrised with four ways of caching results, the default first. All would take four
# times as long; every test of the file is run.
ONE_WAY_OF_CACHING = "server0"
NOT_CODE = {
    *("models", "custom_nodes", "input", "output", "temp", "user", "extra_model_paths.yaml"),
    *(".git", ".venv", "venv"),
}
# They wait 20 seconds for the server, which a busy machine may need for its start alone.
PLUGIN = """\
import socket, time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    value = yield
    if fixturedef.argname in ("server", "_server"):
        address = "127.0.0.1", request.config.getoption("--port")
        for _ in range(180):
            with socket.socket() as probe:
                if probe.connect_ex(address) == 0:
                    break
            time.sleep(1)
    return value
"""
OPERATORS = "import torchvision_operators\ntorchvision_operators.install()\n"


@pytest.fixture
def copied(tmp_path) -> Path:
    """A copy of ComfyUI with the pack among its custom nodes."""
    comfyui = Path(os.environ.get("COMFYUI_PATH", ""))
    if not (comfyui / "main.py").is_file():
        pytest.skip("needs ComfyUI: run `python dev.py test`, or set COMFYUI_PATH to its folder")
    if not (comfyui / THEIRS).is_file():
        pytest.skip(f"this ComfyUI comes without its own tests (it has no {THEIRS.as_posix()})")
    if importlib.util.find_spec("websocket") is None:
        pytest.skip("needs the package websocket-client, see requirements-dev.txt")
    if shutil.which("python", path=str(Path(sys.executable).parent)) is None:
        pytest.skip(f"ComfyUI's tests start 'python', which is not beside {sys.executable}")

    def without(folder: str, names: list[str]) -> set[str]:
        return NOT_CODE & set(names) if Path(folder) == comfyui else set()

    shutil.copytree(comfyui, tmp_path / "ComfyUI", ignore=without)
    return make_base(tmp_path / "ComfyUI", ROOT)


@pytest.fixture
def run_theirs(copied, tmp_path):
    """`run_theirs(argument, ...)` -> why each test failed (None: it passed), what was printed."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(ROOT / "devtools" / "torchvision_operators.py", site)
    (site / "sitecustomize.py").write_text(OPERATORS, encoding="utf-8")
    (site / "wait_for_server.py").write_text(PLUGIN, encoding="utf-8")
    variables = {k: v for k, v in child_variables().items() if not k.startswith("PYTEST_")}
    for name, folder in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", site)):
        variables[name] = os.pathsep.join(filter(None, (str(folder), variables.get(name))))

    def run(*arguments: str) -> tuple[dict[str, str | None], str]:
        report = tmp_path / "report.xml"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", *arguments, "-s"),
                *("-p", "wait_for_server", "-p", "no:cacheprovider", "--skip-timing-checks"),
                *("--port", str(free_port()), "--output_dir", str(tmp_path / "output")),
                f"--junit-xml={report}",
            ],
            cwd=copied,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert report.is_file(), done.stdout[-2000:]
        ended: dict[str, str | None] = {}
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            problem = next((part for part in case if part.tag in ("failure", "error")), None)
            ended[case.get("name", "")] = None if problem is None else problem.get("message", "")
        return ended, done.stdout

    return run


@pytest.mark.host
@pytest.mark.slow
def test_what_passes_without_the_pack_passes_with_it(copied, run_theirs):
    ended, printed = run_theirs(str(THEIRS), "-k", ONE_WAY_OF_CACHING)
    loaded = [line for line in printed.splitlines() if " seconds" in line and PACK_NAME in line]
    assert 1 == len(loaded) and "IMPORT FAILED" not in loaded[0]
    assert 30 <= len(ended)
    failed = {name: problem for name, problem in ended.items() if problem is not None}
    if failed:  # perhaps of itself
        (copied / "custom_nodes" / PACK_NAME).unlink()
        alone, _ = run_theirs(*(f"{THEIRS}::TestExecution::{name}" for name in failed))
        failed = {name: problem for name, problem in failed.items() if alone[name] is None}
    assert {} == failed
