"""Train Emoji-PixArt or Emoji-FLUX with its text encoder on the host's own class, by flow matching.

    python -m demo.train.diffusion --model pixart --comfyui DIR --emoji DIR --data DIR --minutes 85

Resumes from its checkpoint when it was stopped. Needs demo/emoji-vae.safetensors.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from ..networks import (
    FLUX_CONFIG,
    IMAGE_SIZE,
    PIXART_CONFIG,
    CaptionTokenizer,
    EmojiTextEncoder,
    EmojiVAE,
)
from .pictures import (
    BACKGROUNDS,
    caption,
    held_out_colour,
    load_pictures,
    on_background,
    vocabulary,
)

BATCH = 32
PEAK_RATE = 1.5e-3
CAPTION_DROPOUT = 0.1
COLOURS = list(BACKGROUNDS)


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz, after Jordan et al. 2024, in float32.

    The update is scaled to the root mean square of an Adam update (Liu et al. 2025), so that both
    optimisers share one learning rate. Only for matrices.
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"])
                update = orthogonalised(update) * (0.2 * max(update.shape) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(update, alpha=-group["lr"])


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    x = matrix / (matrix.norm() + 1e-7)
    transposed = x.shape[0] > x.shape[1]
    x = x.T if transposed else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if transposed else x


def use_host(comfyui: Path) -> None:
    """Make the host's modules importable, on the CPU, with an attention that has gradients."""
    sys.path.insert(0, str(comfyui))
    sys.argv = sys.argv[:1]
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.use_pytorch_cross_attention = True


def build_pixart() -> nn.Module:
    """The host's PixArtMS with PIXART_CONFIG, freshly initialised in float32."""
    import comfy.ops
    from comfy.ldm.pixart.pixartms import PixArtMS

    config = {k: v for k, v in PIXART_CONFIG.items() if k != "image_model"}
    model = PixArtMS(**config, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    for name, parameter in model.named_parameters():
        if "scale_shift_table" in name:
            nn.init.normal_(parameter, std=config["hidden_size"] ** -0.5)
        elif parameter.ndim == 1:
            nn.init.zeros_(parameter)
        elif name.startswith(("t_embedder", "t_block")):
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.xavier_uniform_(parameter.flatten(1))
    weights = dict(model.named_parameters())
    for block in range(config["depth"]):
        nn.init.zeros_(weights[f"blocks.{block}.cross_attn.proj.weight"])
    nn.init.zeros_(weights["final_layer.linear.weight"])
    return model.eval()  # eval: PixArt's own caption dropout wants a CUDA device


def build_flux() -> nn.Module:
    """The host's Flux with FLUX_CONFIG, freshly initialised in float32; every block begins as x."""
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    model = Flux(**FLUX_CONFIG, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    for name, parameter in model.named_parameters():
        if "norm." in name:
            nn.init.ones_(parameter)  # of queries and keys
        elif parameter.ndim == 1 or "mod" in name or name.startswith("final_layer"):
            nn.init.zeros_(parameter)
        elif name.startswith(("time_in", "vector_in")):
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.xavier_uniform_(parameter)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            # The host adds to a block's input in place, which a norm needs for its gradient.
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(),))
    return model.eval()


def pixart_velocity(model: nn.Module, x: torch.Tensor, sigma: torch.Tensor, states: torch.Tensor):
    return model(x, sigma * 1000, states)


def flux_velocity(model: nn.Module, x: torch.Tensor, sigma: torch.Tensor, states: torch.Tensor):
    return model(x, sigma, states, y=states.mean(1))


MODELS = {"pixart": (build_pixart, pixart_velocity), "flux": (build_flux, flux_velocity)}


class Captions:
    """Draws (latent, token ids) pairs; the held-out background of a picture is never drawn."""

    def __init__(self, pictures, latents: torch.Tensor, tokenizer: CaptionTokenizer, rng):
        self.pictures, self.latents, self.tokenizer, self.rng = pictures, latents, tokenizer, rng

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        latents, ids = [], []
        for i in self.rng.integers(len(self.pictures), size=count):
            allowed = [c for c in COLOURS if c != held_out_colour(i)]
            colour = allowed[self.rng.integers(len(allowed))]
            latents.append(self.latents[i, COLOURS.index(colour)])
            ids.append(self.tokenizer.encode(self.words(self.pictures[i], colour)))
        return torch.stack(latents), torch.tensor(ids)

    def words(self, picture, colour: str) -> str:
        draw = self.rng.random()
        if draw < CAPTION_DROPOUT:
            return ""
        if draw < 0.2:
            return picture.label  # no background named: any may come
        if draw < 0.4 and picture.tags:
            return caption(picture.label, colour, (str(self.rng.choice(picture.tags)),))
        return caption(picture.label, colour)


