"""LTX-Video: films by equal blocks of self-attention, cross-attention and MLP.

A token is one cell of a latent whose cells are 32 x 32 px large and 8 frames long. After
comfy/ldm/lightricks/model.py at 0.3.75. Newer hosts drop the tokens of guiding frames that are
masked out; costs and bytes are a little less then than these formulas say.

LTX-2 is not taken: its blocks make picture and sound at once, with attention between the two, on a
latent that is packed into one row, so a call does not show how many tokens of either there are.
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
from .structure import at, block_list, linear_size

TIMESTEP_FREQUENCIES = 256
MODULATION_CHUNKS = 6  # shift, scale and gate of attention and MLP, one linear for all blocks


def self_attention_macs(d: Dimensions) -> int:
    """q, k, v and output projection."""
    return 4 * d.hidden**2 * d.image_tokens * d.batch


def self_attention_products(d: Dimensions) -> int:
    """Scores and values, all tokens of the film against all of them."""
    return 2 * d.image_tokens**2 * d.hidden * d.batch


def cross_attention_macs(d: Dimensions) -> int:
    """q and output projection of the film, k and v of the text, which is as wide by then."""
    return 2 * d.hidden**2 * (d.image_tokens + d.text_tokens) * d.batch


def cross_attention_products(d: Dimensions) -> int:
    return 2 * d.image_tokens * d.text_tokens * d.hidden * d.batch


def mlp_macs(width: int) -> MacFormula:
    return lambda d: 2 * d.hidden * width * d.image_tokens * d.batch


def base_macs(settings: Mapping[str, Any]) -> MacFormula:
    """Everything outside the blocks. Where a film starts from given frames, every token has a
    timestep of its own, which costs two percent of a call more and is not counted."""

    def macs(d: Dimensions) -> int:
        patches = 2 * settings["channels"] * d.hidden * d.image_tokens
        text = (settings["caption_channels"] + d.hidden) * d.hidden * d.text_tokens
        timestep = (TIMESTEP_FREQUENCIES + d.hidden + MODULATION_CHUNKS * d.hidden) * d.hidden
        return (patches + text + timestep) * d.batch

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
        Component("attn", "attn1", "attn1", self_attention_macs, self_attention_products),
        Component("cross_attn", "attn2", "attn2", cross_attention_macs, cross_attention_products),
        Component("mlp", "ff", "ff", mlp_macs(settings["mlp_width"])),
    )
    group = BlockGroup(
        "transformer_blocks", "transformer_blocks", counts["transformer_blocks"], components
    )
    return Architecture(
        id=id,
        display_name=display_name,
        family="ltxv",
        groups=(group,),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(settings),
        resolution=settings["resolution"],
        frames=settings["frames"],
        frames_per_token=settings["frames_per_token"],
        size=size,
    )


LTXV_FAMILY = Family(
    name="ltxv",
    display_name="LTX-Video",
    group_names=("transformer_blocks",),
    size_defaults={
        "hidden": 2048,
        "mlp_width": 8192,
        "pixels_per_token": 32,
        "frames_per_token": 8,
        "text_tokens": 128,
        "channels": 128,
        "caption_channels": 4096,
        "resolution": 640,  # 768 x 512 px has as many tokens as a square of that side, nearly
        "frames": 97,
    },
    make=_make,
    inputs=lambda _: CallInputs(latents=()),  # guiding frames are part of the latent
)

LTXV_2B = LTXV_FAMILY.build({"transformer_blocks": 28}, id="ltxv-2b", display_name="LTX-Video 2B")
LTXV_13B = LTXV_FAMILY.build(
    {"transformer_blocks": 48},
    id="ltxv-13b",
    display_name="LTX-Video 13B",
    hidden=4096,
    mlp_width=16384,
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of an LTX-Video transformer, or None."""
    blocks = block_list(model, "transformer_blocks", "attn1", "attn2", "ff")
    patches = linear_size(model, "patchify_proj")
    if blocks is None or patches is None:
        return None
    if any(at(block, "audio_attn1") is not None for block in blocks):
        return None
    size: dict[str, int | float] = {"hidden": patches.outputs, "channels": patches.inputs}
    mlp = linear_size(blocks[0], "ff.net.0.proj")
    if mlp is not None:
        size["mlp_width"] = mlp.outputs
    captions = linear_size(model, "caption_projection.linear_1")
    if captions is not None:
        size["caption_channels"] = captions.inputs
    return {"counts": {"transformer_blocks": len(blocks)}, "size": size}
