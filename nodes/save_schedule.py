"""The node that makes a schedule a file, so that the ECAD Cache Loader lists it."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..ecad_search.core.schedule import Schedule
from ..ecad_search.errors import EcadError
from ..ecad_search.library import USER_PREFIX, ScheduleLibrary
from .host.paths import SCHEDULES, schedule_library
from .host.run_report import say
from .host.schema import schema
from .types import ScheduleType


class SaveSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_SaveSchedule",
            display_name="Save ECAD Schedule",
            category="ECAD",
            description=(
                "Writes a schedule into models/ecad_schedules. Press R afterwards, and the ECAD "
                "Cache Loader lists it as 'my/<name>'."
            ),
            search_aliases=["export", "write", "json"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                ScheduleType.Input("schedule", tooltip="The schedule to keep."),
                io.String.Input(
                    "name",
                    default="my-schedule",
                    tooltip="Its name, without folder or extension. 'pixart/fast' makes a folder.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Replace another schedule of this name. Off: that is an error.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        if name is not None and not name.strip():
            return "The schedule has no name; write one, such as 'my-schedule'."
        return True

    @classmethod
    def execute(cls, schedule: Schedule, name: str, overwrite: bool = False) -> io.NodeOutput:
        text = saved(schedule, name, overwrite=overwrite)
        say(cls.hidden.unique_id if cls.hidden else None, text)
        return io.NodeOutput(ui={"text": (text,)})


def saved(schedule: Schedule, name: str, *, overwrite: bool) -> str:
    """Write a schedule into models/ecad_schedules; what to tell about it."""
    library = schedule_library()
    short = short_name(name)
    if not already_saved(library, schedule, short):
        library.save(replace(schedule, name=short), short, overwrite=overwrite)
    return (
        f"models/{SCHEDULES.name}/{short}.json\n"
        f"Press R: the ECAD Cache Loader lists it as '{USER_PREFIX}{short}'."
    )


def short_name(name: str) -> str:
    """The name as a file's: ECAD Cache Loader lists it behind `USER_PREFIX`."""
    return name.strip().removeprefix(USER_PREFIX).removesuffix(".json")


def already_saved(library: ScheduleLibrary, schedule: Schedule, name: str) -> bool:
    """Whether the file holds this very schedule: queueing a graph twice is no error."""
    try:
        known = library.load(USER_PREFIX + name)
    except EcadError:
        return False
    return known == schedule and dict(known.info) == dict(schedule.info)
