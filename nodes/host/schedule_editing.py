"""What the schedule editor starts from, and what the browser must know to paint by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from aiohttp import web

from ...ecad_search import architectures
from ...ecad_search.builtin_schedules import ANY_MODEL
from ...ecad_search.core import presets, schedule_json
from ...ecad_search.core.architecture import Architecture
from ...ecad_search.core.cost import base_step_macs, cell_macs
from ...ecad_search.core.schedule import MOST_STEPS, Schedule
from ...ecad_search.errors import EcadError, ScheduleError, StorageError
from .paths import schedule_library
from .progress import prompt_server
from .schedule_view import groups_of, schedule_view

START_ROUTE = "/ecad/schedules/start"
NEW = "new/"  # before the id of an architecture: everything computes
USUAL_STEPS = 20
NAME_ENDING = "-edited"


def new_names() -> list[str]:
    return [NEW + architecture.id for architecture in architectures.ALL]


def started(name: str, steps: int) -> Schedule:
    """The schedule of the library, or a new one; with `steps` of 0 as many as it has."""
    if name.startswith(NEW):
        architecture = architectures.find(name.removeprefix(NEW))
        return presets.uncached(architecture, steps or USUAL_STEPS)
    if name in ANY_MODEL:
        raise StorageError(
            f"'{name}' is made for the model that runs it, which the editor does not know; "
            "choose a schedule that is named after your model."
        )
    return with_steps(schedule_library().load(name), steps)


def with_steps(schedule: Schedule, steps: int) -> Schedule:
    return schedule.resampled(steps) if steps else schedule


def edited_schedule(text: str) -> Schedule:
    """What the editor keeps in the workflow: the text of a schedule file."""
    return schedule_json.loads(text, source="The edited schedule")


def editor_view(schedule: Schedule, *, start: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the editor draws: the schedule, its costs and, if it is not edited yet, its text.

    `start` says which widgets it came of, so that the browser does not take it for another start.
    """
    architecture = schedule.architecture
    view = {
        **schedule_view(schedule),
        "architecture": architecture.id,
        **costs_of(architecture),
        "start": start,
    }
    if start is not None:
        view["document"] = document_of(schedule)
    return view


def document_of(schedule: Schedule) -> str:
    """The file text that an edit begins with: without what was measured, and on one line."""
    info = {name: value for name, value in schedule.info.items() if name != "objectives"}
    if isinstance(info.get("paper"), Mapping):
        info["paper"] = {n: value for n, value in info["paper"].items() if n != "metrics"}
    info["provenance"] = origin_of_edits(schedule)
    room = schedule_json.LONGEST_NAME - len(NAME_ENDING)
    name = schedule.name.removesuffix(NAME_ENDING)[:room] + NAME_ENDING
    text = schedule_json.dumps(replace(schedule, name=name.lstrip("-"), info=info))
    return json.dumps(json.loads(text), separators=(",", ":"))


def origin_of_edits(schedule: Schedule) -> dict[str, Any]:
    """The `provenance` of what is painted over `schedule`; its own is kept, once, as `original`."""
    before = schedule.info.get("provenance")
    before = dict(before) if isinstance(before, Mapping) else {}
    original = before.get("original", {}) if "edited_from" in before else before
    origin: dict[str, Any] = {
        "tool": "ComfyUI-ECAD",
        "edited_from": schedule.name or schedule.key,
        "edited_from_key": schedule.key,
    }
    if "licence_note" in before:
        origin["licence_note"] = before["licence_note"]
    return {**origin, **({"original": original} if original else {})}


@cache
def listed_architectures() -> dict[str, dict[str, Any]]:
    """Id -> what the browser needs to begin a new schedule and to tell its cost; about 10 kB."""
    return {
        architecture.id: {
            "family": architecture.family,
            "groups": groups_of(architecture),
            **costs_of(architecture),
        }
        for architecture in architectures.ALL
    }


def costs_of(architecture: Architecture) -> dict[str, Any]:
    """Shares of the MACs of an uncached step at the native size, and who reads whom.

    `base` is what no schedule switches off, `shares` has one number for each component of a block,
    group by group. `reads` is like `shares`: the components of the same block whose stored values
    alone determine this one.
    """
    native = architecture.native_workload()
    cells = [int(macs) for macs in cell_macs(architecture, native)]
    base = base_step_macs(architecture, native)
    step = base + sum(cells)
    shares, start = [], 0
    for group in architecture.groups:
        n = len(group.components)
        one = cells[start : start + n] if group.count else [0] * n  # all blocks cost the same
        shares.append([float(f"{macs / step:.8g}") for macs in one])
        start += n * group.count
    reads = []
    for group in architecture.groups:
        names = [component.name for component in group.components]
        reads.append([[names.index(name) for name in c.reads] for c in group.components])
    return {"base": float(f"{base / step:.8g}"), "shares": shares, "reads": reads}


def add_start_route() -> None:
    """A route that reads, on the running server; nothing without one (tests, workers)."""
    server = prompt_server()
    if server is None:
        return

    @server.routes.get(START_ROUTE)
    async def tell_start(request: web.Request) -> web.Response:
        """What ?name=...&steps=... is to the editor, or one sentence about why it is nothing."""
        name, steps = request.query.get("name", ""), request.query.get("steps", "0")
        try:
            view = await asyncio.to_thread(lambda: start_view(name, steps))
        except (EcadError, OSError) as error:
            return web.json_response({"error": without_path(name, str(error))}, status=404)
        return web.json_response(view)


def start_view(name: str, steps: str) -> dict[str, Any]:
    if not (steps.isascii() and steps.isdigit() and len(steps) < 6 and int(steps) <= MOST_STEPS):
        raise ScheduleError(f"The steps are {steps[:20]!r}; expected 0 to {MOST_STEPS}.")
    start = {"start": name, "steps": int(steps), "linked": False}
    return editor_view(started(name, int(steps)), start=start)


def without_path(name: str, message: str) -> str:
    """The message with the schedule's name where its file's place on this machine stands."""
    try:
        return message.replace(str(schedule_library().path(name)), f"'{name}'")
    except (EcadError, OSError):
        return message
