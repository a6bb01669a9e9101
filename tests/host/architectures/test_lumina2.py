"""Lumina-Image 2.0 and Z-Image, the host's own class at small size."""

from __future__ import annotations

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 48,
    "cap_feat_dim": 24,
    "n_layers": 3,
    "qk_norm": True,
    "n_heads": 4,
    "n_kv_heads": 2,
    "axes_dims": [4, 4, 4],
    "axes_lens": [30, 32, 32],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 2.0,
    "multiple_of": 8,
}
# 256 is the least width the host's modulation of Z-Image can have
Z_IMAGE = LUMINA | {
    "dim": 256,
    "n_kv_heads": 4,
    "axes_dims": [16, 24, 24],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 1.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}


@pytest.fixture
def text(comfy):
    def build(seed: int, tokens: int = 6, width: int = 24):
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, tokens, width, generator=generator)
        return [[text, {"pooled_output": None}]]  # as the host's text encoders give it

    return build


def sites(model):
    blocks = [*model.noise_refiner, *model.layers]
    return [
        (Output(module),) for block in blocks for module in (block.attention, block.feed_forward)
    ]


class TestLumina2(ArchitectureContract):
    @pytest.fixture
    def subject(self, patcher, text):
        model = patcher("Lumina2", "Lumina2", LUMINA)
        return Subject(
            model,
            text,
            shape=(1, 16, 8, 8),
            family="lumina2",
            counts={"noise_refiner": 2, "layers": 3},
            sites=sites(model.model.diffusion_model),
        )


class TestZImage(ArchitectureContract):
    """16 image tokens and 6 text tokens become 32 each, 40 tokens become 64."""

    tokens = (6, 40)

    @pytest.fixture
    def subject(self, patcher, text):
        model = patcher("ZImage", "Lumina2", Z_IMAGE)
        return Subject(
            model,
            text,
            shape=(1, 16, 8, 8),
            family="lumina2",
            counts={"noise_refiner": 2, "layers": 3},
            sites=sites(model.model.diffusion_model),
        )


@pytest.mark.parametrize(
    ("id", "weights", "layers", "cells"),
    [
        ("lumina2", {"cap_embedder.1.weight": (2304, 2304)}, 26, 56),
        (
            "z-image",
            {"cap_embedder.1.weight": (3840, 2560), "cap_pad_token": (1, 3840)},
            30,
            64,
        ),
    ],
)
def test_the_public_checkpoints_have_the_listed_sizes(id, weights, layers, cells, full_size, pack):
    norms = [f"layers.{i}.attention.k_norm.weight" for i in range(layers)]
    shapes = dict.fromkeys([*norms, "noise_refiner.0.attention.k_norm.weight"], (96,))
    model = full_size("comfy.ldm.lumina.model.NextDiT", {**shapes, **weights})
    listed = pack.module("ecad_search.architectures").detect(model)
    assert (id, cells) == (listed.id, listed.n_cells)
    found = pack.module("ecad_search.architectures.lumina2").detect(model)["size"]
    assert {**dict(listed.size), **found} == dict(listed.size)


def test_a_relative_without_latents_is_not_taken(full_size, pack):
    shapes = {"cap_embedder.1.weight": (2304, 2304), "layers.0.w": (1,)}
    shapes["noise_refiner.0.attention.k_norm.weight"] = (96,)
    model = full_size("comfy.ldm.lumina.model.NextDiT", shapes)
    detect = pack.module("ecad_search.architectures").detect
    assert "lumina2" == detect(model).family
    del model.final_layer
    assert "generic" == detect(model).family


def test_its_blocks_are_named_in_messages(pack):
    listed = pack.module("ecad_search.architectures").find("lumina2")
    assert "Lumina 2 with 2 noise refiners and 26 layers" == listed.describe()
