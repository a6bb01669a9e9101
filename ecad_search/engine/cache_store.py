"""The stored component outputs of one run, per stream, and the bytes they take."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import torch


class Signature(NamedTuple):
    """What a component was given for one stream; a stored value is good only for an equal one."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: torch.Tensor, streams: int) -> Signature:
        return cls((x.shape[0] // streams, *x.shape[1:]), x.dtype, x.device)


class Stored(NamedTuple):
    value: torch.Tensor
    signature: Signature


class CacheStore:
    """(stream, cell) -> Stored. A stream is one conditioning, by the host's uuid."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, dict[int, Stored]] = {}
        self.bytes = 0
        self.peak_bytes = 0

    def put(self, stream: Hashable, cell: int, value: torch.Tensor, signature: Signature) -> None:
        """Hold `value`, which must be nobody else's, in the place of an older one."""
        self.drop(stream, (cell,))
        self._streams.setdefault(stream, {})[cell] = Stored(value, signature)
        self.bytes += value.nbytes
        self.peak_bytes = max(self.peak_bytes, self.bytes)

    def get(self, stream: Hashable, cell: int) -> Stored | None:
        return self._streams.get(stream, {}).get(cell)

    def held(self, stream: Hashable) -> tuple[int, ...]:
        """The cells stored for a stream."""
        return tuple(self._streams.get(stream, ()))

    def drop(self, stream: Hashable, cells: Iterable[int]) -> None:
        values = self._streams.get(stream, {})
        for cell in cells:
            stored = values.pop(cell, None)
            if stored is not None:
                self.bytes -= stored.value.nbytes

    def forget(self, stream: Hashable) -> None:
        self.drop(stream, self.held(stream))
        self._streams.pop(stream, None)

    def clear(self) -> None:
        self._streams.clear()
        self.bytes = 0
