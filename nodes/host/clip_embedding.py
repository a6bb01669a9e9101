"""A CLIP that the user loaded in ComfyUI, as the scorers' Embedder; the host manages its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...ecad_search.errors import ScorerError
from ...ecad_search.scorers.clip_network import unit

BATCH = 16  # images
PAIRS = "clip_l and CLIP ViT-L/14, or an SDXL checkpoint and CLIP-ViT-bigG-14"


class HostVision:
    """Pictures through a CLIP_VISION model; it resizes a little differently from published code."""

    def __init__(self, vision: Any):
        self.vision = vision

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) in [0, 1] -> (N, d) of length 1."""
        rows = []
        with torch.inference_mode():
            for i in range(0, len(images), BATCH):
                seen = self.vision.encode_image(images[i : i + BATCH])["image_embeds"]
                if seen is None or seen.ndim != 2:
                    shape = None if seen is None else tuple(seen.shape)
                    raise ScorerError(
                        f"The CLIP vision model gives embeddings of shape {shape}, expected one "
                        f"row a picture; load the picture tower of a CLIP ({PAIRS})."
                    )
                rows.append(unit(seen))
        return torch.cat(rows)

    def unload(self) -> None:
        """Nothing to do: the host takes the memory when a model needs it."""


class HostClip(HostVision):
    """Pictures through a CLIP_VISION model and texts through the CLIP it was trained with."""

    def __init__(self, vision: Any, clip: Any):
        super().__init__(vision)
        self.clip = clip

    def images(self, images: torch.Tensor) -> torch.Tensor:
        rows = super().images(images)
        width = self.projection().shape[0]
        if rows.shape[1] != width:
            raise ScorerError(
                f"The CLIP vision model gives {rows.shape[1]} numbers a picture, the CLIP {width} "
                f"a text, expected as many; load the two halves of one network, such as {PAIRS}."
            )
        return rows

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """N texts -> (N, d) of length 1."""
        projection = self.projection()
        with torch.inference_mode():
            rows = [self.pooled(text).float().cpu() @ projection.T for text in texts]
        return unit(torch.cat(rows))

    def pooled(self, text: str) -> torch.Tensor:
        """(1, width): the end of the text, before the projection, which some encoders leave out."""
        # Parentheses would be read as emphasis.
        tokens = self.clip.tokenize(text.replace("(", "\\(").replace(")", "\\)"))
        _, pooled = self.clip.encode_from_tokens(tokens, return_pooled="unprojected")
        if pooled is None:
            raise ScorerError(
                f"The text encoder gives no embedding of a whole text, expected a CLIP ({PAIRS}); "
                "load one beside the encoder of your model."
            )
        return pooled[:1]

    def projection(self) -> torch.Tensor:
        """(d, width) of the CLIP whose texts `pooled` gives; never one that was not in its file."""
        width = self.pooled("").shape[1]
        weights = [
            module.weight.detach().float().cpu()
            for name, module in self.clip.cond_stage_model.named_modules()
            if name.split(".")[-1] == "text_projection" and module.weight.shape[1] == width
        ]
        if len(weights) != 1:
            raise ScorerError(
                f"The text encoder has {len(weights)} text projections for embeddings of {width} "
                f"numbers, expected one; load a CLIP with one tower for texts ({PAIRS})."
            )
        weight = weights[0]
        # Checkpoints of models leave the projection out; the host fills it with what comes.
        empty = not bool(weight.isfinite().all()) or float(weight.std()) < 1e-6
        if empty or torch.equal(weight, torch.eye(*weight.shape)):
            raise ScorerError(
                "The text encoder's file had no text projection, so its texts cannot be compared "
                "with pictures; load the text tower of a whole CLIP, such as the model.safetensors "
                f"of openai/clip-vit-large-patch14 ({PAIRS})."
            )
        return weight
