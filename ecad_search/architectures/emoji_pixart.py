"""The bundled demo model: PixArt's block, ten times, small enough for any CPU (see demo/)."""

from __future__ import annotations

from .pixart import PIXART_FAMILY

EMOJI_PIXART = PIXART_FAMILY.build(
    {"blocks": 10},
    id="emoji-pixart",
    display_name="Emoji PixArt (demo)",
    hidden=160,
    pixels_per_token=12,
    text_tokens=16,
    patch_size=6,
    in_channels=1,
    out_channels=1,
    caption_channels=96,
    resolution=96,
)
