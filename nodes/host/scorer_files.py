"""Scorers' files in models/ecad_scorers, and room for their networks on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd1_clip
import torch
from comfy_api.latest import io

from ...ecad_search.errors import StorageError
from ...ecad_search.scorers.placement import Placement, StayOn
from .paths import SCORERS

WEIGHTS = (".pt", ".pth", ".safetensors", ".bin")
FOLDER = SCORERS.name
ACTIVATIONS = 512 * 2**20  # bytes a batch may take besides the weights
DEVICES = ["default", "cpu"]


def device_input(size: str) -> io.Combo.Input:
    """Where the network of `size` runs: see `placement`."""
    return io.Combo.Input(
        "device",
        options=DEVICES,
        default="default",
        tooltip=(
            f"Where the network runs ({size}). default moves it to the GPU while it judges and "
            "back to main memory after."
        ),
    )


def listed() -> list[str]:
    return SCORERS.files()


def weight_files() -> list[str]:
    """Files of weights in models/ecad_scorers and its sub-folders."""
    return SCORERS.files(*WEIGHTS)


def model_folders() -> list[str]:
    """Sub-folders of models/ecad_scorers that hold a config.json, as Hugging Face's do."""
    paths = [Path(name) for name in listed()]
    return [p.parent.as_posix() for p in paths if p.name == "config.json" and len(p.parts) > 1]


def weight_file(name: str) -> Path:
    return SCORERS.file(name, *WEIGHTS)


def weight_file_problem(name: str | None, advice: str) -> str:
    """What is wrong with a chosen file of weights; nothing when it is there, or none is chosen."""
    if not name or name in weight_files():
        return ""
    return f"There is no file '{name}' in models/{FOLDER}; {advice} and refresh the list."


def model_folder(name: str) -> Path:
    configs = (n for n in listed() if Path(n) == Path(name) / "config.json")
    config = next(configs, None) if name in model_folders() else None
    if config is None:
        raise StorageError(
            f"There is no folder {name[:80]!r} with a config.json in models/{FOLDER}; put it there "
            "and refresh the list."
        )
    return SCORERS.file(config).parent


def tokenizer_beside(folder: Path) -> Path:
    """The folder's own CLIP tokenizer, or the host's, which is the same for every OpenCLIP."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return folder
    return Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer")


def placement(device: str) -> Placement:
    """Where a scorer's network runs: "cpu", or "default", the host's device."""
    chosen = comfy.model_management.get_torch_device()
    if device == "cpu" or chosen.type == "cpu":
        return StayOn("cpu")
    return Visit(chosen)


class Visit:
    """Moves a network to the GPU for each use and back to main memory after it.

    The host is asked for the room first, so that it moves the diffusion model out if it must, and
    between two uses the diffusion model has all of the memory.
    """

    def __init__(self, device: torch.device):
        self.device = device

    @contextmanager
    def __call__(self, network: Any) -> Iterator[torch.device]:
        tensors = [*network.parameters(), *network.buffers()]
        size = sum(tensor.nbytes for tensor in tensors)
        comfy.model_management.free_memory(size + ACTIVATIONS, self.device)
        try:
            network.to(self.device)
            yield self.device
        finally:
            network.to("cpu")
            comfy.model_management.soft_empty_cache()
