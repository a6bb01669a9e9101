"""HunyuanDiT: 40 equal blocks of self-attention, cross-attention and MLP.

The text of the cross-attention is that of two encoders in a row, CLIP's and T5's. In the second
half of the blocks a linear layer first takes in what a block of the first half gave; it is not a
component, so it computes at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.architecture import (
    Architecture,
    BlockGroup,
    CallInputs,
    Component,
    Dimensions,
    Family,
    MacFormula,
)
from .structure import at, block_list, linear_size, whole

TIMESTEP_FREQUENCIES = 256
POOLED_CHANNELS = 1024
EXTRA_WIDTH = 4  # of the pooled text's embedder, in widths of the model
T5_WIDTH = 4  # of the T5 text's projection, in widths of T5


def components(settings: Mapping[str, Any]) -> tuple[Component, ...]:
    def self_attention(d: Dimensions) -> int:
        """q, k, v and output projection."""
        return 4 * d.hidden**2 * d.image_tokens * d.batch

    def self_products(d: Dimensions) -> int:
        """Scores and values, image tokens against image tokens."""
        return 2 * d.image_tokens**2 * d.hidden * d.batch

    def cross_attention(d: Dimensions) -> int:
        """q and output projection of the image tokens, k and v of the text tokens."""
        text = settings["text_channels"] * d.text_tokens
        return 2 * d.hidden * (d.hidden * d.image_tokens + text) * d.batch

    def cross_products(d: Dimensions) -> int:
        return 2 * d.image_tokens * d.text_tokens * d.hidden * d.batch

    def mlp(d: Dimensions) -> int:
        return 2 * d.hidden * settings["mlp_width"] * d.image_tokens * d.batch

    return (
        Component("attn", "attn1", "attn1", self_attention, self_products),
        Component("cross_attn", "attn2", "attn2", cross_attention, cross_products),
        Component("mlp", "mlp", "ff", mlp),
    )


def base_macs(blocks: int, settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step."""
    channels = (settings["in_channels"] + settings["out_channels"]) * settings["patch_size"] ** 2
    skips = max(blocks - blocks // 2 - 1, 0)
    text, t5 = settings["text_channels"], settings["t5_channels"]

    def macs(d: Dimensions) -> int:
        patches = channels * d.hidden * d.image_tokens
        joined = skips * 2 * d.hidden**2 * d.image_tokens
        timestep = TIMESTEP_FREQUENCIES * d.hidden + d.hidden**2
        modulation = (blocks + 2) * d.hidden**2  # a shift in each block; shift and scale at the end
        extra = (settings["extra_channels"] + d.hidden) * EXTRA_WIDTH * d.hidden
        t5_tokens = sum(d.side_tokens)
        projected = (t5 + text) * T5_WIDTH * t5 * t5_tokens
        # the mean of T5's tokens looks at itself and all of them
        seen = min(t5_tokens, settings["pooled_tokens"]) + 1
        pooled = (t5 + 2 * t5 * seen + 2 * seen + POOLED_CHANNELS) * t5
        rows = patches + joined + timestep + modulation + extra + projected + pooled
        return rows * d.batch

    return macs


def _make(
    *,
    counts: Mapping[str, int],
    settings: Mapping[str, Any],
    id: str,
    display_name: str,
    size: tuple[tuple[str, int | float], ...],
) -> Architecture:
    return Architecture(
        id=id,
        display_name=display_name,
        family="hunyuan_dit",
        groups=(BlockGroup("blocks", "blocks", counts["blocks"], components(settings)),),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        side_tokens=(settings["t5_tokens"],),
        base_macs=base_macs(counts["blocks"], settings),
        resolution=settings["resolution"],
        size=size,
    )


def inputs(_: Any) -> CallInputs:
    return CallInputs(latents=(), texts=("encoder_hidden_states_t5",))


HUNYUAN_DIT_FAMILY = Family(
    name="hunyuan_dit",
    display_name="HunyuanDiT",
    group_names=("blocks",),
    size_defaults={
        "hidden": 1408,
        "pixels_per_token": 16,
        "text_tokens": 77,
        "t5_tokens": 256,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 8,
        "text_channels": 1024,
        "t5_channels": 2048,
        "pooled_tokens": 256,
        "extra_channels": 1024,  # 3968 before version 1.2, which is told the picture's size
        "mlp_width": 6144,
        "resolution": 1024,
    },
    make=_make,
    inputs=inputs,
)

HUNYUAN_DIT = HUNYUAN_DIT_FAMILY.build(
    {"blocks": 40}, id="hunyuan-dit", display_name="HunyuanDiT 1.2"
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a HunyuanDiT-like transformer, or None.

    After comfy/ldm/hydit at 0.3.75, the same at 0.33.0.
    """
    parts = ("attn1.Wqkv", "attn2.kv_proj", "mlp.fc1", "default_modulation")
    blocks = block_list(model, "blocks", *parts)
    t5 = linear_size(model, "mlp_t5.0")
    if blocks is None or t5 is None or at(model, "pooler") is None:
        return None
    hidden = at(model, "hidden_size")
    if not isinstance(hidden, int):
        return None
    size: dict[str, int | float] = {
        "hidden": hidden,
        "t5_channels": t5.inputs,
        **whole(
            model,
            patch_size="patch_size",
            in_channels="in_channels",
            out_channels="out_channels",
            text_channels="text_states_dim",
            text_tokens="text_len",
            t5_tokens="text_len_t5",
            pooled_tokens="text_len_t5",
            extra_channels="extra_embedder.0.in_features",
            mlp_width="blocks.0.mlp.fc1.out_features",
        ),
    }
    if "patch_size" in size:
        size["pixels_per_token"] = 8 * size["patch_size"]
    return {"counts": {"blocks": len(blocks)}, "size": size}
