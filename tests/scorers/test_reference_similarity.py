import math

import numpy as np
import pytest
import torch

from ecad_search.errors import ScorerError
from ecad_search.scorers import ReferenceSimilarity
from ecad_search.scorers.reference_similarity import HIGHEST_PSNR, psnr, ssim


def flat(value: float, size: int = 16) -> torch.Tensor:
    return torch.full((size, size, 3), value, dtype=torch.float64)


def test_psnr_of_a_tenth_is_twenty_decibels():
    assert 20 == pytest.approx(psnr(flat(0.5), flat(0.6)))


def test_psnr_of_equal_images_is_the_stated_maximum():
    assert HIGHEST_PSNR == pytest.approx(psnr(flat(0.5), flat(0.5)))


def test_ssim_of_equal_images_is_one():
    image = torch.rand(20, 30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert 1 == pytest.approx(ssim(image, image))


def test_ssim_of_flat_images_is_their_luminance_term():
    expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert expected == pytest.approx(ssim(flat(0.4), flat(0.6)))


def test_ssim_of_one_window_equals_the_formula_written_out():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 11, 11))
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weight = np.outer(line, line) / line.sum() ** 2
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
    vxy = (weight * (x - mx) * (y - my)).sum()
    c1, c2 = 0.0001, 0.0009
    expected = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    images = [torch.from_numpy(np.repeat(z[..., None], 3, 2)) for z in (x, y)]
    assert expected == pytest.approx(ssim(*images))


def test_ssim_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    rng = np.random.default_rng(1)
    x = rng.random((40, 33, 3))
    y = (x + 0.2 * rng.standard_normal(x.shape)).clip(0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = metrics.structural_similarity(x, y, data_range=1, channel_axis=2, **settings)
    assert theirs == pytest.approx(ssim(torch.from_numpy(x), torch.from_numpy(y)), abs=1e-6)


def test_images_smaller_than_the_window_are_refused():
    small = torch.zeros(1, 8, 8, 3)
    with pytest.raises(ScorerError, match="8 x 8"):
        ReferenceSimilarity("ssim").score(small, ["a"], small)


def test_references_of_another_size_are_refused():
    with pytest.raises(ScorerError, match="equal shapes"):
        ReferenceSimilarity().score(torch.zeros(1, 16, 16, 3), ["a"], torch.zeros(1, 32, 32, 3))


def test_unknown_metric_is_refused():
    with pytest.raises(ScorerError, match="'lpips'"):
        ReferenceSimilarity("lpips")  # pyright: ignore[reportArgumentType]


def test_half_precision_images_are_scored():
    images = torch.rand(2, 16, 16, 3).half()
    assert all(map(math.isfinite, ReferenceSimilarity("psnr").score(images, ["a", "b"], images)))
