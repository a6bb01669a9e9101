"""Where stored values lie: beside the model, or in main memory with copies that run alongside."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Protocol

import torch

COPIES_AHEAD = 4  # values on their way to the device, beside the one that is needed now


class CachePlace(Protocol):
    def store(self, value: torch.Tensor) -> torch.Tensor:
        """A copy of `value` to hold, contiguous."""
        ...

    def expect(self, held: Iterable[torch.Tensor], device: torch.device) -> None:
        """These will be loaded next, in this order as far as they are."""
        ...

    def load(
        self, held: torch.Tensor, device: torch.device, *, as_held: bool = False
    ) -> torch.Tensor:
        """The value on `device`, for the caller to write on, or else `as_held`, without a copy."""
        ...

    def take_back(self, held: torch.Tensor) -> None:
        """Nobody reads it any more; its memory may serve the next value."""
        ...

    def clear(self) -> None: ...


class BesideModel:
    """On the device where the value was computed.

    Main memory that is let go goes back to the system and comes again page by page, which can take
    as long as computing a component; so there it is kept for the next value, as accelerators'
    allocators do by themselves. For one of the same thread, which may still be reading it.
    """

    def __init__(self) -> None:
        self._spare: dict[tuple[int, torch.Size, torch.dtype], list[torch.Tensor]] = {}

    def store(self, value: torch.Tensor) -> torch.Tensor:
        if value.device.type == "cpu" and (spare := self._spare.get(spare_key(value))):
            return spare.pop().copy_(value.detach())
        return value.detach().clone(memory_format=torch.contiguous_format)

    def expect(self, held: Iterable[torch.Tensor], device: torch.device) -> None:
        pass

    def load(
        self, held: torch.Tensor, device: torch.device, *, as_held: bool = False
    ) -> torch.Tensor:
        return held if as_held else held.clone()

    def take_back(self, held: torch.Tensor) -> None:
        if held.device.type == "cpu":
            self._spare.setdefault(spare_key(held), []).append(held)

    def clear(self) -> None:
        self._spare.clear()


def spare_key(tensor: torch.Tensor) -> tuple[int, torch.Size, torch.dtype]:
    return threading.get_ident(), tensor.shape, tensor.dtype


class InMainMemory:
    """In page-locked main memory, for cards that the model fills.

    On CUDA the copies run on a stream of their own: away from the device while the model goes on,
    and back for the next few values that the model call is expected to need. Elsewhere they are
    plain copies.
    """

    def __init__(self) -> None:
        self._lanes: dict[torch.device, _Lane] = {}

    def store(self, value: torch.Tensor) -> torch.Tensor:
        value = value.detach()
        if value.device.type != "cuda":
            return value.to("cpu", copy=True, memory_format=torch.contiguous_format)
        return self._lane(value.device).send_away(value)

    def expect(self, held: Iterable[torch.Tensor], device: torch.device) -> None:
        if device.type == "cuda":
            self._lane(device).expect(held)

    def load(
        self, held: torch.Tensor, device: torch.device, *, as_held: bool = False
    ) -> torch.Tensor:
        if device.type == "cuda":
            return self._lane(device).bring_back(held)
        return held if as_held and held.device == device else held.to(device, copy=True)

    def take_back(self, held: torch.Tensor) -> None:
        pass

    def clear(self) -> None:
        self._lanes.clear()

    def _lane(self, device: torch.device) -> _Lane:
        if device not in self._lanes:
            self._lanes[device] = _Lane(device)
        return self._lanes[device]


class _Lane:
    """The copies between one device and main memory, one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._expected: deque[torch.Tensor] = deque()
        self._coming: dict[int, tuple[torch.Tensor, torch.cuda.Event]] = {}  # by id of the held one

    def send_away(self, value: torch.Tensor) -> torch.Tensor:
        held = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            held.copy_(value, non_blocking=True)
        value.record_stream(self._stream)  # its memory must not be used again before that
        return held

    def expect(self, held: Iterable[torch.Tensor]) -> None:
        self._expected = deque(held)
        self._coming.clear()
        self._start_ahead()

    def bring_back(self, held: torch.Tensor) -> torch.Tensor:
        value, arrived = self._coming.pop(id(held), None) or self._start(held)
        self._start_ahead()
        here = torch.cuda.current_stream(self._device)
        here.wait_event(arrived)
        value.record_stream(here)
        return value

    def _start_ahead(self) -> None:
        while self._expected and len(self._coming) < COPIES_AHEAD:
            held = self._expected.popleft()
            self._coming[id(held)] = self._start(held)

    def _start(self, held: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event]:
        with torch.cuda.stream(self._stream):  # after the copy away, which is in the same stream
            value = held.to(self._device, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
            return value, arrived


PLACES: dict[str, type[BesideModel] | type[InMainMemory]] = {
    "gpu": BesideModel,
    "cpu": InMainMemory,
}
