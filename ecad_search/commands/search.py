"""`search` and `resume`: the search node of a workflow, without a browser.

The workflow runs in a ComfyUI that is there already, or in one that is started for it. The node
keeps its journal as always, so a search may be begun here and go on in the browser.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..comfyui.connection import Connection, Refused
from ..comfyui.process import OwnComfyUI
from ..comfyui.queued_search import QueuedSearch, Stopped
from ..comfyui.workflow import SearchWorkflow
from ..core import schedule_json
from ..core.front import Front
from ..errors import EcadError, SearchError
from ..evolution.journal_front import SUFFIX
from .fronts import as_json, front_table
from .status import StatusLine, spoken

FOLDER = "ecad"  # of ComfyUI's output folder, where the node keeps its journals
STOPPED = 130  # exit status, as of a program that Ctrl-C ended
# Overrides: option and input of the node, type, help.
OVERRIDES: list[tuple[str, type, str]] = [
    ("images", int, "budget: pictures to render"),
    ("minutes", float, "budget: time of rendering and scoring"),
    ("patience", int, "stop when the front has not grown for this many images"),
    ("generations", int, "budget: generations"),
    ("workers", int, "workers that render at a time, each on a GPU (needs Ray)"),
    ("ray_address", str, "Ray cluster to use, such as ray-head:6379"),
]
OF_THE_COURSE: list[tuple[str, type, str]] = [
    ("seed", int, "seed of the search itself"),
    ("mode", str, "ecad+ or paper"),
    ("journal", str, "name of the journal in ComfyUI's output/ecad"),
]


def add_search(commands: Any) -> None:
    search = commands.add_parser(
        "search",
        help="run the ECAD Search of a workflow, without a browser",
        description="Run the ECAD Search of a workflow. Whatever follows -- goes to the ComfyUI "
        "that is started, as in: search workflow.json --comfyui ~/ComfyUI -- --lowvram",
    )
    search.add_argument("workflow", type=Path, metavar="WORKFLOW", help="in API format (.json)")
    search.add_argument("--node", metavar="ID", help="which ECAD Search, where there are several")
    add_place(search)
    _add_overrides(search, OVERRIDES + OF_THE_COURSE)
    _add_output(search)
    search.set_defaults(command=_search)


def add_resume(commands: Any) -> None:
    resume = commands.add_parser(
        "resume",
        help="go on with a search from its journal",
        description="Go on with a search. The workflow is the file that ECAD Search left beside "
        "its journal (NAME.workflow.json), or --workflow.",
    )
    resume.add_argument(
        "journal", metavar="JOURNAL", help="the journal's file, or its name in output/ecad"
    )
    resume.add_argument(
        "--workflow", type=Path, metavar="FILE", help="use this workflow (API format) instead"
    )
    resume.add_argument("--node", metavar="ID", help="which ECAD Search, where there are several")
    add_place(resume)
    _add_overrides(resume, OVERRIDES)
    _add_output(resume)
    resume.set_defaults(command=_resume)


def add_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--server", metavar="URL", help="a running ComfyUI")
    place.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="start the ComfyUI in this folder, and stop it"
    )
    parser.add_argument(
        "--python", type=Path, metavar="FILE", help="run it with this Python (default: its own)"
    )


def _add_overrides(parser: argparse.ArgumentParser, overrides: list[tuple[str, type, str]]) -> None:
    for name, kind, text in overrides:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, help=text)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="save the front here as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def split_host_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What follows `--` is for ComfyUI; only these commands start one."""
    if arguments[:1] in (["search"], ["resume"], ["benchmark"]) and "--" in arguments:
        at = arguments.index("--")
        return arguments[:at], arguments[at + 1 :]
    return arguments, []


# --- the two commands


def _search(options: argparse.Namespace) -> int:
    workflow = SearchWorkflow.load(options.workflow, options.node)
    with ExitStack() as stack, interruptible():
        status = StatusLine()
        place = Place.of(options, stack, status, options.host_arguments)
        return _run(workflow.changed(_overridden(options)), place, options, status)


def _resume(options: argparse.Namespace) -> int:
    file = Path(options.journal)
    arguments = list(options.host_arguments)
    name, workflow = options.journal.removesuffix(SUFFIX).replace("\\", "/"), None
    if os.path.isfile(file):
        output, name = _place_of(file.resolve())
        if options.comfyui is not None:
            arguments += ["--output-directory", str(output)]
        beside = file.with_name(file.name.removesuffix(SUFFIX) + ".workflow.json")
        if options.workflow is None and beside.is_file():
            workflow = SearchWorkflow.load(beside, options.node)
    if options.workflow is not None:
        workflow = SearchWorkflow.load(options.workflow, options.node)
    with ExitStack() as stack, interruptible():
        status = StatusLine()
        place = Place.of(options, stack, status, arguments)
        if place.result(f"{name}{SUFFIX}") is None:
            raise SearchError(
                f"There is no journal '{name}' in the output/{FOLDER} folder of that ComfyUI; "
                "give the name or file of one that is there, or begin with search."
            )
        if workflow is None:
            kept = place.result(f"{name}.workflow.json")
            if kept is None:
                raise SearchError(
                    f"There is no {name}.workflow.json beside the journal, and a journal does not "
                    "hold its workflow; name the workflow it was searched with, by --workflow."
                )
            workflow = SearchWorkflow.parsed(kept, options.node, source=f"{name}.workflow.json")
        changed = workflow.changed({**_overridden(options), "journal": name})
        return _run(changed, place, options, status)


