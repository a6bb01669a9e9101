"""HunyuanVideo, HunyuanVideo 1.5 and HunyuanImage 2.1, the host's own class at small size."""

from __future__ import annotations

import importlib
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ecad_search.testing.architecture_contract import (
    ArchitectureContract,
    Input,
    Output,
    SlowReference,
    Subject,
)

CONFIG = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "vec_in_dim": 16,
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 4,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 6, 6],
    "theta": 256,
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
}


def settings_for(**config):
    """Newer releases want to be told how meanflow joins its two timesteps."""
    params = importlib.import_module("comfy.ldm.hunyuan_video.model").HunyuanVideoParams
    newer = {"meanflow_sum": False}
    known = {field.name for field in fields(params)}
    return CONFIG | {name: value for name, value in newer.items() if name in known} | config


def hunyuan_sites(model):
    sites = []
    for block in model.double_blocks:
        sites.append((Output(block.img_attn.proj), Output(block.txt_attn.proj)))
        sites += [(Output(block.img_mlp),), (Output(block.txt_mlp),)]
    for block in model.single_blocks:
        width = block.hidden_size
        sites.append((Input(block.linear2, slice(0, width)),))
        sites.append((Input(block.linear2, slice(width, None)),))
        sites.append((Output(block.linear2),))
    return sites


@pytest.fixture(scope="session")
def tiny_hunyuan(patcher):
    """Factory of a ModelPatcher round a random real HunyuanVideo."""

    def build(supported="HunyuanVideo", base="HunyuanVideo", **config):
        return patcher(supported, base, settings_for(**config))

    return build


def subject_of(model, conditioning, *, shape):
    network = model.model.diffusion_model
    counts = {
        "double_blocks": len(network.double_blocks),
        "single_blocks": len(network.single_blocks),
    }
    sites = hunyuan_sites(network)
    return Subject(model, conditioning, shape, "hunyuan_video", counts, sites)


class TestHunyuanVideo(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_hunyuan, flux_conditioning):
        return subject_of(tiny_hunyuan(), flux_conditioning, shape=(1, 16, 2, 4, 6))


class TestHunyuanVideo15(ArchitectureContract):
    """No single blocks, no pooled text; letters and a first picture beside the text."""

    @pytest.fixture
    def subject(self, tiny_hunyuan, flux_conditioning):
        model = tiny_hunyuan(
            "HunyuanVideo15",
            "HunyuanVideo15",
            patch_size=[1, 1, 1],
            in_channels=65,
            out_channels=32,
            vec_in_dim=None,
            guidance_embed=False,
            byt5=True,
            use_cond_type_embedding=True,
            vision_in_dim=40,
            depth_single_blocks=0,
        )
        generator = torch.Generator().manual_seed(3)
        picture = SimpleNamespace(last_hidden_state=torch.randn(1, 5, 40, generator=generator))
        letters = torch.randn(1, 3, 1472, generator=generator)

        def beside(seed, tokens):
            sides = {"clip_vision_output": picture, "conditioning_byt5small": letters}
            return flux_conditioning(seed, tokens, **sides)

        return subject_of(model, beside, shape=(1, 32, 2, 2, 3))


class TestHunyuanImage(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_hunyuan, flux_conditioning):
        model = tiny_hunyuan(
            "HunyuanImage21",
            "HunyuanImage21",
            patch_size=[1, 1],
            in_channels=64,
            out_channels=64,
            axes_dim=[8, 8],
            vec_in_dim=None,
            guidance_embed=False,
            byt5=True,
        )
        letters = torch.randn(1, 3, 1472, generator=torch.Generator().manual_seed(3))

        def beside(seed, tokens):
            return flux_conditioning(seed, tokens, conditioning_byt5small=letters)

        return subject_of(model, beside, shape=(1, 64, 3, 4))


