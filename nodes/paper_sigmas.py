"""The node that gives the noise levels on which the paper's schedules were searched."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import torch
from comfy_api.latest import io

from ..ecad_search.core import paper_sigmas
from ..ecad_search.errors import ModelMismatchError
from .host.schema import schema

PIXART = "PixArt: DPM-Solver++, 20 steps"
FLUX = "FLUX: flow matching with shift, 20 steps"


class PaperSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_PaperSigmas",
            display_name="ECAD Paper Sigmas",
            category="ECAD",
            description=(
                "The noise levels on which the ECAD paper searched its schedules, so that an "
                "official schedule meets the trajectory it was made for. For SamplerCustomAdvanced "
                "and ECAD Sampler Settings."
            ),
            search_aliases=["scheduler", "noise levels", "diffusers", "dpm solver", "timesteps"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to sample with; its kind must fit the grid."
                ),
                io.Combo.Input(
                    "grid",
                    options=[PIXART, FLUX],
                    default=PIXART,
                    tooltip=(
                        "Whose rule gives the noise levels. The paper samples PixArt with "
                        "DPM-Solver++ (the sampler dpmpp_2m) and FLUX with Euler (euler)."
                    ),
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    tooltip="Sampling steps. The paper takes 20; other numbers follow its rule.",
                ),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Width of the picture in pixels. FLUX's levels depend on it.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    min=16,
                    max=16384,
                    step=8,
                    tooltip="Height of the picture in pixels. FLUX's levels depend on it.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    round=0.01,
                    tooltip=(
                        "Below 1 for img2img: the steps are then the last ones of steps / denoise."
                    ),
                ),
            ],
            outputs=[
                io.Sigmas.Output(tooltip="The noise levels, one more than steps; the last is 0.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        grid: str,
        steps: int,
        width: int = 1024,
        height: int = 1024,
        denoise: float = 1.0,
    ) -> io.NodeOutput:
        require_kind(model, grid)
        whole = paper_sigmas.whole_steps(steps, denoise)
        if grid == FLUX:
            levels = paper_sigmas.flux_levels(whole, width, height)
        else:
            levels = paper_sigmas.pixart_levels(whole)
        return io.NodeOutput(torch.tensor(levels[-(steps + 1) :], dtype=torch.float32))


def require_kind(model: Any, grid: str) -> None:
    """Raise ModelMismatchError when the model counts noise in another way than the grid.

    A flow model mixes picture and noise, up to 1; PixArt's noise is added, up to 157.
    """
    sampling = model.get_model_object("model_sampling")
    flow = isinstance(sampling, comfy.model_sampling.CONST)
    if flow != (grid == FLUX):
        kind = "a flow-matching model" if flow else "no flow-matching model"
        raise ModelMismatchError(
            f"The grid '{grid}' does not fit: this is {kind}, whose noise levels end at "
            f"{float(sampling.sigma_max):.4g}; choose the grid '{FLUX if flow else PIXART}'."
        )
