"""Times evaluations of a loaded model in which certain components compute and all others reuse.

One evaluation of a sampling is made again and again, as in `profile`: by the shims that run
schedules, with values stored by the step before. The kinds of evaluation take turns, so that a
machine that slows down slows all of them alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from ..core.latency import Bools
from .profile import ProbingRun
from .run import synchronize

IMAGES = 3.0  # the timing takes about as long as this many uncached images,
FEWEST_ROUNDS, MOST_ROUNDS = 3, 9  # but for these limits


def rounds_of(rows: Sequence[Bools], steps: int) -> int:
    """How many times each evaluation is timed, after once for warming up."""
    return max(FEWEST_ROUNDS, min(int(IMAGES * steps / full_steps(rows)) - 1, MOST_ROUNDS))


def full_steps(rows: Sequence[Bools]) -> float:
    """What one round takes, in evaluations that compute everything; rather too much."""
    return sum(0.3 + 0.7 * float(row.mean()) for row in rows)


def images_of(rows: Sequence[Bools], steps: int) -> float:
    """What the whole timing takes, in uncached images of the batch: the sampling itself as well."""
    return 1 + (1 + rounds_of(rows, steps)) * full_steps(rows) / steps


def timed(
    run: ProbingRun,
    rows: Sequence[Bools],
    rounds: int,
    device: torch.device,
    evaluate: Callable[[], object],
) -> list[float]:
    """Usual seconds of an evaluation of each of `rows`, (n_cells,) each; see `usual`.

    `evaluate` makes the current evaluation of the sampler again.
    """
    seconds = [[0.0] * len(rows) for _ in range(1 + rounds)]
    for number in range(1 + rounds):
        for i in range(len(rows)):
            which = (i + number) % len(rows)
            with run.trying(rows[which]):
                synchronize(device)
                started = time.perf_counter()
                evaluate()
                synchronize(device)
                seconds[number][which] = time.perf_counter() - started
    return usual(seconds[1:])  # the first round warms up


def usual(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Of what was timed once in each round, (rounds, n): the seconds of each, (n,).

    The median share of a round, in seconds of the median round: a round in which the machine was
    slow says as much about shares as any other.
    """
    totals = [sum(times) for times in rounds]
    shares = [
        statistics.median(time / total for time, total in zip(times, totals, strict=True))
        for times in zip(*rounds, strict=True)
    ]
    return [share * statistics.median(totals) for share in shares]
