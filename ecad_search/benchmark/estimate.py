"""What a mean over samples is worth: confidence intervals and paired tests, by prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
EXACT_GROUPS = 12  # up to here every choice of signs is tried, 4096 of them
DRAWS = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its two-sided confidence interval; the bounds are None for a single prompt."""

    mean: float
    low: float | None
    high: float | None


def group_means(values: Sequence[float], groups: Sequence[int]) -> npt.NDArray[np.float64]:
    """The mean of each group (prompt): pictures of one prompt are no independent samples."""
    array, labels = np.asarray(values, np.float64), np.asarray(groups)
    return np.array([array[labels == label].mean() for label in np.unique(labels)])


def estimate(values: Sequence[float], groups: Sequence[int]) -> Estimate:
    """Student's interval around the mean of the groups' means."""
    means = group_means(values, groups)
    mean = float(means.mean())
    error = standard_error(values, groups)
    if error is None:
        return Estimate(mean, None, None)
    reach = student_quantile(len(means) - 1) * error
    return Estimate(mean, mean - reach, mean + reach)


def standard_error(values: Sequence[float], groups: Sequence[int]) -> float | None:
    """Of the mean over groups; None for one group."""
    means = group_means(values, groups)
    return float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else None


def student_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t: exact for 1 and 2 degrees of freedom, otherwise

    the series in 1 / freedom around the normal quantile (Abramowitz and Stegun 26.7.5), within 1 %
    from 3 on.
    """
    if freedom == 1:
        return math.tan(math.pi * confidence / 2)
    if freedom == 2:
        return confidence * math.sqrt(2 / (1 - confidence**2))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (i + 1) for i, term in enumerate(terms))


def sign_flip_p(
    differences: Sequence[float], groups: Sequence[int], rng: np.random.Generator
) -> float | None:
    """How likely so large a mean difference is if both were equally good; None for one prompt.

    The paired permutation test (Fisher 1935): under that assumption the sign of each prompt's mean
    difference is a coin's. All signs are tried for few prompts, otherwise DRAWS random ones.
    """
    means = group_means(differences, groups)
    count = len(means)
    if count < 2:
        return None
    observed = abs(means.mean()) - 1e-12  # equal sums may differ in their last bit
    if count <= EXACT_GROUPS:
        choices = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((2 * choices - 1) @ means) / count >= observed).mean())
    reached = 0
    for start in range(0, DRAWS, 1000):
        signs = rng.integers(0, 2, (min(1000, DRAWS - start), count)) * 2 - 1
        reached += int((np.abs(signs @ means) / count >= observed).sum())
    return (reached + 1) / (DRAWS + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction (1979): how likely any of several equal columns would look so different."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = largest
    return adjusted