@pytest.mark.parametrize("condition", ["given frame", "masked text"])
def test_what_the_host_samples_one_by_one_equals_the_slow_reference(
    condition, tiny_hunyuan, flux_conditioning, comfy, pack, sample, apply
):
    """A given frame has a modulation of its own, applied in place; the host cannot batch either."""
    conditions = {
        "given frame": {"guiding_frame_index": 0},
        "masked text": {"attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]])},
    }
    text = flux_conditioning(1, **conditions[condition])
    subject = subject_of(tiny_hunyuan(), flux_conditioning, shape=(1, 16, 2, 4, 6))
    architecture = pack.module("nodes.host.patching").detect_architecture(subject.model)
    rows = np.random.default_rng(2).random((6, architecture.n_cells)) < 0.45
    rows[0] = True
    schedule = pack.module("ecad_search.core.schedule").Schedule(architecture, rows).canonical()
    options, reports = {"steps": 6, "shape": subject.shape}, []
    fast = sample(apply(subject.model, schedule, on_report=reports.append), text, [], **options)
    sampling = subject.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 6).tolist()
    with SlowReference(subject, schedule.compute, sigmas).hooked() as reference:
        slow = sample(reference.model, text, [], **options)
    assert torch.equal(slow, fast)
    assert ((), reports[0].predicted_bytes) == (reports[0].messages, reports[0].peak_bytes)
    plain = sample(subject.model, flux_conditioning(1), [], **options)
    assert not torch.equal(plain, sample(subject.model, text, [], **options))


def published(comfy, **config):
    """A model of full size without weights."""
    network = importlib.import_module("comfy.ldm.hunyuan_video.model").HunyuanVideo
    operations = importlib.import_module("comfy.ops").disable_weight_init
    settings = settings_for(
        **{
            "mlp_ratio": 4.0,
            "axes_dim": [16, 56, 56],
            "context_in_dim": 3584,
            "vec_in_dim": None,
            "guidance_embed": False,
            "num_heads": config["hidden_size"] // 128,
            **config,
        }
    )
    return network(**settings, device="meta", operations=operations)


@pytest.mark.parametrize(
    ("id", "config"),
    [
        (
            "hunyuan-video",
            {
                "hidden_size": 3072,
                "depth": 20,
                "depth_single_blocks": 40,
                "context_in_dim": 4096,
                "vec_in_dim": 768,
                "guidance_embed": True,
            },
        ),
        (
            "hunyuan-video-1.5",
            {
                "hidden_size": 2048,
                "depth": 54,
                "depth_single_blocks": 0,
                "patch_size": [1, 1, 1],
                "in_channels": 65,
                "out_channels": 32,
                "byt5": True,
                "vision_in_dim": 1152,
                "use_cond_type_embedding": True,
            },
        ),
        (
            "hunyuan-image-2.1",
            {
                "hidden_size": 3584,
                "depth": 20,
                "depth_single_blocks": 40,
                "patch_size": [1, 1],
                "axes_dim": [64, 64],
                "in_channels": 64,
                "out_channels": 64,
                "byt5": True,
            },
        ),
    ],
)
def test_published_models_are_listed(id, config, comfy, pack):
    architectures = pack.module("ecad_search.architectures")
    model = published(comfy, **config)
    architecture = architectures.detect(model)
    assert architectures.find(id) is architecture
    sizes = dict(architecture.size)
    found = pack.module("ecad_search.architectures.hunyuan_video").detect(model)["size"]
    assert {name: sizes[name] for name in found} == found


def test_a_reference_film_is_tokens_too(tiny_hunyuan, flux_conditioning, sample, apply, pack):
    presets = pack.module("ecad_search.core.presets")
    detect = pack.module("nodes.host.patching").detect_architecture
    model, reports = tiny_hunyuan(), []
    model = apply(model, presets.fora(detect(model), 4, 2), on_report=reports.append)
    reference = torch.randn(1, 16, 1, 4, 6, generator=torch.Generator().manual_seed(5))
    sizes = []
    for options in ({}, {"ref_latent": reference}):
        sample(model, flux_conditioning(1, **options), [], steps=4, shape=(1, 16, 2, 4, 6))
        sizes.append(reports[-1].predicted_bytes)
    assert [report.peak_bytes for report in reports] == sizes
    assert sizes[0] < sizes[1]


def test_a_size_that_some_members_lack_may_be_nothing(pack):
    sized = pack.module("ecad_search.architectures").sized
    errors = pack.module("ecad_search.errors")
    counts = {"double_blocks": 1, "single_blocks": 0}
    assert 0 == dict(sized("hunyuan_video", counts, pooled_channels=0).size)["pooled_channels"]
    with pytest.raises(errors.ModelMismatchError, match="in_channels"):
        sized("hunyuan_video", counts, in_channels=0)
