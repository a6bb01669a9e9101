"""The networks of the demo that ComfyUI has no class for: a tiny VAE and a tiny text encoder.

The diffusion transformers themselves are not here: they are the host's own `PixArtMS` and `Flux`,
see `nodes/host/demo_model.py`.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import nn

IMAGE_SIZE = 96  # pixels a side the model was trained on
LATENT_CHANNELS = 1
LATENT_DOWNSCALE = 2  # 96 px -> 48 latent cells; PixArtMS divides by zero below 33
CAPTION_TOKENS = 16
CAPTION_WIDTH = 96

PIXART_CONFIG = {
    "image_model": "pixart_alpha",
    "patch_size": 6,
    "in_channels": LATENT_CHANNELS,
    "hidden_size": 160,
    "depth": 10,
    "num_heads": 5,
    "mlp_ratio": 4.0,
    "caption_channels": CAPTION_WIDTH,
    "model_max_length": CAPTION_TOKENS,
    "input_size": 48,
    "pe_interpolation": 1,
    "micro_condition": False,
    "pred_sigma": False,
}

# FLUX.1's ratio of double to single blocks, and as many tokens as Emoji-PixArt has. Without the
# guidance embedding, which a teacher would have to be distilled into: sampled with CFG instead.
FLUX_CONFIG = {
    "image_model": "flux",
    "patch_size": 6,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "vec_in_dim": CAPTION_WIDTH,
    "context_in_dim": CAPTION_WIDTH,
    "hidden_size": 160,
    "depth": 3,
    "depth_single_blocks": 6,
    "num_heads": 5,
    "mlp_ratio": 4.0,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": False,
}


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.second(F.silu(self.first(F.silu(x))))


class EmojiVAE(nn.Module):
    """(N, 3, H, W) in [-1, 1] <-> (N, 1, H/2, W/2) in [-3, 3]; H and W are multiples of 4.

    Works on a quarter of the resolution inside; `pixel_shuffle` lays its four latent channels out
    as one channel of half the resolution, which is the smallest grid PixArtMS accepts.
    """

    def __init__(self, encoder_width: int = 48, decoder_width: int = 72, pixel_width: int = 32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, encoder_width, 3, padding=1),
            ResidualBlock(encoder_width),
            ResidualBlock(encoder_width),
            nn.SiLU(),
            nn.Conv2d(encoder_width, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.decoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, decoder_width, 3, padding=1),
            ResidualBlock(decoder_width),
            ResidualBlock(decoder_width),
            ResidualBlock(decoder_width),
            nn.Conv2d(decoder_width, 4 * pixel_width, 1),
            nn.PixelShuffle(2),
            ResidualBlock(pixel_width),
            nn.SiLU(),
            nn.Conv2d(pixel_width, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def encode(self, x):
        return 3 * torch.tanh(self.encoder(x) / 3)

    def decode(self, z, **_):
        return self.decoder(z)


class CaptionTokenizer:
    """Words -> ids of a closed vocabulary, CAPTION_TOKENS of them; 0 pads, 1 is unknown."""

    PAD, UNKNOWN = 0, 1

    def __init__(self, words: list[str]):
        self.ids = {word: i + 2 for i, word in enumerate(words)}

    @staticmethod
    def split(text: str) -> list[str]:
        return re.findall(r"[a-z0-9]+", text.lower())

    def encode(self, text: str) -> list[int]:
        ids = [self.lookup(word) for word in self.split(text)][:CAPTION_TOKENS]
        return ids + [self.PAD] * (CAPTION_TOKENS - len(ids))

    def lookup(self, word: str) -> int:
        for form in (word, word.removesuffix("s"), word + "s"):
            if form in self.ids:
                return self.ids[form]
        return self.UNKNOWN


class TextLayer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x, mask):
        n, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.proj(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class EmojiTextEncoder(nn.Module):
    """(N, CAPTION_TOKENS) token ids -> (N, CAPTION_TOKENS, CAPTION_WIDTH) caption states."""

    def __init__(self, vocabulary: int, width: int = CAPTION_WIDTH, depth: int = 2, heads: int = 4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(CAPTION_TOKENS, width) * 0.02)
        self.layers = nn.ModuleList(TextLayer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids):
        # Every token may look at real words and at the first slot, so an empty caption is no 0/0.
        mask = ids != CaptionTokenizer.PAD
        mask[:, 0] = True
        x = self.embedding(ids) + self.position
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        return self.norm(x)
