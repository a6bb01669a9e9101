"""`dev.py bench quick`: do the schedules of ECAD Quick Schedule beat FORA of the same cost?

The demo model is profiled on calibration captions, its schedules are judged on held-out ones, as
far as they go: latents that drift from the uncached run, and the loss of Emoji-Reward. Of the front
the best predicted schedule that costs no more than FORA is taken for each N; where that is FORA
itself, the row says so. The whole front is judged as well, at costs between those of FORA too.
Several profiles, each on other captions, show how much is luck. How good FORA itself is among all
schedules of as many whole steps is counted where these are few.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .loaded_pack import LoadedPack
from .marked_page import write_into
from .search_benchmark.host import sampler_settings

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "bench_output" / "quick"
EVERY = tuple(range(2, 10))
USUAL = 7  # the largest N that FORA is mostly run with
SAME_COST = 1.001  # costs that differ by less are equal
COSTS = 25  # from FORA's least to its most, at which whole fronts are compared with it
MOST_COUNTED = 100  # schedules of whole steps
BATCH = 4  # samples that a profile may try together, as ECAD Sampler Settings has it
IMAGES_TIMED = 5  # before a profile and after it, ten in all, one at a time


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    comfyui = Path(os.environ["COMFYUI_PATH"]).resolve()
    subject = Subject(LoadedPack(comfyui), options.images, options.model)
    results = []
    for steps in options.steps:
        result = measured(subject, steps, options.profiles, options.samples)
        print(table(result), flush=True)
        results.append(result)
    keep(results, options.json or OUTPUT / "quick.json")
    if options.into is not None:
        where = "quick schedules" + " on Emoji-FLUX" * (options.model == "flux")
        write_into(options.into, where, "\n".join(map(paragraphs, results)))
    return 0


def keep(results: Sequence[Any], path: Path) -> None:
    """Write them down as JSON and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(path)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="dev.py bench quick", description=__doc__)
    made.add_argument("--model", choices=["pixart", "flux"], default="pixart", help="demo model")
    made.add_argument("--steps", type=int, nargs="+", default=[20, 14], metavar="N")
    made.add_argument("--images", type=int, default=24, metavar="N", help="held-out ones")
    made.add_argument("--profiles", type=int, default=2, metavar="N", help="on other captions each")
    made.add_argument("--samples", type=int, default=3, metavar="N", help="of one profile")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the raw numbers go")
    made.add_argument("--into", type=Path, metavar="FILE", help="a page to put the tables into")
    return made


class Subject:
    """A demo model, "pixart" or "flux", sampled as the demo workflow does."""

    def __init__(self, pack: LoadedPack, images: int, kind: str = "pixart") -> None:
        self.module = pack.module
        demo = pack.module("nodes.host.demo_model")
        self.model, self.clip, self.vae = demo.load_demo_model(kind)
        self.scorer = pack.module("ecad_search.scorers.emoji_reward").EmojiReward()
        prompts = pack.module("ecad_search.calibration")
        heldout = prompts.CalibrationPrompts(prompts.builtin_prompts("emoji-heldout"), 1, 1000)
        self.heldout = heldout.drawn(images, seed=0)
        self.indices = range(images)

    def renderer(self, prompts: Any, steps: int, batch: int) -> Any:
        import torch

        progress = self.module("nodes.host.progress").NodeProgress(None, 1)
        with torch.inference_mode():
            encoded = self.module("nodes.calibration_prompts").encode(
                self.clip, prompts, "", 0.0, progress
            )
        settings = sampler_settings()
        rendering = self.module("nodes.host.rendering")
        return rendering.Renderer(
            self.model,
            self.vae,
            encoded,
            rendering.SamplerSettings(
                steps=steps,
                cfg=settings["cfg"],
                sampler=settings["sampler_name"],
                scheduler=settings["scheduler"],
                width=settings["width"],
                height=settings["height"],
                batch=batch,
            ),
        )

    def judged(
        self, renderer: Any, schedule: Any, run: type | None = None
    ) -> tuple[Any, np.ndarray]:
        """Latents (n, ...) and the scorer's numbers, (n,), of the held-out samples.

        `run` takes the place of the engine's Run.
        """
        import torch

        if run is None:
            model = renderer.model_with(schedule)
        else:
            patching = self.module("nodes.host.patching")
            quiet = patching.CacheOptions(quiet=True)
            model = patching.apply_schedule(self.model, schedule, options=quiet, run=run)
        parts = [
            p for batch in renderer.batches(self.indices) for p in renderer.sample(model, batch)
        ]
        rows = {i: row for part in parts for i, row in zip(part.indices, part.latents, strict=True)}
        pictures = self.module("nodes.host.evaluation").eight_bit(
            renderer.decode(parts, self.indices), self.indices
        )
        prompts = [sample.prompt for sample in self.heldout.samples]
        scores = self.scorer.score(pictures.float() / 255, prompts)
        return torch.stack([rows[i] for i in self.indices]), np.array(scores)


