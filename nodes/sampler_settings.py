"""The node that says how calibration pictures are sampled."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..ecad_search.errors import SearchError
from .host.rendering import SamplerSettings
from .host.schema import schema
from .types import SamplerSettingsType


class SamplerSettingsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_SamplerSettings",
            display_name="ECAD Sampler Settings",
            category="ECAD",
            description=(
                "How a search samples its pictures. Use the settings you generate with: a schedule "
                "is made for a number of steps, and works best with the sampler it was found on."
            ),
            search_aliases=["sampler", "steps", "calibration"],
            inputs=[
                io.Int.Input(
                    "steps",
                    default=20,
                    min=2,
                    max=1000,
                    tooltip="Sampling steps, which is also the number of rows of the schedules.",
                ),
                io.Float.Input(
                    "cfg",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Classifier-free guidance; 1 for models that take it as input (FLUX).",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=list(comfy.samplers.SAMPLER_NAMES),
                    default="euler",
                    tooltip=(
                        "The sampler. Those that add noise while sampling (ancestral, SDE, LCM) "
                        "run one sample at a time, so that a result never depends on the batch."
                    ),
                ),
                io.Combo.Input(
                    "scheduler",
                    options=list(comfy.samplers.SCHEDULER_NAMES),
                    default="simple",
                    tooltip="How the noise levels are spread over the steps.",
                ),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Width of the pictures in pixels. Emoji-PixArt is made for 96.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Height of the pictures in pixels. Emoji-PixArt is made for 96.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=4,
                    min=1,
                    max=4096,
                    tooltip=(
                        "Samples that run together. Changes speed and memory, not results; when "
                        "memory runs out a batch is halved."
                    ),
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels to use instead of steps and scheduler.",
                ),
                io.Boolean.Input(
                    "fix_small_latents",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Let PixArt sample below 264 px, where ComfyUI divides by zero; 256 px is "
                        "what the paper's PixArt schedules were searched at."
                    ),
                ),
            ],
            outputs=[
                SamplerSettingsType.Output(
                    display_name="sampler_settings",
                    tooltip="For ECAD Search and ECAD Compare Schedules.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        width: int,
        height: int,
        batch_size: int,
        sigmas: Any = None,
        fix_small_latents: bool = False,
    ) -> io.NodeOutput:
        levels = None
        if sigmas is not None:
            levels = tuple(float(sigma) for sigma in sigmas.flatten().tolist())
            if len(levels) < 3:
                raise SearchError(
                    f"The sigmas have {len(levels)} noise levels, expected at least 3 (2 steps); "
                    "connect the sigmas of a whole sampling."
                )
        return io.NodeOutput(
            SamplerSettings(
                steps=steps,
                cfg=cfg,
                sampler=sampler_name,
                scheduler=scheduler,
                width=width,
                height=height,
                batch=batch_size,
                sigmas=levels,
                fix_small_latents=fix_small_latents,
            )
        )
