"""FLUX.1: 19 double blocks (image and text side by side) and 38 single blocks (one sequence)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.architecture import (
    Architecture,
    BlockGroup,
    Component,
    Dimensions,
    ElementFormula,
    Family,
    MacFormula,
    image_elements,
    joint_elements,
    text_elements,
)

TIMESTEP_FREQUENCIES = 256


def joint_tokens(d: Dimensions) -> int:
    return d.image_tokens + d.text_tokens


def joint_products(d: Dimensions) -> int:
    """Scores and values, all tokens against all tokens."""
    return 2 * joint_tokens(d) ** 2 * d.hidden * d.batch


def double_attention_macs(d: Dimensions) -> int:
    """q, k, v and output projection of both streams."""
    return 4 * d.hidden**2 * joint_tokens(d) * d.batch


def single_attention_macs(d: Dimensions) -> int:
    """q, k and v; the output projection is part of `proj_out`."""
    return 3 * d.hidden**2 * joint_tokens(d) * d.batch


def _mlp_width(d: Dimensions, mlp_ratio: float) -> int:
    return int(d.hidden * mlp_ratio)


# Image and text take turns in a double block: the host's order, and so the store's.
DOUBLE_STORES = (("attn", 0), ("img_mlp", 0), ("attn", 1), ("txt_mlp", 0))


def double_components(mlp_ratio: float, *, gated: bool = False) -> tuple[Component, ...]:
    """`gated`: the MLP's first layer is twice as wide and one half gates the other."""
    layers = 3 if gated else 2

    def image_mlp(d: Dimensions) -> int:
        return layers * d.hidden * _mlp_width(d, mlp_ratio) * d.image_tokens * d.batch

    def text_mlp(d: Dimensions) -> int:
        return layers * d.hidden * _mlp_width(d, mlp_ratio) * d.text_tokens * d.batch

    return (
        # one cell for image and text: stored are the outputs of img_attn.proj and txt_attn.proj
        Component(
            "attn",
            "img_attn.proj",
            "full_attn",
            double_attention_macs,
            joint_products,
            elements=(image_elements, text_elements),
        ),
        Component("img_mlp", "img_mlp", "full_ff", image_mlp),
        Component("txt_mlp", "txt_mlp", "full_ff_context", text_mlp, elements=(text_elements,)),
    )


def single_components(mlp_ratio: float, *, gated: bool = False) -> tuple[Component, ...]:
    """`gated` see `double_components`."""

    def mlp_in(d: Dimensions) -> int:
        layers = 2 if gated else 1
        return layers * d.hidden * _mlp_width(d, mlp_ratio) * joint_tokens(d) * d.batch

    def mlp_elements(d: Dimensions) -> int:
        return _mlp_width(d, mlp_ratio) * joint_tokens(d) * d.batch

    def proj_out(d: Dimensions) -> int:
        return d.hidden * (d.hidden + _mlp_width(d, mlp_ratio)) * joint_tokens(d) * d.batch

    joint: tuple[ElementFormula, ...] = (joint_elements,)
    return (
        # attn and proj_mlp are the two halves of linear2's input
        Component(
            "attn", "linear1", "single_attn", single_attention_macs, joint_products, elements=joint
        ),
        Component("proj_mlp", "linear1", "single_proj_mlp", mlp_in, elements=(mlp_elements,)),
        Component(
            "proj_out",
            "linear2",
            "single_proj_out",
            proj_out,
            reads=("attn", "proj_mlp"),
            elements=joint,
        ),
    )


