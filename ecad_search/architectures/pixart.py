"""PixArt-alpha and PixArt-Sigma: 28 equal blocks of self-attention, cross-attention and MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture, BlockGroup, Component, Dimensions, Family, MacFormula

TIMESTEP_FREQUENCIES = 256
MODULATION_CHUNKS = 6  # shift, scale and gate of attention and MLP, one linear for all blocks


def self_attention_macs(d: Dimensions) -> int:
    """q, k, v and output projection."""
    return 4 * d.hidden**2 * d.image_tokens * d.batch


def self_attention_products(d: Dimensions) -> int:
    """Scores and values, image tokens against image tokens."""
    return 2 * d.image_tokens**2 * d.hidden * d.batch


def cross_attention_macs(d: Dimensions) -> int:
    """q and output projection of the image tokens, k and v of the text tokens."""
    return 2 * d.hidden**2 * (d.image_tokens + d.text_tokens) * d.batch


def cross_attention_products(d: Dimensions) -> int:
    return 2 * d.image_tokens * d.text_tokens * d.hidden * d.batch


def mlp_macs(mlp_ratio: float) -> MacFormula:
    return lambda d: 2 * d.hidden * int(d.hidden * mlp_ratio) * d.image_tokens * d.batch


def base_macs(
    *, patch_area: int, in_channels: int, out_channels: int, caption_channels: int
) -> MacFormula:
    """Everything outside the blocks, which is computed at every step."""

    def macs(d: Dimensions) -> int:
        patches = (in_channels + out_channels) * patch_area * d.hidden * d.image_tokens
        timestep = TIMESTEP_FREQUENCIES * d.hidden + d.hidden**2
        modulation = MODULATION_CHUNKS * d.hidden**2
        caption = (caption_channels * d.hidden + d.hidden**2) * d.text_tokens
        return (patches + timestep + modulation + caption) * d.batch

    return macs


def _make(
    *,
    counts: Mapping[str, int],
    settings: Mapping[str, Any],
    id: str,
    display_name: str,
    size: tuple[tuple[str, int | float], ...],
) -> Architecture:
    components = (
        Component("attn", "attn", "attn1", self_attention_macs, self_attention_products),
        Component(
            "cross_attn", "cross_attn", "attn2", cross_attention_macs, cross_attention_products
        ),
        Component("mlp", "mlp", "ff", mlp_macs(settings["mlp_ratio"])),
    )
    return Architecture(
        id=id,
        display_name=display_name,
        family="pixart",
        groups=(BlockGroup("blocks", "blocks", counts["blocks"], components, kind="pixart"),),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(
            patch_area=settings["patch_size"] ** 2,
            in_channels=settings["in_channels"],
            out_channels=settings["out_channels"],
            caption_channels=settings["caption_channels"],
        ),
        resolution=settings["resolution"],
        size=size,
    )


PIXART_FAMILY = Family(
    name="pixart",
    display_name="PixArt",
    group_names=("blocks",),
    size_defaults={
        "hidden": 1152,
        "pixels_per_token": 16,
        "text_tokens": 120,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 8,
        "caption_channels": 4096,
        "resolution": 1024,
        "mlp_ratio": 4.0,
    },
    make=_make,
)

PIXART = PIXART_FAMILY.build({"blocks": 28}, id="pixart", display_name="PixArt-alpha / Sigma")


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a PixArt-like transformer, or None.

    After comfy/ldm/pixart/pixartms.py at 0.3.75.
    """
    blocks = getattr(model, "blocks", None)
    if blocks is None or not hasattr(model, "hidden_size") or not hasattr(model, "patch_size"):
        return None
    try:
        blocks = list(blocks)
    except TypeError:
        return None
    parts = ("attn", "cross_attn", "mlp")
    if not blocks or not all(hasattr(block, part) for block in blocks for part in parts):
        return None
    size: dict[str, int | float] = {"hidden": model.hidden_size}
    inner = getattr(getattr(blocks[0].mlp, "fc1", None), "out_features", None)
    if isinstance(inner, int):
        size["mlp_ratio"] = inner / model.hidden_size
    patch = model.patch_size
    if isinstance(patch, int):
        size["patch_size"] = patch
        size["pixels_per_token"] = 8 * patch  # the usual VAE; a listed model knows better
    for name in ("in_channels", "out_channels"):
        value = getattr(model, name, None)
        if isinstance(value, int):
            size[name] = value
    embedder = getattr(model, "y_embedder", None)
    captions = getattr(getattr(embedder, "y_embedding", None), "shape", ())
    if len(captions) == 2:
        size["text_tokens"], size["caption_channels"] = map(int, captions)
    return {"counts": {"blocks": len(blocks)}, "size": size}
