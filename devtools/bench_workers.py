"""What sharing a search's pictures out to Ray workers costs, beside rendering them.

The demo's graph, replayed by local workers as ECAD Search has it done, each with a ComfyUI of its
own. Batches are given and judged as the search does, from when all workers have begun until the
last picture is judged. `overhead` is the share of the workers' time in which they did not render:
while they waited for work, for Ray, or at the end for the other. `alone` renders the same in this
process, without Ray.

A worker without a GPU gets a core; where workers share a core's units, each renders slower than one
alone, which is not overhead. Batches of the demo take a second or two; the longer they take, the
less sharing out weighs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from .loaded_pack import put_first
from .search_benchmark.processes import share_cores
from .server import make_base

ROOT = Path(__file__).resolve().parent.parent
GRAPH = ROOT / "demo" / "workflow_api.json"
SEARCH = "ECAD_Search"
EVERY = (2, 3, 4, 5)  # FORA's, one after the other


@dataclass(frozen=True)
class Row:
    workers: int  # 0: this process alone
    images: int
    seconds: float
    images_per_second: float
    overhead: float | None


class Host:
    """ComfyUI in this process, and what the demo's search is given there."""

    def __init__(self, comfyui: Path, scratch: Path) -> None:
        base = make_base(scratch / "base", ROOT)
        put_first(comfyui)
        import torch

        cpu = [] if torch.cuda.is_available() or torch.backends.mps.is_available() else ["--cpu"]
        sys.argv = [
            "main.py",
            *("--base-directory", str(base), "--database-url", "sqlite:///:memory:"),
            *("--disable-auto-launch", *cpu),
        ]
        _, server, _ = importlib.import_module("main").start_comfyui()
        known: dict[str, Any] = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
        self.pack = known[SEARCH].__module__.removesuffix(".nodes.search")
        self.prompt = json.loads(GRAPH.read_text(encoding="utf-8"))
        self.node = next(k for k, v in self.prompt.items() if v["class_type"] == SEARCH)
        replay = self.module("nodes.host.replay")
        with torch.inference_mode():
            made = replay.replayed(server, self.prompt, self.node)
        rendering = self.module("nodes.host.rendering")
        self.renderer = rendering.Renderer(*(made[name] for name in replay.RENDERED_FROM))
        self.scorer = self.module("ecad_search.scorers.emoji_reward").EmojiReward()

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.pack}.{name}")

    def work(self, batches: int) -> list[tuple[Any, tuple[int, ...]]]:
        """(schedule, samples) of each batch."""
        renderer, presets = self.renderer, self.module("ecad_search.core.presets")
        schedules = [presets.fora(renderer.architecture, renderer.steps, n) for n in EVERY]
        samples = tuple(range(renderer.settings.batch))
        return [(schedule, samples) for schedule in islice(cycle(schedules), batches)]

    def alone(self, batches: int) -> Row:
        evaluator = self.module("nodes.host.evaluation").Evaluator(self.renderer, self.scorer)
        (schedule, samples), *_ = work = self.work(batches)
        evaluator.evaluate(schedule, samples)  # loads the weights, warms every cache
        started = time.perf_counter()
        for schedule, samples in work:
            evaluator.evaluate(schedule, samples)
        return row(0, work, time.perf_counter() - started, None)

    def shared(self, workers: int, batches: int) -> Row:
        host = self.module("nodes.host.workers")
        pool = host.worker_pool(self.renderer, self.prompt, self.node, workers, "local")
        with pool:
            evaluator = host.SharedEvaluator(self.renderer, self.scorer, pool=pool)
            while pool.began < workers:
                pool.done(0.1)
            judged(evaluator, self.work(4 * workers))  # loads the weights, warms every cache
            work = self.work(batches)
            started = time.perf_counter()
            rendering = judged(evaluator, work)
            seconds = time.perf_counter() - started
        return row(workers, work, seconds, 1 - rendering / (workers * seconds))


def judged(evaluator: Any, work: Sequence[tuple[Any, tuple[int, ...]]]) -> float:
    """Have all of it rendered and judged in its order; the seconds that workers rendered."""
    waiting, begun, rendering = deque(work), deque(), 0.0
    while waiting or begun:
        while waiting and evaluator.has_room:
            schedule, samples = waiting.popleft()
            begun.append((schedule, samples, evaluator.begin(schedule, samples)))
        evaluator.collect()
        while begun and begun[0][2].complete:
            schedule, samples, job = begun.popleft()
            evaluator.judged(schedule, samples, job.pictures())
            rendering += job.seconds
    return rendering


def row(workers: int, work: Sequence[Any], seconds: float, overhead: float | None) -> Row:
    images = sum(len(samples) for _, samples in work)
    return Row(workers, images, seconds, images / seconds, overhead)


def table(rows: Sequence[Row]) -> str:
    lines = ["| workers | images | seconds | images/s | overhead |", "|---|---|---|---|---|"]
    for one in rows:
        overhead = "" if one.overhead is None else f"{one.overhead:.1%}"
        lines.append(
            f"| {one.workers or 'alone'} | {one.images} | {one.seconds:.1f} | "
            f"{one.images_per_second:.2f} | {overhead} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--batches", type=int, default=80, metavar="N", help="default 80")
    parser.add_argument("--quick", action="store_true", help="a quarter of the batches")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args(arguments)
    batches = options.batches // 4 if options.quick else options.batches
    share_cores(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as scratch:
        host = Host(Path(os.environ["COMFYUI_PATH"]).resolve(), Path(scratch))
        rows = [host.alone(batches)]
        rows += [host.shared(workers, batches) for workers in options.workers]
    print(table(rows))
    if options.json is not None:
        text = json.dumps([asdict(one) for one in rows], indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
