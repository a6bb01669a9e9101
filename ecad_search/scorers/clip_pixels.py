"""Pictures as CLIP and its kin look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 224  # px a side
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures, RGB
STD = (0.26862954, 0.26130258, 0.27577711)


def preprocessed(image: torch.Tensor, size: int = IMAGE_SIZE) -> torch.Tensor:
    """(H, W, 3) in [0, 1] -> (3, size, size): what the published transforms do to a PIL image.

    Shorter side to `size` px by PIL's bicubic filter on 8-bit values, centre crop, normalised.
    """
    import numpy as np
    import torch
    from PIL import Image

    pixels = (image.float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    height, width = pixels.shape[:2]
    short = min(height, width)
    shape = (int(size * width / short), int(size * height / short))
    picture = Image.fromarray(pixels).resize(shape, Image.Resampling.BICUBIC)
    left, top = round((shape[0] - size) / 2), round((shape[1] - size) / 2)
    cropped = picture.crop((left, top, left + size, top + size))
    x = torch.from_numpy(np.asarray(cropped, np.float32) / 255)
    return ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)
