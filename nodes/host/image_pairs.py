"""Two pictures of the same prompt and seed, side by side: files to show, and figures."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from PIL import Image

from ...ecad_search.errors import EcadError
from ...ecad_search.scorers.reference_similarity import psnr, ssim

MOST_PAIRS = 8  # shown of a batch or a film, evenly spread
PREFIX = "ecad_pair"


def image_pairs(images: torch.Tensor, references: torch.Tensor) -> list[dict[str, Any]]:
    """What the browser shows of (N, H, W, 3) `images` in [0, 1] and their `references`.

    For up to MOST_PAIRS of them: two files in the host's temporary folder, PSNR in dB and SSIM
    (None for pictures too small for it).
    """
    run = uuid.uuid4().hex[:12]
    pairs = []
    for index in spread(images.shape[0], MOST_PAIRS):
        image, reference = images[index].float().cpu(), references[index].float().cpu()
        pairs.append(
            {
                "index": index,
                "image": saved(image, f"{PREFIX}_{run}_{index}_a.png"),
                "reference": saved(reference, f"{PREFIX}_{run}_{index}_b.png"),
                "psnr": psnr(image, reference),
                "ssim": similarity(image, reference),
            }
        )
    return pairs


def spread(count: int, most: int) -> list[int]:
    """At most `most` of range(count), first and last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def similarity(image: torch.Tensor, reference: torch.Tensor) -> float | None:
    try:
        return ssim(image, reference)
    except EcadError:
        return None


def difference(images: torch.Tensor, references: torch.Tensor, gain: float) -> torch.Tensor:
    """(N, H, W, 3): how far each colour is from its reference, times `gain`, at most 1."""
    return ((images - references).abs() * gain).clamp(max=1.0)


def saved(image: torch.Tensor, name: str) -> dict[str, str]:
    """Write (H, W, 3) in [0, 1] to the temporary folder; says where, as the host's nodes do."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.clip(image.numpy() * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(rows).save(folder / name, compress_level=1)
    return {"filename": name, "subfolder": "", "type": "temp"}
