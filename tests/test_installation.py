"""Installed, updated and removed by ComfyUI-Manager's own code, from a clone on this machine.

Needs ComfyUI (COMFYUI_PATH), git and the package comfyui-manager; skipped without one of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAME = "ComfyUI-ECAD"
ADDRESS = "https://git.invalid/"  # git is told that it is a folder here; the Manager wants a URL
IDS = (ROOT / "tests" / "host" / "node_ids.txt").read_text(encoding="utf-8").split()
# A process of its own for each step, as the Manager's and ComfyUI's start-ups are.
STEP = """
import asyncio, json, os, sys

step, comfyui, base, address, name, operators = sys.argv[1:]
sys.argv = ["main.py", "--cpu", "--base-directory", base]
sys.path.insert(0, comfyui)
import comfy.options

comfy.options.enable_args_parsing()
import folder_paths

folder = os.path.join(folder_paths.get_folder_paths("custom_nodes")[0], name)
if step == "load":
    sys.path.insert(1, operators)
    import torchvision_operators

    torchvision_operators.install()
    import nodes

    asyncio.run(nodes.load_custom_node(folder))
    answer = sorted(node for node in nodes.NODE_CLASS_MAPPINGS if node.startswith("ECAD_"))
else:
    from comfyui_manager.common import context

    context.update_user_directory(os.path.join(base, "user", "manager"))
    from comfyui_manager.glob import manager_core

    manager_core.get_config()["network_mode"] = "offline"
    manager = manager_core.unified_manager
    if step == "install":
        done = asyncio.run(manager_core.gitclone_install(address))
    else:
        asyncio.run(manager.reload("cache"))
        if step == "update":
            done = manager.repo_update(folder)
        else:
            done = manager.unified_uninstall(name, is_unknown=name in manager.unknown_active_nodes)
    answer = [done.result, done.action, done.msg]
print("\\nANSWER " + json.dumps(answer))
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Somebody's ComfyUI folder, a repository to install from, and the Manager's steps."""
    comfyui = os.environ.get("COMFYUI_PATH", "")
    if not (Path(comfyui) / "main.py").is_file():
        pytest.skip("needs ComfyUI: run `python dev.py test`, or set COMFYUI_PATH to its folder")
    if importlib.util.find_spec("comfyui_manager") is None:
        pytest.skip("needs the package comfyui-manager (pip install comfyui-manager)")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone of the repository")
    folder = tmp_path_factory.mktemp("installation")
    git(folder, "clone", "--quiet", str(ROOT), NAME)
    base = folder / "base"
    (base / "custom_nodes").mkdir(parents=True)
    (base / "models" / "ecad_schedules").mkdir(parents=True)
    (base / "user" / "manager").mkdir(parents=True)
    (base / "input").mkdir()  # which ComfyUI itself would make
    environment = os.environ | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
        "COMFYUI_PATH": comfyui,
    }

    def run(step: str):
        arguments = [step, comfyui, str(base), ADDRESS + NAME, NAME, str(ROOT / "devtools")]
        done = subprocess.run(
            [sys.executable, "-c", STEP, *arguments],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
        assert answers, done.stdout[-2000:] + done.stderr[-2000:]
        return json.loads(answers[-1].removeprefix("ANSWER "))

    return SimpleNamespace(
        run=run, base=base, origin=folder / NAME, pack=base / "custom_nodes" / NAME
    )


@pytest.mark.slow
def test_the_manager_installs_updates_and_removes_the_pack_and_leaves_the_user_s_schedules(user):
    mine = user.base / "models" / "ecad_schedules" / "mine.json"
    shutil.copyfile(ROOT / "schedules" / "emoji-pixart" / "fora-2-20-steps.json", mine)
    before, content = files(user.base), mine.read_bytes()

    assert [True, "install-git", None] == user.run("install")
    assert git(user.origin, "rev-parse", "HEAD") == git(user.pack, "rev-parse", "HEAD")
    assert [] == list((user.base / "user" / "manager" / "startup-scripts").iterdir())
    assert [node for node in IDS if (user.pack / "web/docs" / f"{node}.md").exists()] == user.run(
        "load"
    )

    (user.origin / "CHANGELOG.md").write_text("newer\n", encoding="utf-8")
    git(user.origin, "commit", "--quiet", "--all", "--message", "newer")
    assert [True, "update-git", None] == user.run("update")
    assert "newer\n" == (user.pack / "CHANGELOG.md").read_text(encoding="utf-8")
    assert content == mine.read_bytes()

    assert [True, "uninstall", None] == user.run("uninstall")
    of_manager = {name for name in files(user.base) if name.startswith(os.path.join("user", ""))}
    assert before - of_manager == files(user.base) - of_manager
    assert content == mine.read_bytes()
