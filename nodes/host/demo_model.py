"""Builds the demo models out of the host's own classes: MODEL, CLIP and VAE, no download."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from safetensors import safe_open

from ...demo.networks import (
    CAPTION_TOKENS,
    FLUX_CONFIG,
    LATENT_CHANNELS,
    LATENT_DOWNSCALE,
    PIXART_CONFIG,
    CaptionTokenizer,
    EmojiTextEncoder,
    EmojiVAE,
)
from ...ecad_search.errors import StorageError

DEMO_FOLDER = Path(__file__).resolve().parents[2] / "demo"


def load_demo_model(
    kind: str = "pixart",
) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Emoji-PixArt or Emoji-FLUX as (MODEL, CLIP, VAE).

    `kind` is one of BUILDERS. Raises StorageError when its weights are missing.
    """
    weights, metadata = read_weights(DEMO_FOLDER / f"emoji-{kind}.safetensors")
    vae_weights, _ = read_weights(DEMO_FOLDER / "emoji-vae.safetensors")
    mean, std = float(vae_weights.pop("latent_mean")), float(vae_weights.pop("latent_std"))
    model = BUILDERS[kind](EmojiLatent(mean, std))
    give_weights(model, with_prefix(weights, "transformer."))
    clip = build_clip(with_prefix(weights, "text."), metadata["words"].split())
    return patcher_of(model), clip, DemoVAE(vae_weights)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name).float() for name in names}, file.metadata() or {}
    except Exception as error:
        raise StorageError(
            f"The demo model's file '{path.name}' cannot be read ({error}); "
            "install the pack again, its demo folder must hold the .safetensors files."
        ) from error


def with_prefix(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


class EmojiLatent(comfy.latent_formats.LatentFormat):
    """One latent channel; the transformer sees it with mean 0 and standard deviation 1."""

    latent_channels = LATENT_CHANNELS

    def __init__(self, mean: float, std: float):
        self.mean, self.std = mean, std
        self.scale_factor = 1 / std
        self.latent_rgb_factors = [[0.3, 0.3, 0.3]]  # a grey preview

    def process_in(self, latent):
        return (latent - self.mean) / self.std

    def process_out(self, latent):
        return latent * self.std + self.mean


def build_pixart(latent_format: EmojiLatent) -> comfy.model_base.BaseModel:
    config = comfy.supported_models.PixArtAlpha(PIXART_CONFIG)
    config.sampling_settings = {"shift": 1.0, "multiplier": 1000}
    config.latent_format = latent_format  # pyright: ignore[reportAttributeAccessIssue]
    config.set_inference_dtype(torch.float32, None)
    return comfy.model_base.PixArt(config, model_type=comfy.model_base.ModelType.FLOW)


def build_flux(latent_format: EmojiLatent) -> comfy.model_base.BaseModel:
    """As schnell: no guidance embedding, noise levels without a shift."""
    from comfy.ldm.flux.model import FluxParams

    settings = dict(FLUX_CONFIG)
    if "txt_ids_dims" in {field.name for field in fields(FluxParams)}:
        settings["txt_ids_dims"] = []  # since 0.4; FLUX.1's text tokens have no positions
    config = comfy.supported_models.FluxSchnell(settings)
    config.latent_format = latent_format  # pyright: ignore[reportAttributeAccessIssue]
    config.set_inference_dtype(torch.float32, None)
    return comfy.model_base.Flux(config, model_type=comfy.model_base.ModelType.FLOW)


BUILDERS = {"pixart": build_pixart, "flux": build_flux}


def give_weights(model: comfy.model_base.BaseModel, weights: dict[str, torch.Tensor]) -> None:
    """By the host's names of today: it renames what checkpoints call otherwise."""
    named = model.model_config.process_unet_state_dict(weights)
    missing, unexpected = model.diffusion_model.load_state_dict(named, strict=False)
    if missing or unexpected:
        raise StorageError(
            f"The demo model's weights do not fit the host's {type(model.diffusion_model).__name__}"
            f": missing {missing[:3]}, unexpected {unexpected[:3]}; install the pack again."
        )
    model.eval()


def patcher_of(model: comfy.model_base.BaseModel) -> comfy.model_patcher.ModelPatcher:
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


class EmojiTokenizer:
    """The tokenizer protocol of `comfy.sd.CLIP`; understands (word:1.2) like every other one."""

    def __init__(self, words: list[str]):
        self.words = words
        self.captions = CaptionTokenizer(words)

    def __call__(self, embedding_directory=None, tokenizer_data=None) -> EmojiTokenizer:
        return self  # the host "constructs" its tokenizer with these two arguments

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any):
        tokens: list[tuple] = []
        escaped = comfy.sd1_clip.escape_important(text)
        for segment, weight in comfy.sd1_clip.token_weights(escaped, 1.0):
            for word in CaptionTokenizer.split(comfy.sd1_clip.unescape_important(segment)):
                tokens.append((self.captions.lookup(word), weight))
        tokens = tokens[:CAPTION_TOKENS]
        tokens += [(CaptionTokenizer.PAD, 1.0)] * (CAPTION_TOKENS - len(tokens))
        if return_word_ids:
            tokens = [(*token, i + 1) for i, token in enumerate(tokens)]
        return {"emoji": [tokens]}

    def untokenize(self, token_weight_pair):
        names = ["", "?", *self.words]
        return [(pair, names[int(pair[0])]) for pair in token_weight_pair]

    def state_dict(self) -> dict:
        return {}


