"""The command line: search schedules, look at them, convert them, write the presets."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from . import architectures
from .builtin_schedules import FOLDER, builtin_schedules
from .commands import benchmark, fronts, search
from .core import schedule_json
from .core.architecture import Workload
from .core.cost import relative_cost, schedule_macs
from .core.schedule import Schedule
from .core.schedule_import import imported
from .errors import EcadError, StorageError
from .library import ScheduleLibrary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is success, 1 a printed error, 2 a wrong command line, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):  # a console that cannot show a name shows its escape
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours, for_host = search.split_host_arguments(given)
    options = _parser().parse_args(ours)
    options.host_arguments = for_host
    try:
        return options.command(options) or 0
    except EcadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return search.STOPPED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecad_search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    search.add_search(commands)
    search.add_resume(commands)
    benchmark.add_benchmark(commands)
    fronts.add_front(commands)
    fronts.add_export(commands)

    show = commands.add_parser("show", help="what a schedule is and what it costs")
    show.add_argument(
        "file", metavar="FILE", help="a schedule file of either format, or a name from `list`"
    )
    show.add_argument(
        "--batch", type=int, help="rows of the model call, a CFG pair is 2 (default 1)"
    )
    show.add_argument("--resolution", type=int, metavar="PX", help="side of the picture in px")
    show.add_argument("--frames", type=int, help="pictures of a film (default: the model's usual)")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(command=_show)

    names = commands.add_parser("list", help="the schedules there are")
    names.add_argument("--user", type=Path, action="append", default=[], metavar="FOLDER")
    names.add_argument("--json", action="store_true", help="print a JSON list of names")
    names.set_defaults(command=_list)

    convert = commands.add_parser(
        "convert",
        help="take over schedules of the official repository, or write them in its format or "
        "for other steps",
    )
    convert.add_argument(
        "sources",
        nargs="+",
        metavar="FILE|FOLDER",
        help="schedule files of either format, folders of them, or names from `list`",
    )
    convert.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where to write (default: here); for a single file also a name that ends in .json",
    )
    convert.add_argument(
        "--architecture", metavar="ID", help="state this architecture, such as emoji-pixart"
    )
    convert.add_argument("--paper", action="store_true", help="write the paper's format")
    convert.add_argument("--steps", type=int, metavar="N", help="resample to N steps")
    convert.add_argument("--overwrite", action="store_true", help="replace files that exist")
    convert.add_argument("--json", action="store_true", help="print a JSON list, one per file")
    convert.set_defaults(command=_convert)

    presets = commands.add_parser("presets", help="the hand-made schedules of this pack")
    presets.add_argument("--write", type=Path, metavar="FOLDER", help="write them as files")
    presets.add_argument("--json", action="store_true", help="print a JSON list of names")
    presets.set_defaults(command=_presets)
    return parser


def _workload(schedule: Schedule, options: argparse.Namespace) -> Workload:
    """What is asked for, or what the schedule was searched on, or the model's usual."""
    batch = 1 if options.batch is None else options.batch
    sampling = schedule.info.get("sampling", {})
    width, height, frames = (sampling.get(name) for name in ("width", "height", "frames"))
    usual = schedule.architecture.native_workload(batch)
    if options.resolution is not None:
        usual = replace(usual, width=options.resolution, height=options.resolution)
    elif isinstance(width, int) and isinstance(height, int):
        usual = replace(usual, width=width, height=height)
    if options.frames is not None:
        return replace(usual, frames=options.frames)
    return replace(usual, frames=frames) if isinstance(frames, int) else usual


def _show(options: argparse.Namespace) -> None:
    schedule = schedule_json.load(_file_of(options.file))
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
        "frames": workload.frames,
        "key": schedule.key,
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for field, value in found.items():
        print(f"{field:<24}{value:.6g}" if isinstance(value, float) else f"{field:<24}{value}")


def _list(options: argparse.Namespace) -> None:
    _print_names(ScheduleLibrary(FOLDER, options.user).names(), options)


