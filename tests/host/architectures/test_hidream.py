"""HiDream, the host's own class at small size."""

from __future__ import annotations

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

HIDREAM = {
    "image_model": "hidream",
    "attention_head_dim": 32,
    "axes_dims_rope": [16, 8, 8],
    "caption_channels": [24, 40],
    "max_resolution": [16, 16],
    "in_channels": 16,
    "llama_layers": [0, 1, 2, 2, 2],
    "num_attention_heads": 4,
    "num_routed_experts": 4,
    "num_activated_experts": 2,
    "num_layers": 2,
    "num_single_layers": 3,
    "out_channels": 16,
    "patch_size": 2,
    "text_emb_dim": 16,
}


def conditioning(seed: int, tokens: int = 6, **more):
    """T5's `tokens`, one more of Llama's, of which there are three layers."""
    generator = torch.Generator().manual_seed(seed)
    t5 = torch.randn(1, tokens, 24, generator=generator)
    llama = torch.randn(1, 3, tokens + 1, 40, generator=generator)
    pooled = torch.randn(1, 16, generator=generator)
    return [[t5, {"conditioning_llama3": llama, "pooled_output": pooled, **more}]]


def editing(seed: int, tokens: int = 6):
    generator = torch.Generator().manual_seed(7)
    picture = torch.randn(1, 16, 8, 8, generator=generator)
    return conditioning(seed, tokens, concat_latent_image=picture)


def sites(model):
    found = []
    for block in (outer.block for outer in model.double_stream_blocks):
        found += [(Output(block.attn1),), (Output(block.ff_i),), (Output(block.ff_t),)]
    for block in (outer.block for outer in model.single_stream_blocks):
        found += [(Output(block.attn1),), (Output(block.ff_i),)]
    return found


class TestHiDream(ArchitectureContract):
    @pytest.fixture
    def build(self):
        return conditioning

    @pytest.fixture
    def subject(self, patcher, build):
        model = patcher("HiDream", "HiDream", HIDREAM)
        return Subject(
            model,
            build,
            shape=(1, 16, 8, 8),
            family="hidream",
            counts={"double_stream_blocks": 2, "single_stream_blocks": 3},
            sites=sites(model.model.diffusion_model),
        )


class TestHiDreamEditing(TestHiDream):
    """The edited picture's tokens stand beside the drawn one's."""

    @pytest.fixture
    def build(self):
        return editing


def test_the_public_checkpoints_have_the_listed_sizes(full_size, pack):
    shapes = {"caption_projection.0.linear.weight": (2560, 4096)}
    model = full_size("comfy.ldm.hidream.model.HiDreamImageTransformer2DModel", shapes)
    listed = pack.module("ecad_search.architectures").detect(model)
    assert ("hidream", 16 * 3 + 32 * 2) == (listed.id, listed.n_cells)
    found = pack.module("ecad_search.architectures.hidream").detect(model)["size"]
    assert {**dict(listed.size), **found} == dict(listed.size)


def test_llama_s_tokens_are_twice_in_every_block(pack):
    listed = pack.module("ecad_search.architectures").find("hidream")
    workload = pack.module("ecad_search.core.architecture").Workload(width=512, height=512)
    attention = listed.cell_components[-2]
    tokens = 32 * 32 + 128 + 2 * 128
    assert 4 * 2560**2 * tokens == attention.macs(listed.dimensions(workload))
