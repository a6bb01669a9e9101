"""HunyuanDiT, the host's own class at small size."""

from __future__ import annotations

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

CLIP_TOKENS, T5_TOKENS = 6, 8
HYDIT = {
    "image_model": "hydit",
    "depth": 4,
    "hidden_size": 64,
    "num_heads": 4,
    "mlp_ratio": 2.3,
    "text_states_dim": 24,
    "text_states_dim_t5": 32,
    "text_len": CLIP_TOKENS,
    "text_len_t5": T5_TOKENS,
}


def conditioning(seed: int, tokens: int = CLIP_TOKENS):
    """Texts longer than the model was trained on are taken whole, shorter ones the host pads."""
    generator = torch.Generator().manual_seed(seed)
    t5_tokens = T5_TOKENS + 2 * (tokens - CLIP_TOKENS)
    clip = torch.randn(1, tokens, 24, generator=generator)
    t5 = torch.randn(1, t5_tokens, 32, generator=generator)
    masks = {
        "attention_mask": (torch.arange(tokens) < tokens - 1)[None].float(),
        "attention_mask_mt5xl": (torch.arange(t5_tokens) < t5_tokens - 2)[None].float(),
    }
    return [[clip, {"conditioning_mt5xl": t5, **masks}]]


def sites(model):
    return [
        (Output(module),)
        for block in model.blocks
        for module in (block.attn1, block.attn2, block.mlp)
    ]


class TestHunyuanDit(ArchitectureContract):
    image_model = "hydit"

    @pytest.fixture
    def subject(self, patcher):
        first = self.image_model == "hydit1"
        more = {"size_cond": True, "use_style_cond": True} if first else {}
        model = patcher(
            "HunyuanDiT1" if first else "HunyuanDiT",
            "HunyuanDiT",
            {**HYDIT, "image_model": self.image_model, **more},
        )
        return Subject(
            model,
            conditioning,
            shape=(1, 4, 8, 8),
            family="hunyuan_dit",
            counts={"blocks": 4},
            sites=sites(model.model.diffusion_model),
        )


class TestHunyuanDit1(TestHunyuanDit):
    """The first versions are told the picture's size and a style."""

    image_model = "hydit1"


@pytest.mark.parametrize("extra", [1024, 3968])
def test_the_public_checkpoints_have_the_listed_sizes(extra, full_size, pack):
    shapes = {
        "mlp_t5.0.weight": (8192, 2048),
        "x_embedder.proj.weight": (1408, 4, 2, 2),
        "extra_embedder.0.weight": (5632, extra),
    }
    shapes |= {f"blocks.{i}.norm1.weight": (1408,) for i in range(40)}
    model = full_size("comfy.ldm.hydit.models.HunYuanDiT", shapes)
    listed = pack.module("ecad_search.architectures").detect(model)
    assert ("hunyuan-dit", 120) == (listed.id, listed.n_cells)
    found = pack.module("ecad_search.architectures.hunyuan_dit").detect(model)["size"]
    assert {**dict(listed.size), **found} == {**dict(listed.size), "extra_channels": extra}


def test_the_text_of_both_encoders_counts(pack):
    listed = pack.module("ecad_search.architectures").find("hunyuan-dit")
    workload = pack.module("ecad_search.core.architecture").Workload
    assert 77 + 256 == listed.dimensions(workload()).text_tokens
    assert 154 + 256 == listed.dimensions(workload(text_tokens=154)).text_tokens