def encode_pictures(vae_file: Path, pictures) -> torch.Tensor:
    """(pictures, backgrounds, 1, 48, 48) latents, normalised."""
    state = load_file(vae_file)
    mean, std = state.pop("latent_mean"), state.pop("latent_std")
    vae = EmojiVAE()
    vae.load_state_dict({k: v.float() for k, v in state.items()})
    images = np.stack([[on_background(p, c) for c in COLOURS] for p in pictures])
    x = torch.from_numpy(images).permute(0, 1, 4, 2, 3) * 2 - 1
    with torch.no_grad():
        return torch.stack([(vae.encode(row) - mean) / std for row in x])


def noise_levels(count: int) -> torch.Tensor:
    """Logit-normal, as in SD3, mixed with a uniform fifth so that no level is starved."""
    sigma = torch.sigmoid(torch.randn(count))
    return torch.where(torch.rand(count) < 0.2, torch.rand(count), sigma).clamp(1e-3, 1 - 1e-4)


def velocity_loss(velocity, model: nn.Module, text: nn.Module, x: torch.Tensor, ids: torch.Tensor):
    sigma = noise_levels(len(x))
    noise = torch.randn_like(x)
    level = sigma[:, None, None, None]
    predicted = velocity(model, (1 - level) * x + level * noise, sigma, text(ids))
    return F.mse_loss(predicted, noise - x)


def learning_rate(done: float, step: int) -> float:
    """Warm-up, then flat, then a linear fall to zero over the second half of the budget."""
    return PEAK_RATE * min(1, step / 100) * min(1.0, 2 * (1 - done))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), default="pixart")
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=85)
    parser.add_argument("--text", type=Path, help="a demo model whose text encoder to begin with")
    parser.add_argument("--vae", type=Path, default=Path("demo/emoji-vae.safetensors"))
    parser.add_argument("--out", type=Path, help="default: demo/emoji-MODEL.safetensors")
    parser.add_argument("--checkpoint", type=Path, help="default: demo/train/checkpoint.MODEL.pt")
    args = parser.parse_args()
    args.out = args.out or Path(f"demo/emoji-{args.model}.safetensors")
    args.checkpoint = args.checkpoint or Path(f"demo/train/checkpoint.{args.model}.pt")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    pictures = load_pictures(args.emoji, args.data, IMAGE_SIZE)
    words = vocabulary(pictures)
    data = Captions(pictures, encode_pictures(args.vae, pictures), CaptionTokenizer(words), rng)
    build, velocity = MODELS[args.model]
    use_host(args.comfyui)
    model = nn.ModuleDict({"transformer": build(), "text": EmojiTextEncoder(len(words) + 2)})
    if args.text is not None:
        given = {name.partition("text.")[2]: value for name, value in load_file(args.text).items()}
        model["text"].load_state_dict({name: given[name] for name in model["text"].state_dict()})
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and is_hidden_matrix(n)]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimisers = [
        Muon(matrices, lr=PEAK_RATE, weight_decay=0.01),
        torch.optim.AdamW(others, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    average = {k: v.clone() for k, v in model.state_dict().items()}
    spent, step, mean = 0.0, 0, 1.0
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        average, spent, step = saved["average"], saved["spent"], saved["step"]
        torch.manual_seed(step)
        data.rng = np.random.default_rng(step)

    clock = saved_at = time.monotonic()
    while spent < args.minutes * 60:
        rate = learning_rate(spent / 60 / args.minutes, step)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        loss = velocity_loss(velocity, model["transformer"], model["text"], *data.batch(BATCH))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        decay = min(0.999, step / (step + 100))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - decay)
        mean = 0.99 * mean + 0.01 * loss.item()
        now = time.monotonic()
        spent, clock = spent + now - clock, now
        if step % 50 == 0:
            print(f"{spent / 60:6.1f} min  {step * BATCH:8d} pictures  loss {mean:.4f}", flush=True)
        if now - saved_at > 180:
            saved_at = now
            save(args, model, optimisers, average, spent, step, words)
    save(args, model, optimisers, average, spent, step, words)


def is_hidden_matrix(name: str) -> bool:
    """Between hidden layers, not an embedding, a table or the last layer."""
    outer = ("embedd", "_in.", "final_layer", "scale_shift", "position")
    return not any(part in name for part in outer)


def save(args, model, optimisers, average, spent: float, step: int, words: list[str]) -> None:
    """Checkpoint to resume from, and the averaged weights as the demo loads them."""
    temporary = args.checkpoint.with_suffix(".tmp")
    torch.save(
        {
            "model": model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "average": average,
            "spent": spent,
            "step": step,
        },
        temporary,
    )
    os.replace(temporary, args.checkpoint)
    state = {name: value.half().contiguous() for name, value in average.items()}
    temporary = args.out.with_suffix(".tmp")
    save_file(state, temporary, metadata={"words": " ".join(words)})
    os.replace(temporary, args.out)


if __name__ == "__main__":
    main()
