"""Chroma: FLUX.1's blocks, whose modulation comes from one small network for all of them.

Its pixel-space sister, Chroma Radiance, has the same blocks between other ends: patches of pixels
go in, and a small network for every patch draws its pixels. It is a family of its own, because a
schedule found in a latent space says little about one of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture, Dimensions, Family, MacFormula
from .flux import block_groups, flux_blocks
from .structure import at, linear_size, whole

# The modulation network makes this many vectors whatever the model's depth: 3 for each of 38 single
# blocks, 12 for each of 19 double blocks, 2 for the last layer.
MODULATION_VECTORS = 344


def guidance_macs(settings: Mapping[str, Any], d: Dimensions) -> int:
    """The modulation network, `distilled_guidance_layer`, for one row."""
    width = settings["guidance_hidden"]
    layers = 2 * settings["guidance_layers"] * width**2
    return MODULATION_VECTORS * (settings["guidance_channels"] * width + layers + width * d.hidden)


def base_macs(settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulation, the last layer."""

    def macs(d: Dimensions) -> int:
        patches = (settings["in_channels"] + settings["out_channels"]) * d.hidden * d.image_tokens
        text = settings["context_channels"] * d.hidden * d.text_tokens
        return (patches + text + guidance_macs(settings, d)) * d.batch

    return macs


def radiance_base_macs(settings: Mapping[str, Any]) -> MacFormula:
    """The same of Chroma Radiance, whose last network's weights are made anew for every patch."""

    def macs(d: Dimensions) -> int:
        channels, pixels = settings["in_channels"], settings["patch_size"] ** 2
        width = settings["nerf_hidden"]
        weights = 3 * width**2 * settings["nerf_mlp_ratio"]
        blocks = settings["nerf_blocks"] * weights * (d.hidden + pixels)
        ends = settings["nerf_embedded"] * width + settings["nerf_last_area"] * width * channels
        patches = channels * pixels * d.hidden + blocks + pixels * ends
        text = settings["context_channels"] * d.hidden * d.text_tokens
        return (patches * d.image_tokens + text + guidance_macs(settings, d)) * d.batch

    return macs


def _architecture(
    family: str,
    base: MacFormula,
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
        family=family,
        groups=block_groups(counts, settings["mlp_ratio"]),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base,
        resolution=settings["resolution"],
        size=size,
    )


def _make(**arguments: Any) -> Architecture:
    return _architecture("chroma", base_macs(arguments["settings"]), **arguments)


def _make_radiance(**arguments: Any) -> Architecture:
    base = radiance_base_macs(arguments["settings"])
    return _architecture("chroma_radiance", base, **arguments)


TRANSFORMER = {
    "hidden": 3072,
    "pixels_per_token": 16,
    "text_tokens": 512,
    "context_channels": 4096,
    "guidance_channels": 64,
    "guidance_hidden": 5120,
    "guidance_layers": 5,
    "resolution": 1024,
    "mlp_ratio": 4.0,
}

CHROMA_FAMILY = Family(
    name="chroma",
    display_name="Chroma",
    group_names=("double_blocks", "single_blocks"),
    # after packing 2x2 latent pixels into one token
    size_defaults={**TRANSFORMER, "in_channels": 64, "out_channels": 64},
    make=_make,
)

CHROMA_RADIANCE_FAMILY = Family(
    name="chroma_radiance",
    display_name="Chroma Radiance",
    group_names=("double_blocks", "single_blocks"),
    size_defaults={
        **TRANSFORMER,
        "in_channels": 3,
        "patch_size": 16,
        "nerf_blocks": 4,
        "nerf_hidden": 64,
        "nerf_mlp_ratio": 4,
        "nerf_embedded": 67,  # what a pixel is embedded from: its channels and 8x8 frequencies
        "nerf_last_area": 9,  # of the last layer's kernel; 1 where it is a linear layer
    },
    make=_make_radiance,
)

CHROMA = CHROMA_FAMILY.build(
    {"double_blocks": 19, "single_blocks": 38}, id="chroma", display_name="Chroma1"
)
CHROMA_RADIANCE = CHROMA_RADIANCE_FAMILY.build(
    {"double_blocks": 19, "single_blocks": 38},
    id="chroma-radiance",
    display_name="Chroma1-Radiance",
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a Chroma-like transformer, or None.

    After comfy/ldm/chroma/model.py at 0.3.75.
    """
    if hasattr(model, "nerf_blocks"):
        return None
    return detected(model, in_channels="in_channels", out_channels="out_channels")


def detect_radiance(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a Chroma-Radiance-like transformer, or None.

    After comfy/ldm/chroma_radiance/model.py at 0.3.75.
    """
    if not hasattr(model, "nerf_blocks"):
        return None
    found = detected(
        model,
        in_channels="in_channels",
        patch_size="patch_size",
        pixels_per_token="patch_size",
        nerf_hidden="params.nerf_hidden_size",
        nerf_mlp_ratio="params.nerf_mlp_ratio",
        nerf_embedded="nerf_image_embedder.embedder.0.in_features",
    )
    if found is not None:
        found["size"]["nerf_blocks"] = len(model.nerf_blocks)
        if hasattr(model, "nerf_final_layer"):
            found["size"]["nerf_last_area"] = 1
    return found


def detected(model: Any, **sizes: str) -> dict[str, Any] | None:
    """FLUX's blocks beside a modulation network; `sizes` are attributes."""
    layers = at(model, "distilled_guidance_layer.layers")
    blocks = flux_blocks(model)
    if blocks is None or layers is None:
        return None
    double, single = blocks
    size: dict[str, Any] = whole(
        model,
        guidance_channels="distilled_guidance_layer.in_proj.in_features",
        guidance_hidden="distilled_guidance_layer.in_proj.out_features",
        context_channels="txt_in.in_features",
        **sizes,
    )
    size |= {"hidden": model.hidden_size, "guidance_layers": len(layers)}
    inner = linear_size(model, "double_blocks.0.img_mlp.0")
    if inner is not None:
        size["mlp_ratio"] = inner.outputs / inner.inputs
    return {"counts": {"double_blocks": len(double), "single_blocks": len(single)}, "size": size}
