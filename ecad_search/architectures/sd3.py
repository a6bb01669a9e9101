"""SD3 and SD3.5: blocks in which image and text attend jointly, each with weights of its own.

After comfy/ldm/modules/diffusionmodules/mmdit.py at 0.3.75, whose list `joint_blocks` holds three
kinds of block: "dual" ones, the first of SD3.5-medium, where the image attends to itself as well;
"joint" ones; and a last one that leaves the text behind. All attention of a block is one component,
since it is left out as one (see `engine.joint_blocks`); `img_mlp` and `txt_mlp` are as in FLUX.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.architecture import (
    Architecture,
    BlockGroup,
    Component,
    Dimensions,
    Family,
    MacFormula,
    image_elements,
    text_elements,
)
from .flux import TIMESTEP_FREQUENCIES, double_attention_macs, joint_products, joint_tokens
from .structure import at, block_list, linear_size, whole

GROUPS = ("dual_blocks", "joint_blocks", "last_blocks")


def dual_attention_macs(d: Dimensions) -> int:
    """Joint attention, and q, k, v and output projection of the image for itself."""
    return double_attention_macs(d) + 4 * d.hidden**2 * d.image_tokens * d.batch


def dual_products(d: Dimensions) -> int:
    return joint_products(d) + 2 * d.image_tokens**2 * d.hidden * d.batch


def last_attention_macs(d: Dimensions) -> int:
    """q, k and v of both, the image's output projection, shift and scale of the text."""
    rows = 3 * joint_tokens(d) + d.image_tokens + 2
    return d.hidden**2 * rows * d.batch


def block_groups(counts: Mapping[str, int], mlp_ratio: float) -> Iterator[BlockGroup]:
    def mlp(tokens: int, d: Dimensions) -> int:
        return 2 * d.hidden * int(d.hidden * mlp_ratio) * tokens * d.batch

    def attention(macs: MacFormula, products: MacFormula, outputs: tuple) -> Component:
        module = "x_block.attn.proj"
        return Component("attn", module, "full_attn", macs, products, elements=outputs)

    image = Component("img_mlp", "x_block.mlp", "full_ff", lambda d: mlp(d.image_tokens, d))
    text = Component(
        "txt_mlp",
        "context_block.mlp",
        "full_ff_context",
        lambda d: mlp(d.text_tokens, d),
        elements=(text_elements,),
    )
    joint = (text_elements, image_elements)
    dual = attention(dual_attention_macs, dual_products, (*joint, image_elements))
    usual = attention(double_attention_macs, joint_products, joint)
    last = attention(last_attention_macs, joint_products, (image_elements,))
    # text first, as a block computes it
    stores = (("attn", 0), ("txt_mlp", 0), ("attn", 1))
    kinds = (
        ((dual, image, text), (*stores, ("attn", 2), ("img_mlp", 0))),
        ((usual, image, text), (*stores, ("img_mlp", 0))),
        ((last, image), ()),
    )
    first = 0
    for name, (components, order) in zip(GROUPS, kinds, strict=True):
        yield BlockGroup(
            name,
            "joint_blocks",
            counts[name],
            components,
            first=first,
            kind="joint",
            stores=order,
        )
        first += counts[name]


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulations, the last layer."""

    def macs(d: Dimensions) -> int:
        area = settings["patch_size"] ** 2
        channels = settings["in_channels"] + settings["out_channels"]
        patches = area * channels * d.hidden * d.image_tokens
        text = settings["context_channels"] * d.hidden * d.text_tokens
        timestep = TIMESTEP_FREQUENCIES * d.hidden + d.hidden**2
        pooled = settings["pooled_channels"] * d.hidden + d.hidden**2
        # shift, scale, gate: twice for each stream, once more for an image that attends to itself;
        # what the last block does to the text is part of its attention
        chunks = 15 * counts["dual_blocks"] + 12 * counts["joint_blocks"]
        chunks += 6 * counts["last_blocks"] + 2
        return (patches + text + timestep + pooled + chunks * d.hidden**2) * d.batch

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
        family="sd3",
        groups=tuple(block_groups(counts, settings["mlp_ratio"])),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        size=size,
    )


SD3_FAMILY = Family(
    name="sd3",
    display_name="SD3",
    group_names=GROUPS,
    size_defaults={
        "hidden": 1536,
        "pixels_per_token": 16,
        "text_tokens": 154,  # 77 of CLIP, and T5 padded to as many
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "context_channels": 4096,
        "pooled_channels": 2048,
        "resolution": 1024,
        "mlp_ratio": 4.0,
    },
    make=_make,
)

SD3_MEDIUM = SD3_FAMILY.build(
    {"dual_blocks": 0, "joint_blocks": 23, "last_blocks": 1},
    id="sd3-medium",
    display_name="SD3-medium",
)
SD3_5_MEDIUM = SD3_FAMILY.build(
    {"dual_blocks": 13, "joint_blocks": 10, "last_blocks": 1},
    id="sd3.5-medium",
    display_name="SD3.5-medium",
)
SD3_5_LARGE = SD3_FAMILY.build(
    {"dual_blocks": 0, "joint_blocks": 37, "last_blocks": 1},
    id="sd3.5-large",
    display_name="SD3.5-large",
    hidden=2432,
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of an SD3-like transformer, or None.

    Also None where the kinds of block are not in their usual order.
    """
    parts = ("context_block.attn", "context_block.adaLN_modulation", "x_block.attn.proj")
    blocks = block_list(model, "joint_blocks", *parts, "x_block.adaLN_modulation", "x_block.mlp")
    hidden = getattr(model, "hidden_size", None)
    if blocks is None or not isinstance(hidden, int):
        return None
    kinds = [kind_of(block) for block in blocks]
    if None in kinds or kinds != sorted(kinds, key=GROUPS.index):
        return None
    size: dict[str, Any] = whole(
        model,
        patch_size="patch_size",
        in_channels="in_channels",
        out_channels="out_channels",
        context_channels="context_embedder.in_features",
        pooled_channels="y_embedder.mlp.0.in_features",
    )
    size["hidden"] = hidden
    inner = linear_size(blocks[0], "x_block.mlp.fc1")
    if inner is not None:
        size["mlp_ratio"] = inner.outputs / inner.inputs
    return {"counts": {group: kinds.count(group) for group in GROUPS}, "size": size}


def kind_of(block: Any) -> str | None:
    """The group a block belongs to; None for a dual block that leaves the text behind."""
    dual = at(block, "x_block.attn2.proj") is not None
    last = at(block, "context_block.mlp") is None
    if dual and last:
        return None
    return "dual_blocks" if dual else "last_blocks" if last else "joint_blocks"
