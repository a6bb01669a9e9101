"""The node on which schedules are painted by hand."""

from __future__ import annotations

import hashlib
from typing import Any

from comfy_api.latest import io

from ..ecad_search.core.schedule import MOST_STEPS, Schedule
from ..ecad_search.errors import EcadError, StorageError
from ..ecad_search.library import USER_PREFIX
from .cache_loader import advice, schedule_names
from .host.paths import schedule_library
from .host.run_report import facts
from .host.schedule_editing import (
    ANY_MODEL,
    edited_schedule,
    editor_view,
    listed_architectures,
    new_names,
    started,
    with_steps,
)
from .host.schema import schema
from .save_schedule import saved, short_name
from .types import ScheduleType


class ScheduleEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        edited = io.String.Input(
            "edited",
            default="",
            socketless=True,
            tooltip=(
                "What you painted, as the text of a schedule file (docs/schedule-format.md). "
                "Empty: nothing yet, the start goes out as it is."
            ),
        )
        # Not a keyword of all releases; the browser reads it to paint without asking the server.
        edited.extra_dict = {
            "dynamicPrompts": False,  # braces are no choices here
            "ecad_architectures": listed_architectures(),
        }
        return schema(
            node_id="ECAD_ScheduleEditor",
            display_name="ECAD Schedule Editor",
            category="ECAD",
            description=(
                "Paint a schedule: cells, whole steps, the same cell at all steps, whole "
                "components. Says at once whether it is valid and what it costs, and saves it to "
                "the list of the ECAD Cache Loader."
            ),
            search_aliases=["paint", "draw", "edit schedule", "hand-made", "custom schedule"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "start",
                    options=start_names(),
                    default=new_names()[0],
                    tooltip=(
                        "What to edit: 'new/...' computes everything, the others are the "
                        "schedules of the ECAD Cache Loader. A schedule that is wired in goes "
                        "first."
                    ),
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=MOST_STEPS,
                    tooltip=(
                        "Stretches the start to this number of steps before you edit it. 0: as "
                        "many as it has, 20 for a new one."
                    ),
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip=(
                        "Saves the schedule under this name whenever the node runs, as Save does. "
                        "Empty: it is not saved, only handed on."
                    ),
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Replace another saved schedule of this name. Off: that is an error.",
                ),
                edited,
                ScheduleType.Input(
                    "schedule",
                    optional=True,
                    lazy=True,
                    tooltip=(
                        "A schedule to start from instead, such as one of a search. It is not "
                        "asked for while you have edits."
                    ),
                ),
            ],
            outputs=[
                ScheduleType.Output(
                    display_name="schedule",
                    tooltip="The edited schedule, for Apply ECAD Schedule and others.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, start: str | None = None, edited: str | None = None) -> bool | str:
        # Naming the combo keeps the host from refusing a start that is gone but not needed.
        if edited and edited.strip():
            try:
                edited_schedule(edited)
            except EcadError as error:
                return str(error)
        return True

    @classmethod
    def check_lazy_status(cls, edited: str = "", **inputs: Any) -> list[str]:
        waits = "schedule" in inputs and inputs["schedule"] is None
        return ["schedule"] if waits and not edited.strip() else []

    @classmethod
    def fingerprint_inputs(cls, start: str = "", edited: str = "", **_: Any) -> str:
        """A start whose file was changed is read again."""
        if edited.strip():
            return ""
        try:
            return hashlib.sha256(schedule_library().path(start).read_bytes()).hexdigest()
        except (EcadError, OSError):
            return ""  # a new schedule, or execute says what is wrong

    @classmethod
    def execute(
        cls,
        start: str,
        steps: int = 0,
        name: str = "",
        overwrite: bool = False,
        edited: str = "",
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        origin = None
        if edited.strip():
            made = edited_schedule(edited)
        else:
            linked = schedule is not None
            made = with_steps(schedule, steps) if schedule is not None else chosen(start, steps)
            origin = {"start": start, "steps": steps, "linked": linked}
        text = facts(made)
        view = editor_view(made, start=origin)
        if name.strip():
            text += f"\n{saved(made, name, overwrite=overwrite)}"
            view["saved"] = USER_PREFIX + short_name(name)
        return io.NodeOutput(made, ui={"text": (text,), "ecad_schedule": (view,)})


def start_names() -> list[str]:
    return [*new_names(), *(name for name in schedule_names() if name not in ANY_MODEL)]


def chosen(start: str, steps: int) -> Schedule:
    try:
        return started(start, steps)
    except StorageError as error:
        raise StorageError(advice(start) or str(error)) from error
