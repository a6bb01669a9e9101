"""The improved aesthetic predictor of LAION: a small head on CLIP ViT-L/14's picture embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import ScorerError
from .checkpoint import load_exactly, read_tensors
from .scorer import check_batch, finite_scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn

EXPECTED = "sac+logos+ava1-l14-linearMSE.pth of christophschuhmann/improved-aesthetic-predictor"
WIDTHS = (1024, 128, 64, 16, 1)  # outputs of the head's layers; nothing bends between them
LAYERS = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")  # dropouts stood between


class ImageEmbedder(Protocol):
    """The half of an Embedder that reads pictures."""

    def images(self, images: torch.Tensor) -> torch.Tensor: ...

    def unload(self) -> None: ...


class Aesthetic:
    """How pleasing a picture is, about 1 to 10; the prompt is not looked at.

    Args:
        embedder: CLIP ViT-L/14 of OpenAI; the head was trained on its embeddings alone.
        head: the head's file.
    """

    name = "aesthetic"
    needs_reference = False

    def __init__(self, embedder: ImageEmbedder, head: str | Path):
        self.embedder = embedder
        self.head_file = Path(head)
        self.head: nn.Module | None = None

    def load(self) -> nn.Module:
        """The head on the CPU, where its million parameters take no time."""
        if self.head is None:
            state = read_tensors(self.head_file, network="the aesthetic head", expected=EXPECTED)
            first = state.get("layers.0.weight")
            width = 768 if first is None or first.ndim != 2 else first.shape[1]
            head = build_head(width)
            load_exactly(
                head, state, self.head_file, network="the aesthetic head", expected=EXPECTED
            )
            self.head = head.float().eval().requires_grad_(False)
        return self.head

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        import torch

        check_batch(self.name, images, prompts)
        head = self.load()
        seen = self.embedder.images(images)
        width = next(head.parameters()).shape[1]
        if seen.shape[1] != width:
            raise ScorerError(
                f"The aesthetic head in '{self.head_file.name}' reads embeddings of {width} "
                f"numbers, but this CLIP gives {seen.shape[1]}; use CLIP ViT-L/14 of OpenAI."
            )
        with torch.inference_mode():
            return finite_scores(self.name, head(seen)[:, 0].tolist())

    def image_features(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, H, W, 3) -> (N, d) for `frechet_distance`: CLIP's embedding."""
        check_batch(self.name, images, [""] * len(images))
        return self.embedder.images(images).numpy()

    def unload(self) -> None:
        self.head = None
        self.embedder.unload()


def build_head(width: int) -> nn.Module:
    """Five linear layers in a row under the names that the published file uses."""
    from torch import nn

    layers = nn.Sequential()
    for name, inputs, outputs in zip(LAYERS, (width, *WIDTHS), WIDTHS, strict=False):
        layers.add_module(name.removeprefix("layers."), nn.Linear(inputs, outputs))
    head = nn.Sequential()
    head.add_module("layers", layers)
    return head
