"""A schedule from a file of the official ECAD repository, or of its format, with where it is from.

Read by the command `convert` and by the node ECAD Import Schedule. What the file measured stays in
the schedule's `paper` field; `provenance` says which file it was.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ModelMismatchError
from . import schedule_json
from .architecture import Architecture
from .schedule import Schedule

PROJECT = "github.com/AniAggarwal/ecad"
PAPER = "arXiv:2506.15682"
LICENCE_NOTE = (
    "The official ECAD repository states no licence, so a file from there must not be "
    "redistributed; this file holds the facts read from it: which component is computed when, and "
    "what was measured."
)


def imported(path: str | os.PathLike[str], architecture: Architecture | None = None) -> Schedule:
    """The schedule in a file of either format; one of the paper's gets its origin.

    `provenance` then has the format, its project and paper, the name and the SHA-256 of the file,
    the tool and a note on the licence. A file of our own format has its provenance and keeps it.
    `architecture` stands in place of the file's, which must have the same blocks.
    """
    content = schedule_json.read(path)
    text, source = schedule_json.decoded(content, path), os.fspath(path)
    schedule = schedule_json.named_after(path, schedule_json.loads(text, source=source))
    if schedule_json.is_the_papers(text, source=source):
        origin: dict[str, Any] = {
            **schedule.info.get("provenance", {}),
            "project": PROJECT,
            "paper": PAPER,
            "source_file": Path(path).name,
            "source_sha256": hashlib.sha256(content).hexdigest(),
            "converted_by": f"ComfyUI-ECAD {__version__}",
            "licence_note": LICENCE_NOTE,
        }
        schedule = replace(schedule, info={**schedule.info, "provenance": origin})
    return schedule if architecture is None else stated_for(schedule, architecture)


def stated_for(schedule: Schedule, architecture: Architecture) -> Schedule:
    """The same schedule under another architecture of the same family and counts."""
    if not schedule.architecture.fits(architecture):
        raise ModelMismatchError(
            f"{schedule.label} is made for {schedule.architecture.describe()}, which "
            f"{architecture.id!r} is not ({architecture.describe()}); choose the architecture of "
            "the file."
        )
    return replace(schedule, architecture=architecture)
