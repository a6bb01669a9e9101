"""AuraFlow, the host's own class at small size."""

from __future__ import annotations

import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

AURA = {
    "cond_seq_dim": 32,
    "dim": 48,
    "global_conddim": 40,
    "n_heads": 4,
    "max_seq": 64,
    "n_double_layers": 2,
    "n_layers": 5,
}


def conditioning(seed: int, tokens: int = 6):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, 32, generator=generator), {}]]


def sites(model):
    found = []
    for block in model.double_layers:
        found += [(Output(block.attn),), (Output(block.mlpX),), (Output(block.mlpC),)]
    for block in model.single_layers:
        found += [(Output(block.attn),), (Output(block.mlp),)]
    return found


class TestAuraFlow(ArchitectureContract):
    dtype = torch.float32

    @pytest.fixture
    def subject(self, patcher):
        model = patcher("AuraFlow", "AuraFlow", AURA, dtype=self.dtype)
        return Subject(
            model,
            conditioning,
            shape=(1, 4, 8, 8),
            family="auraflow",
            counts={"double_layers": 2, "single_layers": 3},
            sites=sites(model.model.diffusion_model),
        )


class TestAuraFlowInHalfPrecision(TestAuraFlow):
    dtype = torch.bfloat16


def test_the_public_checkpoint_has_the_listed_sizes(full_size, pack):
    shapes = {
        "double_layers.0.attn.w1q.weight": (3072, 3072),
        "positional_encoding": (1, 4096, 3072),
        "cond_seq_linear.weight": (3072, 2048),
    }
    shapes |= {f"double_layers.{i}.attn.w2q.weight": (3072, 3072) for i in range(4)}
    shapes |= {f"single_layers.{i}.attn.w1q.weight": (3072, 3072) for i in range(32)}
    model = full_size("comfy.ldm.aura.mmdit.MMDiT", shapes)
    listed = pack.module("ecad_search.architectures").detect(model)
    assert ("auraflow", 76) == (listed.id, listed.n_cells)
    found = pack.module("ecad_search.architectures.auraflow").detect(model)["size"]
    assert {**dict(listed.size), **found} == dict(listed.size)
