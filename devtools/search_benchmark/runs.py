"""One run: an arm with a seed, from its first image to the curve of its fronts."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecad_search.core.architecture import Architecture, Workload

from . import heldout
from .arms import arm_named
from .images import ImageSource, RememberedImages
from .meter import Meter
from .plan import WORST_LOSS, Plan

ROOT = Path(__file__).resolve().parents[2]
# What decides a run's outcome, images aside. The report is not among it.
SOURCES = (
    "devtools/search_benchmark/arms",
    "devtools/search_benchmark/heldout.py",
    "devtools/search_benchmark/meter.py",
    "devtools/search_benchmark/plan.py",
    "ecad_search/calibration.py",
    "ecad_search/core",
    "ecad_search/evolution",
    "ecad_search/prompt_sets",
)


@dataclass(frozen=True)
class Subject:
    """What is searched for, and where the numbers about its images come from."""

    source: ImageSource
    architecture: Architecture
    workload: Workload
    identity: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def source_hash() -> str:
    """Of the files as they were when this process first asked."""
    digest = hashlib.sha256()
    for name in SOURCES:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in (".py", ".txt"):
                digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def slug(arm: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in arm.replace("+", "-plus")).lower()


def images_path(folder: Path, arm: str, seed: int) -> Path:
    return folder / f"{slug(arm)}-{seed}.images.jsonl"


def result_path(folder: Path, plan: Plan, arm: str, seed: int) -> Path:
    return folder / f"{slug(arm)}-{seed}-{plan.budget_of(arm)}.{plan.hash}.json"


def stored(folder: Path, plan: Plan, arm: str, seed: int) -> dict[str, Any] | None:
    """The result of a run that has ended, unless what made it has changed since."""
    path = result_path(folder, plan, arm, seed)
    if not path.exists():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return result if result["sources"] == source_hash() else None


def run(
    subject: Subject,
    plan: Plan,
    arm: str,
    seed: int,
    folder: Path,
    others: Iterable[Path] | None = None,
) -> dict[str, Any]:
    """Run one arm, or what a kill has left of it; the result is kept in `folder`."""
    known = stored(folder, plan, arm, seed)
    if known is not None:
        return known
    started = time.monotonic()
    if others is None:
        others = sorted(folder.glob("*.images.jsonl"))
    source = RememberedImages(
        subject.source, images_path(folder, arm, seed), others, code=source_hash()
    )
    way = arm_named(arm)
    meter = Meter(
        source,
        plan.calibration(seed, plan.seeds_to_confirm if way.confirms else 1),
        subject.architecture,
        plan.steps,
        subject.workload,
        plan.budget_of(arm),
    )
    way.finish(meter, seed)
    checkpoints = heldout.curve(
        meter,
        plan.images_at(),
        source,
        plan.heldout_samples(),
        picks=plan.picks,
        worst=WORST_LOSS,
    )
    result = {
        "arm": arm,
        "seed": seed,
        "budget": meter.budget,
        "images": meter.images,
        "candidates": len(meter.scored()),
        "curve": [[point.images, point.hypervolume] for point in checkpoints],
        "checkpoints": [asdict(point) for point in checkpoints],
        "rendered": source.rendered,
        "seconds": round(time.monotonic() - started, 1),
        "sources": source_hash(),
    }
    path = result_path(folder, plan, arm, seed)
    text = json.dumps(result, allow_nan=False)
    partial = path.with_suffix(".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return json.loads(text)  # the same as when it is read back
