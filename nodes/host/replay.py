"""Inside a worker: makes the search's model again by running its graph, then renders for it.

A MODEL cannot be sent to another process. What can is the graph that leads to it, and the host's
own executor makes the same of it there. `begin` is what the worker calls first.
"""

from __future__ import annotations

import importlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import execution
import torch
from comfy_api.latest import io

from ...ecad_search.comfyui.workflow import Nodes, upstream
from ...ecad_search.core import schedule_json
from ...ecad_search.errors import EcadError, SearchError
from ..types import CalibrationType, SamplerSettingsType
from .evaluation import finite_eight_bit
from .rendering import Renderer, is_out_of_memory, release_memory
from .schema import schema

RENDERED_FROM = ("model", "vae", "calibration", "sampler_settings")  # inputs of ECAD Search
NODE_ID = "ECAD_WorkerInputs"


class WorkerInputs(io.ComfyNode):
    """Stands where ECAD Search does in its graph, and keeps what it is given.

    Never in a menu: a worker alone adds it to its host's nodes.
    """

    taken: dict[str, dict[str, Any]] = {}  # noqa: RUF012  by the id of the run

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id=NODE_ID,
            display_name=NODE_ID,
            category="ECAD",
            is_output_node=True,
            inputs=[
                io.Model.Input("model"),
                io.Vae.Input("vae"),
                CalibrationType.Input("calibration"),
                SamplerSettingsType.Input("sampler_settings"),
                io.String.Input("run"),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, run: str, **inputs: Any) -> io.NodeOutput:
        WorkerInputs.taken[run] = inputs
        return io.NodeOutput()


def begin(server: Any, prompt: Nodes, node: str, identity: Mapping[str, Any]) -> Any:
    """The worker's `RenderingWork`; {"error": sentence} when it is not what the search has."""
    try:
        made = replayed(server, prompt, node)
        renderer = Renderer(*(made[name] for name in RENDERED_FROM))
    except EcadError as error:
        return {"error": str(error).rstrip(".")}
    found = renderer.identity()
    different = [name for name, value in found.items() if identity.get(name) != value]
    if different:
        return {
            "error": f"its graph gives another {', '.join(different)} than the search has; its "
            "model files or nodes differ from those of the search"
        }
    return RenderingWork(renderer)


def replayed(server: Any, prompt: Nodes, node: str) -> dict[str, Any]:
    """What the inputs of the search `node` in `prompt` are, made by the host's executor."""
    importlib.import_module("nodes").NODE_CLASS_MAPPINGS[NODE_ID] = WorkerInputs  # the host's
    run = uuid.uuid4().hex
    given = prompt[node]["inputs"]
    inputs = {name: given[name] for name in RENDERED_FROM} | {"run": run}
    stand_in = {**prompt, node: {"class_type": NODE_ID, "inputs": inputs}}
    executor = execution.PromptExecutor(server, **executor_settings())
    executor.execute(upstream(stand_in, node), run, {}, [node])
    taken = WorkerInputs.taken.pop(run, None)
    if taken is None:
        said = [data for event, data in executor.status_messages if event == "execution_error"]
        why = said[-1] if said else {}
        raise SearchError(
            f"The graph before the search failed there, at {why.get('node_type', 'a node')}: "
            f"{' '.join(str(why.get('exception_message', 'no reason given')).split())}"
        )
    return taken


def executor_settings() -> dict[str, Any]:
    """The plainest cache the host has: what was made is wanted as long as the worker lives."""
    sizes = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
    return {"cache_type": execution.CacheType.CLASSIC, "cache_args": sizes}


@dataclass(frozen=True, eq=False)
class RenderingWork:
    """What a worker does for a search; plain values in, plain values and arrays out."""

    renderer: Renderer

    @torch.inference_mode()
    def render(self, schedule: str, indices: Sequence[int]) -> dict[str, Any]:
        """`pictures` (N, H, W, 3) uint8, and which of them are `finite` numbers; or `failed`."""
        started = time.perf_counter()
        try:
            images = self.renderer.render(schedule_json.loads(schedule), tuple(indices))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_memory()
            return {"failed": "out of memory"}
        pictures, finite = finite_eight_bit(images)
        return {
            "pictures": pictures.numpy(),
            "finite": finite.tolist(),
            "seconds": time.perf_counter() - started,
        }