def block_groups(
    counts: Mapping[str, int], mlp_ratio: float, *, gated: bool = False
) -> tuple[BlockGroup, BlockGroup]:
    return (
        BlockGroup(
            "double_blocks",
            "double_blocks",
            counts["double_blocks"],
            double_components(mlp_ratio, gated=gated),
            kind="flux_double",
            stores=DOUBLE_STORES,
        ),
        BlockGroup(
            "single_blocks",
            "single_blocks",
            counts["single_blocks"],
            single_components(mlp_ratio, gated=gated),
            "single_",
            kind="flux_single",
        ),
    )


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulations, the last layer."""

    def macs(d: Dimensions) -> int:
        patches = (settings["in_channels"] + settings["out_channels"]) * d.hidden * d.image_tokens
        text = settings["context_channels"] * d.hidden * d.text_tokens
        embedded = settings["embedders"] * (TIMESTEP_FREQUENCIES * d.hidden + d.hidden**2)
        pooled = settings["pooled_channels"] * d.hidden + d.hidden**2
        # shift, scale, gate: twice for each stream of a double block, once for a single block
        modulation = (12 * counts["double_blocks"] + 3 * counts["single_blocks"] + 2) * d.hidden**2
        return (patches + text + embedded + pooled + modulation) * d.batch

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
        family="flux",
        groups=block_groups(counts, settings["mlp_ratio"]),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        size=size,
    )


FLUX_FAMILY = Family(
    name="flux",
    display_name="FLUX",
    group_names=("double_blocks", "single_blocks"),
    size_defaults={
        "hidden": 3072,
        "pixels_per_token": 16,
        "text_tokens": 512,
        "in_channels": 64,  # after packing 2x2 latent pixels into one token
        "out_channels": 64,
        "context_channels": 4096,
        "pooled_channels": 768,
        "embedders": 2,  # of the timestep, and of the guidance; schnell has no guidance
        "resolution": 1024,
        "mlp_ratio": 4.0,
    },
    make=_make,
)

FLUX = FLUX_FAMILY.build(
    {"double_blocks": 19, "single_blocks": 38}, id="flux", display_name="FLUX.1"
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a FLUX.1-like transformer, or None.

    After comfy/ldm/flux/model.py at 0.3.75.
    Chroma (`distilled_guidance_layer`), HunyuanVideo (a patch of three sides) and FLUX.2 (one
    modulation for all blocks) have blocks of the same names, but not the same cost.
    """
    if hasattr(model, "distilled_guidance_layer") or hasattr(model, "double_stream_modulation_img"):
        return None
    if not isinstance(getattr(model, "patch_size", 2), int):
        return None
    blocks = flux_blocks(model)
    if blocks is None:
        return None
    double, single = blocks
    size: dict[str, int | float] = {"hidden": model.hidden_size}
    if double and isinstance(inner := layer_width(double[0].img_mlp, 0), int):
        size["mlp_ratio"] = inner / model.hidden_size
    for name in ("in_channels", "out_channels"):
        value = getattr(model, name, None)
        if isinstance(value, int):
            size[name] = value
    context = getattr(getattr(model, "txt_in", None), "in_features", None)
    if isinstance(context, int):
        size["context_channels"] = context
    pooled = getattr(
        getattr(getattr(model, "vector_in", None), "in_layer", None), "in_features", None
    )
    if isinstance(pooled, int):
        size["pooled_channels"] = pooled
    guided = getattr(getattr(model, "params", None), "guidance_embed", None)
    if isinstance(guided, bool):
        size["embedders"] = 1 + guided
    return {"counts": {"double_blocks": len(double), "single_blocks": len(single)}, "size": size}


def flux_blocks(model: Any) -> tuple[list[Any], list[Any]] | None:
    """The double and the single blocks of a model that has FLUX's, or None."""
    if not hasattr(model, "double_blocks") or not hasattr(model, "single_blocks"):
        return None
    if not hasattr(model, "hidden_size"):
        return None
    try:
        double, single = list(model.double_blocks), list(model.single_blocks)
    except TypeError:
        return None
    if not double and not single:
        return None
    for block in double:
        attentions = (getattr(block, "img_attn", None), getattr(block, "txt_attn", None))
        if not all(hasattr(attention, "proj") for attention in attentions):
            return None
        if not hasattr(block, "img_mlp") or not hasattr(block, "txt_mlp"):
            return None
    if not all(hasattr(block, "linear1") and hasattr(block, "linear2") for block in single):
        return None
    return double, single


def layer_width(mlp: Any, layer: int) -> int | None:
    """Outputs of a linear of an MLP, which is a sequence of layers."""
    try:
        return getattr(mlp[layer], "out_features", None)
    except (TypeError, IndexError, KeyError):
        return None
