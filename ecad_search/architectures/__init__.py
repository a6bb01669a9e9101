"""The transformers this pack knows, listed by hand: a new one is a file here and a line in ALL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import architecture as core
from ..core.architecture import Architecture
from ..errors import ModelMismatchError
from . import (
    auraflow,
    chroma,
    cosmos_predict2,
    flux,
    flux2,
    generic,
    hidream,
    hunyuan_dit,
    hunyuan_video,
    ltxv,
    lumina2,
    pixart,
    qwen_image,
    sd3,
    wan,
)
from .auraflow import AURAFLOW, AURAFLOW_FAMILY
from .chroma import CHROMA, CHROMA_FAMILY, CHROMA_RADIANCE, CHROMA_RADIANCE_FAMILY
from .cosmos_predict2 import COSMOS_PREDICT2_2B, COSMOS_PREDICT2_14B, COSMOS_PREDICT2_FAMILY
from .emoji_flux import EMOJI_FLUX
from .emoji_pixart import EMOJI_PIXART
from .flux import FLUX, FLUX_FAMILY
from .flux2 import FLUX2, FLUX2_FAMILY
from .generic import GENERIC_FAMILY
from .hidream import HIDREAM, HIDREAM_FAMILY
from .hunyuan_dit import HUNYUAN_DIT, HUNYUAN_DIT_FAMILY
from .hunyuan_video import HUNYUAN_IMAGE, HUNYUAN_VIDEO, HUNYUAN_VIDEO_1_5, HUNYUAN_VIDEO_FAMILY
from .ltxv import LTXV_2B, LTXV_13B, LTXV_FAMILY
from .lumina2 import LUMINA2, LUMINA2_FAMILY, Z_IMAGE
from .pixart import PIXART, PIXART_FAMILY
from .qwen_image import QWEN_IMAGE, QWEN_IMAGE_FAMILY
from .sd3 import SD3_5_LARGE, SD3_5_MEDIUM, SD3_FAMILY, SD3_MEDIUM
from .wan import WAN_1_3B, WAN_5B, WAN_14B, WAN_FAMILY, WAN_VACE_1_3B, WAN_VACE_14B, WAN_VACE_FAMILY

ALL: tuple[Architecture, ...] = (
    PIXART,
    EMOJI_PIXART,
    FLUX,
    EMOJI_FLUX,
    FLUX2,
    LUMINA2,
    Z_IMAGE,
    CHROMA,
    CHROMA_RADIANCE,
    WAN_14B,
    WAN_5B,
    WAN_1_3B,
    WAN_VACE_14B,
    WAN_VACE_1_3B,
    QWEN_IMAGE,
    AURAFLOW,
    LTXV_2B,
    LTXV_13B,
    HUNYUAN_DIT,
    COSMOS_PREDICT2_2B,
    COSMOS_PREDICT2_14B,
    SD3_MEDIUM,
    SD3_5_MEDIUM,
    SD3_5_LARGE,
    HIDREAM,
    HUNYUAN_VIDEO,
    HUNYUAN_VIDEO_1_5,
    HUNYUAN_IMAGE,
)
DETECTORS = (
    (PIXART_FAMILY, pixart.detect),
    (FLUX_FAMILY, flux.detect),
    (FLUX2_FAMILY, flux2.detect),
    (CHROMA_FAMILY, chroma.detect),
    (CHROMA_RADIANCE_FAMILY, chroma.detect_radiance),
    (QWEN_IMAGE_FAMILY, qwen_image.detect),
    (SD3_FAMILY, sd3.detect),
    (LUMINA2_FAMILY, lumina2.detect),
    (WAN_FAMILY, wan.detect),
    (WAN_VACE_FAMILY, wan.detect_vace),
    (AURAFLOW_FAMILY, auraflow.detect),
    (LTXV_FAMILY, ltxv.detect),
    (HUNYUAN_DIT_FAMILY, hunyuan_dit.detect),
    (COSMOS_PREDICT2_FAMILY, cosmos_predict2.detect),
    (HIDREAM_FAMILY, hidream.detect),
    (HUNYUAN_VIDEO_FAMILY, hunyuan_video.detect),
    (GENERIC_FAMILY, generic.detect),  # the last: it takes what is no other family's
)
FAMILIES = tuple(family for family, _ in DETECTORS)

core.install(FAMILIES, ALL)


def find(id: str) -> Architecture:
    """The listed architecture of that id."""
    for architecture in ALL:
        if architecture.id == id:
            return architecture
    known = ", ".join(architecture.id for architecture in ALL)
    raise ModelMismatchError(f"The architecture {id!r} is not known; expected one of {known}.")


def sized(
    family: str,
    counts: Mapping[str, int],
    *,
    hidden: int | None = None,
    id: str | None = None,
    display_name: str | None = None,
    **size: int | float,
) -> Architecture:
    """An architecture of a known family with other counts or sizes.

    `sized("pixart", {"blocks": 3}, hidden=48)` is what a test puts on a tiny model.
    Other sizes by keyword are those of the family's `size_defaults`: pixels_per_token, text_tokens,
    in_channels, out_channels, resolution, mlp_ratio, ...
    """
    if hidden is not None:
        size["hidden"] = hidden
    return core.family_named(family).build(counts, id=id, display_name=display_name, **size)


def detect(diffusion_model: Any) -> Architecture | None:
    """The architecture of a loaded transformer, by its structure; None when it is none of ours.

    Reads attributes only. Counts and width of a listed architecture give that one; anything else of
    a known family gives one of its own size.
    """
    for family, detector in DETECTORS:
        found = detector(diffusion_model)
        if found is None:
            continue
        counts, size = found["counts"], found["size"]
        for architecture in ALL:
            same_size = architecture.hidden == size["hidden"]
            if architecture.family == family.name and architecture.counts == counts and same_size:
                return architecture
        return family.build(counts, **size)
    return None
