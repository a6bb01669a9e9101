"""FLUX.2: FLUX.1's blocks with gated MLPs, and one modulation for all blocks of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture, Dimensions, Family, MacFormula
from .flux import TIMESTEP_FREQUENCIES, block_groups, flux_blocks


def base_macs(settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulations, the last layer."""

    def macs(d: Dimensions) -> int:
        patches = (settings["in_channels"] + settings["out_channels"]) * d.hidden * d.image_tokens
        text = settings["context_channels"] * d.hidden * d.text_tokens
        embedded = settings["embedders"] * (TIMESTEP_FREQUENCIES * d.hidden + d.hidden**2)
        # image, text: two times shift, scale, gate; single: once; the last layer: shift, scale
        modulation = (6 + 6 + 3 + 2) * d.hidden**2
        return (patches + text + embedded + modulation) * d.batch

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
        family="flux2",
        groups=block_groups(counts, settings["mlp_ratio"], gated=True),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(settings),
        resolution=settings["resolution"],
        size=size,
    )


FLUX2_FAMILY = Family(
    name="flux2",
    display_name="FLUX.2",
    group_names=("double_blocks", "single_blocks"),
    size_defaults={
        "hidden": 6144,
        "pixels_per_token": 16,
        "text_tokens": 512,
        "in_channels": 128,
        "out_channels": 128,
        "context_channels": 15360,
        "embedders": 2,  # of the timestep, and of the guidance where there is one
        "resolution": 1024,
        "mlp_ratio": 3.0,
    },
    make=_make,
)

FLUX2 = FLUX2_FAMILY.build(
    {"double_blocks": 8, "single_blocks": 48}, id="flux2", display_name="FLUX.2-dev"
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a FLUX.2-like transformer, or None.

    After comfy/ldm/flux/model.py at 0.3.75.
    """
    if not hasattr(model, "double_stream_modulation_img"):
        return None
    blocks = flux_blocks(model)
    if blocks is None:
        return None
    double, single = blocks
    hidden = model.hidden_size
    size: dict[str, int | float] = {"hidden": hidden}
    width = getattr(single[0].linear2, "in_features", None) if single else None
    if isinstance(width, int):
        size["mlp_ratio"] = (width - hidden) / hidden
    for name in ("in_channels", "out_channels"):
        value = getattr(model, name, None)
        if isinstance(value, int):
            size[name] = value
    context = getattr(getattr(model, "txt_in", None), "in_features", None)
    if isinstance(context, int):
        size["context_channels"] = context
    guided = getattr(getattr(model, "params", None), "guidance_embed", None)
    if isinstance(guided, bool):
        size["embedders"] = 1 + guided
    return {"counts": {"double_blocks": len(double), "single_blocks": len(single)}, "size": size}
