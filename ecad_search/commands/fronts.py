"""`front` and `export`: what a search has found, and its schedules as files."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.front import Front, FrontPoint
from ..errors import SearchError, StorageError
from ..evolution.journal_front import SUFFIX, recorded_front
from ..library import ScheduleLibrary
from ..text_table import text_table

SOURCE_HELP = "a journal (.jsonl) or front file (.front.json) of ECAD Search"
LIBRARY = Path("models/ecad_schedules")  # below a ComfyUI folder


def add_front(commands: Any) -> None:
    front = commands.add_parser("front", help="the schedules that a search has found")
    front.add_argument("source", type=Path, metavar="JOURNAL|FRONT", help=SOURCE_HELP)
    front.add_argument(
        "--all", action="store_true", help="the hand-made schedules that were beaten as well"
    )
    front.add_argument("--json", action="store_true", help="print one JSON object")
    front.set_defaults(command=_front)


def add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write schedules of a front as schedule files")
    export.add_argument("source", type=Path, metavar="JOURNAL|FRONT", help=SOURCE_HELP)
    export.add_argument(
        "--speedup",
        type=float,
        action="append",
        default=[],
        metavar="X",
        help="the best one that is X times cheaper or more; may be given several times",
    )
    export.add_argument(
        "--quality",
        type=float,
        action="append",
        default=[],
        metavar="Q",
        help="the fastest one whose quality relative to uncached is at least Q",
    )
    export.add_argument("--knee", action="store_true", help="the best balance (the default)")
    export.add_argument(
        "--key", action="append", default=[], help="the one with this key, as `front` prints it"
    )
    export.add_argument("--all", action="store_true", help="every schedule of the front")
    export.add_argument(
        "--name", help="name of the file, without .json, when it is one (default: the schedule's)"
    )
    place = export.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, default=Path(), metavar="FOLDER", help="where to write (default: here)"
    )
    place.add_argument(
        "--comfyui",
        type=Path,
        metavar="PATH",
        help=f"write into the library of this ComfyUI ({LIBRARY.as_posix()})",
    )
    export.add_argument("--overwrite", action="store_true", help="replace files that exist")
    export.add_argument("--json", action="store_true", help="print a JSON list, one per file")
    export.set_defaults(command=_export)


def front_of(source: Path) -> Front:
    """The front of a journal, told by its ending, or of a front file."""
    if source.name.lower().endswith(SUFFIX):
        return recorded_front(source)
    return Front.load(source)


def as_json(point: FrontPoint) -> dict[str, Any]:
    return {
        "key": point.schedule.key,
        "name": point.schedule.name,
        "architecture": point.schedule.architecture.id,
        "steps": point.schedule.steps,
        "cost": point.cost,
        "speedup": point.speedup,
        "quality": point.quality,
        "quality_stderr": point.quality_stderr,
        "mean_score": point.mean_score,
        "more_qualities": [asdict(quality) for quality in point.more_qualities],
        "samples": point.samples,
        "is_reference": point.is_reference,
        "within_limits": point.within_limits,
        "relative_macs": point.macs_share,
        "seconds": point.seconds,
        "cache_bytes": point.cache_bytes,
    }


def front_table(points: Sequence[FrontPoint], knee: FrontPoint | None) -> str:
    """One line for each; the knee has a star."""
    more = len(points[0].more_qualities) if points else 0
    header = ["", "schedule", "speed-up", "MACs left", "quality", "+-"]
    for number in range(2, 2 + more):
        header += [f"quality {number}", "+-"]
    header += ["samples", "key"]
    rows = [
        [
            "*" if knee is not None and point.schedule.key == knee.schedule.key else "",
            point.schedule.name,
            f"{point.speedup:.2f}x",
            f"{point.macs_share:.1%}",
            f"{point.quality:+.4g}",
            f"{point.quality_stderr:.2g}",
            *(
                text
                for quality in point.more_qualities
                for text in (f"{quality.mean:+.4g}", f"{quality.stderr:.2g}")
            ),
            str(point.samples),
            point.schedule.key,
        ]
        for point in points
    ]
    return text_table(header, rows, left=(0, 1, len(header) - 1))


def _front(options: argparse.Namespace) -> None:
    front = front_of(options.source)
    points = front.points if options.all else front.members
    knee = front.pick_knee() if front.members else None
    if options.json:
        found = {
            "info": dict(front.info),
            "knee": None if knee is None else knee.schedule.key,
            "points": [as_json(point) for point in points],
        }
        print(json.dumps(found, indent=2))
        return
    if not points:
        print("No schedule has been scored on all samples yet.")
        return
    print(front_table(points, knee))
    images = front.info.get("images")
    told = f" after {images} images" if isinstance(images, int) else ""
    print(f"\n{len(front.members)} schedules on the front{told}; * is the knee.")


def _export(options: argparse.Namespace) -> None:
    points = _picked(front_of(options.source), options)
    if options.name is not None and len(points) > 1:
        raise SearchError(
            f"--name names one file, but {len(points)} schedules are picked; leave --name out, or "
            "pick one."
        )
    folder = options.out if options.comfyui is None else _library_of(options.comfyui)
    library = ScheduleLibrary(folder, folder)
    names = _names(points) if options.name is None else [options.name.removesuffix(".json")]
    if not options.overwrite:  # all or none
        taken = [name for name in names if os.path.lexists(folder / f"{name}.json")]
        if taken:
            raise StorageError(
                f"{folder / taken[0]}.json exists already; choose another --out or --name, or add "
                "--overwrite."
            )
    written: list[dict[str, Any]] = []
    for name, point in zip(names, points, strict=True):
        target = library.save(point.schedule, name, folder, overwrite=options.overwrite)
        written.append({"target": str(target), **as_json(point)})
        if not options.json:
            print(f"{target}: {point.describe()}")
    if options.json:
        print(json.dumps(written, indent=2))


def _picked(front: Front, options: argparse.Namespace) -> list[FrontPoint]:
    """What was asked for, each once; the knee when nothing was."""
    picked = [front.pick_speedup(target) for target in options.speedup]
    picked += [front.pick_quality(minimum) for minimum in options.quality]
    picked += [front.pick_key(key) for key in options.key]
    if options.all:
        picked += front.members
    if options.knee or not picked:
        picked.append(front.pick_knee())
    return list({point.schedule.key: point for point in picked}.values())


def _names(points: Sequence[FrontPoint]) -> list[str]:
    """File names: the schedules' own, with the key where two are called the same."""
    own = [point.schedule.name.replace("/", "-") or point.schedule.key for point in points]
    return [
        f"{name}-{point.schedule.key}" if own.count(name) > 1 else name
        for name, point in zip(own, points, strict=True)
    ]


def _library_of(comfyui: Path) -> Path:
    if not (comfyui / "models").is_dir():
        raise StorageError(
            f"{comfyui} is not a ComfyUI folder (it has no models folder); check --comfyui."
        )
    return comfyui / LIBRARY
