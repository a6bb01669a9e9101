"""HunyuanVideo, HunyuanVideo 1.5 and HunyuanImage 2.1: FLUX's blocks on films.

After comfy/ldm/hunyuan_video/model.py at 0.3.75, one class for all of them: double blocks, and but
for HunyuanVideo 1.5 single blocks after them. What refines the text before it computes at every
step, as do the projections of the two further encoders that 1.5 and HunyuanImage listen to: ByT5
for lettering and a vision model for a film's first picture. Their tokens join the text's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture, CallInputs, Dimensions, Family, MacFormula
from .flux import TIMESTEP_FREQUENCIES, block_groups, flux_blocks, layer_width
from .structure import at, linear_size, whole

REFINER_BLOCKS = 2
BYT5_CHANNELS = 1472
BYT5_HIDDEN = 2048


def refiner_macs(d: Dimensions, text_tokens: int, context_channels: int) -> int:
    """Two small blocks of self-attention and MLP on the text, modulated by text and timestep."""
    projections = (4 + 2 * 4) * d.hidden**2 * text_tokens
    products = 2 * text_tokens**2 * d.hidden
    blocks = REFINER_BLOCKS * (projections + products + 2 * d.hidden**2)
    embedded = context_channels * d.hidden * text_tokens
    timestep = (TIMESTEP_FREQUENCIES + d.hidden) * d.hidden
    whole_text = (context_channels + d.hidden) * d.hidden
    return blocks + embedded + timestep + whole_text


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything outside the components. Where the first frame is given, it has a modulation of its
    own, which is not counted."""

    def macs(d: Dimensions) -> int:
        channels = settings["in_channels"] + settings["out_channels"]
        patches = channels * settings["patch_area"] * d.hidden * d.image_tokens
        byt5, vision = d.side_tokens or (0, 0)
        letters = (BYT5_CHANNELS + BYT5_HIDDEN + d.hidden) * BYT5_HIDDEN * byt5
        width = settings["vision_channels"]
        picture = (width + d.hidden) * width * vision
        text = refiner_macs(d, d.text_tokens - byt5 - vision, settings["context_channels"])
        embedded = settings["embedders"] * (TIMESTEP_FREQUENCIES + d.hidden) * d.hidden
        if pooled := settings["pooled_channels"]:
            embedded += (pooled + d.hidden) * d.hidden
        # shift, scale, gate: twice for each stream of a double block, once for a single block
        modulation = (12 * counts["double_blocks"] + 3 * counts["single_blocks"] + 2) * d.hidden**2
        return (patches + letters + picture + text + embedded + modulation) * d.batch

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
        family="hunyuan_video",
        groups=block_groups(counts, settings["mlp_ratio"]),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        frames=settings["frames"],
        frames_per_token=settings["frames_per_token"],
        size=size,
    )


def inputs(model: Any) -> CallInputs:
    """A reference film is set before the noise; see the top for the texts."""
    byt5 = "txt_byt5" if at(model, "byt5_in") is not None else ""
    vision = "clip_fea" if at(model, "vision_in") is not None else ""
    return CallInputs(("ref_latent",), (byt5, vision))


HUNYUAN_VIDEO_FAMILY = Family(
    name="hunyuan_video",
    display_name="HunyuanVideo",
    group_names=("double_blocks", "single_blocks"),
    size_defaults={
        "hidden": 3072,
        "pixels_per_token": 16,
        "frames_per_token": 4,
        "text_tokens": 128,  # as long as the prompt, which is not padded
        "patch_area": 4,
        "in_channels": 16,
        "out_channels": 16,
        "context_channels": 4096,
        "pooled_channels": 768,
        "vision_channels": 0,
        "embedders": 2,  # of the timestep; of the guidance and the next timestep where there are
        "resolution": 640,  # 848 x 480 px has as many tokens as a square of that side
        "frames": 73,
        "mlp_ratio": 4.0,
    },
    make=_make,
    inputs=inputs,
    optional=frozenset({"pooled_channels", "vision_channels"}),
)

HUNYUAN_VIDEO = HUNYUAN_VIDEO_FAMILY.build(
    {"double_blocks": 20, "single_blocks": 40}, id="hunyuan-video", display_name="HunyuanVideo"
)
HUNYUAN_VIDEO_1_5 = HUNYUAN_VIDEO_FAMILY.build(
    {"double_blocks": 54, "single_blocks": 0},
    id="hunyuan-video-1.5",
    display_name="HunyuanVideo 1.5",
    hidden=2048,
    patch_area=1,
    in_channels=65,
    out_channels=32,
    context_channels=3584,
    pooled_channels=0,
    vision_channels=1152,
    embedders=1,
    frames=121,
)
HUNYUAN_IMAGE = HUNYUAN_VIDEO_FAMILY.build(
    {"double_blocks": 20, "single_blocks": 40},
    id="hunyuan-image-2.1",
    display_name="HunyuanImage 2.1",
    hidden=3584,
    pixels_per_token=32,
    frames_per_token=1,
    patch_area=1,
    in_channels=64,
    out_channels=64,
    context_channels=3584,
    pooled_channels=0,
    embedders=1,
    resolution=2048,
    frames=1,
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a HunyuanVideo-like transformer, or None."""
    patch = getattr(model, "patch_size", None)
    if not isinstance(patch, list | tuple) or at(model, "txt_in.individual_token_refiner") is None:
        return None
    blocks = flux_blocks(model)
    if blocks is None:
        return None
    double, single = blocks
    size: dict[str, int | float] = {"hidden": model.hidden_size, "patch_area": 1}
    for side in patch:
        size["patch_area"] *= int(side)
    if double and isinstance(inner := layer_width(double[0].img_mlp, 0), int):
        size["mlp_ratio"] = inner / model.hidden_size
    size |= whole(model, in_channels="in_channels", out_channels="out_channels")
    text = linear_size(model, "txt_in.input_embedder")
    if text is not None:
        size["context_channels"] = text.inputs
    pooled, vision = (
        linear_size(model, "vector_in.in_layer"),
        linear_size(model, "vision_in.proj.1"),
    )
    size["pooled_channels"] = 0 if pooled is None else pooled.inputs
    size["vision_channels"] = 0 if vision is None else vision.inputs
    embedders = ("time_in", "guidance_in", "time_r_in")
    size["embedders"] = sum(
        linear_size(model, f"{name}.in_layer") is not None for name in embedders
    )
    return {"counts": {"double_blocks": len(double), "single_blocks": len(single)}, "size": size}
