"""Pillow's images as the host's."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image


def as_image(picture: Image.Image) -> torch.Tensor:
    """A Pillow image -> the host's IMAGE: (1, H, W, 3) float in [0, 1]."""
    rows = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(rows)[None]
