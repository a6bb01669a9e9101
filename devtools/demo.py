"""The main job: run the demo workflow on a ComfyUI of its own and bring back what it found."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ecad_search.comfyui.connection import Refused
from ecad_search.comfyui.websocket import WebSocket, WebSocketClosed
from ecad_search.text_table import text_table

from .console import StatusLine, Stopwatch, bar, duration
from .problem import Problem
from .server import Server

SEARCH = "ECAD_Search"
FRONT_PLOT = "ECAD_FrontPlot"
BUDGET = "images"
HISTORY_SECONDS = 60
# What is brought back, and where it is below ComfyUI's base directory; the first fit counts.
RESULTS = {
    "front.json": ("*/front.json", "output/ecad/*.front.json"),
    "best.json": ("*/best.json", "models/ecad_schedules/*.json"),
    "front.png": ("*/front.png",),
    "grid.png": ("*/grid.png",),
    "summary.json": ("*/summary.json",),
}

Workflow = dict[str, dict[str, Any]]


def load_workflow(path: Path, images: int | None = None) -> Workflow:
    """The API workflow in `path`, with the search's budget set to `images`."""
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{path} cannot be read as a workflow in API format: {error}.") from error
    if images is None:
        return workflow
    if images < 1:
        raise Problem(f"--images has to be at least 1, not {images}.")
    searches = [node["inputs"] for node in workflow.values() if node["class_type"] == SEARCH]
    if not searches:
        raise Problem(f"--images needs a {SEARCH} node in {path}, which has none.")
    for inputs in searches:
        inputs[BUDGET] = images
    return workflow


@dataclass
class Progress:
    """What is known about the run, from ComfyUI's events; `line` shows it."""

    workflow: Workflow
    watch: Stopwatch = field(default_factory=Stopwatch)
    doing: str = "Waiting"
    done: float | None = None  # share of `doing`
    detail: str = ""

    def follow(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node") is not None:
            node = self.workflow.get(str(data["node"]).split(":")[0], {})
            self.doing = node.get("_meta", {}).get("title") or node.get("class_type", "Running")
            self.done, self.detail = None, ""
        elif kind == "progress" and data.get("max"):
            if not self.detail:  # while searching, our own event says more
                self.done = data["value"] / data["max"]
        elif kind == "ecad.search":
            budget = data.get("images_budget") or 1
            images = data.get("images", 0)
            self.doing, self.done = "Searching", images / budget
            parts = [f"generation {data.get('generation', 0)}", f"{images}/{budget} images"]
            if (best := describe_best(data.get("best"))) is not None:
                parts.append(f"best so far {best}")
            parts.append(f"{duration(data.get('eta_seconds'))} left")
            self.detail = " · ".join(parts)

    @property
    def line(self) -> str:
        shown = f"  {self.doing:<20.20}"
        if self.done is not None:
            shown += f" {bar(self.done)}"
        return f"{shown} {self.detail or duration(self.watch.seconds)}"


def describe_best(best: Any) -> str | None:
    """`best` of the search event, a point of the front: quality is the loss against uncached."""
    if not best or best.get("speedup") is None:
        return None
    shown = f"{best['speedup']:.2f}x"
    return shown if best.get("quality") is None else f"{shown} at quality {best['quality']:+.3f}"


def run(server: Server, workflow: Workflow, status: StatusLine) -> dict[str, Any]:
    """Queue the workflow, show its progress until it ends, and return its outputs by node."""
    client = uuid.uuid4().hex
    server.require_nodes({node["class_type"] for node in workflow.values()})
    with server.events(client) as events:
        try:
            answer = server.post("/prompt", {"prompt": workflow, "client_id": client})
            if answer["node_errors"]:  # it would run the other branches of the workflow
                raise Refused(200, json.dumps(answer).encode())
        except Refused as refused:
            raise Problem(f"ComfyUI refused the workflow: {refused.sentence}") from refused
        prompt = answer["prompt_id"]
        try:
            _watch(server, events, prompt, Progress(workflow), status)
        except KeyboardInterrupt:
            server.post("/interrupt", {})
            raise
        finally:
            status.clear()
    for _ in range(HISTORY_SECONDS * 10):  # ComfyUI tells of the end first and notes it later
        if (entry := server.get(f"/history/{prompt}").get(prompt)) is not None:
            return entry["outputs"]
        time.sleep(0.1)
    raise Problem(f"ComfyUI did not note the outputs of the run: see {server.log}.")


def _watch(
    server: Server, events: WebSocket, prompt: str, progress: Progress, status: StatusLine
) -> None:
    tenth = 0
    for kind, data in _messages(server, events):
        if kind and data.get("prompt_id", prompt) != prompt:
            continue
        progress.follow(kind, data)
        status.show(progress.line)
        if not status.live and kind == "ecad.search" and int(10 * (progress.done or 0)) > tenth:
            tenth = int(10 * (progress.done or 0))
            status.finish(progress.line)
        if kind == "execution_error":
            message = " ".join(str(data.get("exception_message", "")).split())
            raise Problem(f"{data.get('node_type', 'ComfyUI')} failed: {message}")
        if kind == "execution_interrupted":
            raise Problem("The run was interrupted in ComfyUI.")
        if kind == "execution_success" or (not kind and prompt in server.get(f"/history/{prompt}")):
            return


def _messages(server: Server, events: WebSocket) -> Iterator[tuple[str, dict[str, Any]]]:
    """ComfyUI's events as (type, data); ("", {}) when a second went by without one."""
    while True:
        try:
            text = events.receive(1.0)
        except WebSocketClosed as closed:
            server.require_alive()
            raise Problem(
                f"The connection to ComfyUI was lost ({closed}): see {server.log}."
            ) from closed
        if text is None:
            server.require_alive()
            yield "", {}
            continue
        message = json.loads(text)
        yield str(message.get("type", "")) or "unknown", message.get("data") or {}


def collect(base: Path, workflow: Workflow, outputs: dict[str, Any], out: Path) -> dict[str, Path]:
    """Copy the results from ComfyUI's base directory to `out`; the missing ones are left out."""
    files = sorted(_files(base))
    found = {}
    for name, patterns in RESULTS.items():
        fitting = [file for pattern in patterns for file in files if fnmatch(file, pattern)]
        if fitting:
            found[name] = base / fitting[0]
    if (plot := _front_plot(base, workflow, outputs)) is not None:
        found["front.png"] = plot
    out.mkdir(parents=True, exist_ok=True)
    copied = {}
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)  # never leave one of an earlier run among the new
        if name in found:
            copied[name] = Path(shutil.copyfile(found[name], out / name))
    return copied


