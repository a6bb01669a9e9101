"""Starting ComfyUI takes no longer for this pack than it has to: what loading it imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from devtools.bench_import import HostStart, host_start, table


def test_a_start_is_shown_as_median_least_and_most():
    starts = [HostStart(8.0, seconds, 0.1, ()) for seconds in (0.3, 0.1, 0.12)]
    expected = [
        "                      median     least      most",
        "this pack             120 ms    100 ms    300 ms",
        "  of it on a core     100 ms    100 ms    100 ms",
        "ComfyUI's start      8000 ms   8000 ms   8000 ms",
        "share of the start      1.5%      1.2%      3.8%",
    ]
    assert expected == table(starts).splitlines()


@pytest.mark.host
@pytest.mark.slow
def test_loading_the_pack_imports_nothing_that_comfyui_has_not(tmp_path):
    """What is wanted later is imported where it is used; `dev.py bench import` has the times."""
    comfyui = Path(os.environ.get("COMFYUI_PATH", ""))
    if not (comfyui / "main.py").is_file():
        pytest.skip("needs ComfyUI: run `python dev.py test`, or set COMFYUI_PATH to its folder")
    start = host_start(Path(sys.executable), comfyui, tmp_path)
    assert 0 < start.pack_seconds < start.start_seconds
    assert () == start.modules
