"""Checkpoints of OpenCLIP as transformers' CLIPModel: another naming of the same tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}  # of the vision towers of ViT-H, g and bigG

WHOLE = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")


def as_transformers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under transformers' names; unknown ones keep theirs, to be refused later."""
    renamed: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        block = BLOCK.fullmatch(name)
        if name == "attn_mask":  # the causal mask, no weight
            continue
        if name in WHOLE:
            renamed[WHOLE[name]] = value
        elif name in TRANSPOSED:
            renamed[TRANSPOSED[name]] = value.T.contiguous()
        elif block is not None:
            tower = "vision_model" if block[1] else "text_model"
            prefix = f"{tower}.encoder.layers.{block[2]}"
            layer, _, kind = block[3].rpartition(".")
            if block[3] in ("attn.in_proj_weight", "attn.in_proj_bias"):
                kind = block[3].removeprefix("attn.in_proj_")
                for part, rows in zip("qkv", value.chunk(3), strict=True):
                    renamed[f"{prefix}.self_attn.{part}_proj.{kind}"] = rows.contiguous()
            else:
                renamed[f"{prefix}.{IN_BLOCK.get(layer, layer)}.{kind}"] = value
        else:
            renamed[name] = value
    return renamed


def transformers_config(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """CLIPConfig's fields, told from the shapes. KeyError for a checkpoint of another network.

    What shapes do not tell is as in OpenCLIP's own configurations of ViT-B, L, H, g and bigG: exact
    GELU, heads of 64 channels in the text tower and of HEAD_WIDTHS in the vision tower.
    """
    projection = state["text_projection"].shape[1]
    width, _, patch, _ = state["visual.conv1.weight"].shape
    patches = state["visual.positional_embedding"].shape[0] - 1
    words = state["token_embedding.weight"].shape[0]
    text = tower_config(state, "transformer.", state["text_projection"].shape[0], 64)
    vision = tower_config(state, "visual.transformer.", width, HEAD_WIDTHS.get(width, 64))
    return {
        "model_type": "clip",
        "projection_dim": projection,
        "text_config": text
        | {
            "vocab_size": words,
            "max_position_embeddings": state["positional_embedding"].shape[0],
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
            "projection_dim": projection,
        },
        "vision_config": vision
        | {
            "patch_size": patch,
            "image_size": patch * round(patches**0.5),
            "projection_dim": projection,
        },
    }


def tower_config(
    state: Mapping[str, torch.Tensor], prefix: str, width: int, head: int
) -> dict[str, Any]:
    block = re.compile(re.escape(prefix) + r"resblocks\.(\d+)\..+")
    return {
        "hidden_size": width,
        "intermediate_size": state[f"{prefix}resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": len({match[1] for name in state if (match := block.fullmatch(name))}),
        "num_attention_heads": max(1, width // head),
        "hidden_act": "gelu",
    }
