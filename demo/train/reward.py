"""Train Emoji-Reward: `python -m demo.train.reward --emoji DIR --data DIR --minutes 12`.

Contrastive between pictures and captions, and a quality head that learns to tell, from the picture
alone, how similar a damaged picture still is to the undamaged one. Resumes from its checkpoint.
Needs demo/emoji-vae.safetensors, because every rendered picture has passed through that VAE; learns
better from pictures that demo/train/rendered.py made (`--rendered FILE`).
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ecad_search.scorers.emoji_reward_network import CaptionWords, EmojiRewardNetwork

from ..networks import IMAGE_SIZE, EmojiVAE
from .pictures import BACKGROUNDS, caption, load_pictures, on_background, vocabulary

COLOURS = list(BACKGROUNDS)
PICTURES_PER_BATCH = 32  # each on two backgrounds, so that the background must be told apart
RENDERED_PER_BATCH = 24
PEAK_RATE = 2e-3
VARIANTS = 6  # of every picture and background: original, through the VAE, damaged in the latent


# Damage in pixels: (N, 3, H, W) in [0, 1], (N,) strength in [0, 1] -> damaged. Strength 1 destroys.


def blurred(x, s, rng):
    sigma = 0.3 + 3.5 * s.view(-1, 1)
    offsets = torch.arange(-9, 10.0)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # (3N, 19)
    n, _, height, width = x.shape
    y = F.pad(x, (9, 9, 9, 9), mode="replicate").reshape(1, 3 * n, height + 18, width + 18)
    y = F.conv2d(y, kernel[:, None, :, None], groups=3 * n)
    return F.conv2d(y, kernel[:, None, None, :], groups=3 * n).view(n, 3, height, width)


def noisy(x, s, rng):
    return x + 0.4 * wide(s) * torch.randn(x.shape, generator=rng)


def blocky(x, s, rng):
    """Noise in squares as large as a patch of the transformer, or a half or a third of it."""
    side = int(torch.tensor([4, 6, 12])[torch.randint(3, (), generator=rng)])
    coarse = torch.randn(len(x), 3, IMAGE_SIZE // side, IMAGE_SIZE // side, generator=rng)
    return x + 0.35 * wide(s) * F.interpolate(coarse, scale_factor=side, mode="nearest")


def ghosted(x, s, rng):
    other = x[torch.randperm(len(x), generator=rng)]
    return torch.lerp(x, other, 0.6 * wide(s))


def doubled(x, s, rng):
    dy, dx = torch.randint(3, 14, (2,), generator=rng).tolist()
    return torch.lerp(x, torch.roll(x, (dy, dx), (2, 3)), 0.2 + 0.35 * wide(s))


def posterised(x, s, rng):
    levels = 1 + 9 * (1 - wide(s)) ** 2
    return (x * levels).round() / levels


def displaced(x, s, rng):
    """Squares of 12 px are taken from up to 10 px away."""
    side, cells = 12, IMAGE_SIZE // 12
    shift = torch.randint(-10, 11, (len(x), 2, cells, cells), generator=rng) * wide(s)
    chosen = torch.rand(len(x), 1, cells, cells, generator=rng) < 0.3 + 0.7 * wide(s)
    shift = F.interpolate(shift * chosen, scale_factor=side, mode="nearest") * 2 / IMAGE_SIZE
    line = (torch.arange(IMAGE_SIZE) * 2 + 1) / IMAGE_SIZE - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    return F.grid_sample(
        x, grid + shift.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )


def washed_out(x, s, rng):
    grey = torch.rand(len(x), 1, 1, 1, generator=rng) * 0.6 + 0.3
    mean = x.mean((2, 3), keepdim=True)
    target = torch.where(torch.rand(len(x), 1, 1, 1, generator=rng) < 0.5, grey, mean)
    return torch.lerp(x, target.expand_as(x), 0.95 * wide(s))


def oversaturated(x, s, rng):
    return (x - 0.6) * (1 + 4 * wide(s) ** 2) + 0.6


PIXEL_DAMAGE = {
    "blur": blurred,
    "noise": noisy,
    "block noise": blocky,
    "ghosting": ghosted,
    "double image": doubled,
    "posterised": posterised,
    "displaced patches": displaced,
    "low contrast": washed_out,
    "oversaturated": oversaturated,
}


# Damage in the latent, before the decoder: what a cached diffusion run really does. Same signature,
# on normalised latents (N, 1, 48, 48).


def latent_noise(z, s, rng):
    return z + 1.3 * wide(s) * torch.randn(z.shape, generator=rng)


def latent_patches(z, s, rng):
    """Every 6 x 6 patch gets an error of its own, smooth inside: a wrong token."""
    coarse = torch.randn(len(z), 4, 8, 8, generator=rng)
    tall = F.interpolate(coarse, scale_factor=3, mode="bilinear")
    return z + 1.3 * wide(s) * F.pixel_shuffle(tall, 2)


def latent_blend(z, s, rng):
    return torch.lerp(z, z[torch.randperm(len(z), generator=rng)], 0.65 * wide(s))


def latent_smear(z, s, rng):
    """High frequencies of the four latent channels fade: steps that were not finished."""
    channels = F.pixel_unshuffle(z, 2)
    smooth = F.avg_pool2d(channels, 5, 1, 2, count_include_pad=False)
    return F.pixel_shuffle(torch.lerp(channels, smooth, wide(s)), 2)


def latent_scale(z, s, rng):
    up = torch.rand(len(z), 1, 1, 1, generator=rng) < 0.3
    return z * torch.where(up, 1 + 0.8 * wide(s), 1 - 0.85 * wide(s))


def latent_swap(z, s, rng):
    """Patches of another picture stand in: the structure is wrong where the detail is sharp."""
    other = z[torch.randperm(len(z), generator=rng)]
    mask = torch.rand(len(z), 1, 8, 8, generator=rng) < 0.6 * wide(s)
    return torch.where(F.interpolate(mask.float(), scale_factor=6) > 0, other, z)


LATENT_DAMAGE = (
    latent_noise,
    latent_patches,
    latent_blend,
    latent_smear,
    latent_scale,
    latent_swap,
)


def random_strength(count: int, rng: torch.Generator) -> torch.Tensor:
    """Half of the damage is slight: a good schedule differs little from the uncached run."""
    slight = torch.rand(count, generator=rng) < 0.5
    return torch.rand(count, generator=rng) ** torch.where(slight, 4.0, 1.2)


def wide(s):
    return s.view(-1, 1, 1, 1)


class Pool:
    """Every picture on every background in VARIANTS versions, as bytes, made once."""

    def __init__(self, pictures, vae_file: Path, rng: torch.Generator):
        self.pictures = pictures
        originals = np.stack([[on_background(p, c) for c in COLOURS] for p in pictures])
        state = load_file(vae_file)
        mean, std = state.pop("latent_mean"), state.pop("latent_std")
        vae = EmojiVAE()
        vae.load_state_dict({k: v.float() for k, v in state.items()})
        rows = []
        with torch.no_grad():
            for row in originals.reshape(-1, 61, *originals.shape[2:]):
                x = torch.from_numpy(row).permute(0, 3, 1, 2)
                z = (vae.encode(x * 2 - 1) - mean) / std
                versions = [x, (vae.decode(z * std + mean) + 1) / 2]
                for _ in range(VARIANTS - 2):
                    s = random_strength(len(z), rng)
                    kind = torch.randint(len(LATENT_DAMAGE), (), generator=rng)
                    damaged = LATENT_DAMAGE[kind](z, s, rng)
                    versions.append((vae.decode(damaged * std + mean) + 1) / 2)
                stacked = torch.stack(versions, 1).clamp(0, 1)
                rows.append((stacked * 255).round().to(torch.uint8))
                print(f"pool {len(rows)}", flush=True)
        # (pictures, backgrounds, VARIANTS, 3, H, W)
        self.bytes = torch.cat(rows).view(*originals.shape[:2], VARIANTS, 3, IMAGE_SIZE, IMAGE_SIZE)

        self.rendered: dict[str, torch.Tensor] = {}

    def add_rendered(self, file: Path) -> None:
        self.rendered = load_file(file)
        self.rendered["images"] = self.rendered["images"].permute(0, 3, 1, 2)

    def images(self, picture, colour, variant) -> torch.Tensor:
        return self.bytes[picture, colour, variant].float() / 255

    def captions(self, picture, colour, rng: torch.Generator) -> tuple[list[str], torch.Tensor]:
        """Captions, and which of the batch's pictures each caption fits: (captions, images)."""
        texts, fits = [], []
        for i, c in zip(picture.tolist(), colour.tolist(), strict=True):
            p, draw = self.pictures[i], torch.rand((), generator=rng).item()
            if draw < 0.1:
                texts.append(p.label)
                fits.append(picture == i)
                continue
            tags: tuple[str, ...] = ()
            if draw < 0.3 and p.tags:
                tags = (p.tags[int(torch.randint(len(p.tags), (), generator=rng))],)
            texts.append(caption(p.label, COLOURS[c], tags))
            fits.append((picture == i) & (colour == c))
        return texts, torch.stack(fits)


