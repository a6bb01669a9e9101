"""Train a variant of Emoji-PixArt that draws in another style, as a LoRA that ComfyUI loads.

    python -m demo.train.variant --comfyui DIR --emoji FLAT --data DIR --minutes 10

FLAT is a folder of the same emoji as flat drawings (SVG); that needs the package resvg-py. The text
encoder and the VAE stay as they are.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrize

from ..networks import IMAGE_SIZE, CaptionTokenizer, EmojiTextEncoder
from .diffusion import (
    BATCH,
    Captions,
    build_pixart,
    encode_pictures,
    pixart_velocity,
    use_host,
    velocity_loss,
)
from .pictures import load_pictures, vocabulary

RATE = 2e-3


class LowRank(nn.Module):
    """Adds up @ down to a weight; begins as nothing."""

    def __init__(self, weight: torch.Tensor, rank: int):
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, weight.shape[1]) * weight.shape[1] ** -0.5)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))

    def forward(self, weight):
        return weight + self.up @ self.down


def with_low_rank(model: nn.Module, rank: int) -> dict[str, LowRank]:
    """Give every linear layer of the blocks a LowRank; name of the layer -> LowRank."""
    added = {}
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and name.startswith("blocks."):
            added[name] = LowRank(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", added[name])
    return added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--base", type=Path, default=Path("demo/emoji-pixart.safetensors"))
    parser.add_argument("--vae", type=Path, default=Path("demo/emoji-vae.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("demo/emoji-pixart-flat.safetensors"))
    args = parser.parse_args()
    torch.manual_seed(0)

    pictures = load_pictures(args.emoji, args.data, IMAGE_SIZE)
    words = vocabulary(pictures)
    latents = encode_pictures(args.vae, pictures)
    data = Captions(pictures, latents, CaptionTokenizer(words), np.random.default_rng(0))
    use_host(args.comfyui)
    model, text = build_pixart(), EmojiTextEncoder(len(words) + 2)
    base = {name: value.float() for name, value in load_file(args.base).items()}
    for module, prefix in ((model, "transformer."), (text, "text.")):
        module.load_state_dict({name: base[prefix + name] for name in module.state_dict()})
        module.requires_grad_(False)
    added = with_low_rank(model, args.rank)
    optimiser = torch.optim.AdamW(
        [p for layer in added.values() for p in layer.parameters()], lr=RATE, weight_decay=0.0
    )

    mean, step, started, spent = 1.0, 0, time.monotonic(), 0.0
    while spent < args.minutes * 60:
        rate = RATE * min(1, step / 50) * min(1.0, 2 * (1 - spent / 60 / args.minutes))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = velocity_loss(pixart_velocity, model, text, *data.batch(BATCH))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        mean = 0.98 * mean + 0.02 * loss.item()
        spent = time.monotonic() - started
        if step % 20 == 0:
            print(f"{spent / 60:6.1f} min  {step * BATCH:7d} pictures  loss {mean:.4f}", flush=True)

    state = {}
    for name, layer in added.items():
        state[f"diffusion_model.{name}.lora_A.weight"] = layer.down.detach().half()
        state[f"diffusion_model.{name}.lora_B.weight"] = layer.up.detach().half()
    temporary = args.out.with_suffix(".tmp")
    save_file(state, temporary)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    main()