def measured(subject: Subject, steps: int, profiles: int, samples: int) -> dict[str, Any]:
    judge = subject.renderer(subject.heldout, steps, len(subject.indices))
    presets = subject.module("ecad_search.core.presets")
    relative_cost = subject.module("ecad_search.core.cost").relative_cost
    latents, scores = subject.judged(judge, None)
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def against_uncached(schedule: Any) -> tuple[np.ndarray, np.ndarray]:
        """Drift and gain of the score, (n,) each."""
        if schedule.key not in known:
            found, own = subject.judged(judge, schedule)
            known[schedule.key] = drifts(found, latents), own - scores
        return known[schedule.key]

    made = [profiled(subject, steps, samples, number) for number in range(profiles)]
    rows = []
    for every in (every for every in EVERY if every < steps):
        fora = presets.fora(judge.architecture, steps, every)
        cost = relative_cost(fora, judge.workload)
        drift, gain = against_uncached(fora)
        row = {"every": every, "cost": cost, "drift": mean(drift), "gain": mean(gain), "quick": []}
        for front, _ in made:
            point = best_at(front, cost)
            own_drift, own_gain = against_uncached(point.schedule)
            row["quick"].append(
                {
                    "name": point.schedule.name,
                    "cost": point.cost,
                    "predicted_drift": -point.quality,
                    "drift": mean(own_drift),
                    "gain": mean(own_gain),
                    "drift_to_fora": mean(own_drift - drift),
                    "gain_to_fora": mean(own_gain - gain),
                    "rows": rows_of(point.schedule),
                }
            )
        row["others"] = [
            mean(against_uncached(other)[0])[0] for other in whole_step_schedules(fora)
        ]
        rows.append(row)
    dearest = max(row["cost"] for row in rows) * SAME_COST
    fronts = [
        [
            {
                "cost": point.cost,
                "predicted_drift": -point.quality,
                "drift": mean(against_uncached(point.schedule)[0])[0],
            }
            for point in front.members
            if point.cost <= dearest
        ]
        for front, _ in made
    ]
    return {
        "steps": steps,
        "images": len(subject.indices),
        "samples": samples,
        "uncached_score": mean(scores),
        "profile_seconds": [clock["profile"] for _, clock in made],
        "ten_images_seconds": [clock["ten_images"] for _, clock in made],
        "rows": rows,
        "fronts": fronts,
    }


def whole_step_schedules(schedule: Any) -> list[Any]:
    """All others in which as many whole steps compute, the first among them; none if too many."""
    steps, whole = schedule.steps, int(schedule.compute.all(axis=1).sum())
    if math.comb(steps - 1, whole - 1) > MOST_COUNTED:
        return []
    made = []
    for others in combinations(range(1, steps), whole - 1):
        compute = np.zeros_like(schedule.compute)
        compute[[0, *others]] = True
        made.append(type(schedule)(schedule.architecture, compute))
    return [other for other in made if other.key != schedule.key]


