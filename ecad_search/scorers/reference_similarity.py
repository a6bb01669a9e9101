"""How close an image is to the uncached image of the same prompt and seed: PSNR or SSIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import ScorerError
from .scorer import check_batch, check_references, finite_scores

if TYPE_CHECKING:
    import torch

Metric = Literal["ssim", "psnr"]
HIGHEST_PSNR = 80.0  # dB; equal images would be infinite, 8 bits cannot tell more than 59 apart


class ReferenceSimilarity:
    """Similarity to the uncached image; measures change, not beauty."""

    needs_reference = True

    def __init__(self, metric: Metric = "ssim"):
        if metric not in get_args(Metric):
            raise ScorerError(
                f"Reference similarity got the metric '{metric}', expected 'ssim' or 'psnr'; "
                "choose one of them."
            )
        self.metric: Metric = metric

    @property
    def name(self) -> str:
        return self.metric

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        check_batch(self.name, images, prompts)
        check_references(self.name, images, references)
        assert references is not None
        measure = ssim if self.metric == "ssim" else psnr
        pairs = zip(images.cpu().double(), references.cpu().double(), strict=True)
        return finite_scores(self.name, [measure(image, other) for image, other in pairs])

    def unload(self) -> None:
        """Holds no memory."""


def psnr(image: torch.Tensor, reference: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of two (H, W, 3) images in [0, 1], dB, at most HIGHEST_PSNR."""
    error = (image - reference).square().mean()
    return float(-10 * error.clamp(min=10 ** (-HIGHEST_PSNR / 10)).log10())


def ssim(image: torch.Tensor, reference: torch.Tensor) -> float:
    """Mean structural similarity of two (H, W, 3) images in [0, 1]: Wang et al. 2004.

    Gaussian window of 11 px and sigma 1.5, valid positions only, each colour by itself; equals
    scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, channel_axis=2).
    """
    import torch
    import torch.nn.functional as F

    if min(image.shape[:2]) < 11:
        raise ScorerError(
            f"Scorer 'ssim' got images of {image.shape[1]} x {image.shape[0]} px, expected at "
            "least 11 x 11; use 'psnr' for smaller ones."
        )
    offsets = torch.arange(-5, 6, dtype=image.dtype)
    line = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    line = line / line.sum()

    def local_mean(x: torch.Tensor) -> torch.Tensor:  # (3, H, W) -> (3, H - 10, W - 10)
        x = F.conv2d(x[:, None], line.view(1, 1, 11, 1))
        return F.conv2d(x, line.view(1, 1, 1, 11))[:, 0]

    x, y = image.permute(2, 0, 1), reference.permute(2, 0, 1)
    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x = local_mean(x * x) - mean_x**2
    var_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return float((luminance * structure).mean())
