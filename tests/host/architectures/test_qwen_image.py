"""Qwen-Image, the host's own class at small size."""

from __future__ import annotations

import importlib

import pytest
import torch

from ecad_search.testing.architecture_contract import (
    ArchitectureContract,
    Output,
    SlowReference,
    Subject,
)

COUNTS = {"transformer_blocks": 3}
QWEN_IMAGE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "joint_attention_dim": 32,
    "axes_dims_rope": (4, 6, 6),
}


def sites(model):
    return [
        (Output(part),)
        for block in model.transformer_blocks
        for part in (block.attn, block.img_mlp, block.txt_mlp)
    ]


class TestQwenImage(ArchitectureContract):
    dtype = torch.float32

    @pytest.fixture
    def subject(self, patcher, conditioning):
        model = patcher("QwenImage", "QwenImage", QWEN_IMAGE, dtype=self.dtype)
        return Subject(
            model,
            lambda seed, tokens: conditioning(seed, tokens, width=32),
            shape=(1, 16, 1, 8, 8),
            family="qwen_image",
            counts=COUNTS,
            sites=sites(model.model.diffusion_model),
        )

    @pytest.mark.parametrize("method", ["index", "offset", "index_timestep_zero"])
    def test_pictures_to_edit_are_tokens_too(
        self, method, subject, comfy, sample, apply, random_rows
    ):
        """On 0.3.75 the third is taken for the second; later the block gets another argument."""
        generator = torch.Generator().manual_seed(3)
        pictures = [torch.randn(1, 16, 1, *side, generator=generator) for side in ((8, 8), (6, 4))]
        options = {"reference_latents": pictures, "reference_latents_method": method}
        streams = [
            [[text, {**rest, **options}] for text, rest in subject.conditioning(seed, tokens)]
            for seed, tokens in ((1, 6), (2, 9))
        ]
        schedule, reports = random_rows(6), []
        settings = {"steps": self.steps, "cfg": 3.0, "shape": subject.shape}
        model = apply(subject.model, schedule, on_report=reports.append)
        fast = sample(model, *streams, **settings)
        sigmas = self._sigmas(comfy, subject)
        with SlowReference(subject, schedule.compute, sigmas).hooked() as reference:
            slow = sample(reference.model, *streams, **settings)
        assert torch.equal(slow, fast)
        assert () == reports[0].messages
        assert reports[0].predicted_bytes == reports[0].peak_bytes > 0


class TestQwenImageInHalfPrecision(TestQwenImage):
    dtype = torch.bfloat16


def test_the_listed_sizes_are_those_the_host_reads_from_a_checkpoint(comfy, pack):
    kind = importlib.import_module("comfy.ldm.qwen_image.model").QwenImageTransformer2DModel
    options = {"device": "meta", "operations": importlib.import_module("comfy.ops").manual_cast}
    read = importlib.import_module("comfy.model_detection").detect_unet_config
    config = read(kind(**options).state_dict(), "")
    model = kind(**config, **options)
    qwen_image = pack.module("ecad_search.architectures.qwen_image")
    found, expected = qwen_image.detect(model), qwen_image.QWEN_IMAGE
    built = qwen_image.QWEN_IMAGE_FAMILY.build(found["counts"], **found["size"])
    assert (expected.counts, expected.size) == (built.counts, built.size)
    assert expected is pack.module("ecad_search.architectures").detect(model)
