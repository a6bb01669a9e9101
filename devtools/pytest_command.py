"""How the tests are started: the files side by side, one process on each core."""

from __future__ import annotations

import os
from pathlib import Path

from .environment import child_variables


def whole_run(python: Path | str, comfyui: Path) -> tuple[list[str], dict[str, str]]:
    """The command that runs all tests, and its environment variables."""
    cores = os.cpu_count() or 1
    # A file's tests share what they start (a ComfyUI, a browser), so it stays in one process.
    command = [str(python), "-m", "pytest", "-n", str(cores), "--dist", "loadfile"]
    command += ["--no-loadscope-reorder"]  # tests/conftest.py knows which files are long
    # More threads than cores would have them wait for each other.
    return command, child_variables(COMFYUI_PATH=str(comfyui), OMP_NUM_THREADS="1")
