"""What ComfyUI's start spends on loading this pack, in fresh processes.

Loading is what ComfyUI's log gives a line with one decimal: importing the modules, adding the
routes, and asking every node for its schema. The start goes on to where ComfyUI would serve; its
own API nodes are left out, and what it imports for any first pack counts as its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .environment import PACK_NAME, child_variables
from .matrix import version_of
from .problem import Problem
from .server import make_base

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(__file__).with_name("host_start.py")


@dataclass(frozen=True)
class HostStart:
    """One start; `modules` are those that loading the pack imported, without its own.

    `cpu_seconds` are those of `pack_seconds` in which no other process had the core.
    """

    start_seconds: float
    pack_seconds: float
    cpu_seconds: float
    modules: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.pack_seconds / self.start_seconds


def host_start(python: Path, comfyui: Path, folder: Path) -> HostStart:
    """Start ComfyUI once, in a process of its own, on a base directory made in `folder`."""
    base = make_base(folder / "base", ROOT)
    command = [
        *(str(python), str(PROGRAM), str(comfyui), PACK_NAME),
        *("--cpu", "--disable-api-nodes", "--disable-auto-launch"),
        *("--base-directory", str(base), "--database-url", "sqlite:///:memory:"),
    ]
    done = subprocess.run(
        command,
        cwd=comfyui,
        env=child_variables(),  # with byte code, as every start of a user's but the first
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise Problem(
            f"ComfyUI did not start (exit code {done.returncode}), its last lines:\n{last}"
        )
    found = json.loads(lines[-1])
    if found["pack_seconds"] is None:
        failures = [line for line in done.stderr.splitlines() if "annot import" in line]
        raise Problem(f"ComfyUI did not load the pack: {' '.join(failures) or 'it says nothing'}")
    return HostStart(**found | {"modules": tuple(found["modules"])})


def table(starts: Sequence[HostStart]) -> str:
    """Median, least and most of each figure."""
    lines = [f"{'':18}{'median':>10}{'least':>10}{'most':>10}"]
    for title, figures, form in (
        ("this pack", [1000 * start.pack_seconds for start in starts], "{:.0f} ms"),
        ("  of it on a core", [1000 * start.cpu_seconds for start in starts], "{:.0f} ms"),
        ("ComfyUI's start", [1000 * start.start_seconds for start in starts], "{:.0f} ms"),
        ("share of the start", [start.share for start in starts], "{:.1%}"),
    ):
        shown = (form.format(f) for f in (statistics.median(figures), min(figures), max(figures)))
        lines.append(f"{title:18}" + "".join(f"{figure:>10}" for figure in shown))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench import", description=__doc__)
    parser.add_argument("--times", type=int, default=9, metavar="N", help="processes, default 9")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every start there too")
    options = parser.parse_args(arguments)
    if options.times < 1:
        parser.error(f"--times has to be at least 1, not {options.times}")
    comfyui = Path(os.environ["COMFYUI_PATH"])
    with tempfile.TemporaryDirectory() as folder:
        try:
            host_start(Path(sys.executable), comfyui, Path(folder))  # for the byte code
            starts = [
                host_start(Path(sys.executable), comfyui, Path(folder))
                for _ in range(options.times)
            ]
        except Problem as problem:
            print(problem, file=sys.stderr)
            return 1
    print(f"ComfyUI {version_of(comfyui)}, Python {sys.version.split()[0]}, {len(starts)} starts\n")
    print(table(starts))
    print(f"\nimported besides the pack's own: {', '.join(starts[-1].modules) or 'nothing'}")
    if options.json is not None:
        text = json.dumps([asdict(start) for start in starts], indent=1) + "\n"
        options.json.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
