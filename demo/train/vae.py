"""Train the demo VAE: `python -m demo.train.vae --emoji DIR --data DIR --minutes 12`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ..networks import IMAGE_SIZE, EmojiVAE
from .pictures import BACKGROUNDS, Picture, load_pictures, on_background

LATENT_NOISE = 0.1  # teaches the decoder to forgive small errors of the diffusion model


def random_batch(pictures: list[Picture], count: int, rng: np.random.Generator) -> torch.Tensor:
    """(count, 3, size, size) in [-1, 1]. Shifted and mirrored: the VAE must not learn positions."""
    colours = list(BACKGROUNDS)
    images = []
    for i in rng.integers(len(pictures), size=count):
        image = on_background(pictures[i], colours[rng.integers(len(colours))])
        image = np.roll(image, rng.integers(-8, 9, size=2), axis=(0, 1))
        images.append(image[:, ::-1] if rng.random() < 0.5 else image)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) * 2 - 1


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def loss_of(vae: EmojiVAE, x: torch.Tensor) -> torch.Tensor:
    z = vae.encode(x)
    y = vae.decode(z + LATENT_NOISE * torch.randn_like(z))
    sharpness = sum(F.l1_loss(a, b) for a, b in zip(edges(y), edges(x), strict=True))
    coarse = F.l1_loss(F.avg_pool2d(y, 4), F.avg_pool2d(x, 4))
    return F.l1_loss(y, x) + sharpness + 0.5 * coarse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--out", type=Path, default=Path("demo/emoji-vae.safetensors"))
    args = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = load_pictures(args.emoji, args.data, IMAGE_SIZE)
    vae = EmojiVAE()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    start, step, mean = time.monotonic(), 0, None
    while (done := (time.monotonic() - start) / 60 / args.minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        loss = loss_of(vae, random_batch(pictures, 16, rng))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"{100 * done:5.1f} %  step {step}  loss {mean:.4f}", flush=True)
    with torch.no_grad():
        z = vae.encode(random_batch(pictures, 256, rng))
    state = {name: value.half().contiguous() for name, value in vae.state_dict().items()}
    state["latent_mean"], state["latent_std"] = z.mean().float(), z.std().float()
    save_file(state, args.out)
    print(f"latent mean {z.mean():.4f}, std {z.std():.4f} -> {args.out}")


if __name__ == "__main__":
    main()
