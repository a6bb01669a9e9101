"""Where a scorer's network runs, and what becomes of its memory there afterwards."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


class Placement(Protocol):
    """Called with a loaded network around each of its uses; gives the device to send inputs to."""

    def __call__(self, network: nn.Module) -> AbstractContextManager[torch.device]: ...


class StayOn:
    """Moves a network to a device and leaves it there until it is unloaded."""

    def __init__(self, device: str = "cpu"):
        self.device = device

    def __call__(self, network: nn.Module) -> AbstractContextManager[torch.device]:
        import torch

        device = torch.device(self.device)
        network.to(device)
        return nullcontext(device)


def free_cached_memory() -> None:
    """Give the memory of a dropped network back to the system, so that a model can have it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
