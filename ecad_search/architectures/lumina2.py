"""Lumina-Image 2.0 and Z-Image: equal blocks over one sequence of text and image tokens.

Two blocks of the same make refine the image tokens before the text joins them; they see the
timestep too and are a group of their own. The two that refine the text are left out: they take a
few hundred tokens, and count to what is computed at every step.

Z-Image pads text and image to multiples of 32 tokens each, so the formulas do. Where reference
pictures are joined to the picture (newer hosts), each is padded by itself and may bring text of
its own: costs and bytes are a little more then than these formulas say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.architecture import Architecture, BlockGroup, Component, Dimensions, Family, MacFormula
from .structure import at, block_list, linear_size, whole

TIMESTEP_FREQUENCIES = 256
MODULATION_CHUNKS = 4  # scale and gate of attention and MLP

Tokens = Callable[[Dimensions], int]


def padded(tokens: int, multiple: int) -> int:
    return -(-tokens // multiple) * multiple


def components(tokens: Tokens, settings: Mapping[str, Any]) -> tuple[Component, ...]:
    """Of a block that sees so many tokens."""
    queries_keys_values = settings["hidden"] + 2 * settings["kv_width"]

    def attention(d: Dimensions) -> int:
        """q, k, v and output projection; several heads of q may share one of k and v."""
        return (queries_keys_values + d.hidden) * d.hidden * tokens(d) * d.batch

    def products(d: Dimensions) -> int:
        return 2 * tokens(d) ** 2 * d.hidden * d.batch

    def mlp(d: Dimensions) -> int:
        """The MLP is gated: two layers in, one out."""
        return 3 * d.hidden * settings["mlp_width"] * tokens(d) * d.batch

    def elements(d: Dimensions) -> int:
        return d.hidden * tokens(d) * d.batch

    return (
        Component("attn", "attention", "attn", attention, products, elements=(elements,)),
        Component("mlp", "feed_forward", "mlp", mlp, elements=(elements,)),
    )


def base_macs(
    counts: Mapping[str, int],
    settings: Mapping[str, Any],
    text: tuple[Component, ...],
    joint_tokens: Tokens,
) -> MacFormula:
    """Everything that is computed at every step. `text` are the components of the text's blocks."""
    patch, time = settings["patch_size"] ** 2, settings["time_width"]

    def macs(d: Dimensions) -> int:
        into = settings["in_channels"] * patch * d.hidden * d.image_tokens
        caption = settings["caption_channels"] * d.hidden * d.text_tokens
        timestep = (TIMESTEP_FREQUENCIES + time) * settings["time_hidden"]
        modulation = MODULATION_CHUNKS * time * d.hidden * sum(counts.values())
        # the last layer sees the whole sequence, text and padding included
        out = settings["out_channels"] * patch * d.hidden * joint_tokens(d)
        rows = into + caption + timestep + modulation + time * d.hidden + out
        refined = sum(part.macs(d) + part.attention_macs(d) for part in text)
        return rows * d.batch + settings["text_refiners"] * refined

    return macs


def _make(
    *,
    counts: Mapping[str, int],
    settings: Mapping[str, Any],
    id: str,
    display_name: str,
    size: tuple[tuple[str, int | float], ...],
) -> Architecture:
    multiple = settings["token_multiple"]

    def image_tokens(d: Dimensions) -> int:
        return padded(d.image_tokens, multiple)

    def text_tokens(d: Dimensions) -> int:
        return padded(d.text_tokens, multiple)

    def joint_tokens(d: Dimensions) -> int:
        return image_tokens(d) + text_tokens(d)

    def group(name: str, tokens: Tokens, prefix: str = "") -> BlockGroup:
        return BlockGroup(name, name, counts[name], components(tokens, settings), prefix)

    return Architecture(
        id=id,
        display_name=display_name,
        family="lumina2",
        groups=(
            group("noise_refiner", image_tokens, "noise_refiner_"),
            group("layers", joint_tokens),
        ),
        hidden=settings["hidden"],
        pixels_per_token=settings["pixels_per_token"],
        text_tokens=settings["text_tokens"],
        base_macs=base_macs(counts, settings, components(text_tokens, settings), joint_tokens),
        resolution=settings["resolution"],
        size=size,
    )


LUMINA2_FAMILY = Family(
    name="lumina2",
    display_name="Lumina 2",
    group_names=("noise_refiner", "layers"),
    size_defaults={
        "hidden": 2304,
        "pixels_per_token": 16,
        "text_tokens": 256,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "caption_channels": 2304,
        "kv_width": 768,  # 8 heads of k and v for 24 of q
        "mlp_width": 9216,
        "time_hidden": 1024,
        "time_width": 1024,
        "text_refiners": 2,
        "token_multiple": 1,
        "resolution": 1024,
    },
    make=_make,
)

LUMINA2 = LUMINA2_FAMILY.build(
    {"noise_refiner": 2, "layers": 26}, id="lumina2", display_name="Lumina-Image 2.0"
)
Z_IMAGE = LUMINA2_FAMILY.build(
    {"noise_refiner": 2, "layers": 30},
    id="z-image",
    display_name="Z-Image",
    hidden=3840,
    caption_channels=2560,
    kv_width=3840,
    mlp_width=10240,
    time_width=256,
    token_multiple=32,
)


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a Lumina-2-like transformer, or None.

    After comfy/ldm/lumina/model.py at 0.3.75, unchanged for this at 0.33.0. Not taken: its
    relative without latents (`dec_net` in the place of `final_layer`), whose decoder costs more
    than any formula here knows.
    """
    parts = ("attention.qkv", "attention.out", "feed_forward.w1", "feed_forward.w3")
    layers = block_list(model, "layers", *parts)
    refiners = block_list(model, "noise_refiner", *parts)
    if layers is None or refiners is None or at(model, "context_refiner") is None:
        return None
    if at(model, "cap_embedder") is None or at(model, "final_layer.linear") is None:
        return None
    hidden = at(model, "dim")
    if not isinstance(hidden, int):
        return None
    size: dict[str, int | float] = {
        "hidden": hidden,
        "text_refiners": len(model.context_refiner),
        "token_multiple": getattr(model, "pad_tokens_multiple", None) or 1,
        **whole(
            model,
            patch_size="patch_size",
            in_channels="in_channels",
            out_channels="out_channels",
            caption_channels="cap_embedder.1.in_features",
            time_hidden="t_embedder.mlp.0.out_features",
            time_width="t_embedder.mlp.2.out_features",
            mlp_width="layers.0.feed_forward.w1.out_features",
        ),
    }
    if (joined := linear_size(layers[0], "attention.qkv")) is not None:
        size["kv_width"] = (joined.outputs - hidden) // 2
    if "patch_size" in size:
        size["pixels_per_token"] = 8 * size["patch_size"]
    return {"counts": {"noise_refiner": len(refiners), "layers": len(layers)}, "size": size}