def drifts(latents: Any, uncached: Any) -> np.ndarray:
    """(n,) mean squared differences to the uncached latents (n, ...), as shares of their own."""
    difference = (latents.double() - uncached.double()).square().flatten(1).mean(1)
    return (difference / uncached.double().square().flatten(1).mean(1)).numpy()


def profiled(subject: Subject, steps: int, samples: int, number: int) -> tuple[Any, dict]:
    """A front from calibration captions, and how long that and ten uncached images took."""
    calibration = subject.module("ecad_search.calibration")
    prompts = calibration.CalibrationPrompts(
        calibration.builtin_prompts("emoji-calibration"), 1, 100 * number
    ).drawn(32, seed=number)
    renderer = subject.renderer(prompts, steps, BATCH)
    made_on = partial(subject.module("nodes.search").made_on, renderer.sigmas)
    profiler = subject.module("nodes.host.quick_profiling").QuickProfiler(
        renderer, samples, made_on, lambda images, what: None
    )
    images_timed(renderer, 1)
    ten_images = images_timed(renderer, IMAGES_TIMED)
    started = time.perf_counter()
    evidence, paths = profiler.evidence()
    front = subject.module("ecad_search.evolution.quick_front").front_of(
        evidence, paths, renderer.workload
    )
    seconds = time.perf_counter() - started
    ten_images += images_timed(renderer, IMAGES_TIMED)
    return front, {"profile": seconds, "ten_images": ten_images}


def images_timed(renderer: Any, count: int) -> float:
    started = time.perf_counter()
    for index in range(count):
        for _ in renderer.sample(renderer.model, (index,)):
            pass
    return time.perf_counter() - started


def best_at(front: Any, cost: float) -> Any:
    """What is predicted to drift least of all that costs no more."""
    return max(
        (point for point in front.members if point.cost <= cost * SAME_COST),
        key=lambda point: point.quality,
        default=front.members[0],
    )


def rows_of(schedule: Any) -> list[str]:
    """A text for each step, "X" for each cell that computes."""
    return ["".join(".X"[int(bit)] for bit in row) for row in schedule.compute]


