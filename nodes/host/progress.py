"""How a long node speaks while it runs: progress bar, preview, text on the node, events, Cancel."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image

BAR_SECONDS = 0.1  # at most one progress message in this time
EVENT_SECONDS = 0.25
PREVIEW_SECONDS = 0.5
PREVIEW_PIXELS = 512


def stop_if_cancelled() -> None:
    """Raise the host's InterruptProcessingException when Cancel was pressed."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def prompt_server() -> Any | None:
    """The running server, or None (tests, workers). Never imports it: that is the host's to do."""
    module = sys.modules.get("server")
    return getattr(getattr(module, "PromptServer", None), "instance", None)


def workflow_id(extra: Any) -> str | None:
    """The id of the workflow that was queued; None when it came without one, as from a script."""
    workflow = extra.get("workflow") if isinstance(extra, Mapping) else None
    found = workflow.get("id") if isinstance(workflow, Mapping) else None
    return found if isinstance(found, str) else None


class NodeProgress:
    """The progress of one node's run; `total` is in any unit the node likes to count in."""

    def __init__(self, node_id: str | None, total: float):
        self.node_id = node_id
        self.total = max(float(total), 1e-9)
        self.bar = comfy.utils.ProgressBar(1000, node_id=node_id)
        self.spoke: dict[str, float] = {}

    def due(self, what: str, seconds: float) -> bool:
        """Whether `what` was last sent at least `seconds` ago; notes the time when it was."""
        now = time.monotonic()
        if now - self.spoke.get(what, float("-inf")) < seconds:
            return False
        self.spoke[what] = now
        return True

    def update(self, done: float, *, preview: Image.Image | None = None) -> None:
        """Move the bar, as often as you like. Stops the node when it is cancelled."""
        stop_if_cancelled()
        finished = done >= self.total
        show = preview is not None and (finished or self.due("preview", PREVIEW_SECONDS))
        if finished or show or self.due("bar", BAR_SECONDS):
            image = ("JPEG", preview, PREVIEW_PIXELS) if show else None
            self.bar.update_absolute(round(1000 * min(done / self.total, 1.0)), 1000, image)

    def text(self, line: str, *, force: bool = False) -> None:
        """Show one line on the node."""
        server = prompt_server()
        send = getattr(server, "send_progress_text", None)
        if send is None or self.node_id is None:
            return
        if force or self.due("text", EVENT_SECONDS):
            send(line, self.node_id)

    def event(self, name: str, data: Mapping[str, Any], *, force: bool = False) -> None:
        """Send a JSON event to the client that queued the graph."""
        server = prompt_server()
        if server is None:
            return
        if force or self.due(name, EVENT_SECONDS):
            server.send_sync(name, {"node_id": self.node_id, **data}, server.client_id)


def spoken_seconds(seconds: float | None) -> str:
    """12.3 -> '12 s', 200 -> '3 min', 9000 -> '2.5 h'; '?' when unknown."""
    if seconds is None or seconds != seconds or seconds == float("inf"):
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
