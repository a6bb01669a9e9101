"""Lets the host's PixArt sample below 264 px, where it divides by zero; for one run, on one model.

`PixArtMS.forward_orig` rounds the latent's side to a multiple of 64 cells and divides by it, and by
an interpolation rounded down to 0; at 256 px (32 cells) both are 0 (seen in comfy/ldm/pixart at
0.3.75). The values put in their place are the ones the 256 px checkpoints were trained with.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...ecad_search.errors import ModelMismatchError

POSITIONS = "get_2d_sincos_pos_embed_torch"
SIGMA_TEXT_TOKENS = 300  # PixArt-Sigma's captions; PixArt-alpha's have 120
SIGMA_INTERPOLATION, ALPHA_INTERPOLATION = 0.5, 1.0  # of the 256 px checkpoints


@contextmanager
def small_latents_fixed(diffusion_model: Any) -> Iterator[None]:
    """Inside the block, this instance's forward_orig runs the host's own code with mended numbers.

    Only the instance gets an attribute: neither the host's module nor another model sees it, and
    sizes that work without it get the very same numbers.
    """
    method = diffusion_model.forward_orig
    function = getattr(method, "__func__", None)
    if not inspect.isfunction(function) or POSITIONS not in function.__code__.co_names:
        raise ModelMismatchError(
            f"The small-picture fix does not know this model's forward_orig "
            f"({type(diffusion_model).__name__}); expected ComfyUI's PixArt; switch the fix off."
        )
    positions = function.__globals__[POSITIONS]
    interpolation = interpolation_of_256px(diffusion_model)

    def mended(*args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(positions).bind(*args, **kwargs)
        call.apply_defaults()
        numbers = call.arguments
        if not numbers["base_size"]:
            numbers["base_size"] = (numbers["w"] + numbers["h"]) / 2
            numbers["pe_interpolation"] = numbers["pe_interpolation"] or interpolation
        return positions(*call.args, **call.kwargs)

    rebound = types.FunctionType(
        function.__code__,
        {**function.__globals__, POSITIONS: mended},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    rebound.__kwdefaults__ = function.__kwdefaults__
    before = diffusion_model.__dict__.get("forward_orig")
    diffusion_model.forward_orig = types.MethodType(rebound, diffusion_model)
    try:
        yield
    finally:
        if before is None:
            del diffusion_model.forward_orig
        else:
            diffusion_model.forward_orig = before


def interpolation_of_256px(diffusion_model: Any) -> float:
    text = getattr(getattr(diffusion_model, "y_embedder", None), "y_embedding", None)
    is_sigma = text is not None and text.shape[0] == SIGMA_TEXT_TOKENS
    return SIGMA_INTERPOLATION if is_sigma else ALPHA_INTERPOLATION
