"""Chroma and Chroma Radiance, the host's own classes at small size."""

from __future__ import annotations

import importlib
from dataclasses import fields

import pytest
import torch

from ecad_search.testing.architecture_contract import (
    ArchitectureContract,
    Input,
    Output,
    Subject,
)

COUNTS = {"double_blocks": 2, "single_blocks": 3}
CHROMA = {
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 4,
    "depth": COUNTS["double_blocks"],
    "depth_single_blocks": COUNTS["single_blocks"],
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 24,
    "n_layers": 2,
}
RADIANCE = {
    **CHROMA,
    "image_model": "chroma_radiance",
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 8,
    "nerf_hidden_size": 8,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 2,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": torch.float32,
}
NEWER = {"txt_ids_dims": [], "vec_in_dim": None, "use_x0": False, "use_sequential_txt_ids": False}


def accepted(parameters, settings):
    """The settings, with those that a newer release wants as well."""
    names = {field.name for field in fields(parameters)}
    return {**{name: value for name, value in NEWER.items() if name in names}, **settings}


def flux_sites(model):
    """Where the paper's six components are, in cell order."""
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


class TestChroma(ArchitectureContract):
    dtype = torch.float32

    @pytest.fixture
    def subject(self, comfy, patcher, flux_conditioning):
        parameters = importlib.import_module("comfy.ldm.chroma.model").ChromaParams
        model = patcher("Chroma", "Chroma", accepted(parameters, CHROMA), dtype=self.dtype)
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 16, 8, 8),
            family="chroma",
            counts=COUNTS,
            sites=flux_sites(model.model.diffusion_model),
        )


class TestChromaInHalfPrecision(TestChroma):
    dtype = torch.bfloat16


class TestChromaRadiance(ArchitectureContract):
    head = "conv"

    @pytest.fixture
    def subject(self, comfy, patcher, flux_conditioning):
        module = importlib.import_module("comfy.ldm.chroma_radiance.model")
        settings = accepted(module.ChromaRadianceParams, RADIANCE)
        settings["nerf_final_head_type"] = self.head
        model = patcher("ChromaRadiance", "ChromaRadiance", settings)
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 3, 32, 32),
            family="chroma_radiance",
            counts=COUNTS,
            sites=flux_sites(model.model.diffusion_model),
        )


class TestChromaRadianceWithTheLinearHead(TestChromaRadiance):
    head = "linear"


REAL = {
    "hidden_size": 3072,
    "context_in_dim": 4096,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "out_dim": 3072,
    "hidden_dim": 5120,
    "n_layers": 5,
}
REAL_RADIANCE = {
    **REAL,
    "patch_size": 16,
    "nerf_hidden_size": 64,
    "nerf_mlp_ratio": 4,
    "nerf_depth": 4,
    "nerf_max_freqs": 8,
}


@pytest.mark.parametrize(
    ("kind", "tiny", "real", "listed"),
    [
        ("chroma.model.Chroma", CHROMA, REAL, "CHROMA"),
        ("chroma_radiance.model.ChromaRadiance", RADIANCE, REAL_RADIANCE, "CHROMA_RADIANCE"),
    ],
)
def test_the_listed_sizes_are_those_the_host_reads_from_a_checkpoint(
    comfy, pack, kind, tiny, real, listed
):
    module, _, name = kind.rpartition(".")
    module = importlib.import_module(f"comfy.ldm.{module}")
    options = {"device": "meta", "operations": importlib.import_module("comfy.ops").manual_cast}
    parameters = getattr(module, f"{name}Params")
    model = getattr(module, name)(**accepted(parameters, {**tiny, **real}), **options)
    read = importlib.import_module("comfy.model_detection").detect_unet_config
    config = read(model.state_dict(), "")
    names = {field.name for field in fields(parameters)} | {"image_model"}
    config = {**NEWER, **config}
    model = getattr(module, name)(**{k: v for k, v in config.items() if k in names}, **options)
    chroma = pack.module("ecad_search.architectures.chroma")
    family = getattr(chroma, f"{listed}_FAMILY")
    found = {"CHROMA": chroma.detect, "CHROMA_RADIANCE": chroma.detect_radiance}[listed](model)
    built = family.build(found["counts"], **found["size"])
    expected = getattr(chroma, listed)
    assert (expected.counts, expected.size) == (built.counts, built.size)
    assert expected is pack.module("ecad_search.architectures").detect(model)
