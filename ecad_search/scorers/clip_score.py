"""CLIP score: how well a picture fits its prompt, by the angle between their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .clip_network import Embedder
from .scorer import check_batch, finite_scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


class ClipScore:
    """100 times the cosine of a picture's and its prompt's CLIP embedding; about 20 to 40.

    As Hessel et al. 2021 (arXiv:2104.08718) without their factor 2.5 and without cutting off at 0.
    Numbers of different CLIPs do not compare.
    """

    needs_reference = False

    def __init__(self, embedder: Embedder, *, name: str = "clip-score"):
        self.embedder = embedder
        self.name = name

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        check_batch(self.name, images, prompts)
        fits = cosines(self.embedder, images, prompts)
        return finite_scores(self.name, (self.scale() * fits).tolist())

    def scale(self) -> float:
        """What a cosine is multiplied with."""
        return 100.0

    def image_features(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, H, W, 3) -> (N, d) for `frechet_distance`."""
        check_batch(self.name, images, [""] * len(images))
        return self.embedder.images(images).numpy()

    def unload(self) -> None:
        self.embedder.unload()


def cosines(embedder: Embedder, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    """(N,) cosines of each picture with its own prompt; a repeated prompt is read once."""
    distinct = list(dict.fromkeys(prompts))
    read = embedder.texts(distinct)[[distinct.index(prompt) for prompt in prompts]]
    return (embedder.images(images) * read).sum(1)
