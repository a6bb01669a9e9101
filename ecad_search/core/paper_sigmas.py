"""The noise levels on which the paper's schedules were searched, for any number of steps.

The official code (github.com/AniAggarwal/ecad, requirements diffusers 0.30.3) samples with the
diffusers pipelines of PixArt and FLUX.1 as they come, in 20 steps, so its noise levels are those of
their schedulers:

* PixArt: `scheduler/scheduler_config.json` of PixArt-XL-2-1024-MS, the pipeline that the official
  code loads for every PixArt size, is DPMSolverMultistepScheduler with linear betas 0.0001 to 0.02
  over 1000 training steps, algorithm dpmsolver++, order 2, timestep spacing "linspace" and neither
  Karras nor Lu noise levels; the last level is 0 by that class's default.
* FLUX.1: `scheduler_config.json` of FLUX.1-dev is FlowMatchEulerDiscreteScheduler with dynamic
  shifting, base_shift 0.5 at 256 image tokens and max_shift 1.15 at 4096; FluxPipeline gives it
  linspace(1, 1/steps, steps) and a shift that is linear in the image tokens.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import ScheduleError
from .architecture import is_whole
from .schedule import MOST_STEPS

Levels = npt.NDArray[np.float64]  # (steps + 1,), falling, the last is 0

TRAINING_STEPS = 1000
FIRST_BETA, LAST_BETA = 1e-4, 0.02
BASE_TOKENS, MOST_TOKENS = 256, 4096
BASE_SHIFT, MOST_SHIFT = 0.5, 1.15
SIDE = 256  # px, of the pictures of its searches
LARGEST_SIDE = 16384  # px, the host's own limit
PIXELS_PER_TOKEN = 16  # side of the square of pixels that is one image token of FLUX


def pixart_levels(steps: int) -> Levels:
    """The noise levels of DPM-Solver++ on PixArt, (steps + 1,): sigma / alpha, from 157.4 to 0.

    Timesteps are linspace(0, 999, steps + 1) rounded to whole ones (half to even) without the
    lowest, from the top; the level of timestep t is sqrt((1 - a) / a), a the product of 1 - beta
    up to t.
    """
    _require_steps(steps)
    betas = np.linspace(FIRST_BETA, LAST_BETA, TRAINING_STEPS)
    signal = np.cumprod(1.0 - betas)
    timesteps = np.linspace(0, TRAINING_STEPS - 1, steps + 1).round().astype(np.int64)[:0:-1]
    return np.append(np.sqrt((1.0 - signal[timesteps]) / signal[timesteps]), 0.0)


def flux_levels(steps: int, width: int, height: int) -> Levels:
    """The noise levels of FLUX.1 for a picture of width x height px, (steps + 1,), from 1 to 0.

    A level s of linspace(1, 1 / steps) becomes e^mu / (e^mu + 1 / s - 1), mu = `flux_shift`.
    """
    _require_steps(steps)
    even = np.linspace(1.0, 1.0 / steps, steps)
    push = math.exp(flux_shift(width, height))
    return np.append(push / (push + (1.0 / even - 1.0)), 0.0)


def flux_shift(width: int, height: int) -> float:
    """mu of a picture: 0.5 at 256 tokens (256 x 256 px), 1.15 at 4096 (1024 x 1024), on one line.

    It goes on below and above, as in FluxPipeline.
    """
    tokens = (width // PIXELS_PER_TOKEN) * (height // PIXELS_PER_TOKEN)
    if tokens < 1:
        raise ScheduleError(
            f"A picture of {width} x {height} px has no image token of FLUX; "
            f"expected at least {PIXELS_PER_TOKEN} x {PIXELS_PER_TOKEN} px."
        )
    slope = (MOST_SHIFT - BASE_SHIFT) / (MOST_TOKENS - BASE_TOKENS)
    return BASE_SHIFT + slope * (tokens - BASE_TOKENS)


def levels_of_family(
    family: str, steps: int, width: object = None, height: object = None
) -> Levels | None:
    """The noise levels of the official code for one of its two families; None for any other.

    A size that is not given is the 256 px of its searches; None also for one that is no size.
    """
    if family == "pixart":
        return pixart_levels(steps)
    if family != "flux":
        return None
    sides = [SIDE if side is None else side for side in (width, height)]
    pixels = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    if len(pixels) < 2 or min(pixels) < PIXELS_PER_TOKEN or max(pixels) > LARGEST_SIDE:
        return None
    return flux_levels(steps, *pixels)


def whole_steps(steps: int, denoise: float) -> int:
    """Steps from pure noise of which a run of `steps` at `denoise` takes the last ones.

    The rule of the host's samplers: 20 steps at denoise 0.5 are the last 20 of 40.
    """
    if not 0.0 < denoise <= 1.0:
        raise ScheduleError(f"denoise is {denoise!r}; expected a number above 0 and up to 1.")
    whole = int(steps / denoise)
    if whole > MOST_STEPS:
        raise ScheduleError(
            f"{steps} steps at denoise {denoise:g} are the last of {whole:,}; expected at most "
            f"{MOST_STEPS:,}, so raise denoise or take fewer steps."
        )
    return whole


def _require_steps(steps: int) -> None:
    if not is_whole(steps) or not 1 <= steps <= MOST_STEPS:
        raise ScheduleError(f"steps is {steps!r}; expected a whole number from 1 to {MOST_STEPS}.")
