"""Emoji-Reward: the demo model's own judge, as ImageReward is for photographs.

Trained by demo/train/reward.py on the demo's pictures. It knows these pictures only: on anything
else its numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ScorerError
from .scorer import check_batch, finite_scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from .emoji_reward_network import CaptionWords, EmojiRewardNetwork

WEIGHTS = Path(__file__).resolve().parents[2] / "demo" / "emoji-reward.safetensors"
BATCH = 32  # images; bounds the memory, changes no score


class EmojiReward:
    """About 1 for a clean picture with its caption, below 0 for a wrong or a destroyed one.

    Sums how well the picture fits the caption and how little damaged the picture is. Runs on the
    CPU, a few milliseconds an image.
    """

    name = "emoji-reward"
    needs_reference = False

    def __init__(self, weights: Path = WEIGHTS):
        self.weights = Path(weights)
        self.loaded: tuple[EmojiRewardNetwork, CaptionWords] | None = None

    def load(self) -> tuple[EmojiRewardNetwork, CaptionWords]:
        if self.loaded is None:
            self.loaded = load_network(self.weights)
        return self.loaded

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        import torch

        from .emoji_reward_network import resized

        check_batch(self.name, images, prompts)
        network, words = self.load()
        ids = words.encode(prompts)
        with torch.inference_mode():
            rewards = [
                network.reward(resized(images[i : i + BATCH]), ids[i : i + BATCH])
                for i in range(0, len(images), BATCH)
            ]
        return finite_scores(self.name, [r for batch in rewards for r in batch.tolist()])

    def image_features(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, H, W, 3) -> (N, 128) features for `frechet_distance`: what is shown, how clean."""
        import torch

        from .emoji_reward_network import resized

        check_batch(self.name, images, [""] * len(images))
        network, _ = self.load()
        rows = []
        with torch.inference_mode():
            for i in range(0, len(images), BATCH):
                embedding, hidden, _ = network.look(resized(images[i : i + BATCH]))
                rows.append(torch.cat([embedding, hidden], 1))
        return torch.cat(rows).numpy()

    def caption_ranks(self, images: torch.Tensor, prompts: Sequence[str], captions: Sequence[str]):
        """For each image, how many of `captions` fit it better than its own prompt: (N,) int64.

        0 is a perfect retrieval, below 5 is a top-5 retrieval. `captions` may hold the prompts.
        """
        import torch

        from .emoji_reward_network import resized

        check_batch(self.name, images, prompts)
        network, words = self.load()
        with torch.inference_mode():
            gallery = network.caption(words.encode(captions))
            own = network.caption(words.encode(prompts))
            ranks = []
            for i in range(0, len(images), BATCH):
                seen, _, _ = network.look(resized(images[i : i + BATCH]))
                # A hair of slack, so that a caption is never ranked above its own copy.
                mine = (seen * own[i : i + BATCH]).sum(1, keepdim=True) + 1e-5
                ranks.append((seen @ gallery.T > mine).sum(1))
        return torch.cat(ranks).numpy()

    def unload(self) -> None:
        self.loaded = None


def load_network(path: Path) -> tuple[EmojiRewardNetwork, CaptionWords]:
    from safetensors import SafetensorError, safe_open

    from .emoji_reward_network import CaptionWords, EmojiRewardNetwork

    if not path.is_file():
        raise ScorerError(
            f"The weights of Emoji-Reward were not found at '{path}', expected the file that comes "
            "with the pack; install the pack again, or train it with `python -m demo.train.reward`."
        )
    try:
        with safe_open(path, framework="pt") as file:
            words = (file.metadata() or {})["words"].split()
            state = {name: file.get_tensor(name).float() for name in file.keys()}
        network = EmojiRewardNetwork(len(words) + 2)
        counters = {k: v for k, v in network.state_dict().items() if k.endswith("_tracked")}
        network.load_state_dict(state | counters)
    except (SafetensorError, KeyError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ScorerError(
            f"'{path}' holds no weights of Emoji-Reward ({reason}), expected the file that comes "
            "with the pack; install the pack again."
        ) from error
    return network.eval(), CaptionWords(words)
