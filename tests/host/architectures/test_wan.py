"""Wan 2.1 and 2.2, the host's own classes at small size."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

SHAPE = (1, 16, 3, 4, 4)  # 3 latent frames of 2 x 2 tokens


def wan_sites(model):
    return [
        (Output(module),)
        for block in model.blocks
        for module in (block.self_attn, block.cross_attn, block.ffn)
    ]


@pytest.fixture(scope="session")
def tiny_wan(patcher):
    """Factory of a ModelPatcher round a random real WanModel or a variant of it."""

    def build(supported="WAN21_T2V", base="WAN21", *, options=None, **config):
        settings = {
            "image_model": "wan2.1",
            "model_type": "t2v",
            "dim": 32,
            "in_dim": 16,
            "out_dim": 16,
            "num_heads": 2,
            "ffn_dim": 56,
            "num_layers": 3,
            "text_dim": 24,
            "freq_dim": 32,
            "patch_size": (1, 2, 2),
        } | config
        return patcher(supported, base, settings, **(options or {}))

    return build


@pytest.fixture(scope="session")
def picture(comfy):
    """What CLIP vision gives for a picture, 5 tokens instead of 257."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(1, 5, 1280, generator=generator)
    return SimpleNamespace(penultimate_hidden_states=tokens)


def subject_of(model, conditioning, *, shape=SHAPE, family="wan"):
    network = model.model.diffusion_model
    counts = {"blocks": len(network.blocks)}
    return Subject(model, conditioning, shape, family, counts, wan_sites(network))


class TestWanTextToVideo(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_wan, conditioning):
        return subject_of(tiny_wan(), conditioning)


class TestWanImageToVideo(ArchitectureContract):
    """A picture's CLIP tokens stand before the text's."""

    @pytest.fixture
    def subject(self, tiny_wan, conditioning, picture):
        model = tiny_wan("WAN21_I2V", model_type="i2v", in_dim=36, options={"image_to_video": True})

        def with_picture(seed, tokens):
            return conditioning(seed, tokens, clip_vision_output=picture)

        return subject_of(model, with_picture)


class TestWan22Of5B(ArchitectureContract):
    """Another VAE: 48 channels, and sides of half as many latent cells."""

    @pytest.fixture
    def subject(self, tiny_wan, conditioning):
        model = tiny_wan(
            "WAN22_T2V", "WAN22", in_dim=48, out_dim=48, options={"image_to_video": True}
        )
        return subject_of(model, conditioning, shape=(1, 48, 2, 4, 6))


class TestWanVace(ArchitectureContract):
    """Control blocks beside the others, which always compute."""

    @pytest.fixture
    def subject(self, tiny_wan, conditioning):
        control = {"model_type": "vace", "vace_layers": 2, "vace_in_dim": 96, "num_layers": 4}
        return subject_of(
            tiny_wan("WAN21_Vace", "WAN21_Vace", **control), conditioning, family="wan_vace"
        )


def published(comfy, name="WanModel", **config):
    """A model of full size without weights."""
    wan = importlib.import_module("comfy.ldm.wan.model")
    operations = importlib.import_module("comfy.ops").disable_weight_init
    settings = {"num_heads": config["dim"] // 128, "device": "meta", "operations": operations}
    return getattr(wan, name)(**settings, **config)


@pytest.mark.parametrize(
    ("id", "config"),
    [
        ("wan-14b", {"dim": 5120, "ffn_dim": 13824, "num_layers": 40}),
        (
            "wan-14b",
            {"model_type": "i2v", "in_dim": 36, "dim": 5120, "ffn_dim": 13824, "num_layers": 40},
        ),
        (
            "wan-5b",
            {"dim": 3072, "ffn_dim": 14336, "num_layers": 30, "in_dim": 48, "out_dim": 48},
        ),
        ("wan-1.3b", {"dim": 1536, "ffn_dim": 8960, "num_layers": 30}),
        (
            "wan-vace-14b",
            {
                "name": "VaceWanModel",
                "dim": 5120,
                "ffn_dim": 13824,
                "num_layers": 40,
                "vace_layers": 8,
                "vace_in_dim": 96,
            },
        ),
        (
            "wan-vace-1.3b",
            {
                "name": "VaceWanModel",
                "dim": 1536,
                "ffn_dim": 8960,
                "num_layers": 30,
                "vace_layers": 15,
                "vace_in_dim": 96,
            },
        ),
    ],
)
def test_published_models_are_listed(id, config, comfy, pack):
    architectures = pack.module("ecad_search.architectures")
    model = published(comfy, **config)
    architecture = architectures.detect(model)
    assert architectures.find(id) is architecture
    detector = next(
        detect for family, detect in architectures.DETECTORS if family.name == architecture.family
    )
    sizes = dict(architecture.size)
    found = detector(model)["size"]
    if config.get("model_type") == "i2v":
        found["in_channels"] = sizes["in_channels"]  # a picture beside the noise
    assert {name: sizes[name] for name in found} == found


@pytest.mark.parametrize("name", ["HumoWanModel", "WanModel_S2V"])
def test_variants_with_other_blocks_or_tokens_are_not_wan(name, comfy, pack):
    architectures = pack.module("ecad_search.architectures")
    model = published(comfy, name, dim=256, ffn_dim=64, num_layers=40)
    assert getattr(architectures.detect(model), "family", "") not in ("wan", "wan_vace")


def test_a_model_that_fills_a_cache_of_its_own_is_not_taken_at_all(comfy, pack):
    wan = pytest.importorskip(
        "comfy.ldm.wan.ar_model", reason="this ComfyUI has no autoregressive Wan"
    )
    operations = importlib.import_module("comfy.ops").disable_weight_init
    config = {"dim": 256, "ffn_dim": 64, "num_layers": 4, "num_heads": 2}
    model = wan.CausalWanModel(device="meta", operations=operations, **config)
    assert pack.module("ecad_search.architectures").detect(model) is None


def test_camera_and_animate_have_wan_s_blocks(comfy, pack):
    detect = pack.module("ecad_search.architectures").detect
    config = {"dim": 256, "ffn_dim": 64, "num_layers": 5}
    camera = published(comfy, "CameraWanModel", in_dim=36, **config)
    wan = importlib.import_module("comfy.ldm.wan.model_animate")
    operations = importlib.import_module("comfy.ops").disable_weight_init
    animate = wan.AnimateWanModel(num_heads=2, device="meta", operations=operations, **config)
    for model in (camera, animate):
        assert ("wan", {"blocks": 5}) == (detect(model).family, detect(model).counts)


def test_a_reference_picture_is_tokens_too(tiny_wan, conditioning, sample, apply, pack):
    presets = pack.module("ecad_search.core.presets")
    detect = pack.module("nodes.host.patching").detect_architecture
    model, reports = tiny_wan(in_dim_ref_conv=16), []
    schedule = presets.fora(detect(model), 4, 2)
    model = apply(model, schedule, on_report=reports.append)
    reference = torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    for options in ({}, {"reference_latents": [reference]}):
        sample(model, conditioning(1, **options), [], steps=4, shape=SHAPE)
    without, with_reference = reports
    assert without.predicted_bytes * 16 // 12 == with_reference.predicted_bytes
    assert with_reference.peak_bytes == with_reference.predicted_bytes
