"""Cosmos-Predict2: pictures and films by equal blocks of self-attention, cross-attention and MLP.

After comfy/ldm/cosmos/predict2.py at 0.3.75. Text-to-image and image-to-film models have the same
blocks, whose tokens lie in five dimensions: (N, frames, rows, columns, C). Anima of newer hosts is
this transformer behind another text encoder.
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

MODULATIONS = 3  # of each block: of each component one, with shift, scale and gate


def self_attention_macs(d: Dimensions) -> int:
    """q, k, v and output projection."""
    return 4 * d.hidden**2 * d.image_tokens * d.batch


def self_attention_products(d: Dimensions) -> int:
    """Scores and values, all tokens of the film against all of them."""
    return 2 * d.image_tokens**2 * d.hidden * d.batch


def cross_attention_macs(context_channels: int) -> MacFormula:
    """q and output projection of the film, k and v of the text as it comes from its encoder."""

    def macs(d: Dimensions) -> int:
        text = context_channels * d.text_tokens
        return 2 * d.hidden * (d.hidden * d.image_tokens + text) * d.batch

    return macs


def cross_attention_products(d: Dimensions) -> int:
    return 2 * d.image_tokens * d.text_tokens * d.hidden * d.batch


def mlp_macs(width: int) -> MacFormula:
    return lambda d: 2 * d.hidden * width * d.image_tokens * d.batch


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything outside the components, for one timestep; a film that starts from given frames
    has one for each frame, which is not counted."""

    def macs(d: Dimensions) -> int:
        area = settings["patch_size"] ** 2 * settings["patch_frames"]
        channels = settings["in_channels"] + settings["out_channels"]
        patches = channels * area * d.hidden * d.image_tokens
        rank = settings["modulation_rank"]
        timestep = (1 + 3) * d.hidden**2
        blocks = MODULATIONS * counts["blocks"] * (1 + 3) * rank * d.hidden
        last = (1 + 2) * rank * d.hidden
        return (patches + timestep + blocks + last) * d.batch

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
        Component("attn", "self_attn", "attn1", self_attention_macs, self_attention_products),
        Component(
            "cross_attn",
            "cross_attn",
            "attn2",
            cross_attention_macs(settings["context_channels"]),
            cross_attention_products,
        ),
        Component("mlp", "mlp", "ff", mlp_macs(settings["mlp_width"])),
    )
    return Architecture(
        id=id,
        display_name=display_name,
        family="cosmos_predict2",
        groups=(BlockGroup("blocks", "blocks", counts["blocks"], components),),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        frames=settings["frames"],
        frames_per_token=settings["frames_per_token"],
        size=size,
    )


COSMOS_PREDICT2_FAMILY = Family(
    name="cosmos_predict2",
    display_name="Cosmos-Predict2",
    group_names=("blocks",),
    size_defaults={
        "hidden": 2048,
        "mlp_width": 8192,
        "pixels_per_token": 16,
        "frames_per_token": 4,
        "text_tokens": 512,
        "patch_size": 2,
        "patch_frames": 1,
        "in_channels": 17,  # of the latent, and a mask that says what is no padding
        "out_channels": 16,
        "context_channels": 1024,
        "modulation_rank": 256,
        "resolution": 1024,
        "frames": 1,  # the image-to-film models of the same size make 93
    },
    make=_make,
    inputs=lambda _: CallInputs(latents=()),
)

COSMOS_PREDICT2_2B = COSMOS_PREDICT2_FAMILY.build(
    {"blocks": 28}, id="cosmos-predict2-2b", display_name="Cosmos-Predict2 2B"
)
COSMOS_PREDICT2_14B = COSMOS_PREDICT2_FAMILY.build(
    {"blocks": 36},
    id="cosmos-predict2-14b",
    display_name="Cosmos-Predict2 14B",
    hidden=5120,
    mlp_width=20480,
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a Cosmos-Predict2 transformer, or None.

    Only models with a modulation of low rank, which the public ones have.
    """
    blocks = block_list(
        model, "blocks", "self_attn", "cross_attn", "mlp.layer1", "adaln_modulation_mlp.2"
    )
    hidden = whole(model, hidden="model_channels").get("hidden")
    if blocks is None or hidden is None or at(model, "t_embedding_norm") is None:
        return None
    size: dict[str, int | float] = {"hidden": hidden}
    size |= whole(
        model,
        patch_size="patch_spatial",
        patch_frames="patch_temporal",
        out_channels="out_channels",
    )
    mlp = linear_size(blocks[0], "mlp.layer1")
    text = linear_size(blocks[0], "cross_attn.k_proj")
    modulation = linear_size(blocks[0], "adaln_modulation_mlp.1")
    if mlp is not None and text is not None and modulation is not None:
        size["mlp_width"] = mlp.outputs
        size["context_channels"] = text.inputs
        size["modulation_rank"] = modulation.outputs
    patches = linear_size(model, "x_embedder.proj.1")
    if patches is not None:
        area = size.get("patch_size", 2) ** 2 * size.get("patch_frames", 1)
        size["in_channels"] = patches.inputs // int(area)
    return {"counts": {"blocks": len(blocks)}, "size": size}
