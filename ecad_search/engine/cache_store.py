"""The stored component outputs of one run, per stream, and the bytes they take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch

from .cache_place import BesideModel, CachePlace


class Signature(NamedTuple):
    """What a component was given for one stream; a stored value is good only for an equal one."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: torch.Tensor, streams: int) -> Signature:
        return cls((x.shape[0] // streams, *x.shape[1:]), x.dtype, x.device)


Signatures = tuple[Signature, ...]


def signatures(inputs: Sequence[torch.Tensor], streams: int) -> Signatures:
    return tuple(Signature.of(x, streams) for x in inputs)


@dataclass(eq=False)
class Held:
    """The values of all streams of a model call in one tensor, as their place holds it.

    Streams that are computed together are mostly read together as well; then nothing needs to be
    put together again. The memory serves the next value once none of the streams needs it.
    """

    tensor: torch.Tensor  # (streams * batch, ...)
    streams: tuple[Hashable, ...]
    readers: int
    given_away: bool = False


class Stored(NamedTuple):
    """One tensor of a cell's value. `signatures` are those of the inputs it was computed from."""

    value: torch.Tensor  # the stream's rows of what is held
    signatures: Signatures
    held: Held


class CacheStore:
    """(stream, cell, part) -> Stored. A stream is one conditioning, by the host's uuid.

    A cell's value is one tensor, part 0, unless its module gives several. `keep` makes the context
    in which tensors are made that outlive a model call, `place` says where they lie. Threads may
    use the store at the same time, each for streams of its own.
    """

    def __init__(
        self,
        keep: Callable[[], AbstractContextManager] = nullcontext,
        place: CachePlace | None = None,
    ) -> None:
        self.place = BesideModel() if place is None else place
        self._streams: dict[Hashable, dict[int, dict[int, Stored]]] = {}
        self._keep = keep
        self._lock = threading.Lock()
        self.bytes = 0
        self.peak_bytes = 0

    def put(
        self,
        streams: tuple[Hashable, ...],
        cell: int,
        part: int,
        value: torch.Tensor,
        given: Signatures,
    ) -> None:
        """Hold a copy of `value`, (streams * batch, ...), in the place of older ones."""
        for stream in streams:
            self.drop_part(stream, cell, part)
        with self._keep():
            tensor = self.place.store(value)
        held = Held(tensor, streams, readers=len(streams))
        for stream, rows in zip(streams, tensor.chunk(len(streams)), strict=True):
            stored = Stored(rows, given, held)
            self._streams.setdefault(stream, {}).setdefault(cell, {})[part] = stored
        self._count(tensor.nbytes)

    def get(self, stream: Hashable, cell: int, part: int = 0) -> Stored | None:
        return self._streams.get(stream, {}).get(cell, {}).get(part)

    def pieces(self, streams: tuple[Hashable, ...], cell: int, part: int) -> list[Stored]:
        """The value of these streams, each of which has one: in one piece if it is held so."""
        found = [self._streams[stream][cell][part] for stream in streams]
        held = found[0].held
        if held.streams == streams and all(one.held is held for one in found):
            return [found[0]._replace(value=held.tensor)]
        return found

    def parts(self, stream: Hashable, cell: int) -> int:
        """How many tensors are stored for a cell."""
        return len(self._streams.get(stream, {}).get(cell, ()))

    def held(self, stream: Hashable) -> tuple[int, ...]:
        """The cells stored for a stream."""
        return tuple(self._streams.get(stream, ()))

    def drop(self, stream: Hashable, cells: Iterable[int]) -> None:
        values = self._streams.get(stream, {})
        for cell in cells:
            for stored in values.pop(cell, {}).values():
                self._release(stored)

    def drop_part(
        self, stream: Hashable, cell: int, part: int, *, given_away: bool = False
    ) -> None:
        """`given_away`: somebody else has the tensor now, for as long as they like."""
        parts = self._streams.get(stream, {}).get(cell, {})
        stored = parts.pop(part, None)
        if stored is not None:
            stored.held.given_away |= given_away
            self._release(stored)
            if not parts:
                del self._streams[stream][cell]

    def forget(self, stream: Hashable) -> None:
        self.drop(stream, self.held(stream))
        self._streams.pop(stream, None)

    def clear(self) -> None:
        self._streams.clear()
        self.place.clear()
        self.bytes = 0

    def _release(self, stored: Stored) -> None:
        self._count(-stored.value.nbytes)
        held = stored.held
        held.readers -= 1
        if not held.readers and not held.given_away:
            self.place.take_back(held.tensor)

    def _count(self, change: int) -> None:
        with self._lock:
            self.bytes += change
            self.peak_bytes = max(self.peak_bytes, self.bytes)
