"""The node that makes an empty latent of whatever shape a VAE has."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io

from .host.schema import schema


class EmptyLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_EmptyLatent",
            display_name="Empty Latent from VAE",
            category="ECAD",
            description=(
                "An empty latent with the channels and the downscale of the connected VAE. Works "
                "for every image VAE, that of the ECAD Demo Model included."
            ),
            search_aliases=["empty latent image", "latent size"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that will decode the picture."),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Width of the picture in pixels. Emoji-PixArt is made for 96.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Height of the picture in pixels. Emoji-PixArt is made for 96.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="How many pictures to make at once.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="For the latent_image of a sampler.")],
        )

    @classmethod
    def execute(cls, vae: Any, width: int, height: int, batch_size: int = 1) -> io.NodeOutput:
        scale = int(vae.spacial_compression_encode())
        shape = (batch_size, vae.latent_channels, height // scale, width // scale)
        samples = torch.zeros(shape, device=comfy.model_management.intermediate_device())
        return io.NodeOutput({"samples": samples})
