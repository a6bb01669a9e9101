"""What `dev.py bench claims` found, as tables for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ecad_search.benchmark.estimate import Estimate, estimate
from ecad_search.text_table import text_table

from .bench_quick import SAME_COST
from .search_benchmark import verdict
from .search_benchmark.heldout import share_dominated

FORA = "FORA"
Point = Mapping[str, Any]
Document = Mapping[str, Any]


def report(document: Document) -> str:
    model, *others = document["sides"]
    parts = [
        setting(document),
        *dominance(document, model, "The front and FORA", own(document, model)),
    ]
    for name in others:
        title = f"Carried over to {name}"
        if document["sides"][name] != document["sides"][model]:
            title += f" ({document['sides'][name]} px instead of {document['sides'][model]})"
        parts += dominance(document, name, title, carried(document, name))
        parts.append(kept(document, name))
    parts += ["**Prompts, and seeds for each**", fenced(sizes_table(document))]
    parts += ["**Generations**", fenced(generations_table(document))]
    return "\n\n".join(parts)


def setting(document: Document) -> str:
    machine = document["machine"]
    return (
        f"{document['model']}, {document['steps']} steps; {document['runs']} searches for each "
        f"row, {document['images']:,} images each; {document['heldout']} held-out captions; "
        f"{machine['device']}, PyTorch {machine['torch']}. Losses are of the score, to the "
        "uncached run of the same caption and noise, with 95 % intervals over the captions. "
        "Hypervolumes are of cost and loss below "
        f"(1, {document['worst_loss']}) as shares of that rectangle, with 95 % intervals over the "
        "searches."
    )


# --- against FORA --------------------------------------------------------------------------------


def dominance(
    document: Document, subject: str, title: str, fronts: Sequence[Sequence[Point]]
) -> Iterator[str]:
    """For each FORA schedule the one of each front that costs no more and was found best.

    A front ends where its schedules lose more than `worst_loss`, so not every FORA has an equal.
    """
    fora = judged(document, subject, None)
    rows, compared, better, beyond, worse = [], 0, 0, 0, 0
    for point in fora["points"]:
        chosen = [best_at(front, point["cost"]) for front in fronts]
        row = [point["name"], f"{point['cost']:.1%}", f"{np.mean(point['losses']):+.4f}"]
        if None in chosen:
            rows.append([*row, f"none below {document['worst_loss']}", "", ""])
            continue
        compared += 1
        losses = np.mean([own["losses"] for own in chosen if own], axis=0)
        gain = of_captions(np.asarray(point["losses"]) - losses)
        better += gain.mean >= 0
        beyond += gain.low is not None and gain.low > 0
        worse += gain.high is not None and gain.high < 0
        won = sum(np.mean(own["losses"]) <= np.mean(point["losses"]) for own in chosen if own)
        rows.append([*row, f"{np.mean(losses):+.4f}", with_bounds(gain), f"{won} of {len(chosen)}"])
    yield (
        f"**{title}**: loses no more than FORA of no less cost at {better} of {compared} costs, "
        f"less beyond chance at {beyond}, more beyond chance at {worse}. Uncached score "
        f"{fora['uncached_score']:.3f}."
    )
    header = ["", "MACs", "FORA's loss", "ECAD's loss", "gain", "searches that gain"]
    yield fenced(text_table(header, rows, ruled=True))


def best_at(front: Sequence[Point], cost: float) -> Point | None:
    """The best by the search's own samples of those that cost no more."""
    cheap = [point for point in front if point["cost"] <= cost * SAME_COST]
    return min(cheap, key=lambda point: point["calibration_loss"], default=None)


def of_captions(values: np.ndarray) -> Estimate:
    return estimate(values.tolist(), range(len(values)))


def with_bounds(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f}"
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


# --- hypervolumes --------------------------------------------------------------------------------


