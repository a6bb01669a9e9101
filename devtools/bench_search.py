"""`dev.py bench search`: hypervolume on held-out samples against images, for every way to search.

Everything is kept as it comes, in one folder for each model and setting: a run that was killed goes
on, and what a run has rendered is never rendered again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from ecad_search.calibration import CalibrationPrompts
from ecad_search.core.schedule import Schedule

from .console import duration
from .search_benchmark import plan as plans
from .search_benchmark import report, runs
from .search_benchmark.arms import ARMS
from .search_benchmark.earlier import earlier_runs
from .search_benchmark.images import ImageSource, Profile
from .search_benchmark.plan import Plan
from .search_benchmark.processes import finished

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "bench_output" / "search"
NEWS_SECONDS = 120


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    comfyui = Path(os.environ["COMFYUI_PATH"]).resolve()
    accelerated = has_accelerator()
    plan = plan_of(options, accelerated)
    arms = options.arms or [arm.name for arm in ARMS if not (options.quick and arm.is_ablation)]
    # The longest first, so that no worker is left with one at the end.
    arms = sorted(arms, key=lambda name: (-plan.budget_of(name), name != "ecad+"))
    jobs = [(arm, seed) for arm in arms for seed in range(plan.seeds)]
    workers = options.workers or default_workers(accelerated)
    folder = options.out
    print(
        f"Size: {plan.name}; {len(jobs)} runs, {sum(plan.budget_of(arm) for arm, _ in jobs):,} "
        f"images at most and the held-out ones, {workers} at a time. Kept in {folder}.",
        flush=True,
    )
    started = time.monotonic()
    results: dict[tuple[str, int], dict[str, Any]] = {}
    work = functools.partial(do, comfyui, plan, folder)
    for done, (job, result) in enumerate(finished(work, jobs, workers), start=1):
        results[job] = result
        print(
            f"  {done:3}/{len(jobs)}  {duration(time.monotonic() - started)}  {job[0]}, seed "
            f"{job[1]}: {result['images']:,} images, hypervolume {result['curve'][-1][1]:.4f} "
            f"({result['rendered']:,} rendered, {result['seconds']:.0f} s)",
            flush=True,
        )
    by_arm = {
        arm: [results[arm, seed] for seed in range(plan.seeds)]
        for arm in arms
        if all((arm, seed) in results for seed in range(plan.seeds))
    }
    machine = next(iter(results.values()))["machine"]
    if options.beside is not None:
        by_arm = {**earlier_runs(options.beside, plan, machine), **by_arm}
    if not {"official", "ecad+"} <= by_arm.keys():
        print("No report: it needs the arms official and ecad+.")
        return 0
    for path in report.write(
        report_folder(options, plan), plan, by_arm, machine, json_path=options.json
    ):
        print(path)
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="dev.py bench search", description=__doc__)
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a small size, 20 minutes at most")
    size.add_argument(
        "--short",
        action="store_true",
        help="12 generations of the official settings instead of 250, with more images each",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="where the raw numbers go")
    made.add_argument(
        "--steps",
        type=int,
        default=plans.STEPS,
        metavar="N",
        help="sampling steps; fewer is harder",
    )
    made.add_argument("--seeds", type=int, metavar="N", help="runs of every arm")
    made.add_argument(
        "--arms",
        nargs="+",
        choices=[arm.name for arm in ARMS],
        metavar="ARM",
        help="these alone: " + ", ".join(f"'{arm.name}'" for arm in ARMS),
    )
    made.add_argument(
        "--beside",
        type=Path,
        metavar="FILE",
        help="the JSON of an earlier report: arms that are not run now are taken from it",
    )
    made.add_argument("--workers", type=int, metavar="N", help="runs at a time")
    made.add_argument("--out", type=Path, default=OUTPUT, metavar="DIR", help="where runs are kept")
    made.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="where the page goes (default: docs for the full size, else --out)",
    )
    return made


def plan_of(options: argparse.Namespace, accelerated: bool) -> Plan:
    full = plans.GPU if accelerated else plans.FULL
    plan = plans.QUICK if options.quick else plans.SHORT if options.short else full
    plan = plan.with_steps(options.steps)
    return plan if options.seeds is None else dataclasses.replace(plan, seeds=options.seeds)


def report_folder(options: argparse.Namespace, plan: Plan) -> Path:
    if options.report is not None:
        return options.report
    whole = not options.quick and options.steps == plans.STEPS and not options.arms
    return ROOT / "docs" if whole and options.seeds is None else options.out


def has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def default_workers(accelerated: bool) -> int:
    cores = os.cpu_count() or 1
    return min(8, cores) if accelerated else cores


# --- runs, in processes of their own -------------------------------------------------------------

Job = tuple[str, int]


@functools.lru_cache(maxsize=1)
def subject(comfyui: Path, steps: int) -> tuple[runs.Subject, dict[str, Any]]:
    """The demo model in this process, and what is to be said about the machine."""
    from .loaded_pack import LoadedPack
    from .search_benchmark.host import RenderedImages, sampler_settings

    runs.source_hash()  # of the code that runs, not of what it may be edited to meanwhile
    images = RenderedImages(LoadedPack(comfyui), steps)
    kept = ("sampler_name", "scheduler", "cfg", "width", "height")
    settings = sampler_settings()
    machine = {
        **{key: images.identity[key] for key in ("device", "torch", "model", "scorer")},
        "cores": os.cpu_count(),
        "pymoo": importlib.metadata.version("pymoo"),
        "settings": {key: settings[key] for key in kept},
    }
    made = runs.Subject(Watched(images), images.architecture, images.workload, images.identity)
    return made, machine


class Watched:
    """An ImageSource that says now and then how far it is, and ends with the main process."""

    def __init__(self, inner: ImageSource) -> None:
        self.inner = inner
        self.job = ""
        self.begin("")

    def begin(self, job: str) -> None:
        self.job, self.images = job, 0
        self.began = self.spoke = time.monotonic()

    def scores(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]:
        return self._noted(self.inner.scores(schedule, prompts, indices))

    def drifts(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]:
        return self._noted(self.inner.drifts(schedule, prompts, indices))

    def profile(
        self, prompts: CalibrationPrompts, steps: int, samples: int, images: float
    ) -> Profile:
        return self.inner.profile(prompts, steps, samples, images)

    def _noted(self, numbers: list[float]) -> list[float]:
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)
        self.images += len(numbers)
        now = time.monotonic()
        if now - self.spoke > NEWS_SECONDS:
            self.spoke = now
            speed = self.images / (now - self.began)
            print(
                f"           {self.job}: {self.images:,} images rendered, {speed:.1f} a second",
                flush=True,
            )
        return numbers


def do(comfyui: Path, plan: Plan, folder: Path, job: Job) -> dict[str, Any]:
    arm, seed = job
    searched, machine = subject(comfyui, plan.steps)
    if isinstance(searched.source, Watched):
        searched.source.begin(f"{arm}, seed {seed}")
    kept = folder / searched.fingerprint
    kept.mkdir(parents=True, exist_ok=True)
    return {**runs.run(searched, plan, arm, seed, kept), "machine": machine}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
