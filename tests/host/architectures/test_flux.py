"""FLUX.1 and FLUX.2, the host's own classes at small size."""

from __future__ import annotations

import pytest
import torch

from ecad_search.testing.architecture_contract import (
    ArchitectureContract,
    Input,
    Output,
    Subject,
)


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


class TestFlux1(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_flux, flux_conditioning):
        model = tiny_flux()
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 16, 8, 8),
            family="flux",
            counts={"double_blocks": 2, "single_blocks": 3},
            sites=flux_sites(model.model.diffusion_model),
        )


class TestFlux1InHalfPrecision(TestFlux1):
    @pytest.fixture
    def subject(self, tiny_flux, flux_conditioning):
        model = tiny_flux(dtype=torch.bfloat16)
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 16, 8, 8),
            family="flux",
            counts={"double_blocks": 2, "single_blocks": 3},
            sites=flux_sites(model.model.diffusion_model),
        )


class TestFlux2(ArchitectureContract):
    @pytest.fixture
    def subject(self, tiny_flux2, flux_conditioning):
        model = tiny_flux2()
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 128, 4, 4),
            family="flux2",
            counts={"double_blocks": 2, "single_blocks": 3},
            sites=flux_sites(model.model.diffusion_model),
        )