def mean(values: np.ndarray) -> tuple[float, float]:
    """With its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def table(result: dict[str, Any]) -> str:
    lines = [
        f"\n{result['steps']} steps, {result['images']} held-out images, uncached score "
        f"{spoken(result['uncached_score'])}; a profile takes "
        f"{times_of_ten(result)} times ten uncached images",
        "schedule                    cost   drift, percent      to FORA           score            "
        "  to FORA",
    ]
    for row in result["rows"]:
        lines.append(line(f"FORA {row['every']}", row["cost"], row["drift"], row["gain"]))
        for quick in row["quick"]:
            name = "  the same" if quick["name"].startswith("fora") else "  " + quick["name"]
            lines.append(
                line(
                    name,
                    quick["cost"],
                    quick["drift"],
                    quick["gain"],
                    quick["drift_to_fora"],
                    quick["gain_to_fora"],
                )
            )
    return "\n".join(lines)


def times_of_ten(result: dict[str, Any]) -> str:
    """How long each profile took, in times of ten uncached images."""
    clocks = zip(result["profile_seconds"], result["ten_images_seconds"], strict=True)
    return ", ".join(f"{profile / ten:.2f}" for profile, ten in clocks)


def paragraphs(result: dict[str, Any]) -> str:
    """The drifts in Markdown, in percent; bold where a profile's schedule drifts more than FORA.

    FORA of one N may drift less than that of a smaller one that costs as much, so each schedule
    stands beside the best FORA of its cost or less.
    """
    rows = result["rows"]
    ratios: list[float] = []
    lines = ["| FORA | cost | FORA's drift | the profiles' | to FORA |", "|---|---|---|---|---|"]
    for row in rows:
        best = best_fora(rows, row["cost"])
        own = [quick["drift"][0] / best for quick in row["quick"]]
        ratios += own
        shown = []
        for quick in row["quick"]:
            drift, text = quick["drift"][0], f"{100 * quick['drift'][0]:.3f}"
            text = f"{text} (FORA)" if quick["name"].startswith("fora") else text
            shown.append(f"**{text}**" if drift > best else text)
        lines.append(
            f"| {row['every']} | {row['cost']:.3f} | {100 * row['drift'][0]:.3f} "
            f"| {', '.join(shown)} | {geometric_mean(own):.2f} |"
        )
    return (
        f"**{result['steps']} steps**, {result['images']} held-out images; a profile took "
        f"{times_of_ten(result)} times as long as ten uncached pictures. Beside the best FORA of "
        f"no higher cost: {cases(ratios)}; the last column has the geometric means."
        + between_costs(result)
        + "".join(map(place_of_fora, rows))
        + "\n\n"
        + "\n".join(lines)
        + "\n"
    )


def best_fora(rows: Sequence[dict[str, Any]], cost: float) -> float:
    """The least drift of all FORA that cost no more."""
    return min(row["drift"][0] for row in rows if row["cost"] <= cost * SAME_COST)


def cases(ratios: Sequence[float]) -> str:
    """How many of these drifts, as shares of FORA's, are less than it."""
    less, more = sum(ratio < 1 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
    same = len(ratios) - less - more
    return f"less drift in {less} of {len(ratios)} cases, the same in {same}, more in {more}"


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(np.mean(np.log(ratios)))


def between_costs(result: dict[str, Any]) -> str:
    """A sentence about the whole fronts: of `COSTS` costs, whoever wants one takes what it buys."""
    rows = result["rows"]
    known = [row["cost"] for row in rows]
    usual = [row for row in rows if row["every"] <= USUAL]
    ratios, beside_usual = [], []
    for cost in np.geomspace(min(known), max(known), COSTS):
        for front in result["fronts"]:
            affordable = [point for point in front if point["cost"] <= cost * SAME_COST]
            if not affordable:
                return " Not every front begins at the cost of the cheapest FORA."
            chosen = min(affordable, key=lambda point: point["predicted_drift"])
            ratios.append(chosen["drift"] / best_fora(rows, cost))
            if cost * SAME_COST >= min(row["cost"] for row in usual):
                beside_usual.append(chosen["drift"] / best_fora(usual, cost))
    return (
        f" At {COSTS} costs from FORA's least to its most: {cases(ratios)}; "
        f"{geometric_mean(ratios):.2f} of it in the geometric mean. "
        f"Beside FORA 2 to {USUAL} alone: {cases(beside_usual)}; "
        f"{geometric_mean(beside_usual):.2f} of it."
    )


def place_of_fora(row: dict[str, Any]) -> str:
    """A sentence about the schedules of as many whole steps; nothing where they are too many."""
    if not row["others"]:
        return ""
    better = sum(drift < row["drift"][0] for drift in row["others"])
    return (
        f" Of the {len(row['others'])} other schedules that compute as many whole steps as FORA "
        f"{row['every']}, {better or 'none'} drift{'s' * (better < 2)} less."
    )


def line(name: str, cost: float, drift: Any, gain: Any, *to_fora: Sequence[float]) -> str:
    shown = [spoken(drift, 100), "", spoken(gain), ""]
    if to_fora:
        shown[1], shown[3] = spoken(to_fora[0], 100), spoken(to_fora[1])
    return f"{name[:26]:26}{cost:7.3f}   " + "".join(f"{text:19}" for text in shown).rstrip()


def spoken(value: Sequence[float], times: float = 1.0) -> str:
    return f"{times * value[0]:.3f} ± {times * value[1]:.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
