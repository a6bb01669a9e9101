"""Wan 2.1 and 2.2: films by equal blocks of self-attention, cross-attention and MLP.

After comfy/ldm/wan/model.py at 0.3.75. Text-to-video, image-to-video and the control variants have
the same blocks. Wan 2.2 14B is two such models, one for the high and one for the low noise levels;
put on both, a schedule gives each the rows of its levels.

VACE has a second list of blocks, which computes at every step, so its cost is another one and it is
a family of its own. What the camera's adapter and Animate's face encoder add to a call (about two
percent of it, where they are given anything) is not counted.

Not of this family are HuMo (a further attention inside each block), Speech-to-Video, WanDancer and
SCAIL (tokens whose number a call does not show) and Animate 2 (it calls parts of the attention by
other names). The autoregressive model is not taken at all: its self-attention fills a cache of its
own, so it has to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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
from .structure import at, block_list, whole

CLIP_CHANNELS = 1280  # of the picture encoder whose tokens stand before the text's
PATCH_AREA = 4  # latent cells in a token: 1 frame, 2 rows, 2 columns
OTHERS_MODULES = ("audio_proj", "audio_injector", "music_injector", "patch_embedding_pose")


def self_attention_macs(d: Dimensions) -> int:
    """q, k, v and output projection."""
    return 4 * d.hidden**2 * d.image_tokens * d.batch


def self_attention_products(d: Dimensions) -> int:
    """Scores and values, all tokens of the film against all of them."""
    return 2 * d.image_tokens**2 * d.hidden * d.batch


def cross_attention_macs(d: Dimensions) -> int:
    """q and output projection of the film, k and v of the text and of the picture encoder."""
    return 2 * d.hidden**2 * (d.image_tokens + d.text_tokens) * d.batch


def cross_attention_products(d: Dimensions) -> int:
    return 2 * d.image_tokens * d.text_tokens * d.hidden * d.batch


def mlp_macs(width: int) -> MacFormula:
    return lambda d: 2 * d.hidden * width * d.image_tokens * d.batch


def base_macs(settings: Mapping[str, Any]) -> MacFormula:
    """Everything outside the blocks. A timestep for each frame, where a film is continued, and the
    projection of a reference picture are not counted."""

    def macs(d: Dimensions) -> int:
        channels = settings["in_channels"] + settings["out_channels"]
        patches = channels * PATCH_AREA * d.hidden * d.image_tokens
        clip = sum(d.side_tokens)
        text = (settings["context_channels"] + d.hidden) * d.hidden * (d.text_tokens - clip)
        picture = (CLIP_CHANNELS + d.hidden) * CLIP_CHANNELS * clip
        # two layers, and shift, scale and gate of attention and MLP for all blocks at once
        timestep = (settings["frequencies"] + 7 * d.hidden) * d.hidden
        return (patches + text + picture + timestep) * d.batch

    return macs


def with_control(
    base: MacFormula, components: tuple[Component, ...], settings: Mapping[str, Any]
) -> MacFormula:
    """`base` and VACE's own blocks: for one control film, components and a projection each, and
    one more projection before the first."""

    def macs(d: Dimensions) -> int:
        block = sum(c.macs(d) + c.attention_macs(d) for c in components)
        projection = d.hidden**2 * d.image_tokens * d.batch
        patches = settings["control_channels"] * PATCH_AREA * d.hidden * d.image_tokens * d.batch
        layers = settings["control_layers"]
        return base(d) + layers * (block + projection) + projection + patches

    return macs


def _make(
    family: str,
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
            "cross_attn", "cross_attn", "attn2", cross_attention_macs, cross_attention_products
        ),
        Component("mlp", "ffn", "ff", mlp_macs(settings["mlp_width"])),
    )
    base = base_macs(settings)
    if "control_layers" in settings:
        base = with_control(base, components, settings)
    return Architecture(
        id=id,
        display_name=display_name,
        family=family,
        groups=(BlockGroup("blocks", "blocks", counts["blocks"], components),),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base,
        resolution=settings["resolution"],
        frames=settings["frames"],
        frames_per_token=settings["frames_per_token"],
        size=size,
    )


def inputs(model: Any) -> CallInputs:
    """Films set after the picture, a reference picture where the model projects one, and CLIP."""
    reference = ("reference_latent",) if at(model, "ref_conv") is not None else ()
    clip = "clip_fea" if at(model, "img_emb") is not None else ""
    return CallInputs(("time_dim_concat", "context_latents", *reference), (clip,))


SIZES: dict[str, int | float] = {
    "hidden": 5120,
    "mlp_width": 13824,
    "pixels_per_token": 16,
    "frames_per_token": 4,
    "text_tokens": 512,
    "in_channels": 16,
    "out_channels": 16,
    "context_channels": 4096,
    "frequencies": 256,
    "resolution": 640,  # 832 x 480 px has as many tokens as a square of that side
    "frames": 81,
}

WAN_FAMILY = Family(
    name="wan",
    display_name="Wan",
    group_names=("blocks",),
    size_defaults=SIZES,
    make=partial(_make, "wan"),
    inputs=inputs,
)

WAN_VACE_FAMILY = Family(
    name="wan_vace",
    display_name="Wan VACE",
    group_names=("blocks",),
    size_defaults={**SIZES, "control_layers": 8, "control_channels": 96},
    make=partial(_make, "wan_vace"),
    inputs=inputs,
)

WAN_14B = WAN_FAMILY.build({"blocks": 40}, id="wan-14b", display_name="Wan 2.1 / 2.2 14B")
WAN_5B = WAN_FAMILY.build(
    {"blocks": 30},
    id="wan-5b",
    display_name="Wan 2.2 5B",
    hidden=3072,
    mlp_width=14336,
    pixels_per_token=32,
    in_channels=48,
    out_channels=48,
    resolution=960,
    frames=121,
)
WAN_1_3B = WAN_FAMILY.build(
    {"blocks": 30}, id="wan-1.3b", display_name="Wan 2.1 1.3B", hidden=1536, mlp_width=8960
)
WAN_VACE_14B = WAN_VACE_FAMILY.build(
    {"blocks": 40}, id="wan-vace-14b", display_name="Wan 2.1 VACE 14B"
)
WAN_VACE_1_3B = WAN_VACE_FAMILY.build(
    {"blocks": 30},
    id="wan-vace-1.3b",
    display_name="Wan 2.1 VACE 1.3B",
    hidden=1536,
    mlp_width=8960,
    control_layers=15,
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a Wan transformer without control blocks, or None."""
    return None if at(model, "vace_blocks") is not None else _found(model)


def detect_vace(model: Any) -> Mapping[str, Any] | None:
    found, control = _found(model), block_list(model, "vace_blocks", "after_proj")
    if found is None or control is None:
        return None
    found["size"]["control_layers"] = len(control)
    found["size"] |= whole(model, control_channels="vace_in_dim")
    return found


def _found(model: Any) -> dict[str, Any] | None:
    blocks = block_list(model, "blocks", "self_attn", "cross_attn", "ffn")
    if blocks is None or any(at(model, name) is not None for name in OTHERS_MODULES):
        return None
    size = whole(
        model,
        hidden="dim",
        mlp_width="ffn_dim",
        in_channels="in_dim",
        out_channels="out_dim",
        context_channels="text_dim",
        frequencies="freq_dim",
    )
    if "hidden" not in size:
        return None
    # Variants call blocks of the same make in other ways; the class is what tells them apart.
    if any(_class_name(block) != "WanAttentionBlock" for block in blocks):
        return None
    return {"counts": {"blocks": len(blocks)}, "size": size}


def _class_name(block: Any) -> str:
    return type(getattr(block, "_orig_mod", block)).__name__  # what torch.compile wraps
