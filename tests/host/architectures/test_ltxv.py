"""LTX-Video, the host's own class at small size."""

from __future__ import annotations

import importlib

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

CONFIG = {
    "image_model": "ltxv",
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "cross_attention_dim": 32,
    "caption_channels": 24,
    "in_channels": 128,
}


@pytest.fixture
def subject(patcher, conditioning):
    def masked(seed, tokens):
        return conditioning(seed, tokens, attention_mask=torch.ones(1, tokens, dtype=torch.int64))

    model = patcher("LTXV", "LTXV", CONFIG)
    return Subject(
        model,
        masked,
        shape=(1, 128, 2, 2, 3),
        family="ltxv",
        counts={"transformer_blocks": 3},
        sites=[
            (Output(module),)
            for block in model.model.diffusion_model.transformer_blocks
            for module in (block.attn1, block.attn2, block.ff)
        ],
    )


class TestLtxv(ArchitectureContract):
    @pytest.fixture
    def subject(self, subject):
        return subject


def published(comfy, name="LTXVModel", module="model", **config):
    """A model of full size without weights."""
    lightricks = importlib.import_module(f"comfy.ldm.lightricks.{module}")
    operations = importlib.import_module("comfy.ops").disable_weight_init
    settings = {"in_channels": 128, "device": "meta", "operations": operations}
    return getattr(lightricks, name)(**settings, **config)


@pytest.mark.parametrize(
    ("id", "config"),
    [
        ("ltxv-2b", {"num_layers": 28, "attention_head_dim": 64, "cross_attention_dim": 2048}),
        ("ltxv-13b", {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096}),
    ],
)
def test_published_models_are_listed(id, config, comfy, pack):
    architectures = pack.module("ecad_search.architectures")
    model = published(comfy, num_attention_heads=32, caption_channels=4096, **config)
    architecture = architectures.detect(model)
    assert architectures.find(id) is architecture
    sizes = dict(architecture.size)
    found = pack.module("ecad_search.architectures.ltxv").detect(model)["size"]
    assert {name: sizes[name] for name in found} == found


def test_a_model_of_picture_and_sound_is_not_ltxv(comfy, pack):
    try:
        model = published(comfy, "LTXAVModel", "av_model", num_layers=2)
    except ModuleNotFoundError:
        pytest.skip("this ComfyUI has no LTX-2")
    architecture = pack.module("ecad_search.architectures").detect(model)
    assert getattr(architecture, "family", "") != "ltxv"


def test_a_film_that_starts_from_given_frames_is_sampled_as_the_host_does(
    subject, pack, sample, apply
):
    """A timestep for each token, none of which belongs to what is stored."""
    presets = pack.module("ecad_search.core.presets")
    architecture = pack.module("nodes.host.patching").detect_architecture(subject.model)
    mask = torch.ones(1, 1, *subject.shape[2:])
    mask[:, :, 0] = 0
    latent = torch.randn(subject.shape, generator=torch.Generator().manual_seed(4))
    streams = subject.conditioning(1, 6), subject.conditioning(2, 6)

    def film(model):
        return sample(model, *streams, latent=latent, noise_mask=mask, steps=4, cfg=2.0)

    reports = []
    uncached, reused = (
        film(apply(subject.model, schedule, on_report=reports.append))
        for schedule in (presets.uncached(architecture, 4), presets.fora(architecture, 4, 2))
    )
    plain = film(subject.model)
    assert torch.equal(plain, uncached)
    assert not torch.equal(plain, reused)
    assert torch.allclose(latent[:, :, 0], reused[:, :, 0], atol=1e-5)
    assert (0, 18) == (reports[1].cells_forced, reports[1].cells_reused)
