"""The command line: look at schedules, convert them, write the presets."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .builtin_schedules import FOLDER, builtin_schedules
from .core import schedule_json
from .core.architecture import Workload
from .core.cost import relative_cost, schedule_macs
from .core.schedule import Schedule
from .errors import EcadError, StorageError
from .library import ScheduleLibrary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is success, 1 an error that was printed, 2 a wrong command line."""
    for stream in (sys.stdout, sys.stderr):  # a console that cannot show a name shows its escape
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except EcadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecad_search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser("show", help="what a schedule is and what it costs")
    show.add_argument(
        "file", metavar="FILE", help="a schedule file of either format, or a name from `list`"
    )
    show.add_argument(
        "--batch", type=int, help="rows of the model call, a CFG pair is 2 (default 1)"
    )
    show.add_argument("--resolution", type=int, metavar="PX", help="side of the picture in px")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(command=_show)

    names = commands.add_parser("list", help="the schedules there are")
    names.add_argument("--user", type=Path, action="append", default=[], metavar="FOLDER")
    names.set_defaults(command=_list)

    convert = commands.add_parser(
        "convert", help="write a schedule in the other format or for other steps"
    )
    convert.add_argument(
        "file", metavar="FILE", help="a schedule file of either format, or a name from `list`"
    )
    convert.add_argument("target", type=Path, metavar="TARGET")
    convert.add_argument("--paper", action="store_true", help="write the paper's format")
    convert.add_argument("--steps", type=int, metavar="N", help="resample to N steps")
    convert.add_argument("--overwrite", action="store_true")
    convert.set_defaults(command=_convert)

    presets = commands.add_parser("presets", help="the hand-made schedules of this pack")
    presets.add_argument("--write", type=Path, metavar="FOLDER", help="write them as files")
    presets.set_defaults(command=_presets)
    return parser


def _opened(file: str) -> Schedule:
    library = ScheduleLibrary(FOLDER)
    if not os.path.exists(file) and file in library.names():
        return library.load(file)
    return schedule_json.load(file)


def _workload(schedule: Schedule, options: argparse.Namespace) -> Workload:
    """The picture asked for, or the one the schedule was searched on, or the model's usual."""
    batch = 1 if options.batch is None else options.batch
    if options.resolution is not None:
        return Workload(batch=batch, width=options.resolution, height=options.resolution)
    sampling = schedule.info.get("sampling", {})
    width, height = sampling.get("width"), sampling.get("height")
    if isinstance(width, int) and isinstance(height, int):
        return Workload(batch=batch, width=width, height=height)
    side = schedule.architecture.resolution
    return Workload(batch=batch, width=side, height=side)


def _show(options: argparse.Namespace) -> None:
    schedule = _opened(options.file)
    workload = _workload(schedule, options)
    macs = schedule_macs(schedule, workload)
    found: dict[str, Any] = {
        "name": schedule.name,
        "architecture": schedule.architecture.id,
        "model": schedule.architecture.describe(),
        "steps": schedule.steps,
        "computed_fraction": schedule.computed_fraction,
        "macs": macs.total,
        "macs_without_attention": macs.linear,
        "fraction_of_uncached": relative_cost(schedule, workload),
        "batch": workload.batch,
        "width": workload.width,
        "height": workload.height,
        "key": schedule.key,
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for field, value in found.items():
        print(f"{field:<24}{value:.6g}" if isinstance(value, float) else f"{field:<24}{value}")


def _list(options: argparse.Namespace) -> None:
    for name in ScheduleLibrary(FOLDER, options.user).names():
        print(name)


def _convert(options: argparse.Namespace) -> None:
    schedule = _opened(options.file)
    if options.steps is not None:
        schedule = schedule.resampled(options.steps)
    text = schedule_json.dumps_paper(schedule) if options.paper else schedule_json.dumps(schedule)
    if options.target.exists() and not options.overwrite:
        raise StorageError(
            f"{options.target} exists already; choose another name, or add --overwrite."
        )
    schedule_json.write_atomically(options.target, text)


def _presets(options: argparse.Namespace) -> None:
    for name, schedule in builtin_schedules().items():
        if options.write is not None:
            schedule_json.save(schedule, options.write / f"{name}.json")
        print(name)
