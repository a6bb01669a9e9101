"""Shows on a node, after each sampling, what its schedule made of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from comfy.model_management import InterruptProcessingException
from comfy_api.latest import io

from ...ecad_search.core.architecture import Architecture
from ...ecad_search.core.cost import relative_cost
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.liveness import predicted_bytes
from ...ecad_search.engine.report import MIB, RunReport
from ...ecad_search.errors import EcadError
from .image_pairs import image_pairs
from .progress import (
    EVENT_SECONDS,
    NodeProgress,
    prompt_server,
    stop_if_cancelled,
    workflow_id,
)
from .schedule_view import fits_key
from .schema import field

EVENT = "ecad.run"
MOST_RUNS = 8  # kept of one model; each is about 1 kB
log = logging.getLogger("ComfyUI-ECAD")


class RunLog:
    """The samplings of the model that one execution of a node gave out, as the node shows them.

    They happen later, while another node (the sampler) executes, and again in later prompts, in
    which this node is not executed: each is sent as an event when it ends, and added to what the
    node put into its stored output, so that the history and a reloaded page have it as well.
    """

    def __init__(self, node_id: str | None, workflow: str | None, schedule: Schedule) -> None:
        self.progress = NodeProgress(node_id, 1.0)
        self.workflow = workflow
        self.schedule = schedule
        self.stored: dict[str, Any] = {"runs": []}
        self.planned_bytes = 0

    @classmethod
    def of(cls, hidden: Any | None, schedule: Schedule) -> RunLog:
        """For the node that is being executed; `hidden` are its hidden inputs."""
        if hidden is None:
            return cls(None, None, schedule)
        if schedule.architecture.fingerprint:  # less is known of it than the page can draw
            say(hidden.unique_id, facts(schedule))
        return cls(hidden.unique_id, workflow_id(hidden.extra_pnginfo), schedule)

    def __deepcopy__(self, memo: dict) -> RunLog:
        """Nodes that deep-copy a model still report where it came from."""
        return self

    def output(self) -> dict[str, tuple[dict[str, Any]]]:
        """For the node's `ui`; the host keeps the object, not a copy."""
        return {"ecad_run": (self.stored,)}

    def meet(self, architecture: Architecture) -> None:
        """The node has got its model, for the order of the list; the schedule may not fit it."""
        model = {"fits": fits_key(architecture), "model": architecture.describe()}
        self.tell({"state": "loaded", **model})

    def plan(self, planned_bytes: int) -> None:
        """A run starts."""
        self.planned_bytes = planned_bytes
        self.tell({"state": "running", "planned_bytes": planned_bytes})

    def report(self, report: RunReport) -> None:
        """A run has ended."""
        runs = [*self.stored["runs"], run_view(report, self.schedule, self.planned_bytes)]
        self.stored["runs"] = runs[-MOST_RUNS:]
        self.tell_stored()

    def tell_stored(self) -> None:
        self.tell({"state": "done", **self.stored})

    def tell(self, data: Mapping[str, Any]) -> None:
        if self.progress.node_id is not None:
            self.progress.event(EVENT, {**data, "workflow_id": self.workflow}, force=True)


class Comparison:
    """Shows the pictures of both samplings on the node: the `twin` of `apply_schedule`."""

    def __init__(self, runs: RunLog, vae: Any) -> None:
        self.runs = runs
        self.vae = vae

    def __deepcopy__(self, memo: dict) -> Comparison:
        return self

    def step(self, step: int, x0: Any, x: Any, steps: int) -> None:
        stop_if_cancelled()
        if self.runs.progress.due("step", EVENT_SECONDS):
            self.runs.tell({"state": "comparing", "step": step + 1, "steps": steps})

    def done(self, cached: Any, uncached: Any, seconds: float) -> None:
        run = self.runs.stored["runs"][-1]
        run["uncached_seconds"] = seconds
        run["speedup"] = seconds / run["seconds"] if run["seconds"] > 0 else None
        try:
            run["pairs"] = image_pairs(*(pictures(self.vae, x) for x in (cached, uncached)))
        except InterruptProcessingException:
            raise
        except Exception as error:  # whatever a VAE of another model raises
            log.exception("ECAD: the pictures could not be decoded.")
            run["messages"] = [
                *run["messages"],
                f"The pictures could not be decoded ({type(error).__name__}); connect the VAE "
                "that belongs to the model.",
            ]
        self.runs.tell_stored()