def _files(base: Path) -> Iterator[str]:
    """Every file below `base` but for the linked pack, relative to it and with "/" between."""
    for folder, folders, files in os.walk(base):
        folders[:] = [name for name in folders if name != "custom_nodes"]
        for name in files:
            yield (Path(folder) / name).relative_to(base).as_posix()


def _front_plot(base: Path, workflow: Workflow, outputs: dict[str, Any]) -> Path | None:
    """The picture shown by a front plot, or by the node that its picture is wired to."""
    plots = {key for key, node in workflow.items() if node["class_type"] == FRONT_PLOT}
    shown_by = plots | {
        key
        for key, node in workflow.items()
        for value in node["inputs"].values()
        if isinstance(value, list) and value and str(value[0]) in plots
    }
    for key in sorted(shown_by):
        for image in outputs.get(key, {}).get("images", []):
            folder = base / image.get("type", "output") / image.get("subfolder", "")
            if (path := folder / image["filename"]).is_file():
                return path
    return None


Column = tuple[str, str, Callable[[Any], str]]
COLUMNS: list[Column] = [
    ("schedule", "name", str),
    ("computed", "computed_fraction", lambda value: f"{value:.0%}"),
    ("GMACs", "macs", lambda value: f"{value / 1e9:.4g}"),
    ("speed-up", "speedup_measured", lambda value: f"{value:.2f}x"),
    ("score", "score_calibration", lambda value: f"{value:.3f}"),
    ("score, held out", "score_heldout", lambda value: f"{value:.3f}"),
    ("images", "images", str),
]


def summary_table(path: Path) -> str:
    """summary.json as a table for the terminal; columns that no row fills are left out."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    rows = summary["rows"] if isinstance(summary, dict) else summary
    columns = [column for column in COLUMNS if any(row.get(column[1]) is not None for row in rows)]
    cells = [
        [show(row[key]) if row.get(key) is not None else "-" for _, key, show in columns]
        for row in rows
    ]
    return text_table([title for title, _, _ in columns], cells, ruled=True)
