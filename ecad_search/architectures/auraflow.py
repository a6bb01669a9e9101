"""AuraFlow and what is trained from it: 4 blocks with text and image apart, 32 over one sequence.

Eight learned tokens stand before the text's in every block.
"""

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
)
from .structure import at, block_list, linear_size, whole

TIMESTEP_FREQUENCIES = 256
MODULATION_CHUNKS = 6  # shift, scale and gate of attention and MLP

# A double block computes the text's MLP before the picture's.
DOUBLE_STORES = (("attn", 0), ("attn", 1), ("txt_mlp", 0), ("img_mlp", 0))


def block_groups(
    counts: Mapping[str, int], settings: Mapping[str, Any]
) -> tuple[BlockGroup, BlockGroup]:
    def text_tokens(d: Dimensions) -> int:
        return d.text_tokens + settings["register_tokens"]

    def joint_tokens(d: Dimensions) -> int:
        return d.image_tokens + text_tokens(d)

    def attention(d: Dimensions) -> int:
        """q, k, v and output projection."""
        return 4 * d.hidden**2 * joint_tokens(d) * d.batch

    def products(d: Dimensions) -> int:
        """Scores and values, all tokens against all tokens."""
        return 2 * joint_tokens(d) ** 2 * d.hidden * d.batch

    def row_mlp(d: Dimensions) -> int:
        """Of one token: two layers in, as one gates the other, and one out."""
        return 3 * d.hidden * settings["mlp_width"] * d.batch

    def text_elements(d: Dimensions) -> int:
        return d.hidden * text_tokens(d) * d.batch

    def joint_elements(d: Dimensions) -> int:
        return d.hidden * joint_tokens(d) * d.batch

    text: tuple[ElementFormula, ...] = (text_elements,)
    joint: tuple[ElementFormula, ...] = (joint_elements,)
    double = (
        Component(
            "attn",
            "attn",
            "full_attn",
            attention,
            products,
            elements=(text_elements, image_elements),
        ),
        Component("img_mlp", "mlpX", "full_ff", lambda d: row_mlp(d) * d.image_tokens),
        Component(
            "txt_mlp",
            "mlpC",
            "full_ff_context",
            lambda d: row_mlp(d) * text_tokens(d),
            elements=text,
        ),
    )
    single = (
        Component("attn", "attn", "attn", attention, products, elements=joint),
        Component("mlp", "mlp", "mlp", lambda d: row_mlp(d) * joint_tokens(d), elements=joint),
    )
    return (
        BlockGroup(
            "double_layers", "double_layers", counts["double_layers"], double, stores=DOUBLE_STORES
        ),
        BlockGroup("single_layers", "single_layers", counts["single_layers"], single, "single_"),
    )


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulations, the last layer."""
    channels = (settings["in_channels"] + settings["out_channels"]) * settings["patch_size"] ** 2
    time = settings["time_width"]
    modulations = MODULATION_CHUNKS * (2 * counts["double_layers"] + counts["single_layers"]) + 2

    def macs(d: Dimensions) -> int:
        patches = channels * d.hidden * d.image_tokens
        text = settings["context_channels"] * d.hidden * d.text_tokens
        timestep = TIMESTEP_FREQUENCIES * time + time**2
        return (patches + text + timestep + modulations * time * d.hidden) * d.batch

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
        family="auraflow",
        groups=block_groups(counts, settings),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        size=size,
    )


AURAFLOW_FAMILY = Family(
    name="auraflow",
    display_name="AuraFlow",
    group_names=("double_layers", "single_layers"),
    size_defaults={
        "hidden": 3072,
        "pixels_per_token": 16,
        "text_tokens": 256,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "context_channels": 2048,
        "time_width": 3072,
        "register_tokens": 8,
        "mlp_width": 8192,
        "resolution": 1024,
    },
    make=_make,
)

AURAFLOW = AURAFLOW_FAMILY.build(
    {"double_layers": 4, "single_layers": 32}, id="auraflow", display_name="AuraFlow"
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of an AuraFlow-like transformer, or None.

    After comfy/ldm/aura/mmdit.py at 0.3.75, the same at 0.33.0.
    """
    parts = ("attn.w2q", "attn.w2o", "mlpC.c_fc1", "mlpX.c_fc1")
    double = block_list(model, "double_layers", *parts)
    single = block_list(model, "single_layers", "attn.w1q", "attn.w1o", "mlp.c_fc1")
    text = linear_size(model, "cond_seq_linear")
    registers = getattr(at(model, "register_tokens"), "shape", ())
    if double is None or single is None or text is None or len(registers) != 3:
        return None
    size: dict[str, int | float] = {
        "hidden": text.outputs,
        "context_channels": text.inputs,
        "register_tokens": int(registers[1]),
        **whole(
            model,
            patch_size="patch_size",
            out_channels="out_channels",
            time_width="t_embedder.mlp.2.out_features",
            mlp_width="single_layers.0.mlp.c_fc1.out_features",
        ),
    }
    if "patch_size" in size:
        size["pixels_per_token"] = 8 * size["patch_size"]
        if (patch := linear_size(model, "init_x_linear")) is not None:
            size["in_channels"] = patch.inputs // int(size["patch_size"]) ** 2
    return {"counts": {"double_layers": len(double), "single_layers": len(single)}, "size": size}
