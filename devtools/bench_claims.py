"""`dev.py bench claims`: what the paper claims of its searches, asked of ours on the demo model.

Does a front dominate FORA? Does it carry over to another resolution, and to a variant of the model
(a LoRA that draws in another style)? How many prompts, and seeds for each, does a search need, and
how many generations? Every search (ecad+) may render as many images; every number is of captions
and noise that no search saw. Images are kept as they come, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecad_search.calibration import CalibrationPrompts
from ecad_search.core import presets
from ecad_search.core.front import Front
from ecad_search.core.schedule import Schedule
from ecad_search.evolution.search import Search

from .bench_quick import EVERY, rows_of
from .bench_search import Watched, default_workers, has_accelerator
from .claims_report import FORA, report
from .console import duration
from .marked_page import write_into
from .search_benchmark import runs
from .search_benchmark.arms import ours
from .search_benchmark.heldout import picked
from .search_benchmark.images import ImageSource, RememberedImages
from .search_benchmark.meter import Meter, Scored
from .search_benchmark.plan import FULL, SEEDS_APART, STEPS, WORST_LOSS
from .search_benchmark.processes import finished

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "bench_output" / "claims"
MARK = "claims"  # on a page

SUBJECTS: dict[str, dict[str, Any]] = {
    "the model": {},
    "another resolution": {"side": 120},
    "a variant": {"lora": ROOT / "demo" / "emoji-pixart-flat.safetensors"},
}
MODEL, *OTHERS = SUBJECTS
USUAL = (33, 1)  # prompts, and seeds for each
SIZES = ((10, 1), USUAL, (100, 1), (10, 3), (10, 10))
PICKS = 6


@dataclass(frozen=True)
class Trial:
    """One search on calibration samples of its own; those of fewer prompts are among the others'.

    `by_generation`: the front after generation 1, 2, 4, ... counts as well as the last one.
    """

    subject: str
    prompts: int
    seeds: int
    run: int
    images: int
    by_generation: bool = False

    @property
    def name(self) -> str:
        return f"{self.prompts} prompts x {self.seeds} seeds, run {self.run}"


@dataclass(frozen=True)
class Judgement:
    """What run `run` found on the model, on another subject; without a run, FORA.

    Schedules are as `rows_of` gives them.
    """

    subject: str
    run: int | None = None
    schedules: tuple[tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        return FORA if self.run is None else f"carried over from run {self.run}"


Job = Trial | Judgement


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    comfyui = Path(os.environ["COMFYUI_PATH"]).resolve()
    workers = options.workers or default_workers(has_accelerator())
    trials = [
        Trial(name, *size, run, options.images, by_generation=name == MODEL and size == USUAL)
        for run in range(options.runs)
        for name, sizes in ((MODEL, SIZES), *((other, (USUAL,)) for other in OTHERS))
        for size in sizes
    ]
    work = functools.partial(do, comfyui, options.out)
    jobs: list[Job] = [*(Judgement(name) for name in SUBJECTS), *trials]
    found = collected(work, jobs, workers)
    carried: list[Job] = [
        Judgement(other, trial.run, tuple(tuple(p["rows"]) for p in last_points(found[trial])))
        for other in OTHERS
        for trial in trials
        if trial.by_generation
    ]
    found |= collected(work, carried, workers)
    document = {
        "format": "ecad-claims-benchmark",
        "version": 1,
        "model": "Emoji-PixArt",
        "steps": STEPS,
        "images": options.images,
        "runs": options.runs,
        "heldout": FULL.heldout,
        "worst_loss": WORST_LOSS,
        "machine": found[trials[0]]["machine"],
        "sides": {name: found[Judgement(name)]["side"] for name in SUBJECTS},
        "judged": [
            {"subject": job.subject, "run": job.run, **found[job]}
            for job in [*jobs, *carried]
            if isinstance(job, Judgement)
        ],
        "searches": [{**asdict(trial), **found[trial]} for trial in trials],
    }
    path = options.json or options.out / "claims.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = report(document)
    print(f"\n{text}\n\n{path}")
    if options.into is not None:
        write_into(options.into, MARK, f"{text}\n")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="dev.py bench claims", description=__doc__)
    made.add_argument("--runs", type=int, default=3, metavar="N", help="of every search")
    made.add_argument("--images", type=int, default=1200, metavar="N", help="of one search")
    made.add_argument("--workers", type=int, metavar="N", help="searches at a time")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the raw numbers go")
    made.add_argument(
        "--out", type=Path, default=OUTPUT, metavar="DIR", help="where images' numbers are kept"
    )
    made.add_argument("--into", type=Path, metavar="FILE", help="a page to put the tables into")
    return made


def collected(work: Any, jobs: Sequence[Job], workers: int) -> dict[Job, dict[str, Any]]:
    started = time.monotonic()
    found = {}
    for done, (job, result) in enumerate(finished(work, jobs, workers), start=1):
        found[job] = result
        clock = duration(time.monotonic() - started)
        print(f"  {done:3}/{len(jobs)}  {clock}  {job.subject}: {job.name}", flush=True)
    return found


def last_points(result: dict[str, Any]) -> list[dict[str, Any]]:
    return result["fronts"][-1]["points"]


# --- in the processes of their own ---------------------------------------------------------------


@functools.lru_cache(maxsize=len(SUBJECTS))
def subject(comfyui: Path, name: str) -> tuple[runs.Subject, dict[str, Any], tuple[str, ...]]:
    """One of SUBJECTS, what is to be said about it, and the captions to search on."""
    from .loaded_pack import LoadedPack
    from .search_benchmark.host import RenderedImages

    pack = LoadedPack(comfyui)
    images = RenderedImages(pack, STEPS, **SUBJECTS[name])
    captions = pack.module("demo.train.pictures").training_captions()
    facts = {
        "side": images.settings["width"],
        "machine": {key: images.identity[key] for key in ("device", "torch", "model", "scorer")},
    }
    made = runs.Subject(Watched(images), images.architecture, images.workload, images.identity)
    return made, facts, tuple(captions)


def do(comfyui: Path, folder: Path, job: Job) -> dict[str, Any]:
    asked, facts, captions = subject(comfyui, job.subject)
    if isinstance(asked.source, Watched):
        asked.source.begin(f"{job.subject}: {job.name}")
    name = "".join(c if c.isalnum() else "-" for c in job.name)
    source = RememberedImages(asked.source, folder / asked.fingerprint / f"{name}.images.jsonl")
    return facts | outcome(asked, job, source, captions)


def outcome(
    asked: runs.Subject, job: Job, source: ImageSource, captions: tuple[str, ...]
) -> dict[str, Any]:
    heldout = FULL.heldout_samples()

    def meter(prompts: CalibrationPrompts, budget: int) -> Meter:
        return Meter(source, prompts, asked.architecture, STEPS, asked.workload, budget)

    if isinstance(job, Trial):
        prompts = CalibrationPrompts(
            captions, job.seeds, SEEDS_APART * job.run, "training captions"
        )
        prompts = prompts.drawn(job.prompts, seed=job.run)
        return searched(meter(prompts, job.images), job, source, heldout)
    judge = meter(heldout, 0)
    if job.schedules:
        schedules = [
            Schedule(asked.architecture, np.array([[c == "X" for c in row] for row in rows]))
            for rows in job.schedules
        ]
    else:
        schedules = [
            presets.fora(asked.architecture, STEPS, every) for every in EVERY if every < STEPS
        ]
    points = [judged(judge, schedule, source, heldout) for schedule in schedules]
    uncached = source.scores(judge.uncached, heldout, range(len(heldout.samples)))
    return {"points": points, "uncached_score": float(np.mean(uncached))}


def searched(
    meter: Meter, trial: Trial, source: ImageSource, heldout: CalibrationPrompts
) -> dict[str, Any]:
    """The search's fronts, at most PICKS schedules each, with their losses on `heldout`."""
    fronts: list[tuple[int, int, Front]] = []

    def watch(search: Search) -> None:
        number = search.progress.generation
        # Number 1 has begun: what stands is the start's.
        if trial.by_generation and number >= 1 << len(fronts) and search.front.members:
            fronts.append((1 << len(fronts), meter.images, search.front))

    search = ours.finish(meter, ours.ecad_settings(meter, trial.run), profiled=True, watch=watch)
    fronts.append((search.progress.generation + 1, meter.images, search.front))
    return {
        "spent": meter.images,
        "candidates": search.progress.candidates,
        "fronts": [
            {"generations": n, "images": images, "points": points_of(meter, front, source, heldout)}
            for n, images, front in fronts
        ],
    }


def points_of(
    meter: Meter, front: Front, source: ImageSource, heldout: CalibrationPrompts
) -> list[dict[str, Any]]:
    scored = [Scored(p.schedule, p.cost, -p.quality, meter.images) for p in front.members]
    return [
        {**judged(meter, point.schedule, source, heldout), "calibration_loss": point.loss}
        for point in picked(scored, PICKS, WORST_LOSS)
    ]


def judged(
    meter: Meter, schedule: Schedule, source: ImageSource, heldout: CalibrationPrompts
) -> dict[str, Any]:
    """What it costs, and what each held-out sample loses to the uncached run's."""
    indices = range(len(heldout.samples))
    uncached = np.asarray(source.scores(meter.uncached, heldout, indices))
    scores = np.asarray(source.scores(schedule, heldout, indices))
    return {
        "name": schedule.name,
        "rows": rows_of(schedule),
        "cost": meter.cost(schedule),
        "losses": [float(f"{loss:.6g}") for loss in uncached - scores],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
