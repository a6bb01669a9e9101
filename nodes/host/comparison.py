"""Which schedule is really better? Scores and wall-clock of several on held-out samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ...ecad_search.core import presets
from ...ecad_search.core.architecture import Workload
from ...ecad_search.core.cost import schedule_macs, uncached_macs
from ...ecad_search.core.front import Front, FrontPoint
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.text_table import text_table
from .evaluation import Evaluator, Pictures, UnusableResult, eight_bit
from .rendering import Renderer, SampledBatch

FORA_EVERY = (2, 3, 4, 5)
SAME_COST = 1.001  # costs that differ by less are equal


@dataclass(eq=False)
class Contender:
    """One row of a comparison; the measurements come as they are made."""

    name: str
    kind: str  # "uncached", "fora", "ecad" or "given"
    schedule: Schedule
    every: int = 0  # of FORA, or of the cheapest FORA schedule that costs no less
    point: FrontPoint | None = None
    sampled: list[SampledBatch] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of every timed batch
    speedups: list[float] = field(default_factory=list)  # to uncached, in the same round
    pictures: Pictures | None = None
    heldout: list[float] | None = None  # scores
    calibration: list[float] | None = None
    calibration_mean: float | None = None
    calibration_quality: float | None = None
    problem: str = ""


def contenders(
    renderer: Renderer, front: Front, *, picks: int, given: Schedule | None = None
) -> list[Contender]:
    """Uncached, FORA, and of the front what is `picked` beside them."""
    architecture, steps, workload = renderer.architecture, renderer.steps, renderer.workload
    rows = [Contender("uncached", "uncached", presets.uncached(architecture, steps))]
    fora = [
        Contender(f"FORA {every}", "fora", presets.fora(architecture, steps, every), every)
        for every in FORA_EVERY
        if every < steps
    ]
    rows += fora
    if given is not None:
        given.require_fit(architecture)
        rows.append(Contender(given.name or "given", "given", given.resampled(steps)))
    for point in picked(front, fora, picks, workload):
        point.schedule.require_fit(architecture)
        name = f"ECAD {point.speedup:.2f}x"
        schedule = point.schedule.resampled(steps)
        share = point.macs_share / SAME_COST
        dearer = [f for f in fora if relative_macs(f.schedule, workload) >= share]
        every = dearer[-1].every if dearer else 0
        rows.append(Contender(name, "ecad", schedule, every, point))
    known = {point.schedule.key: point for point in front}
    for row in rows:
        row.point = row.point or known.get(row.schedule.key)
    return rows


def known_calibration(rows: Sequence[Contender], front: Front, scorer: str) -> None:
    """Take over the scores of the search, if it used the same scorer and as many steps."""
    if front.info.get("identity", {}).get("scorer") != scorer:
        return
    for row in rows:
        if row.point is not None and row.point.schedule.key == row.schedule.key:
            row.calibration_mean = row.point.mean_score
            row.calibration_quality = row.point.quality


def picked(
    front: Front, fora: Sequence[Contender], count: int, workload: Workload
) -> list[FrontPoint]:
    """The best point that costs no more than FORA 2 and more than FORA 3, and so on; then others.

    The others are the knee, and what is farthest in cost from all that is chosen. Slowest first,
    each point once. Hand-made schedules are rows of their own and are not picked.
    """
    choices = [point for point in front.members if not point.is_reference]
    costs = [SAME_COST * relative_macs(rival.schedule, workload) for rival in fora]
    chosen: list[FrontPoint] = []
    for dearer, cheaper in pairwise([*costs, 0.0]):
        span = [point for point in choices if cheaper < point.macs_share <= dearer]
        if span:
            chosen.append(max(span, key=lambda p: (p.quality, -p.macs_share)))
    chosen = chosen[:count]
    knee = front.pick_knee() if choices else None
    while len(chosen) < min(count, len(choices)):
        left = [point for point in choices if point not in chosen]
        farthest = max(left, key=lambda p: distance(p, chosen))
        chosen.append(knee if knee in left else farthest)
    return sorted(chosen, key=lambda point: -point.macs_share)


def distance(point: FrontPoint, others: Sequence[FrontPoint]) -> float:
    """In cost, to the nearest of the others."""
    return min((abs(point.macs_share - other.macs_share) for other in others), default=0.0)


def relative_macs(schedule: Schedule, workload: Workload) -> float:
    total = uncached_macs(schedule.architecture, schedule.steps, workload).total
    return schedule_macs(schedule, workload).total / total


def sample_in_turn(
    renderer: Renderer,
    rows: Sequence[Contender],
    *,
    rounds: int,
    on_images: Callable[[float, str], None],
) -> None:
    """Sample every batch under every schedule in turn: A B C, B C A, ... after a warm-up.

    A busy or throttled machine slows the neighbours in a round alike, so the speed-up of a round
    is its ratio to the uncached run of that round. With fewer batches than `rounds`, some batches
    are sampled again for the clock alone.
    """
    batches = renderer.batches(range(len(renderer.calibration.prompts.samples)))
    models = [renderer.model_with(row.schedule) for row in rows]
    on_images(0, "warm-up")
    for model in models[:2]:
        for _ in renderer.sample(model, batches[0]):
            pass
    done = 0.0
    for number in range(max(rounds, len(batches))):
        batch = batches[number % len(batches)]
        took: dict[int, float] = {}
        for turn in range(len(rows)):
            i = (turn + number) % len(rows)
            start = done

            def on_step(images: float, start: float = start, name: str = rows[i].name) -> None:
                on_images(start + images, name)

            parts = list(renderer.sample(models[i], batch, on_step))
            took[i] = sum(part.seconds for part in parts)
            if number < len(batches):
                rows[i].sampled += parts
            done += len(batch)
        for i, row in enumerate(rows):
            row.seconds.append(took[i] / len(batch))
            row.speedups.append(took[0] / took[i])


def images_to_sample(renderer: Renderer, rows: Sequence[Contender], rounds: int) -> int:
    """What `sample_in_turn` counts up to."""
    batches = renderer.batches(range(len(renderer.calibration.prompts.samples)))
    numbers = range(max(rounds, len(batches)))
    return len(rows) * sum(len(batches[n % len(batches)]) for n in numbers)


def score_all(evaluator: Evaluator, rows: Sequence[Contender]) -> None:
    """Decode and score what was sampled; the uncached row comes first, it is the reference."""
    indices = list(range(len(evaluator.renderer.calibration.prompts.samples)))
    for row in rows:
        try:
            pictures = eight_bit(evaluator.renderer.decode(row.sampled, indices), indices)
            uncached = row.kind == "uncached"
            if uncached:
                evaluator.remember(indices, pictures)
            row.heldout = evaluator.score(pictures, indices, uncached=uncached)
            row.pictures = pictures
        except UnusableResult as error:
            if row.kind == "uncached":
                raise
            row.problem = str(error)
        row.sampled = []


def score_calibration(
    evaluator: Evaluator, rows: Sequence[Contender], on_images: Callable[[float, str], None]
) -> None:
    """Render and score the calibration samples of the rows whose calibration score is not known."""
    indices = list(range(len(evaluator.renderer.calibration.prompts.samples)))
    unknown = [row for row in rows if row.calibration_mean is None]
    if not unknown:
        return
    if unknown[0].kind != "uncached":
        unknown.insert(0, rows[0])
    for number, row in enumerate(unknown):

        def on_step(images: float, number: int = number, name: str = row.name) -> None:
            on_images(number * len(indices) + images, f"calibration, {name}")

        try:
            row.calibration, _ = evaluator.evaluate(row.schedule, indices, on_step)
        except UnusableResult as error:
            row.problem = row.problem or str(error)
            continue
        row.calibration_mean = statistics.fmean(row.calibration)
        row.calibration_quality, _ = paired(row.calibration, unknown[0].calibration)


def paired(
    scores: Sequence[float] | None, reference: Sequence[float] | None
) -> tuple[float | None, float | None]:
    """Mean and standard error of the differences to the uncached run, sample by sample."""
    if scores is None or reference is None:
        return None, None
    differences = [a - b for a, b in zip(scores, reference, strict=True)]
    if len(differences) < 2:
        return differences[0], None
    spread = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences), spread


def summarised(row: Contender, uncached: Contender, workload: Workload) -> dict[str, Any]:
    """One row of summary.json."""
    macs = schedule_macs(row.schedule, workload)
    cost = relative_macs(row.schedule, workload)
    quality, error = paired(row.heldout, uncached.heldout)
    seconds = statistics.median(row.seconds)
    return {
        "name": row.name,
        "kind": row.kind,
        "key": row.schedule.key,
        "schedule": row.schedule.name,
        "computed_fraction": row.schedule.computed_fraction,
        "macs": macs.total,
        "relative_macs": cost,
        "speedup_macs": 1 / cost,
        "speedup_measured": statistics.median(row.speedups),
        "speedup_lowest": min(row.speedups),
        "speedup_highest": max(row.speedups),
        "seconds_per_image": seconds,
        "timed_batches": len(row.seconds),
        "score_calibration": row.calibration_mean,
        "quality_calibration": row.calibration_quality,
        "score_heldout": None if row.heldout is None else statistics.fmean(row.heldout),
        "quality_heldout": quality,
        "quality_heldout_stderr": error,
        "images": 0 if row.heldout is None else len(row.heldout),
        "problem": row.problem,
    }


COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("schedule", lambda r: r["name"]),
    ("computed", lambda r: f"{r['computed_fraction']:.0%}"),
    ("GMACs", lambda r: f"{r['macs'] / 1e9:.4g}"),
    ("fewer MACs", lambda r: f"{r['speedup_macs']:.2f}x"),
    ("faster", lambda r: f"{r['speedup_measured']:.2f}x"),
    ("s/image", lambda r: f"{r['seconds_per_image']:.3g}"),
    ("calibration", lambda r: number(r["score_calibration"])),
    ("held-out", lambda r: number(r["score_heldout"])),
    ("to uncached", lambda r: difference(r)),
)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def difference(row: dict[str, Any]) -> str:
    if row["problem"]:
        return "broken"
    value, error = row["quality_heldout"], row["quality_heldout_stderr"]
    if value is None:
        return "-"
    return f"{value:+.4f}" + ("" if error is None else f" ± {error:.4f}")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text in aligned columns; names to the left, numbers to the right."""
    header = [title for title, _ in COLUMNS]
    return text_table(header, [[show(row) for _, show in COLUMNS] for row in rows], ruled=True)


def grid_columns(rows: Sequence[Contender]) -> list[Contender]:
    """Uncached first, then every pick after the cheapest FORA schedule that costs no less."""
    columns = [rows[0], *[row for row in rows if row.kind == "given"]]
    fora = {row.every: row for row in rows if row.kind == "fora"}
    for row in rows:
        if row.kind == "ecad":
            columns += [fora.pop(row.every)] if row.every in fora else []
            columns.append(row)
    if len(columns) == 1:  # an empty front
        columns += fora.values()
    return [row for row in columns if row.pictures is not None]
