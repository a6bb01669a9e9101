"""Where the searches of this server stand, for pages that were not there, or were reloaded.

The host's history has the outputs of nodes that ended, and none of one that was cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from .progress import prompt_server

SEARCHES_ROUTE = "/ecad/searches"
MOST = 50  # searches; each is some 50 kB


class SearchSnapshots:
    """What the latest search of each node told last, as long as the server runs."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], Mapping[str, Any]] = {}  # the newest is the last
        self._lock = threading.Lock()  # searches and requests are in different threads

    def keep(self, workflow: str | None, node_id: str | None, told: Mapping[str, Any]) -> None:
        """Nothing without a workflow or a node, as from a script: no page would ask for it."""
        if workflow is None or node_id is None:
            return
        with self._lock:
            self._told.pop((workflow, node_id), None)
            self._told[workflow, node_id] = told
            while len(self._told) > MOST:
                del self._told[next(iter(self._told))]

    def of(self, workflow: str) -> dict[str, Mapping[str, Any]]:
        """By node id."""
        with self._lock:
            return {node: told for (owner, node), told in self._told.items() if owner == workflow}


SNAPSHOTS = SearchSnapshots()


def add_searches_route() -> None:
    """On the running server; nothing without one (tests, workers)."""
    server = prompt_server()
    if server is None:
        return

    @server.routes.get(SEARCHES_ROUTE)
    async def tell_searches(request: web.Request) -> web.Response:
        """Those of ?workflow=ID, by node id."""
        return web.json_response({"searches": SNAPSHOTS.of(request.query.get("workflow", ""))})