def pictures(vae: Any, latent: Any) -> Any:
    """A latent as the sampler gives it -> (N, H, W, 3); the pictures of films in a row."""
    images = vae.decode(latent)
    return images.reshape(-1, *images.shape[-3:])


def compare_inputs() -> list[io.Input]:
    """The switch that has `twin_of` compare, and what it needs."""
    return [
        field(
            io.Boolean,
            "compare",
            default=False,
            optional=True,
            tooltip=(
                "Sample once more without reuse, from the same start, and show both pictures on "
                "the node with a slider and a map of their differences. Takes the time of an "
                "uncached run on top; needs the VAE."
            ),
        ),
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="Decodes the pictures of 'compare'; not used without it.",
        ),
    ]


def twin_of(node: str, runs: RunLog, compare: bool, vae: Any | None) -> Comparison | None:
    """What the switch of a node asks for."""
    if not compare:
        return None
    if vae is None:
        raise EcadError(
            f"{node} is to compare with the uncached picture but has no VAE to decode it; connect "
            "the VAE that your VAE Decode uses, or switch 'compare' off."
        )
    return Comparison(runs, vae)


def run_view(report: RunReport, schedule: Schedule, planned_bytes: int) -> dict[str, Any]:
    """A run as JSON. `speedup` is in seconds, estimated from the run itself or None.

    `macs_speedup` is of the MACs that were executed, `expected_speedup` what the schedule promises
    at the model's usual size.
    """
    server = prompt_server()
    native = schedule.architecture.native_workload()
    return {
        "prompt_id": getattr(server, "last_prompt_id", None),
        "ended": time.time(),
        "schedule": report.schedule,
        "schedule_key": schedule.key,
        "schedule_steps": schedule.steps,
        "steps": report.steps,
        "evaluations": report.evaluations,
        "computed": report.cells_computed,
        "reused": report.cells_reused,
        "forced": report.cells_forced,
        "bypassed_calls": report.bypassed_calls,
        "seconds": report.seconds,
        "uncached_seconds": None,
        "speedup": report.measured_speedup,
        "macs_speedup": report.predicted_speedup,
        "expected_speedup": 1 / relative_cost(schedule, native),
        "peak_bytes": report.peak_bytes,
        "planned_bytes": planned_bytes,
        "messages": list(report.messages),
    }


def amount(n_bytes: int) -> str:
    """1.9 GiB, 740 MiB, 0.3 MiB."""
    if n_bytes >= 1024 * MIB:
        return f"{n_bytes / (1024 * MIB):.1f} GiB"
    return f"{n_bytes / MIB:.0f} MiB" if n_bytes >= 10 * MIB else f"{n_bytes / MIB:.1f} MiB"


def say(node_id: str | None, text: str) -> None:
    """Show text on a node, in the client that queued the graph; nothing without a server."""
    server = prompt_server()
    if server is None or node_id is None:
        return
    send = getattr(server, "send_progress_text", None)
    if send is not None:
        send(text, node_id, server.client_id)


def facts(schedule: Schedule) -> str:
    """What is known about a schedule before it runs."""
    native = schedule.architecture.native_workload()
    if schedule.architecture.fingerprint:
        return (
            f"Unknown model: {schedule.architecture.n_cells} components found, checked at the "
            f"first evaluation of each run\n{schedule.steps} steps, "
            f"{schedule.computed_fraction:.0%} of the components computed, "
            f"about {1 / relative_cost(schedule, native):.2f}x fewer MACs"
        )
    held = predicted_bytes(schedule, native, calls=(1,))
    return (
        f"{schedule.steps} steps, {schedule.computed_fraction:.0%} of the components computed, "
        f"{1 / relative_cost(schedule, native):.2f}x fewer MACs, {amount(held)} held for each "
        f"prompt at {native.width} px"
    )
