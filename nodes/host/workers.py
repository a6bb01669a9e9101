"""Rendering shared out over workers, each with a ComfyUI runtime and a model of its own.

What is shared out are the batches that a single process would render one after the other, cut in
the same way; the pictures are judged here, a job at a time. So nothing that is measured depends on
how many workers there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch

from ...ecad_search import __version__
from ...ecad_search.comfyui.workflow import SearchWorkflow
from ...ecad_search.core import schedule_json
from ...ecad_search.core.presets import uncached
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.errors import SearchError
from ...ecad_search.workers.pool import Work, WorkerPool
from .evaluation import Evaluator, Pictures, UnusableResult, require_finite
from .progress import stop_if_cancelled
from .rendering import Renderer

POLL_SECONDS = 0.1  # how long Cancel may go unheard
# Arguments of the host that are not for its workers, most with a value.
NOT_FOR_WORKERS = (
    "--listen --port --tls-keyfile --tls-certfile --enable-cors-header --max-upload-size "
    "--auto-launch --disable-auto-launch --cuda-device --default-device --temp-directory "
    "--database-url --quick-test-for-ci --enable-manager --windows-standalone-build"
).split()


@dataclass(eq=False)
class SharedJob:
    """Batches of samples that workers render under one schedule."""

    number: int
    indices: tuple[int, ...]
    units: list[tuple[int, ...]]
    parts: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # by the unit's number

    @property
    def complete(self) -> bool:
        return len(self.parts) == len(self.units)

    @property
    def images(self) -> int:
        """How many are rendered."""
        return sum(len(self.units[number]) for number in self.parts)

    @property
    def seconds(self) -> float:
        """That the workers have rendered for it."""
        return sum(part.get("seconds", 0.0) for part in self.parts.values())

    def pictures(self) -> Pictures:
        """In the order of `indices`; UnusableResult as a single process would raise it."""
        found: dict[int, tuple[torch.Tensor, bool]] = {}
        for number, unit in enumerate(self.units):
            part = self.parts[number]
            if "failed" in part:
                raise UnusableResult(part["failed"])
            pictures = torch.tensor(part["pictures"])  # a copy: the workers' store is small
            found.update(zip(unit, zip(pictures, part["finite"], strict=True), strict=True))
        require_finite(torch.tensor([found[i][1] for i in self.indices]), self.indices)
        return torch.stack([found[i][0] for i in self.indices])


@dataclass(eq=False)
class SharedEvaluator(Evaluator):
    """An Evaluator whose pictures are rendered by the workers of `pool`."""

    pool: WorkerPool = field(kw_only=True)
    jobs: dict[int, SharedJob] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    @property
    def has_room(self) -> bool:
        """Whether workers would have to wait for another job."""
        return self.pool.has_room

    def begin(self, schedule: Schedule, indices: Sequence[int]) -> SharedJob:
        """Have the samples rendered; `collect` until the job is complete."""
        job = SharedJob(next(self.numbers), tuple(indices), self.renderer.batches(indices))
        self.jobs[job.number] = job
        text = schedule_json.dumps(schedule)
        for number, unit in enumerate(job.units):
            arguments = {"schedule": text, "indices": list(unit)}
            self.pool.give(Work((job.number, number), "render", arguments))
        return job

    def collect(self, seconds: float = POLL_SECONDS) -> None:
        """Take what was rendered, waiting this long for the first. Stops the node on Cancel."""
        stop_if_cancelled()
        for (job, unit), part in self.pool.done(seconds):
            self.jobs[job].parts[unit] = part
            if self.jobs[job].complete:
                del self.jobs[job]

    def pictures(
        self,
        schedule: Schedule | None,
        indices: Sequence[int],
        on_step: Callable[[float], None] | None = None,
    ) -> Pictures:
        """Render them at once, beside what is being rendered already."""
        if schedule is None:
            schedule = uncached(self.renderer.architecture, self.renderer.steps)
        job = self.begin(schedule, indices)
        while not job.complete:
            self.collect()
            if on_step is not None:
                on_step(job.images)
        return job.pictures()


def worker_pool(
    renderer: Renderer, prompt: Any, node: str | None, workers: int, address: str
) -> WorkerPool:
    """`workers` workers that have what `renderer` has, by running the graph before `node`."""
    if not isinstance(prompt, Mapping) or node not in prompt:
        raise SearchError(
            "Workers make the model again from the graph that was queued, but this search is not "
            "a node of one (a node inside of another node's expansion is not); set workers to 1."
        )
    device = comfy.model_management.get_torch_device()
    comfy.model_management.unload_all_models()  # one of the workers may render on this GPU
    comfy.model_management.soft_empty_cache()
    return WorkerPool(
        workers,
        this_host(),
        "nodes.host.replay",
        {
            "prompt": SearchWorkflow.of(dict(prompt), node, source="the graph").nodes,
            "node": node,
            "identity": renderer.identity(),
        },
        address=address,
        accelerated=device.type != "cpu",
    )


def this_host() -> dict[str, Any]:
    """How a worker starts the same ComfyUI as this one."""
    return {
        "folder": str(Path(folder_paths.__file__).resolve().parent),
        "arguments": for_workers(sys.argv[1:]),
        "cwd": os.getcwd(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "version": __version__,
    }


def for_workers(arguments: Sequence[str]) -> list[str]:
    """ComfyUI's command line without what belongs to its server or to one GPU."""
    kept: list[str] = []
    dropping = False
    for argument in arguments:
        if argument.startswith("--"):
            dropping = argument.partition("=")[0] in NOT_FOR_WORKERS
        if not dropping:
            kept.append(argument)
    return kept
