"""`benchmark`: the benchmark node of a workflow, without a browser; run again, it goes on."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..benchmark.report import summary_table
from ..comfyui.queued_search import QueuedSearch, Stopped
from ..comfyui.workflow import Nodes, SearchWorkflow, listed, upstream
from ..errors import SearchError
from .search import STOPPED, Place, add_place, interruptible
from .status import StatusLine

NODE = "ECAD_Benchmark"


class BenchmarkWorkflow(SearchWorkflow):
    """A workflow in API format, cut down to one benchmark and what it needs."""

    @classmethod
    def of(cls, nodes: Nodes, node: str | None = None, *, source: str) -> BenchmarkWorkflow:
        found = [id for id, fields in nodes.items() if fields["class_type"] == NODE]
        if node is None and len(found) == 1:
            node = found[0]
        if node not in found:
            there = f"{len(found)} of them ({listed(found)})" if found else "none"
            ask = "name one of them with --node" if found else "add it to the workflow"
            raise SearchError(
                f"A benchmark needs one ECAD Benchmark node, but '{source}' has {there}; {ask}."
            )
        return cls(upstream(nodes, node), node)


def add_benchmark(commands: Any) -> None:
    benchmark = commands.add_parser(
        "benchmark",
        help="run the ECAD Benchmark of a workflow, without a browser; again, it goes on",
        description="Run the ECAD Benchmark of a workflow; the same command goes on with one that "
        "was stopped. Whatever follows -- goes to the ComfyUI that is started, as in: benchmark "
        "workflow.json --comfyui ~/ComfyUI -- --lowvram",
    )
    benchmark.add_argument("workflow", type=Path, metavar="WORKFLOW", help="in API format (.json)")
    benchmark.add_argument("--node", metavar="ID", help="which ECAD Benchmark, of several")
    add_place(benchmark)
    benchmark.add_argument("--name", help="folder in ComfyUI's output/ecad (default: the node's)")
    benchmark.add_argument("--json", action="store_true", help="print one JSON object at the end")
    benchmark.set_defaults(command=_benchmark)


def _benchmark(options: argparse.Namespace) -> int:
    workflow = BenchmarkWorkflow.load(options.workflow, options.node)
    if options.name is not None:
        workflow = workflow.changed({"name": options.name})
    name = str(workflow.nodes[workflow.id].get("inputs", {}).get("name", ""))
    with ExitStack() as stack, interruptible():
        status = StatusLine()
        place = Place.of(options, stack, status, options.host_arguments)
        run = QueuedSearch(
            place.connection,
            workflow,
            on_event=lambda data: status.show(str(data.get("line", ""))),
            on_node=lambda title: status.show(f"{title} ..."),
            require_alive=place.require_alive,
            event="ecad.benchmark",
            shown="ecad_benchmark",
        )
        try:
            summary = run.run()
        except (KeyboardInterrupt, Stopped):
            status.clear()
            status.say("Stopped. What was measured is kept; the same command goes on with it.")
            return STOPPED
        status.clear()
        report = place.path(f"{name}/report.md")
        if options.json:
            print(json.dumps({"report": report, **summary}, indent=2))
        else:
            print(f"{summary_table(summary)}\n\n{report}")
    return 0
