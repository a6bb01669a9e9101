"""A folder of pictures that a benchmark measures its Fréchet distances to, such as photographs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...ecad_search.errors import StorageError
from .paths import input_path
from .progress import stop_if_cancelled

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
BATCH = 16


@dataclass(frozen=True)
class ReferencePictures:
    """The pictures of a folder in ComfyUI's input folder, those of its sub-folders included."""

    name: str
    files: tuple[Path, ...]

    @classmethod
    def of(cls, name: str) -> ReferencePictures:
        folder = input_path(name)
        if not folder.is_dir():
            raise StorageError(
                f"There is no folder '{name[:80]}' in ComfyUI's input folder; put the pictures to "
                "compare with there, or leave reference_folder empty."
            )
        files = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS))
        if len(files) < 2:
            raise StorageError(
                f"The folder '{name[:80]}' of ComfyUI's input folder holds {len(files)} pictures, "
                f"expected two or more ({', '.join(ENDINGS)}); add some, thousands for a FID to "
                "quote, or leave reference_folder empty."
            )
        return cls(name, files)

    def features(
        self,
        seen_by: Any,
        width: int,
        height: int,
        kept: Path,
        on_pictures: Callable[[int], None],
    ) -> npt.NDArray[np.float32]:
        """(pictures, features), of each picture's middle, scaled to `width` x `height` pixels.

        They are read from the file `kept` if it has those of the same pictures, and written there.
        """
        identity = self._identity(seen_by.name, width, height)
        found = read(kept, identity, len(self.files))
        if found is None:
            found = np.concatenate(
                [
                    np.asarray(seen_by.image_features(batch), np.float32)
                    for batch in self._batches(width, height, on_pictures)
                ]
            )
            write(kept, identity, found)
        return found

    def _batches(
        self, width: int, height: int, on_pictures: Callable[[int], None]
    ) -> Iterator[torch.Tensor]:
        for i in range(0, len(self.files), BATCH):
            stop_if_cancelled()
            on_pictures(i)
            rows = [opened(path, width, height) for path in self.files[i : i + BATCH]]
            yield torch.from_numpy(np.stack(rows))

    def _identity(self, features: str, width: int, height: int) -> str:
        stats = [(path.name, *size_and_time(path)) for path in self.files]
        text = json.dumps([features, width, height, stats])
        return hashlib.sha256(text.encode()).hexdigest()


def size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def opened(path: Path, width: int, height: int) -> npt.NDArray[np.float32]:
    """(height, width, 3) in [0, 1]."""
    try:
        with Image.open(path) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    except Exception as error:  # Pillow raises a dozen kinds for a broken file
        raise StorageError(
            f"The picture '{path.name}' in ComfyUI's input folder cannot be read "
            f"({str(error)[:100]}); take it out of the folder."
        ) from error
    return np.asarray(fitted).astype(np.float32) / np.float32(255)


def read(path: Path, identity: str, count: int) -> npt.NDArray[np.float32] | None:
    """What `write` has written for the same pictures; None where it has not, or somebody else."""
    try:
        with safe_open(str(path), framework="pt") as file:
            if (file.metadata() or {}).get("identity") != identity:
                return None
            features = file.get_tensor("features").numpy()
    except Exception:  # a torn or foreign file is made anew
        return None
    usable = features.dtype == np.float32 and features.ndim == 2 and len(features) == count
    return features if usable and bool(np.isfinite(features).all()) else None


def write(path: Path, identity: str, features: npt.NDArray[np.float32]) -> None:
    partial = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {"features": torch.from_numpy(features)}, partial, metadata={"identity": identity}
        )
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"'{path.name}' cannot be written into output/ecad ({error}); make room or choose "
            "another name."
        ) from error
