"""The network of Emoji-Reward: an image tower, a caption tower, a quality head; 0.57 M parameters.

Its own file because it needs torch at import; `emoji_reward.py` imports it when it loads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

IMAGE_SIZE = 96  # pixels a side the network looks at; other sizes are resized to it
CAPTION_TOKENS = 24
EMBEDDING = 64
QUALITY_HIDDEN = 64


class CaptionWords:
    """Words -> ids of a closed vocabulary. 0 pads, 1 is any unknown word."""

    def __init__(self, words: Sequence[str]):
        self.ids = {word: i + 2 for i, word in enumerate(words)}

    def encode(self, captions: Sequence[str]) -> torch.Tensor:
        """(N, CAPTION_TOKENS) int64."""
        rows = torch.zeros(len(captions), CAPTION_TOKENS, dtype=torch.int64)
        for row, text in zip(rows, captions, strict=True):
            words = re.findall(r"[a-z0-9]+", text.lower())[:CAPTION_TOKENS]
            for i, word in enumerate(words):
                row[i] = self.lookup(word)
        return rows

    def lookup(self, word: str) -> int:
        for form in (word, word.removesuffix("s"), word + "s"):
            if form in self.ids:
                return self.ids[form]
        return 1


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    padding = (size - stride + 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, bias=False), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.first = convolution(width, inner)
        self.second = convolution(inner, width)

    def forward(self, x):
        return F.relu(x + self.second(F.relu(self.first(x))))


class CaptionTower(nn.Module):
    """(N, CAPTION_TOKENS) ids -> (N, EMBEDDING) of length 1.

    A convolution over three words is what tells "a green background" from "green apple".
    """

    def __init__(self, vocabulary: int, width: int = 64, hidden: int = 128):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.trigrams = nn.Conv1d(width, hidden, 3, padding=1)
        self.out = nn.Linear(2 * hidden, EMBEDDING)

    def forward(self, ids):
        real = (ids != 0).unsqueeze(1)  # (N, 1, T)
        x = F.relu(self.trigrams(self.embedding(ids).transpose(1, 2))) * real  # (N, hidden, T)
        mean = x.sum(2) / real.sum(2).clamp(min=1)
        return F.normalize(self.out(torch.cat([mean, x.amax(2)], 1)), dim=1)


class EmojiRewardNetwork(nn.Module):
    """Images (N, 3, 96, 96) in [0, 1] and captions -> alignment and quality.

    The two ranges are set after training: what alignment a wrong and a right caption reach, and
    what quality a destroyed and a clean picture reach.
    """

    alignment_range: torch.Tensor
    quality_range: torch.Tensor

    def __init__(self, vocabulary: int):
        super().__init__()
        self.stem = convolution(3, 48, size=8, stride=4)  # (N, 48, 24, 24)
        self.down1 = convolution(48, 64, size=4, stride=2)  # (N, 64, 12, 12)
        self.body1 = Residual(64, 64)
        self.down2 = convolution(64, 128, size=4, stride=2)  # (N, 128, 6, 6)
        self.body2 = Residual(128, 64)
        self.align = nn.Linear(128 * 5, EMBEDDING)
        self.caption = CaptionTower(vocabulary)
        self.quality = nn.Sequential(
            nn.Linear(2 * (48 + 64 + 128), QUALITY_HIDDEN), nn.ReLU(), nn.Linear(QUALITY_HIDDEN, 1)
        )
        self.log_temperature = nn.Parameter(torch.tensor(2.3))
        self.register_buffer("alignment_range", torch.tensor([0.0, 1.0]))
        self.register_buffer("quality_range", torch.tensor([0.0, 1.0]))

    def look(self, images):
        """(N, EMBEDDING) of length 1, (N, QUALITY_HIDDEN) and (N,) predicted quality."""
        fine = F.relu(self.stem(images * 2 - 1))
        middle = self.body1(F.relu(self.down1(fine)))
        coarse = self.body2(F.relu(self.down2(middle)))
        where = torch.cat([F.adaptive_avg_pool2d(coarse, 2).flatten(1), coarse.amax((2, 3))], 1)
        statistics = [f(x, (2, 3)) for x in (fine, middle, coarse) for f in (torch.mean, spread)]
        hidden = self.quality[:2](torch.cat(statistics, 1))
        return F.normalize(self.align(where), dim=1), hidden, self.quality[2](hidden)[:, 0]

    def reward(self, images, ids):
        """(N,): about 1 for a clean picture with its caption, below 0 when either is wrong."""
        embedding, _, quality = self.look(images)
        alignment = (embedding * self.caption(ids)).sum(1)
        low, high = self.alignment_range
        misaligned = (high - alignment) / (high - low)
        low, high = self.quality_range
        damaged = (high - quality) / (high - low)
        return 1 - 1.5 * misaligned - 1.5 * damaged


def spread(x, dimensions):
    return x.var(dimensions, correction=0).add(1e-5).sqrt()


def resized(images: torch.Tensor) -> torch.Tensor:
    """(N, H, W, 3) -> (N, 3, IMAGE_SIZE, IMAGE_SIZE); the area is averaged when it shrinks."""
    x = images.cpu().float().clamp(0, 1).permute(0, 3, 1, 2)
    if tuple(x.shape[2:]) == (IMAGE_SIZE, IMAGE_SIZE):
        return x
    return F.interpolate(
        x, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True, align_corners=False
    )