class EmojiClip(torch.nn.Module):
    """The text encoder protocol of `comfy.sd.CLIP` around EmojiTextEncoder. Always float32."""

    def __init__(
        self, weights=None, vocabulary: int = 0, dtype=None, device=None, model_options=None
    ):
        super().__init__()
        self.encoder = EmojiTextEncoder(vocabulary)
        if weights is not None:
            self.encoder.load_state_dict(weights)
        self.dtypes = {torch.float32}
        self.to(device)

    def set_clip_options(self, options):
        pass

    def reset_clip_options(self):
        pass

    def encode_token_weights(self, token_weight_pairs):
        rows = token_weight_pairs["emoji"]
        device = self.encoder.position.device
        ids = torch.tensor([[token[0] for token in row] for row in rows], device=device)
        weights = torch.tensor([[token[1] for token in row] for row in rows], device=device)
        states = self.encoder(ids)  # (rows, CAPTION_TOKENS, CAPTION_WIDTH)
        if bool((weights != 1).any()):
            empty = self.encoder(torch.zeros_like(ids))
            states = empty + (states - empty) * weights[..., None]
        states = states.reshape(1, -1, states.shape[-1])
        states = states.to(comfy.model_management.intermediate_device())
        return states, states.mean(1)

    def load_sd(self, sd):
        return self.load_state_dict(sd, strict=False)


def build_clip(weights: dict[str, torch.Tensor], words: list[str]) -> comfy.sd.CLIP:
    target = comfy.supported_models_base.ClipTarget(EmojiTokenizer(words), EmojiClip)
    target.params = {"weights": weights, "vocabulary": len(words) + 2}
    return comfy.sd.CLIP(target, parameters=comfy.utils.calculate_parameters(weights))


class DemoVAE(comfy.sd.VAE):
    """EmojiVAE in the host's VAE class, which brings its batching, tiling and memory management."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        # Initialised as the host's weightless pixel-space VAE: every attribute that a release of
        # ComfyUI expects is then there, and the handful below is all that differs.
        super().__init__(sd={"pixel_space_vae": torch.ones(())})
        self.first_stage_model = EmojiVAE().eval()
        self.first_stage_model.load_state_dict(weights)
        self.vae_dtype = torch.float32
        self.latent_channels = LATENT_CHANNELS
        self.downscale_ratio = self.upscale_ratio = LATENT_DOWNSCALE
        self.process_input = lambda image: image * 2.0 - 1.0
        # In place and returned: newer hosts (0.20) ignore what this returns.
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.memory_used_encode = lambda shape, dtype: 400 * shape[2] * shape[3]
        self.memory_used_decode = lambda shape, dtype: 1600 * shape[2] * shape[3]
        self.size = None
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.first_stage_model,
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )

    def vae_encode_crop_pixels(self, pixels):
        """Crop to multiples of 4 px, the VAE's inner grid, rather than of the latent's 2."""
        height, width = (pixels.shape[i] // 4 * 4 for i in (1, 2))
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return pixels[:, top : top + height, left : left + width, :3]
