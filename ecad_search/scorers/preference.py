"""Human preference as CLIPs that were trained on it see it: PickScore and HPS v2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .clip_network import ClipNetwork
from .clip_score import cosines
from .placement import Placement
from .scorer import check_batch, finite_scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


class PickScore:
    """PickScore (Kirstain et al. 2023, arXiv:2305.01569), about 18 to 24.

    Args:
        folder: PickScore_v1 of yuvalkirstain on Hugging Face: config.json, model.safetensors and
            the tokenizer files, which its CLIP-ViT-H-14-laion2B-s32B-b79K has too.
        tokenizer: folder of vocab.json and merges.txt, when they lie elsewhere.
        placement: where the network runs.
    """

    name = "pick-score"
    needs_reference = False

    def __init__(
        self,
        folder: str | Path,
        *,
        tokenizer: str | Path | None = None,
        placement: Placement | None = None,
    ):
        self.network = ClipNetwork(
            folder,
            scorer=self.name,
            expected="the folder of PickScore_v1",
            tokenizer=tokenizer,
            placement=placement,
        )

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        check_batch(self.name, images, prompts)
        fits = cosines(self.network, images, prompts)
        return finite_scores(self.name, (self.network.scale() * fits).tolist())

    def image_features(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, H, W, 3) -> (N, d) for `frechet_distance`."""
        check_batch(self.name, images, [""] * len(images))
        return self.network.images(images).numpy()

    def unload(self) -> None:
        self.network.unload()


class HpsV2:
    """Human Preference Score v2 (Wu et al. 2023, arXiv:2306.09341): a cosine, about 0.2 to 0.35.

    Args:
        checkpoint: HPS_v2_compressed.pt or HPS_v2.1_compressed.pt of xswu/HPSv2.
        tokenizer: folder of CLIP's vocab.json and merges.txt; by default beside the checkpoint.
        placement: where the network runs.
    """

    name = "hps-v2"
    needs_reference = False

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        tokenizer: str | Path | None = None,
        placement: Placement | None = None,
    ):
        self.network = ClipNetwork(
            checkpoint,
            scorer=self.name,
            expected="HPS_v2_compressed.pt or HPS_v2.1_compressed.pt of xswu/HPSv2",
            tokenizer=tokenizer,
            placement=placement,
        )

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        check_batch(self.name, images, prompts)
        return finite_scores(self.name, cosines(self.network, images, prompts).tolist())

    def image_features(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, H, W, 3) -> (N, d) for `frechet_distance`."""
        check_batch(self.name, images, [""] * len(images))
        return self.network.images(images).numpy()

    def unload(self) -> None:
        self.network.unload()