def similarity(x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """(N,): structural similarity over three scales minus the mean difference; 1 when equal.

    After Wang et al. 2004, with a box window. Windows count by how much they show in either
    picture: most of a picture is flat background, which would hide a blurred shape. The softer
    constants forgive the faint unevenness that every small VAE leaves there.
    """
    total = -(x - clean).abs().mean((1, 2, 3))
    for _ in range(3):
        mx, my = F.avg_pool2d(x, 7, 2), F.avg_pool2d(clean, 7, 2)
        vx = (F.avg_pool2d(x * x, 7, 2) - mx * mx).clamp(min=0)
        vy = (F.avg_pool2d(clean * clean, 7, 2) - my * my).clamp(min=0)
        vxy = F.avg_pool2d(x * clean, 7, 2) - mx * my
        light = (2 * mx * my + 0.01) / (mx * mx + my * my + 0.01)
        local = light * (2 * vxy + 0.003) / (vx + vy + 0.003)
        weight = (vx + vy).sqrt() + 0.02
        total = total + (local * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)) / 3
        x, clean = F.avg_pool2d(x, 2), F.avg_pool2d(clean, 2)
    return total


def damage_some(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Half of the pictures get one kind of pixel damage, some of them two."""
    kinds = list(PIXEL_DAMAGE.values())
    for share in (0.5, 0.15):
        chosen = torch.rand(len(x), generator=rng) < share
        which = torch.randint(len(kinds), (len(x),), generator=rng)
        strength = random_strength(len(x), rng)
        for k, damage in enumerate(kinds):
            rows = torch.nonzero(chosen & (which == k))[:, 0]
            if len(rows):
                x[rows] = damage(x[rows], strength[rows], rng).clamp(0, 1)
    return x


def draw_batch(pool: Pool, words: CaptionWords, rng: torch.Generator):
    """Images, their target quality, caption ids, and which caption fits which image."""
    picture = torch.randperm(len(pool.pictures), generator=rng)[:PICTURES_PER_BATCH]
    picture = picture.repeat_interleave(2)
    two = torch.stack([torch.randperm(6, generator=rng)[:2] for _ in range(PICTURES_PER_BATCH)])
    colour = two.flatten()
    draw = torch.rand(len(picture), generator=rng)
    damaged = 2 + torch.randint(VARIANTS - 2, (len(picture),), generator=rng)
    variant = torch.where(draw < 0.2, 0, torch.where(draw < 0.5, 1, damaged))
    x = damage_some(pool.images(picture, colour, variant), rng)
    if pool.rendered:
        rows = torch.randint(len(pool.rendered["images"]), (RENDERED_PER_BATCH,), generator=rng)
        x = torch.cat([x, pool.rendered["images"][rows].float() / 255])
        picture = torch.cat([picture, pool.rendered["picture"][rows]])
        colour = torch.cat([colour, pool.rendered["colour"][rows]])
    shift = torch.randint(-3, 4, (2,), generator=rng).tolist()
    clean = torch.roll(pool.images(picture, colour, torch.zeros_like(picture)), shift, (2, 3))
    x = torch.roll(x, shift, (2, 3))
    texts, fits = pool.captions(picture, colour, rng)
    return x, similarity(x, clean), words.encode(texts), fits


def loss_of(network: EmojiRewardNetwork, x, quality, ids, fits):
    embedding, _, predicted = network.look(x)
    scale = network.log_temperature.exp().clamp(max=40)
    logits = scale * network.caption(ids) @ embedding.T  # (captions, images)
    right = logits.masked_fill(~fits, -1e4)
    weight = quality.clamp(0.05, 1)  # a destroyed picture need not be recognised
    by_image = (logits.logsumexp(0) - right.logsumexp(0)) * weight
    by_caption = (logits.logsumexp(1) - right.logsumexp(1)) * weight
    match = (by_image.sum() + by_caption.sum()) / (2 * weight.sum())
    # Almost absolute, so that slight damage weighs too.
    return match, F.smooth_l1_loss(predicted, quality, beta=0.02)


@torch.no_grad()
def set_ranges(network: EmojiRewardNetwork, pool: Pool, words: CaptionWords) -> None:
    """Clean pictures with their captions shall be rewarded with 1 on average."""
    picture = torch.arange(len(pool.pictures)).repeat_interleave(2)
    colour = torch.arange(len(picture)) * 5 % 6
    texts = [
        caption(pool.pictures[i].label, COLOURS[c])
        for i, c in zip(picture.tolist(), colour.tolist(), strict=True)
    ]
    captions = network.caption(words.encode(texts))
    seen = [network.look(pool.images(picture, colour, v)) for v in (0, 1)]
    right = torch.stack([(e * captions).sum(1).mean() for e, _, _ in seen]).mean()
    wrong = torch.stack([(e.roll(31, 0) * captions).sum(1).mean() for e, _, _ in seen]).mean()
    rng = torch.Generator().manual_seed(1)
    x = pool.images(picture, colour, torch.zeros_like(picture))
    destroyed = []
    for damage in PIXEL_DAMAGE.values():
        y = damage(x[:64], torch.ones(64), rng).clamp(0, 1)
        destroyed.append(network.look(y)[2].mean())
    network.alignment_range = torch.stack([wrong, right])
    network.quality_range = torch.stack(
        [torch.stack(destroyed).mean(), torch.cat([q for _, _, q in seen]).mean()]
    )


@torch.no_grad()
def report(network: EmojiRewardNetwork, pool: Pool, words: CaptionWords) -> None:
    """Retrieval among all captions and mean reward by kind and strength of damage, to stdout."""
    texts = [caption(p.label, c) for p in pool.pictures for c in COLOURS]
    gallery = network.caption(words.encode(texts))
    picture = torch.arange(len(pool.pictures))
    colour = picture % 6
    answer = picture * 6 + colour
    for variant, name in enumerate(["clean", "VAE", "latent damage 1", "latent damage 2"]):
        x = pool.images(picture, colour, torch.full_like(picture, variant))
        rank = retrieval_rank(network, x, gallery, answer)
        top1, top5 = (rank < 1).float().mean(), (rank < 5).float().mean()
        print(f"{name:18s} top-1 {top1:.3f}  top-5 {top5:.3f}")
    ids = words.encode([texts[i] for i in answer.tolist()])
    clean = pool.images(picture, colour, torch.ones_like(picture))
    print(f"clean {network.reward(clean, ids).mean():.2f}, ", end="")
    print(f"wrong caption {network.reward(clean, ids.roll(31, 0)).mean():.2f}")
    for name, damage in PIXEL_DAMAGE.items():
        line = []
        for s in (0.1, 0.25, 0.5, 0.75, 1.0):
            rng = torch.Generator().manual_seed(2)  # the same noise, stronger
            x = damage(clean, torch.full((len(clean),), s), rng).clamp(0, 1)
            rank = retrieval_rank(network, x, gallery, answer)
            line.append(f"{network.reward(x, ids).mean():6.2f} ({(rank < 5).float().mean():.2f})")
        print(f"{name:18s} reward (top-5) at 0.1 .25 .5 .75 1: " + "  ".join(line))


def retrieval_rank(network, x, gallery, answer):
    scores = network.look(x)[0] @ gallery.T
    return (scores > scores.gather(1, answer[:, None])).sum(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--rendered", type=Path)
    parser.add_argument("--vae", type=Path, default=Path("demo/emoji-vae.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("demo/emoji-reward.safetensors"))
    parser.add_argument("--checkpoint", type=Path, default=Path("demo/train/checkpoint.reward.pt"))
    args = parser.parse_args()
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    pictures = load_pictures(args.emoji, args.data, IMAGE_SIZE)
    vocabulary_words = vocabulary(pictures)
    words = CaptionWords(vocabulary_words)
    pool = Pool(pictures, args.vae, rng)
    if args.rendered:
        pool.add_rendered(args.rendered)
    network = EmojiRewardNetwork(len(vocabulary_words) + 2)
    print(f"{sum(p.numel() for p in network.parameters())} parameters", flush=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    spent, step, means = 0.0, 0, [0.0, 0.0]
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        spent, step = saved["spent"], saved["step"]
        rng.manual_seed(step)
    clock = saved_at = time.monotonic()
    while spent < args.minutes * 60:
        decay = 0.5 + 0.5 * math.cos(math.pi * spent / 60 / args.minutes)
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1, (step + 1) / 100) * decay
        match, quality = loss_of(network, *draw_batch(pool, words, rng))
        optimiser.zero_grad()
        (match + 10 * quality).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        step += 1
        means = [0.98 * m + 0.02 * v.item() for m, v in zip(means, (match, quality), strict=True)]
        now = time.monotonic()
        spent, clock = spent + now - clock, now
        if step % 50 == 0:
            print(
                f"{spent / 60:5.1f} min  step {step}  match {means[0]:.3f}  quality {means[1]:.4f}",
                flush=True,
            )
        if now - saved_at > 120 or spent >= args.minutes * 60:
            saved_at = now
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            temporary = args.checkpoint.with_suffix(".tmp")
            torch.save(state | {"spent": spent, "step": step}, temporary)
            os.replace(temporary, args.checkpoint)
            export(network, pool, words, vocabulary_words, args.out)
    network.eval()
    report(network, pool, words)


def export(network, pool, words, vocabulary_words, path: Path) -> None:
    network.eval()
    set_ranges(network, pool, words)
    state = {k: v.contiguous() for k, v in network.state_dict().items() if "tracked" not in k}
    state = {k: v if k.endswith("_range") else v.half() for k, v in state.items()}
    temporary = path.with_suffix(".tmp")
    save_file(state, temporary, metadata={"words": " ".join(vocabulary_words)})
    os.replace(temporary, path)
    network.train()


if __name__ == "__main__":
    main()
