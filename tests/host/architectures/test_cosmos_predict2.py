"""Cosmos-Predict2, the host's own class at small size, and Anima where the host has it."""

from __future__ import annotations

import importlib

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

CONFIG = {
    "image_model": "cosmos_predict2",
    "max_img_h": 32,
    "max_img_w": 32,
    "max_frames": 8,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "concat_padding_mask": True,
    "model_channels": 32,
    "num_blocks": 3,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "crossattn_emb_channels": 24,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop",
    "use_adaln_lora": True,
    "adaln_lora_dim": 8,
    "extra_per_block_abs_pos_emb": False,
    "rope_enable_fps_modulation": False,
}


def cosmos_sites(model):
    return [
        (Output(module),)
        for block in model.blocks
        for module in (block.self_attn, block.cross_attn, block.mlp)
    ]


@pytest.fixture(scope="session")
def tiny_cosmos(patcher):
    def build(supported="CosmosT2IPredict2", *, dtype=torch.float32, options=None, **config):
        options = options or {}
        return patcher(supported, "CosmosPredict2", CONFIG | config, dtype=dtype, **options)

    return build


def subject_of(model, conditioning, *, shape):
    network = model.model.diffusion_model
    return Subject(
        model, conditioning, shape, "cosmos_predict2", {"blocks": 3}, cosmos_sites(network)
    )


class TestCosmosPredict2Picture(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_cosmos, conditioning):
        return subject_of(tiny_cosmos(), conditioning, shape=(1, 16, 1, 6, 8))


class TestCosmosPredict2Film(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_cosmos, conditioning):
        return subject_of(tiny_cosmos(), conditioning, shape=(1, 16, 3, 4, 6))


class TestCosmosPredict2InHalfPrecision(ArchitectureContract):
    """Newer hosts keep the sum of the components in float32 here."""

    @pytest.fixture
    def subject(self, tiny_cosmos, conditioning):
        model = tiny_cosmos(dtype=torch.bfloat16)
        return subject_of(model, conditioning, shape=(1, 16, 1, 6, 8))


def published(comfy, module="cosmos.predict2", name="MiniTrainDIT", **config):
    """A model of full size without weights."""
    network = importlib.import_module(f"comfy.ldm.{module}")
    operations = importlib.import_module("comfy.ops").disable_weight_init
    settings = {
        name: value
        for name, value in CONFIG.items()
        if name not in ("image_model", "mlp_ratio", "crossattn_emb_channels", "adaln_lora_dim")
    }
    return getattr(network, name)(**settings | config, device="meta", operations=operations)


@pytest.mark.parametrize(
    ("id", "config"),
    [
        ("cosmos-predict2-2b", {"model_channels": 2048, "num_blocks": 28, "num_heads": 16}),
        ("cosmos-predict2-14b", {"model_channels": 5120, "num_blocks": 36, "num_heads": 40}),
    ],
)
def test_published_models_are_listed(id, config, comfy, pack):
    """The sizes are those that the host's model_detection.py states."""
    architectures = pack.module("ecad_search.architectures")
    model = published(comfy, **config)
    architecture = architectures.detect(model)
    assert architectures.find(id) is architecture
    sizes = dict(architecture.size)
    found = pack.module("ecad_search.architectures.cosmos_predict2").detect(model)["size"]
    assert {name: sizes[name] for name in found} == found


def test_anima_is_cosmos_predict2_behind_another_text_encoder(comfy, pack):
    config = {"model_channels": 2048, "num_blocks": 28, "num_heads": 16}
    try:
        model = published(comfy, "anima.model", "Anima", **config)
    except ModuleNotFoundError:
        pytest.skip("this ComfyUI has no Anima")
    architectures = pack.module("ecad_search.architectures")
    assert architectures.find("cosmos-predict2-2b") is architectures.detect(model)
