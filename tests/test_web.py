"""The scripts that ComfyUI serves: it loads one, which imports the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parent.parent / "web"
SCRIPTS = sorted([*WEB.rglob("*.js"), *WEB.rglob("*.mjs")])
HOSTS = {"../../../scripts/app.js", "../../../scripts/api.js"}  # what releases agree on


def imports(script: Path) -> set[str]:
    return set(re.findall(r'^import [^;]*?from "(.+?)";$', script.read_text("utf-8"), re.MULTILINE))


def test_one_script_is_loaded_by_comfyui():
    """It imports every .js below web by itself, and no .mjs."""
    assert [WEB / "js" / "ecad.js"] == [path for path in SCRIPTS if path.suffix == ".js"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_files_that_are_there(script):
    files = {(script.parent / name).resolve() for name in imports(script) - HOSTS}
    assert set() == files - set(SCRIPTS)


def test_every_script_is_used():
    used = {(path.parent / name).resolve() for path in SCRIPTS for name in imports(path) - HOSTS}
    assert {path for path in SCRIPTS if path.suffix == ".mjs"} == used
