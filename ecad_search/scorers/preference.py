"""Human preference as CLIPs that were trained on it see it: PickScore and HPS v2."""

from __future__ import annotations

from pathlib import Path

from .clip_network import ClipNetwork
from .clip_score import ClipScore
from .placement import Placement


class PickScore(ClipScore):
    """PickScore (Kirstain et al. 2023, arXiv:2305.01569), about 18 to 24.

    Args:
        folder: PickScore_v1 of yuvalkirstain on Hugging Face: config.json, model.safetensors and
            the tokenizer files, which its CLIP-ViT-H-14-laion2B-s32B-b79K has too.
        tokenizer: folder of vocab.json and merges.txt, when they lie elsewhere.
        placement: where the network runs.
    """

    name = "pick-score"

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
        super().__init__(self.network, name=self.name)

    def scale(self) -> float:
        return self.network.scale()


class HpsV2(ClipScore):
    """Human Preference Score v2 (Wu et al. 2023, arXiv:2306.09341): a cosine, about 0.2 to 0.35.

    Args:
        checkpoint: HPS_v2_compressed.pt or HPS_v2.1_compressed.pt of xswu/HPSv2.
        tokenizer: folder of CLIP's vocab.json and merges.txt; by default beside the checkpoint.
        placement: where the network runs.
    """

    name = "hps-v2"

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
        super().__init__(self.network, name=self.name)

    def scale(self) -> float:
        return 1.0