def kept(document: Document, subject: str) -> str:
    """How much of what a search on the subject itself gains is there without one."""
    fora = share(document, judged(document, subject, None)["points"])
    moved = [share(document, front) for front in carried(document, subject)]
    searched = [share(document, front) for front in own(document, subject)]
    gained = np.mean(searched) - fora
    part = f", {(np.mean(moved) - fora) / gained:.0%} of that search's gain" if gained > 0 else ""
    return (
        f"Hypervolume: FORA {fora:.3f}, carried over {shown(moved)}, searched there "
        f"{shown(searched)}{part}."
    )


def sizes_table(document: Document) -> str:
    model = next(iter(document["sides"]))
    rows = []
    for prompts, seeds in dict.fromkeys((s["prompts"], s["seeds"]) for s in of(document, model)):
        trials = of(document, model, prompts, seeds)
        last = [trial["fronts"][-1] for trial in trials]
        rows.append(
            [
                f"{prompts}",
                f"{seeds}",
                f"{prompts * seeds}",
                f"{np.mean([trial['candidates'] for trial in trials]):.0f}",
                *hypervolumes(document, last),
            ]
        )
    header = ["prompts", "seeds", "samples", "schedules tried", "held out", "as the search sees it"]
    return text_table(header, rows, left=(), ruled=True)


def generations_table(document: Document) -> str:
    model = next(iter(document["sides"]))
    trials = [trial for trial in of(document, model) if trial["by_generation"]]
    rows = []
    for place in range(min(len(trial["fronts"]) for trial in trials) - 1):
        fronts = [trial["fronts"][place] for trial in trials]
        rows.append(
            [f"{fronts[0]['generations']}", images(fronts), *hypervolumes(document, fronts)]
        )
    last = [trial["fronts"][-1] for trial in trials]
    ends = sorted(front["generations"] for front in last)
    rows.append([f"all, {ends[0]} to {ends[-1]}", images(last), *hypervolumes(document, last)])
    header = ["generations", "images", "held out", "as the search sees it"]
    return text_table(header, rows, left=(), ruled=True)


def images(fronts: Sequence[Mapping[str, Any]]) -> str:
    return f"{np.mean([front['images'] for front in fronts]):,.0f}"


def hypervolumes(document: Document, fronts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Held out, and as the searches see it."""
    return [
        shown([share(document, front["points"]) for front in fronts]),
        shown([share(document, front["points"], "calibration_loss") for front in fronts]),
    ]


def share(document: Document, points: Sequence[Point], loss: str = "losses") -> float:
    return share_dominated(
        [(point["cost"], float(np.mean(point[loss]))) for point in points], document["worst_loss"]
    )


def shown(values: Sequence[float]) -> str:
    return verdict.Estimate.of(values).text(".3f")


# --- what is in the document ---------------------------------------------------------------------


def of(
    document: Document, subject: str, prompts: int | None = None, seeds: int | None = None
) -> list[Mapping[str, Any]]:
    """The searches of a subject, those of one size or of all."""
    return [
        search
        for search in document["searches"]
        if search["subject"] == subject
        and prompts in (None, search["prompts"])
        and seeds in (None, search["seeds"])
    ]


def usual(document: Document, subject: str) -> list[Mapping[str, Any]]:
    """The searches of the size that those of other subjects have."""
    size = next((s["prompts"], s["seeds"]) for s in document["searches"] if s["by_generation"])
    return of(document, subject, *size)


def own(document: Document, subject: str) -> list[Sequence[Point]]:
    return [search["fronts"][-1]["points"] for search in usual(document, subject)]


def judged(document: Document, subject: str, run: int | None) -> Mapping[str, Any]:
    return next(e for e in document["judged"] if e["subject"] == subject and e["run"] == run)


def carried(document: Document, subject: str) -> list[Sequence[Point]]:
    """What each search on the model found, as it does on `subject`, still chosen by the model's
    calibration."""
    model = next(iter(document["sides"]))
    fronts = []
    for run, front in enumerate(own(document, model)):
        there = judged(document, subject, run)["points"]
        fronts.append(
            [
                {**point, "calibration_loss": before["calibration_loss"]}
                for point, before in zip(there, front, strict=True)
            ]
        )
    return fronts


def fenced(text: str) -> str:
    return f"```\n{text}\n```"
