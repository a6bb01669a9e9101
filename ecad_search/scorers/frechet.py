"""Frechet distance between two sets of image features (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ScorerError


def frechet_distance(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of features (N, d) and (M, d).

    Equation 6 of Heusel et al. 2017 (arXiv:1706.08500). The trace of the root is taken from the
    eigenvalues of C_a^(1/2) C_b C_a^(1/2), which is symmetric, so that few images (a covariance
    that is not of full rank) give no complex numbers. The distance is biased upwards for small
    sets: only compare sets of equal size.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ScorerError(
            f"Frechet distance got features of shapes {a.shape} and {b.shape}, expected (images, "
            "features) with equal features and two or more images each; score more images."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ScorerError(
            "Frechet distance got features that are not finite, expected numbers; look for broken "
            "images in the two sets."
        )
    root_a = symmetric_root(np.atleast_2d(np.cov(a, rowvar=False)))
    covariance_b = np.atleast_2d(np.cov(b, rowvar=False))
    cross = np.linalg.eigvalsh(root_a @ covariance_b @ root_a).clip(min=0)
    mean_term = np.square(a.mean(0) - b.mean(0)).sum()
    trace = np.square(root_a).sum() + np.trace(covariance_b) - 2 * np.sqrt(cross).sum()
    return float(max(0.0, mean_term + trace))


def frechet_stderr(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Standard error of the distance of paired features, (N, d) each, row i of both of sample i.

    By the jackknife, leaving out one sample of both at a time (Efron and Stein 1981). It says how
    much the distance depends on which samples were taken, not how biased it is.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or len(a) < 3:
        raise ScorerError(
            f"The error of a Frechet distance got features of shapes {a.shape} and {b.shape}, "
            "expected the same samples in both, three or more; score more images."
        )
    n = len(a)
    left = np.array([frechet_distance(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(n)])
    return float(np.sqrt((n - 1) / n * np.square(left - left.mean()).sum()))


def symmetric_root(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
