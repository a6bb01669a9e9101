"""A search that was queued in a ComfyUI: what is heard of it, its end, and how to stop it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import SearchError
from ..json_files import printable
from .connection import Connection, Refused
from .websocket import WebSocket, WebSocketClosed
from .workflow import SearchWorkflow, listed

EVENT = "ecad.search"
RETRY_SECONDS = 60.0  # a server that has gone for longer has gone
STOP_SECONDS = 120.0  # a step of a large model on a small machine
HISTORY_SECONDS = 30.0
ARRIVAL_SECONDS = 3.0  # of a prompt whose sending was interrupted

Message = tuple[str, dict[str, Any]]


class Stopped(Exception):
    """The search was interrupted in ComfyUI; all that it found is in its journal."""


@dataclass(eq=False)
class QueuedSearch:
    """`on_event` hears each of the search's events; `require_alive` raises when the server died."""

    connection: Connection
    workflow: SearchWorkflow
    on_event: Callable[[dict[str, Any]], None] = lambda data: None
    on_node: Callable[[str], None] = lambda title: None
    require_alive: Callable[[], None] = lambda: None
    event: str = EVENT  # what the node sends while it runs
    shown: str = "ecad_search"  # where the node's outputs hold its report
    client: str = field(default_factory=lambda: uuid.uuid4().hex)
    prompt: str = ""  # its id in the queue, once ComfyUI has told it
    last: dict[str, Any] = field(default_factory=dict)  # of the search's events

    def run(self) -> dict[str, Any]:
        """Queue the workflow and follow it; returns the search's own report of its end.

        KeyboardInterrupt stops the search in ComfyUI before it goes on up. Raises Stopped when
        somebody else stopped it.
        """
        self._require_nodes()
        with self._events() as events:
            try:
                self._queue()
                self._follow(events)
            except KeyboardInterrupt:
                self.stop()
                raise
        return self._report()

    def stop(self) -> None:
        """Take it out of the queue, or interrupt it and wait until it has stopped."""
        queue = self._queue_with_ours()
        if self.prompt in _ids(queue.get("queue_pending")):
            self.connection.post("/queue", {"delete": [self.prompt]})
            return
        if self.prompt not in _ids(queue.get("queue_running")):
            return
        self.connection.post("/interrupt", {"prompt_id": self.prompt})
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if self._ended() is not None:
                return
            time.sleep(0.1)

    def _queue_with_ours(self) -> dict[str, Any]:
        """ComfyUI's queue; what we queued is in it, unless it has ended or never arrived.

        Whoever stops us while we wait for ComfyUI's answer leaves us without the prompt's id.
        """
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while True:
            queue = self.connection.get("/queue")
            items = [*queue.get("queue_pending", ()), *queue.get("queue_running", ())]
            if not self.prompt:
                ours = [item[1] for item in items if item[3].get("client_id") == self.client]
                self.prompt = ours[0] if ours else ""
            if self.prompt or time.monotonic() > deadline:
                return queue
            time.sleep(0.1)

    def _require_nodes(self) -> None:
        try:
            known = set(self.connection.get("/object_info"))
        except (OSError, Refused, ValueError) as error:
            self.require_alive()
            raise SearchError(
                f"No ComfyUI answers at {self.connection.url} ({_reason(error)}); start it, or "
                "check the address."
            ) from error
        missing = sorted({n["class_type"] for n in self.workflow.nodes.values()} - known)
        if missing:
            raise SearchError(
                f"The ComfyUI at {self.connection.url} has no node {listed(missing)}; install "
                "what the workflow needs there, ComfyUI-ECAD included, or see its log."
            )

    def _queue(self) -> None:
        body = {"prompt": self.workflow.nodes, "client_id": self.client}
        try:
            answer = self.connection.post("/prompt", body)
            if answer.get("node_errors"):
                raise Refused(200, json.dumps(answer).encode())
        except Refused as refused:
            raise SearchError(f"ComfyUI refused the workflow: {refused.sentence}") from refused
        self.prompt = answer["prompt_id"]

    def _follow(self, events: WebSocket) -> None:
        for kind, data in self._messages(events):
            if kind and data.get("prompt_id", self.prompt) != self.prompt:
                continue
            if kind == self.event and data.get("node_id") in (None, self.workflow.id):
                self.last = data
                self.on_event(data)
            elif kind == "executing" and data.get("node") is not None:
                node = self.workflow.nodes.get(str(data["node"]), {})
                title = node.get("_meta", {}).get("title") or node.get("class_type", "")
                self.on_node(printable(str(title)))
            elif kind == "execution_error":
                message = " ".join(str(data.get("exception_message", "")).split())
                failed = f"{data.get('node_type', 'ComfyUI')} failed: {message}"
                raise SearchError(printable(failed))
            elif kind == "execution_interrupted":
                raise Stopped
            elif kind == "execution_success" or (not kind and self._ended() is not None):
                return

    def _messages(self, events: WebSocket) -> Iterator[Message]:
        """ComfyUI's events as (type, data); ("", {}) when a second went by without one."""
        while True:
            try:
                text = events.receive(1.0)
            except WebSocketClosed as closed:
                self.require_alive()
                events = self._events_again(closed)
                continue
            if text is None:
                self.require_alive()
                yield "", {}
                continue
            message = json.loads(text)
            yield str(message.get("type", "")) or "unknown", message.get("data") or {}

    def _events(self) -> WebSocket:
        try:
            return self.connection.events(self.client)
        except OSError as error:
            raise SearchError(
                f"The events of the ComfyUI at {self.connection.url} cannot be followed "
                f"({_reason(error)}); check the address."
            ) from error

    def _events_again(self, closed: WebSocketClosed) -> WebSocket:
        deadline = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < deadline:
            try:
                return self.connection.events(self.client)
            except OSError:
                self.require_alive()
                time.sleep(1.0)
        raise SearchError(
            f"The connection to {self.connection.url} was lost ({closed}). If ComfyUI still runs, "
            "so does the search, and it keeps all in its journal either way; resume it later."
        )

    def _ended(self) -> dict[str, Any] | None:
        """What ComfyUI noted of the run, once it has ended."""
        try:
            return self.connection.get(f"/history/{self.prompt}").get(self.prompt)
        except (OSError, Refused, ValueError):
            return None

    def _report(self) -> dict[str, Any]:
        deadline = time.monotonic() + HISTORY_SECONDS
        while time.monotonic() < deadline:  # it tells of the end first and notes it later
            entry = self._ended()
            if entry is None:
                time.sleep(0.1)
                continue
            shown = entry.get("outputs", {}).get(self.workflow.id, {}).get(self.shown)
            if shown:
                return shown[0]
            for kind, data in entry.get("status", {}).get("messages", []):
                if kind == "execution_interrupted":
                    raise Stopped
                if kind == "execution_error":
                    raise SearchError(f"The search failed: {data.get('exception_message')}")
            break
        raise SearchError(
            f"The ComfyUI at {self.connection.url} tells nothing of the search's end; see its log."
        )


def _ids(items: Any) -> list[str]:
    return [item[1] for item in items or []]


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason)
