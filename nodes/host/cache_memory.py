"""What the stored values of a schedule take, told before anything is sampled."""

from __future__ import annotations

from functools import partial

import comfy.samplers

from ...ecad_search.core.architecture import Dimensions
from ...ecad_search.engine.liveness import peaks, stored_sizes
from ...ecad_search.evolution.memory import CacheMemory
from .patching import ONE_EVALUATION_PER_STEP, LatentPatch
from .rendering import Renderer


def cache_memory(renderer: Renderer) -> CacheMemory | None:
    """For one picture of the calibration, the one with the longest prompt; None if unknown.

    Both predictions of guidance count as one call, which takes no less than two calls do.
    """
    architecture, model, settings = renderer.architecture, renderer.model.model, renderer.settings
    if architecture.fingerprint:  # the sizes of a model of no known family are estimates
        return None
    calibration = renderer.calibration
    streams = 1 if settings.cfg == 1 else 2
    prompts = [*calibration.positives, *([calibration.negative] if streams == 2 else [])]
    text_tokens = max(prompt[0][0].shape[1] for prompt in prompts)
    dimensions = Dimensions(
        hidden=architecture.hidden,
        batch=1,
        image_tokens=LatentPatch.of(model.diffusion_model).tokens(renderer.empty_latent()),
        text_tokens=text_tokens + sum(architecture.side_tokens),
        side_tokens=architecture.side_tokens,
    )
    itemsize = (getattr(model, "manual_cast_dtype", None) or model.get_dtype()).itemsize
    sampler = comfy.samplers.sampler_object(settings.sampler).sampler_function
    once = getattr(sampler, "__name__", "") in ONE_EVALUATION_PER_STEP
    sizes = stored_sizes(architecture, dimensions, itemsize)
    terms = {
        "itemsize": itemsize,
        "streams": streams,
        "image_tokens": dimensions.image_tokens,
        "text_tokens": text_tokens,
        "one_evaluation_per_step": once,
    }
    predicted = partial(
        peaks,
        sizes=sizes,
        streams=streams,
        one_evaluation_per_step=once,
        readers=architecture.readers,
    )
    return CacheMemory(predicted, terms)
