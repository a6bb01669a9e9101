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


class TestFlux1Schnell(TestFlux1):
    """No guidance: one embedder less."""

    @pytest.fixture
    def subject(self, tiny_flux, flux_conditioning):
        model = tiny_flux(guidance_embed=False)
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 16, 8, 8),
            family="flux",
            counts={"double_blocks": 2, "single_blocks": 3},
            sites=flux_sites(model.model.diffusion_model),
        )


class TestFlux1Fill(TestFlux1):
    """The picture to be filled and its mask come in as further channels."""

    @pytest.fixture
    def subject(self, tiny_flux, flux_conditioning):
        model = tiny_flux(in_channels=16 + 16 + 64)

        def conditioning(seed, tokens=6):
            generator = torch.Generator().manual_seed(seed)
            picture = torch.randn(1, 16, 8, 8, generator=generator)
            hole = (torch.rand(1, 1, 64, 64, generator=generator) > 0.5).float()
            return flux_conditioning(seed, tokens, concat_latent_image=picture, concat_mask=hole)

        return Subject(
            model,
            conditioning,
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
