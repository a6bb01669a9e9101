"""Qwen-Image and Qwen-Image-Edit: 60 blocks of joint attention with an MLP for each of two streams.

After comfy/ldm/qwen_image/model.py at 0.3.75. Each component is a module: `attn` gives the image's
and the text's tokens, `img_mlp` and `txt_mlp` are as in FLUX. Pictures to edit are further image
tokens. Mage-Flow (ComfyUI 0.29) is 12 of these blocks between other ends.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from .flux import TIMESTEP_FREQUENCIES, double_attention_macs, joint_products
from .structure import block_list, linear_size, whole


def components(mlp_ratio: float) -> tuple[Component, ...]:
    def mlp(tokens: int, d: Dimensions) -> int:
        return 2 * d.hidden * int(d.hidden * mlp_ratio) * tokens * d.batch

    return (
        Component(
            "attn",
            "attn",
            "full_attn",
            double_attention_macs,
            joint_products,
            elements=(image_elements, text_elements),
        ),
        Component("img_mlp", "img_mlp", "full_ff", lambda d: mlp(d.image_tokens, d)),
        Component(
            "txt_mlp",
            "txt_mlp",
            "full_ff_context",
            lambda d: mlp(d.text_tokens, d),
            elements=(text_elements,),
        ),
    )


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulations, the last layer.

    Editing models that take their reference pictures at timestep zero (ComfyUI 0.8) have two
    timesteps in place of one; the modulations of the second, some thousandths of a step, are left
    out.
    """

    def macs(d: Dimensions) -> int:
        last = settings["patch_size"] ** 2 * settings["out_channels"]
        patches = (settings["in_channels"] + last) * d.hidden * d.image_tokens
        text = settings["context_channels"] * d.hidden * d.text_tokens
        timestep = TIMESTEP_FREQUENCIES * d.hidden + d.hidden**2
        # shift, scale, gate: twice for each stream of a block; the last layer: shift, scale
        modulation = (12 * counts["transformer_blocks"] + 2) * d.hidden**2
        return (patches + text + timestep + modulation) * d.batch

    return macs


def _make(
    *,
    counts: Mapping[str, int],
    settings: Mapping[str, Any],
    id: str,
    display_name: str,
    size: tuple[tuple[str, int | float], ...],
) -> Architecture:
    blocks = BlockGroup(
        "transformer_blocks",
        "transformer_blocks",
        counts["transformer_blocks"],
        components(settings["mlp_ratio"]),
    )
    return Architecture(
        id=id,
        display_name=display_name,
        family="qwen_image",
        groups=(blocks,),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        size=size,
    )


QWEN_IMAGE_FAMILY = Family(
    name="qwen_image",
    display_name="Qwen-Image",
    group_names=("transformer_blocks",),
    size_defaults={
        "hidden": 3072,
        "pixels_per_token": 16,
        "text_tokens": 256,  # of a detailed prompt; the host pads none
        "patch_size": 2,
        "in_channels": 64,  # after packing 2x2 latent pixels into one token
        "out_channels": 16,
        "context_channels": 3584,
        "resolution": 1328,
        "mlp_ratio": 4.0,
    },
    make=_make,
)

QWEN_IMAGE = QWEN_IMAGE_FAMILY.build(
    {"transformer_blocks": 60}, id="qwen-image", display_name="Qwen-Image / Edit"
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a Qwen-Image-like transformer, or None."""
    blocks = block_list(
        model,
        "transformer_blocks",
        "img_mod",
        "txt_mod",
        "attn.add_q_proj",
        "attn.to_add_out",
        "img_mlp.net",
        "txt_mlp.net",
    )
    hidden = getattr(model, "inner_dim", None)
    if blocks is None or not isinstance(hidden, int):
        return None
    size: dict[str, Any] = whole(
        model,
        patch_size="patch_size",
        in_channels="in_channels",
        out_channels="out_channels",
        context_channels="txt_in.in_features",
    )
    size["hidden"] = hidden
    inner = linear_size(blocks[0], "img_mlp.net.2")
    if inner is not None:
        size["mlp_ratio"] = inner.inputs / inner.outputs
    return {"counts": {"transformer_blocks": len(blocks)}, "size": size}