def _presets(options: argparse.Namespace) -> None:
    schedules = builtin_schedules()
    if options.write is not None:
        for name, schedule in schedules.items():
            schedule_json.save(schedule, options.write / f"{name}.json")
    _print_names(list(schedules), options)


def _print_names(names: list[str], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(names, indent=2))
        return
    for name in names:
        print(name)


# --- convert


@dataclass(frozen=True)
class Conversion:
    """A file and what became of it: the schedule written to `target`, or the error in its way."""

    source: str
    target: Path
    schedule: Schedule | None
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        if self.schedule is None:
            return {"source": self.source, "error": self.error}
        return {
            "source": self.source,
            "target": str(self.target),
            "name": self.schedule.name,
            "architecture": self.schedule.architecture.id,
            "steps": self.schedule.steps,
            "computed_fraction": self.schedule.computed_fraction,
            "key": self.schedule.key,
        }

    def tell(self) -> None:
        if self.schedule is None:
            print(f"error: {self.error}", file=sys.stderr)
        else:
            print(f"{self.source} -> {self.target}")


def _convert(options: argparse.Namespace) -> int:
    architecture = None
    if options.architecture is not None:
        architecture = architectures.find(options.architecture)
    done: list[Conversion] = []
    for source, file, target in _files_of(options.sources, options.out):
        try:
            if any(target == earlier.target for earlier in done):
                raise StorageError(
                    f"{source} and another file would both become {target}; convert them into "
                    "different folders."
                )
            schedule = imported(file, architecture)
            if options.steps is not None:
                schedule = schedule.resampled(options.steps)
            _write(schedule, target, options)
            done.append(Conversion(source, target, schedule))
        except EcadError as error:
            sentence = str(error) if source in str(error) else f"{source}: {error}"
            done.append(Conversion(source, target, None, sentence))
        if not options.json:
            done[-1].tell()
    if options.json:
        print(json.dumps([conversion.as_json() for conversion in done], indent=2))
    failed = sum(conversion.schedule is None for conversion in done)
    if failed and len(done) > 1:
        print(f"error: {failed} of {len(done)} files were not converted.", file=sys.stderr)
    return 1 if failed else 0


def _write(schedule: Schedule, target: Path, options: argparse.Namespace) -> None:
    text = schedule_json.dumps_paper(schedule) if options.paper else schedule_json.dumps(schedule)
    if os.path.lexists(target) and not options.overwrite:
        raise StorageError(f"{target} exists already; choose another --out, or add --overwrite.")
    schedule_json.write_atomically(target, text)


def _files_of(sources: Sequence[str], out: Path) -> list[tuple[str, Path, Path]]:
    """(how to call it, file to read, file to write) of everything to convert, in order."""
    found: list[tuple[str, Path, Path]] = []
    for source in sources:
        if os.path.isdir(source):
            found += [(str(file), file, target) for file, target in _files_in(Path(source), out)]
            continue
        file = _file_of(source)
        alone = len(sources) == 1 and out.suffix.lower() == ".json" and not out.is_dir()
        found.append((source, file, out if alone else out / f"{file.stem}.json"))
    return found


def _files_in(folder: Path, out: Path) -> list[tuple[Path, Path]]:
    """Every .json in a folder and below, with its place below `out`; not what `out` holds."""

    def refuse(error: OSError) -> NoReturn:
        raise StorageError(
            f"{error.filename} cannot be read ({error.strerror}); check the folder."
        ) from error

    found = []
    written = out.resolve()
    for at, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if (Path(at) / name).resolve() != written)
        for name in sorted(files):
            if name.lower().endswith(".json"):
                file = Path(at) / name
                found.append((file, out / file.relative_to(folder)))
    if not found:
        raise StorageError(f"{folder} holds no .json file; expected schedules in it or below it.")
    return found


def _file_of(source: str) -> Path:
    """The file of a path, or of a name from `list`; a path that is there comes first."""
    library = ScheduleLibrary(FOLDER)
    if not os.path.exists(source) and source in library.names():
        return library.path(source)
    return Path(source)
