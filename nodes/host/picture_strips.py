"""Small pictures of what a search's schedules make, for the page to show beside their points."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image

MOST_PICTURES = 3  # in a strip
SIDE = 80  # pixels: the longer side of each
REMEMBERED = 500  # strips of some 6 kB
log = logging.getLogger("ComfyUI-ECAD")


class PictureStrips:
    """A strip for each schedule that was ever on the front, as the file `folder`/KEY.jpg.

    Those of other candidates are remembered, the newest of them, for they may get there. Every
    candidate begins with the same samples, so strips can be compared. A disk that takes none ends
    the strips, not the search.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._remembered: dict[str, bytes] = {}
        self._failed = False

    def see(self, key: str, pictures: torch.Tensor) -> None:
        """What a schedule made, (N, H, W, 3) uint8; the first counts."""
        if key in self._remembered or self._failed:
            return
        self._remembered[key] = strip_of(pictures)
        while len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def write(self, keys: Iterable[str]) -> None:
        """Those of these schedules that are not there yet."""
        for key in keys:
            content, file = self._remembered.get(key), self.folder / f"{key}.jpg"
            if content is None or self._failed or file.exists():
                continue
            temporary = file.with_suffix(".tmp")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(content)
                os.replace(temporary, file)
            except OSError as error:
                self._failed = True
                log.warning("ECAD: no pictures for the panel (%s): %s", file.name, error.strerror)


def strip_of(pictures: torch.Tensor) -> bytes:
    """The first pictures side by side, as JPEG."""
    shown = [Image.fromarray(picture.numpy()) for picture in pictures[:MOST_PICTURES]]
    for picture in shown:
        picture.thumbnail((SIDE, SIDE))
    width, height = shown[0].size
    strip = Image.new("RGB", (width * len(shown), height))
    for i, picture in enumerate(shown):
        strip.paste(picture, (i * width, 0))
    content = io.BytesIO()
    strip.save(content, "JPEG", quality=85)
    return content.getvalue()
