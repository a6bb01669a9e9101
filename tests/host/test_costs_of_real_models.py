"""Analytic MACs against those that PyTorch counts while the host's own classes run."""

from __future__ import annotations

import dataclasses
import importlib

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def counted_macs():
    def count(model, *inputs) -> int:
        counter = FlopCounterMode(display=False)
        # The counter knows the plain kernel on every device, whichever attention the host chose.
        with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
            model(*inputs)
        return counter.get_total_flops() // 2

    return count


@pytest.fixture
def library(pack):
    return {
        name.rpartition(".")[2]: pack.module(f"ecad_search.{name}")
        for name in ("architectures", "core.architecture", "core.cost", "core.presets")
    }


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", ["pixart", "flux"])
def test_the_demo_models_cost_what_they_are_said_to(pack, library, counted_macs, kind, batch):
    patcher = pack.module("nodes.host.demo_model").load_demo_model(kind)[0]
    model = patcher.model.diffusion_model
    architecture = library["architectures"].detect(model)
    assert f"emoji-{kind}" == architecture.id
    workload = architecture.native_workload(batch)
    expected = library["cost"].uncached_macs(architecture, 1, workload).total
    inputs = [torch.randn(batch, 1, 48, 48), torch.rand(batch), torch.randn(batch, 16, 96)]
    if kind == "flux":
        inputs.append(torch.randn(batch, 96))
    assert expected == counted_macs(model, *inputs)


def test_another_size_of_pixart_costs_what_it_is_said_to(comfy, library, counted_macs):
    networks = importlib.import_module("comfy.ldm.pixart.pixartms")
    operations = importlib.import_module("comfy.ops").manual_cast
    model = networks.PixArtMS(
        hidden_size=48,
        depth=3,
        num_heads=2,
        mlp_ratio=2.0,
        caption_channels=32,
        model_max_length=20,
        pe_interpolation=1,
        micro_condition=False,
        dtype=torch.float32,
        operations=operations,
    ).eval()
    architecture = library["architectures"].detect(model)
    assert ({"blocks": 3}, 48) == (architecture.counts, architecture.hidden)
    workload = library["architecture"].Workload(width=640, height=512)
    expected = library["cost"].uncached_macs(architecture, 1, workload).total
    inputs = torch.randn(1, 4, 64, 80), torch.rand(1), torch.randn(1, 20, 32)
    assert expected == counted_macs(model, *inputs)


def test_a_small_flux_costs_what_it_is_said_to(comfy, library, counted_macs):
    networks = importlib.import_module("comfy.ldm.flux.model")
    operations = importlib.import_module("comfy.ops").manual_cast
    known = {field.name for field in dataclasses.fields(networks.FluxParams)}
    model = networks.Flux(
        in_channels=16,
        out_channels=16,
        vec_in_dim=24,
        context_in_dim=40,
        hidden_size=64,
        mlp_ratio=3.0,
        num_heads=2,
        depth=2,
        depth_single_blocks=3,
        axes_dim=[8, 12, 12],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        guidance_embed=True,
        **({"txt_ids_dims": []} if "txt_ids_dims" in known else {}),  # since 0.4
        dtype=torch.float32,
        operations=operations,
    ).eval()
    architecture = library["architectures"].detect(model)
    assert {"double_blocks": 2, "single_blocks": 3} == architecture.counts
    workload = library["architecture"].Workload(batch=2, width=256, height=192, text_tokens=30)
    expected = library["cost"].uncached_macs(architecture, 1, workload).total
    sizes = (2, 16, 24, 32), (2,), (2, 30, 40), (2, 24), (2,)
    assert expected == counted_macs(model, *(torch.rand(size) for size in sizes))
