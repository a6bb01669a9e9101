"""The bundled demo model of FLUX's blocks, three double and six single ones (see demo/)."""

from __future__ import annotations

from .flux import FLUX_FAMILY

EMOJI_FLUX = FLUX_FAMILY.build(
    {"double_blocks": 3, "single_blocks": 6},
    id="emoji-flux",
    display_name="Emoji FLUX (demo)",
    hidden=160,
    pixels_per_token=12,
    text_tokens=16,
    in_channels=36,
    out_channels=36,
    context_channels=96,
    pooled_channels=96,
    embedders=1,
    resolution=96,
)
