"""What the list of ECAD Cache Loader says about each schedule, and the routes that tell it.

Reading the files takes a moment, so it is not done in `define_schema`, which the host calls often.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from ...ecad_search.builtin_schedules import ANY_MODEL, EVERY_AND_STEPS
from ...ecad_search.errors import EcadError
from ...ecad_search.library import USER_PREFIX, ScheduleLibrary, spoken_name
from .paths import schedule_library
from .progress import prompt_server
from .schedule_view import schedule_view

log = logging.getLogger("ComfyUI-ECAD")
LIST_ROUTE = "/ecad/schedules"
VIEW_ROUTE = "/ecad/schedules/view"


def ordered(names: list[str]) -> list[str]:
    """In the order of the list: what comes with the pack, any model, the user's."""
    return sorted((*names, *ANY_MODEL), key=lambda name: name.startswith(USER_PREFIX))


class ScheduleList:
    """The entries of the list as JSON. A file is parsed again only when it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def entries(self, library: ScheduleLibrary) -> list[dict[str, Any]]:
        """Of every name: `label`, what it fits, its figures; a broken file has an `error`."""
        with self._lock:
            found = [self._entry(library, name) for name in ordered(library.names())]
            used = {entry["name"] for entry in found}
            self._known = {p: known for p, known in self._known.items() if known[1]["name"] in used}
            return found

    def _entry(self, library: ScheduleLibrary, name: str) -> dict[str, Any]:
        if name in ANY_MODEL:
            return any_model_entry(name)
        try:
            path = library.path(name)
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_size
            if path not in self._known or self._known[path][0] != stamp:
                self._known[path] = stamp, entry_of(library, name)
            return self._known[path][1]
        except (EcadError, OSError) as error:
            return broken_entry(name, str(error))


def entry_of(library: ScheduleLibrary, name: str) -> dict[str, Any]:
    try:
        schedule = library.load(name)
    except EcadError as error:
        return broken_entry(name, str(error).replace(str(library.path(name)), name))
    view = schedule_view(schedule)
    spoken = spoken_name(name, schedule)
    kept = ("fits", "steps", "computed", "speedup", "native", "key")
    return {
        "name": name,
        "label": str(spoken),
        "group": spoken.model,
        "words": spoken.words,
        "shares": [round(float(share), 2) for share in schedule.compute.mean(axis=1)],
        **{field: view[field] for field in kept},
    }


def any_model_entry(name: str) -> dict[str, Any]:
    every, steps = EVERY_AND_STEPS[ANY_MODEL.index(name)]
    words = f"FORA every {every} - {steps} steps"
    return {
        "name": name,
        "label": f"Any model - {words}",
        "group": "Any model",
        "words": words,
        "fits": None,
        "steps": steps,
        "shares": [float(step % every == 0) for step in range(steps)],
    }


def broken_entry(name: str, error: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": f"{name} (cannot be read)",
        "group": "Cannot be read",
        "words": name,
        "fits": None,
        "error": error,
    }


def add_routes() -> None:
    """Two routes that read, on the running server; nothing without one (tests, workers)."""
    server = prompt_server()
    if server is None:
        return
    listed = ScheduleList()

    @server.routes.get(LIST_ROUTE)
    async def tell_list(_: web.Request) -> web.Response:
        try:
            found = await asyncio.to_thread(lambda: listed.entries(schedule_library()))
        except (EcadError, OSError) as error:
            log.warning("ECAD: the schedule folders cannot be read: %s", error)
            found = []
        return web.json_response({"schedules": found})

    @server.routes.get(VIEW_ROUTE)
    async def tell_view(request: web.Request) -> web.Response:
        """The schedule of ?name=..., as the nodes draw it."""
        name = request.query.get("name", "")
        try:
            view = await asyncio.to_thread(lambda: schedule_view(schedule_library().load(name)))
        except (EcadError, OSError):
            return web.json_response({"error": f"There is no such schedule: {name}"}, status=404)
        return web.json_response(view)
