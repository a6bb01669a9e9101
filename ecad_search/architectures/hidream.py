"""HiDream-I1 and E1: 16 blocks with text and image apart, 32 over one sequence; experts as MLPs.

The text is T5's, then Llama's last layer's, then, in each block another, a hidden layer's of Llama:
T5's tokens and twice Llama's. The picture's MLP sends each token to 2 of 4 experts and to one they
share, so its cost does not depend on which. Where a picture is edited (E1), it stands beside the
one that is drawn.
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
    image_elements,
)
from .structure import at, block_list, linear_size, whole

TIMESTEP_FREQUENCIES = 256
MODULATION_CHUNKS = 6  # shift, scale and gate of attention and MLP


def llama_tokens(d: Dimensions) -> int:
    return sum(d.side_tokens)


def text_tokens(d: Dimensions) -> int:
    """Of a block, where Llama's are twice."""
    return d.text_tokens + llama_tokens(d)


def joint_tokens(d: Dimensions) -> int:
    return d.image_tokens + text_tokens(d)


def text_elements(d: Dimensions) -> int:
    return d.hidden * text_tokens(d) * d.batch


def joint_elements(d: Dimensions) -> int:
    return d.hidden * joint_tokens(d) * d.batch


def attention_macs(d: Dimensions) -> int:
    """q, k, v and output projection."""
    return 4 * d.hidden**2 * joint_tokens(d) * d.batch


def attention_products(d: Dimensions) -> int:
    """Scores and values, all tokens against all tokens."""
    return 2 * joint_tokens(d) ** 2 * d.hidden * d.batch


def block_groups(
    counts: Mapping[str, int], settings: Mapping[str, Any]
) -> tuple[BlockGroup, BlockGroup]:
    def experts(d: Dimensions) -> int:
        """For one token: the choice of experts; each has two layers in, one gating, and one out."""
        width = settings["active_experts"] * settings["expert_width"] + settings["shared_width"]
        return (settings["experts"] + 3 * width) * d.hidden * d.batch

    def text_mlp(d: Dimensions) -> int:
        return 3 * settings["txt_mlp_width"] * d.hidden * text_tokens(d) * d.batch

    double = (
        Component(
            "attn",
            "block.attn1",
            "full_attn",
            attention_macs,
            attention_products,
            elements=(image_elements, text_elements),
        ),
        Component("img_mlp", "block.ff_i", "full_ff", lambda d: experts(d) * d.image_tokens),
        Component("txt_mlp", "block.ff_t", "full_ff_context", text_mlp, elements=(text_elements,)),
    )
    single = (
        Component(
            "attn",
            "block.attn1",
            "attn",
            attention_macs,
            attention_products,
            elements=(joint_elements,),
        ),
        Component(
            "mlp",
            "block.ff_i",
            "mlp",
            lambda d: experts(d) * joint_tokens(d),
            elements=(joint_elements,),
        ),
    )
    names = ("double_stream_blocks", "single_stream_blocks")
    return (
        BlockGroup(names[0], names[0], counts[names[0]], double),
        BlockGroup(names[1], names[1], counts[names[1]], single, "single_"),
    )


def base_macs(counts: Mapping[str, int], settings: Mapping[str, Any]) -> MacFormula:
    """Everything that is computed at every step: embedders, modulations, the last layer."""
    channels = (settings["in_channels"] + settings["out_channels"]) * settings["patch_size"] ** 2
    double, single = counts["double_stream_blocks"], counts["single_stream_blocks"]
    modulations = MODULATION_CHUNKS * (2 * double + single) + 2

    def macs(d: Dimensions) -> int:
        patches = channels * d.hidden * d.image_tokens
        # another layer of Llama for each block, each with a projection of its own
        llama = settings["llama_channels"] * llama_tokens(d) * (double + single)
        t5 = settings["t5_channels"] * (d.text_tokens - llama_tokens(d))
        embedded = TIMESTEP_FREQUENCIES + settings["pooled_channels"] + 2 * d.hidden
        rows = patches + (llama + t5 + embedded + modulations * d.hidden) * d.hidden
        return rows * d.batch

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
        family="hidream",
        groups=block_groups(counts, settings),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        side_tokens=(settings["llama_tokens"],),
        base_macs=base_macs(counts, settings),
        resolution=settings["resolution"],
        size=size,
    )


def inputs(_: Any) -> CallInputs:
    return CallInputs(latents=("image_cond",), texts=("encoder_hidden_states_llama3",))


HIDREAM_FAMILY = Family(
    name="hidream",
    display_name="HiDream",
    group_names=("double_stream_blocks", "single_stream_blocks"),
    size_defaults={
        "hidden": 2560,
        "pixels_per_token": 16,
        "text_tokens": 128,  # T5's
        "llama_tokens": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "t5_channels": 4096,
        "llama_channels": 4096,
        "pooled_channels": 2048,
        "experts": 4,
        "active_experts": 2,
        "expert_width": 6912,
        "shared_width": 3584,
        "txt_mlp_width": 6912,
        "resolution": 1024,
    },
    make=_make,
    inputs=inputs,
)

HIDREAM = HIDREAM_FAMILY.build(
    {"double_stream_blocks": 16, "single_stream_blocks": 32},
    id="hidream",
    display_name="HiDream-I1",
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a HiDream-like transformer, or None.

    After comfy/ldm/hidream/model.py at 0.3.75, the same at 0.33.0. A member without experts, which
    the host could build, is not taken.
    """
    experts = ("block.ff_i.experts", "block.ff_i.shared_experts.w1", "block.ff_i.gate")
    double = block_list(model, "double_stream_blocks", *experts, "block.attn1.to_q_t", "block.ff_t")
    single = block_list(model, "single_stream_blocks", *experts, "block.attn1.to_q")
    if double is None or single is None:
        return None
    hidden = at(model, "inner_dim")
    if not isinstance(hidden, int) or linear_size(model, "caption_projection.0.linear") is None:
        return None
    mixture = single[0].block.ff_i
    size: dict[str, int | float] = {
        "hidden": hidden,
        "experts": len(mixture.experts),
        **whole(
            model,
            patch_size="patch_size",
            out_channels="out_channels",
            pooled_channels="p_embedder.pooled_embedder.linear_1.in_features",
            llama_channels="caption_projection.0.linear.in_features",
            txt_mlp_width="double_stream_blocks.0.block.ff_t.w1.out_features",
        ),
        **whole(
            mixture,
            active_experts="num_activated_experts",
            expert_width="experts.0.w1.out_features",
            shared_width="shared_experts.w1.out_features",
        ),
    }
    # one projection for each block's layer of Llama, then T5's
    t5 = linear_size(model, f"caption_projection.{len(double) + len(single)}.linear")
    if t5 is not None:
        size["t5_channels"] = t5.inputs
    if "patch_size" in size:
        size["pixels_per_token"] = 8 * size["patch_size"]
        if (patch := linear_size(model, "x_embedder.proj")) is not None:
            size["in_channels"] = patch.inputs // int(size["patch_size"]) ** 2
    counts = {"double_stream_blocks": len(double), "single_stream_blocks": len(single)}
    return {"counts": counts, "size": size}
