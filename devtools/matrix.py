"""The release matrix: the tests inside ComfyUI, on one ComfyUI folder after the other.

One environment serves all of them: before each release its own requirements are installed.
"""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .console import StatusLine, Stopwatch, duration
from .environment import Environment, prepare
from .problem import Problem
from .pytest_command import whole_run

NUMBER = re.compile(r"\d+")
SETTING = (
    "import platform as p, torch; print(f'{p.system()} on {p.machine()}, "
    "Python {p.python_version()}, PyTorch {torch.__version__}')"
)


@dataclass(frozen=True)
class Outcome:
    """What the tests said on one release; `skipped` has the reason of each skipped test."""

    release: str
    date: str
    setting: str
    passed: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]


# The contract of each model family: half of the tests inside ComfyUI.
FAMILIES = "tests/host/architectures"


def run_matrix(
    root: Path, folders: Sequence[Path], status: StatusLine, *, brief: bool = False
) -> list[Outcome]:
    """Run the tests on each ComfyUI in `folders`, whatever they say on the ones before.

    `brief` leaves out `FAMILIES`.
    """
    for folder in folders:
        if not (folder / "comfyui_version.py").is_file():
            raise Problem(f"{folder} is not a ComfyUI folder (it has no comfyui_version.py).")
    logs = root / ".host/matrix"
    logs.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for folder in folders:
        environment = prepare(root, status=status, comfyui=folder, tools=True)
        watch = Stopwatch()
        outcome = run_release(root, environment, logs, status, brief=brief)
        outcomes.append(outcome)
        status.finish(
            f"  ComfyUI {outcome.release:<10} {outcome.passed} passed, {len(outcome.failed)} "
            f"failed, {len(outcome.skipped)} skipped in {duration(watch.seconds)}"
        )
    return outcomes


def run_release(
    root: Path, environment: Environment, logs: Path, status: StatusLine, *, brief: bool = False
) -> Outcome:
    release = version_of(environment.comfyui)
    report, log = logs / f"{release}.xml", logs / f"{release}.log"
    report.unlink(missing_ok=True)
    command, variables = whole_run(environment.python, environment.comfyui)
    command += ["-m", "host", "-q", f"--junit-xml={report}"]
    if brief:
        command.append(f"--ignore={FAMILIES}")
    status.show(f"  ComfyUI {release} ... (details in {log})")
    with log.open("wb") as out:
        subprocess.run(command, cwd=root, env=variables, stdout=out, stderr=subprocess.STDOUT)
    status.clear()
    if not report.is_file():
        raise Problem(f"The tests ended without a report on ComfyUI {release}: see {log}.")
    date = date_of(environment.comfyui)
    setting = _printed([environment.python, "-c", SETTING])
    return outcome_of(ElementTree.parse(report).getroot(), release, date, setting)


def outcome_of(report: ElementTree.Element, release: str, date: str, setting: str) -> Outcome:
    """From pytest's JUnit report."""
    passed, failed, skipped = 0, [], []
    for case in report.iter("testcase"):
        if (skip := case.find("skipped")) is not None:
            skipped.append(skip.get("message", ""))
        elif case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        else:
            passed += 1
    return Outcome(release, date, setting, passed, tuple(failed), tuple(skipped))


def version_of(comfyui: Path) -> str:
    text = (comfyui / "comfyui_version.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    return found[1] if found else comfyui.name


def date_of(comfyui: Path) -> str:
    """The day of the commit that gave this ComfyUI its version; "" where git does not know."""
    if not (comfyui / ".git").exists():
        return ""
    git = ["git", "-C", comfyui, "log", "-1", "--format=%cs", "--", "comfyui_version.py"]
    return _printed(git)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a line for each release, then the failed tests and why tests were skipped."""
    outcomes = sorted(
        outcomes, key=lambda outcome: [int(n) for n in NUMBER.findall(outcome.release)]
    )
    settings = dict.fromkeys(outcome.setting for outcome in outcomes)
    lines = [f"{'; '.join(settings)}.", ""]
    lines += ["| ComfyUI | released | passed | failed | skipped |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        counts = outcome.passed, len(outcome.failed), len(outcome.skipped)
        cells = outcome.release, outcome.date, *map(str, counts)
        lines.append(f"| {' | '.join(cells)} |")
    for kind in ("failed", "skipped"):
        where: dict[str, list[str]] = {}
        for outcome in outcomes:
            found = getattr(outcome, kind)
            for what in dict.fromkeys(found):
                times = f" ({found.count(what)} times)" if found.count(what) > 1 else ""
                where.setdefault(what, []).append(outcome.release + times)
        if where:
            lines += ["", f"{kind.capitalize()}:", ""]
            lines += [f"- {what}: {', '.join(releases)}" for what, releases in where.items()]
    return "\n".join(lines) + "\n"


def _printed(command: Sequence[object]) -> str:
    try:
        answer = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError:  # there is no git
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
