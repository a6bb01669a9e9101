"""The node that takes a schedule file over: one of the official repository, or of ours."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..ecad_search import architectures
from ..ecad_search.core.schedule import Schedule
from ..ecad_search.core.schedule_import import imported
from ..ecad_search.errors import EcadError, StorageError
from .host.paths import input_path
from .host.run_report import facts, say
from .host.schedule_view import schedule_output
from .host.schema import schema
from .save_schedule import saved
from .types import ScheduleType

AS_IN_THE_FILE = "from the file"
log = logging.getLogger("ComfyUI-ECAD")


class ImportSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_ImportSchedule",
            display_name="ECAD Import Schedule",
            category="ECAD",
            description=(
                "Reads a schedule file from ComfyUI's input folder: one of the official ECAD "
                "repository (cache_schedule, config, metrics) or one of this pack's format."
            ),
            search_aliases=["load", "convert", "official", "paper", "json"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=json_files(),
                    tooltip=(
                        "A .json file in ComfyUI's input folder. Copy it there and press R to see "
                        "it in the list."
                    ),
                ),
                io.Combo.Input(
                    "architecture",
                    options=[AS_IN_THE_FILE, *(a.id for a in architectures.ALL)],
                    default=AS_IN_THE_FILE,
                    tooltip=(
                        "The model it is for. Its number of blocks usually says so; another one is "
                        "accepted where family and blocks agree."
                    ),
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="What to call the schedule. Empty keeps the name in the file.",
                ),
                io.Boolean.Input(
                    "save",
                    default=False,
                    tooltip=(
                        "Also write it into models/ecad_schedules, so that the ECAD Cache Loader "
                        "lists it after R."
                    ),
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Replace another saved schedule of this name. Off: that is an error.",
                ),
            ],
            outputs=[
                ScheduleType.Output(
                    display_name="schedule",
                    tooltip="For Apply ECAD Schedule, ECAD Schedule Preview and others.",
                ),
                io.String.Output(
                    display_name="summary",
                    tooltip="What it computes, and which file it is from.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        # Naming the combo here replaces the host's "value not in list" by these sentences.
        if file is None:
            return True
        try:
            imported(existing(file))
        except EcadError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: Any) -> str:
        """An edited file is read again."""
        try:
            return hashlib.sha256(existing(file or "").read_bytes()).hexdigest()
        except (EcadError, OSError):
            return ""  # execute says what is wrong

    @classmethod
    def execute(
        cls,
        file: str,
        architecture: str = AS_IN_THE_FILE,
        name: str = "",
        save: bool = False,
        overwrite: bool = False,
    ) -> io.NodeOutput:
        wanted = None if architecture == AS_IN_THE_FILE else architectures.find(architecture)
        schedule = imported(existing(file), wanted)
        if name.strip():
            schedule = replace(schedule, name=name.strip())
        summary = summary_of(schedule)
        if save:
            summary += f"\n{saved(schedule, schedule.name, overwrite=overwrite)}"
        say(cls.hidden.unique_id if cls.hidden else None, summary)
        shown = {"text": (summary,), **schedule_output(schedule)}
        return io.NodeOutput(schedule, summary, ui=shown)


def json_files() -> list[str]:
    """The .json files in ComfyUI's input folder and below it, as names inside it."""
    folder = folder_paths.get_input_directory()
    try:
        return sorted(
            Path(at, name).relative_to(folder).as_posix()
            for at, _, names in os.walk(folder)
            for name in names
            if name.lower().endswith(".json")
        )
    except OSError as error:  # an unreadable folder must not take the node out of the menu
        log.warning("ECAD: the input folder cannot be read: %s", error)
        return []


def existing(file: str) -> Path:
    """A file in the input folder; StorageError when there is none of that name."""
    if not file.strip():
        raise StorageError(
            "No file is chosen; copy a schedule file into ComfyUI's input folder and press R."
        )
    path = input_path(file)
    if not path.is_file():
        raise StorageError(
            f"There is no file '{file}' in ComfyUI's input folder; copy it there and press R."
        )
    return path


def summary_of(schedule: Schedule) -> str:
    """What a schedule does and where it is from, in short lines."""
    lines = [f"{schedule.name} for {schedule.architecture.id}", facts(schedule)]
    origin = schedule.info.get("provenance", {})
    if origin.get("source_file"):
        lines.append(f"From {origin['source_file']} ({origin.get('paper', 'no paper named')})")
    if origin.get("cells_set_in_step_0"):
        lines.append(f"Its first step reused {origin['cells_set_in_step_0']} cells; set to compute")
    if origin.get("licence_note"):
        lines.append(str(origin["licence_note"]))
    return "\n".join(lines)
