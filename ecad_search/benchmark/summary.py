"""The rows of a benchmark's table from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ScorerError
from ..scorers.frechet import frechet_distance
from .estimate import Estimate, estimate, holm, sign_flip_p, standard_error
from .record import Measured, Record

REFERENCE = "uncached"  # the first column

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ColumnFacts:
    """What is known of a column without measuring; None where nobody can tell."""

    name: str
    kind: str  # "uncached", "fora", "given", "ecad" or "model"
    key: str = ""
    macs: int | None = None  # of one picture
    relative_macs: float | None = None
    cache_bytes: int | None = None  # predicted, of one picture
    computed_fraction: float | None = None


def summarised(
    record: Record,
    facts: Sequence[ColumnFacts],
    scorers: Sequence[str],
    prompts: Sequence[int],
    *,
    reference: Features | None = None,
) -> list[dict[str, Any]]:
    """One row for each column; `prompts[i]` is the number of sample i's prompt.

    `reference`: features of other pictures, (pictures, features), to measure a distance to.
    """
    uncached = record.column(facts[0].name)
    features = features_of(uncached)
    rows = [
        row_of(column, record.column(column.name), uncached)
        | distances(record.column(column.name), features, reference)
        for column in facts
    ]
    for scorer in scorers:
        columns = [
            compared(record.column(column.name), uncached, scorer, prompts) for column in facts
        ]
        adjusted = holm([column["p"] for column in columns[1:]])
        for row, column, p in zip(rows, columns, [None, *adjusted], strict=True):
            row["scores"][scorer] = {**column, "p_adjusted": p}
    return rows


def row_of(
    facts: ColumnFacts, measured: Sequence[Measured], uncached: Sequence[Measured]
) -> dict[str, Any]:
    seconds = [m.seconds for m in measured]
    ratios = [r.seconds / m.seconds for m, r in zip(measured, uncached, strict=True)]
    peaks = [m.peak_bytes for m in measured if m.peak_bytes is not None]
    problems = [m.problem for m in measured if m.problem]
    return {
        "name": facts.name,
        "kind": facts.kind,
        "key": facts.key,
        "images": len(measured),
        "seconds": float(np.median(seconds)),
        "speedup": float(np.median(ratios)),
        "speedup_quartiles": [float(q) for q in np.quantile(ratios, [0.25, 0.75])],
        "macs": facts.macs,
        "relative_macs": facts.relative_macs,
        "computed_fraction": facts.computed_fraction,
        "cache_bytes": facts.cache_bytes,
        "peak_bytes": max(peaks) if peaks else None,
        "broken_images": len(problems),
        "problem": problems[0] if problems else "",
        "scores": {},
    }


def compared(
    measured: Sequence[Measured], reference: Sequence[Measured], scorer: str, prompts: Sequence[int]
) -> dict[str, Any]:
    """Scores of the pictures that have one, and their differences to the uncached ones."""
    pairs = [(m, r) for m, r in zip(measured, reference, strict=True) if scorer in m.scores]
    if not pairs:
        return {"mean": None, "low": None, "high": None, "difference": None, "p": None}
    groups = [prompts[m.sample] for m, _ in pairs]
    own = estimate([m.scores[scorer] for m, _ in pairs], groups)
    found = {"mean": own.mean, "low": own.low, "high": own.high, "difference": None, "p": None}
    if measured is reference or measured[0].column == reference[0].column:
        return found
    differences = [m.scores[scorer] - r.scores[scorer] for m, r in pairs]
    paired: Estimate = estimate(differences, groups)
    return found | {
        "difference": paired.mean,
        "stderr": standard_error(differences, groups),
        "difference_low": paired.low,
        "difference_high": paired.high,
        "not_worse": float(np.mean([d >= 0 for d in differences])),
        "p": sign_flip_p(differences, groups, np.random.default_rng(0)),
    }


def features_of(measured: Sequence[Measured]) -> Features | None:
    """(pictures, features); None where a picture has none, or is broken."""
    found = [m.features for m in measured if m.features is not None and not m.problem]
    return np.stack(found) if found and len(found) == len(measured) else None


def distances(
    measured: Sequence[Measured], uncached: Features | None, reference: Features | None
) -> dict[str, Any]:
    own = features_of(measured)
    return {
        "frechet": distance(own, uncached),
        "frechet_to_reference": distance(own, reference),
    }


def distance(a: Features | None, b: Features | None) -> float | None:
    if a is None or b is None:
        return None
    try:
        return frechet_distance(a, b)
    except ScorerError:
        return None


def shown_samples(
    record: Record, columns: Sequence[str], scorer: str, count: int
) -> list[tuple[str, int]]:
    """Samples worth a look: the worst first, then those nearest to the median, each named so.

    By the mean difference of the other columns to uncached; half of `count` each.
    """
    reference = {m.sample: m for m in record.column(columns[0])}
    losses = []
    for sample in record.samples():
        row = record.rows[sample]
        differences = [
            row[name].scores[scorer] - reference[sample].scores[scorer]
            for name in columns[1:]
            if scorer in row[name].scores
        ]
        if differences and scorer in reference[sample].scores:
            losses.append((float(np.mean(differences)), sample))
    losses.sort()
    if not losses:
        return [("sample", sample) for sample in record.samples()[:count]]
    worst = losses[: (count + 1) // 2]
    middle = float(np.median([loss for loss, _ in losses]))
    rest = sorted(losses[len(worst) :], key=lambda pair: (abs(pair[0] - middle), pair[1]))
    named = [("worst", sample) for _, sample in worst]
    return named + [("median", sample) for _, sample in rest[: count - len(worst)]]
