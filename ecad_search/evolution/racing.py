"""Racing: how many samples a candidate is worth before it is known to be dominated.

All candidates see the same prompts and seeds in the same order (common random numbers), so two of
them are compared by the differences on the samples both have, which vary far less than the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from .settings import LARGEST_JOB

Floats = npt.NDArray[np.float64]

PRIOR_SAMPLES = 6.0  # how much the usual spread counts beside a candidate's own


def losses_of(differences: Floats, caution: float) -> Floats:
    """(..., scorers) losses of (..., scorers, samples) differences of scores to the uncached run's.

    The mean fall, and as far as `caution` goes (0 to 1) the root mean square of the differences,
    which is the same where all samples fall alike. Scores that move up by chance on a few prompts
    move down on others: what changes pictures without lowering their scores is not free.
    """
    fall = -differences.mean(axis=-1)
    return (1 - caution) * fall + caution * np.sqrt((differences**2).mean(axis=-1))


def next_block(done: int, n_samples: int, *, first_block: int, racing: bool) -> tuple[int, ...]:
    """The samples to render next: a first block, then as many again as there are, then the rest.

    Without racing everything will be needed, and blocks only keep an interruption cheap.
    """
    size = max(first_block, done) if racing else LARGEST_JOB
    stop = min(done + min(size, LARGEST_JOB), n_samples)
    # A last block of one or two samples costs a model call and decides nothing.
    if n_samples - stop < first_block / 2 and n_samples - done <= LARGEST_JOB:
        stop = n_samples
    return tuple(range(done, stop))


def standard_error(differences: Floats, n_samples: int, usual_variance: float | None) -> float:
    """Of the mean of the first n differences as an estimate of the mean of all `n_samples`.

    With few samples their own spread says little, so the usual spread of such differences is mixed
    in. Nothing is uncertain once all samples are in: the comparison is on these samples.
    """
    n = len(differences)
    own = float(np.sum((differences - differences.mean()) ** 2))
    if usual_variance is None:
        variance = own / (n - 1) if n > 1 else np.inf
    else:
        variance = (own + PRIOR_SAMPLES * usual_variance) / (n - 1 + PRIOR_SAMPLES)
    return float(np.sqrt(variance / n * max(0.0, 1.0 - n / n_samples)))


def is_dominated(
    scores: Floats,
    cost: float,
    rivals: Sequence[tuple[float, Floats]],
    *,
    confidence: float,
    usual_variances: Sequence[float | None],
    uncached: Floats | float = 0.0,
    caution: float = 0.0,
) -> bool:
    """Whether some rival (cost, (scorers, samples) scores) surely beats (scorers, n) first scores.

    Surely: it costs no more, and its lead by every scorer on the shared samples would be as large
    by chance with probability 1 - `confidence` at most. With `caution` it must also lose no more
    of the (scorers, n) `uncached` scores.
    """
    n = scores.shape[1]
    threshold = NormalDist().inv_cdf(min(confidence, 1 - 1e-12))
    cheap = [rival_scores for rival_cost, rival_scores in rivals if rival_cost <= cost]
    if not cheap:
        return False
    whole = np.stack(cheap)
    leads = whole[:, :, :n] - scores
    means = leads.mean(axis=2)
    ahead = (means > 0).all(axis=1)
    if caution:
        theirs = losses_of(whole[:, :, :n] - uncached, caution)
        ahead &= (theirs <= losses_of(scores - uncached, caution)).all(axis=1)

    def is_sure(lead: Floats, mean: float, usual: float | None) -> bool:
        return mean >= threshold * standard_error(lead, whole.shape[2], usual)

    return any(
        all(map(is_sure, leads[i], means[i], usual_variances)) for i in np.flatnonzero(ahead)
    )


def is_hopeless(
    differences: Floats,
    worst: float,
    n_samples: int,
    *,
    confidence: float,
    usual_variance: float | None,
) -> bool:
    """Whether the mean difference to the uncached run surely ends below `worst` (negative)."""
    threshold = NormalDist().inv_cdf(min(confidence, 1 - 1e-12))
    error = standard_error(differences, n_samples, usual_variance)
    return float(differences.mean()) + threshold * error < worst