def _overridden(options: argparse.Namespace) -> dict[str, Any]:
    names = [name for name, _, _ in OVERRIDES + OF_THE_COURSE]
    given = {name: getattr(options, name, None) for name in names}
    if options.command is _resume:
        del given["journal"]  # there it is what to resume
    return {name: value for name, value in given.items() if value is not None}


def _place_of(journal: Path) -> tuple[Path, str]:
    """(ComfyUI's output folder, the journal's name) of a journal's file."""
    for folder in journal.parents:
        if folder.name == FOLDER:
            name = journal.relative_to(folder).as_posix().removesuffix(SUFFIX)
            return folder.parent, name
    raise SearchError(
        f"'{journal}' does not lie in a folder '{FOLDER}', as journals in ComfyUI's output folder "
        "do; move it into one to go on with it."
    )


# --- where and how it runs


@dataclass(frozen=True)
class Place:
    """The ComfyUI that runs the search; `own` when it was started for that."""

    connection: Connection
    own: OwnComfyUI | None

    @classmethod
    def of(
        cls, options: argparse.Namespace, stack: ExitStack, status: StatusLine, more: list[str]
    ) -> Place:
        if options.server is not None:
            if more or options.python is not None:
                raise SearchError(
                    "--python and what follows -- are for a ComfyUI that is started; with "
                    "--server it runs already. Leave them out, or use --comfyui."
                )
            return cls(Connection.to(options.server), None)
        own = OwnComfyUI(options.comfyui, python=options.python, arguments=more)
        status.show("Starting ComfyUI ...")
        stack.enter_context(own)
        status.clear()
        return cls(own.connection, own)

    def require_alive(self) -> None:
        if self.own is not None:
            self.own.require_alive()

    def result(self, name: str) -> str | None:
        """The text of a file in output/ecad; None when there is none."""
        folder, _, file = f"{FOLDER}/{name}".rpartition("/")
        try:
            found = self.connection.read("/view", filename=file, subfolder=folder, type="output")
            return found.decode("utf-8")
        except (Refused, UnicodeDecodeError):
            return None
        except OSError as error:
            self.require_alive()
            raise SearchError(
                f"No ComfyUI answers at {self.connection.url} ({error}); start it, or check the "
                "address."
            ) from error

    def path(self, name: str) -> str:
        """A file in output/ecad: where it is, or its name in a ComfyUI that may be far away."""
        if self.own is not None:
            return str(self.own.output / FOLDER / name)
        return f"{FOLDER}/{name}"

    def resuming(self, name: str) -> str:
        """The command that goes on with a search."""
        command = ["python", "-m", "ecad_search", "resume"]
        if self.own is None:
            command += [name, "--server", self.connection.url]
        else:
            command += [self.path(f"{name}{SUFFIX}"), "--comfyui", str(self.own.folder)]
            command += ["--", *self.own.arguments] if self.own.arguments else []
        return shlex.join(command)


def _run(
    workflow: SearchWorkflow, place: Place, options: argparse.Namespace, status: StatusLine
) -> int:
    run = QueuedSearch(
        place.connection,
        workflow,
        on_event=lambda data: status.show(line_of(data)),
        on_node=lambda title: status.show(f"{title} ..."),
        require_alive=place.require_alive,
    )
    stopped = False
    try:
        report = run.run()
    except (KeyboardInterrupt, Stopped):
        stopped, report = True, run.last
    except EcadError:
        if name := run.last.get("journal"):
            status.say(f"What was found is kept; go on with:\n{place.resuming(name)}")
        raise
    finally:
        status.clear()
    name = report.get("journal", "")
    front = None
    if name and (text := place.result(f"{name}.front.json")) is not None:
        front = Front.from_json(text, source=f"{name}.front.json")
        if options.out is not None:
            schedule_json.write_atomically(options.out, text)
    if options.json:
        print(json.dumps(_found(report, front, place, stopped), indent=2))
    elif front is not None and front.members:
        print(front_table(front.members, front.pick_knee()))
        print(f"\n{line_of(report)}\n{place.path(name)}.front.json")
    if stopped and name:
        kept = place.path(f"{name}{SUFFIX}")
        status.say(f"Stopped. All of it is in {kept}; go on with:\n{place.resuming(name)}")
    elif stopped:
        status.say("Stopped before the search began.")
    return STOPPED if stopped else 0


def line_of(data: dict[str, Any]) -> str:
    """One line on where a search stands."""
    parts = [
        f"generation {data.get('generation', 0)}",
        f"{data.get('images', 0)} of {data.get('images_budget', '?')} images",
    ]
    best = data.get("best")
    if best and best.get("speedup", 1) > 1:
        parts.append(f"best {best['speedup']:.2f}x at quality {best['quality']:+.4g}")
    if data.get("finished"):
        parts.append("finished")
    elif data.get("eta_seconds") is not None:
        parts.append(f"{spoken(data['eta_seconds'])} left")
    return " · ".join(parts)


def _found(
    report: dict[str, Any], front: Front | None, place: Place, stopped: bool
) -> dict[str, Any]:
    name = report.get("journal", "")
    numbers = ("images", "images_budget", "generation", "candidates", "seconds", "finished")
    points = [] if front is None else [as_json(point) for point in front.members]
    return {
        "stopped": stopped,
        "journal": place.path(f"{name}{SUFFIX}") if name else None,
        "front": place.path(f"{name}.front.json") if front is not None else None,
        "resume": place.resuming(name) if name else None,
        **{key: report.get(key) for key in numbers},
        "knee": front.pick_knee().schedule.key if front is not None and front.members else None,
        "points": points,
    }


@contextmanager
def interruptible() -> Iterator[None]:
    """A polite kill (SIGTERM) stops as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
