"""Which model calls of an evaluation the schedule is for.

For one prediction of the whole picture a guider asks for one *round*: the model is called once
for each conditioning (stream), in as many batches as memory allows. The values stored for a stream
are those of this call. What else calls the model under the same conditioning must be told from it:

* a guider's further round, with layers skipped or another input: made beside the schedule;
* a context window that says which part of the picture it is: a stream of its own;
* tiles, the same stream several times in one round: nothing says which is which, and an order that
  changes from step to step would give one tile the values of another, unnoticed. From the second
  call on the stream is beside the schedule for the rest of the run, and what was stored is dropped;
* anything of another size than its round, its evaluation or its run: beside the schedule.

A value is also dropped when the stream's call comes back in another shape or with other blocks
replaced by patches: it was made by another network.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

Shape = tuple[int, ...]


class Stream(NamedTuple):
    """A conditioning and which of the guider's predictions it is for.

    ComfyUI makes a negative conditioning for every area of a regional prompt, and gives it the
    same uuid.
    """

    conditioning: Hashable
    prediction: int


class Window(NamedTuple):
    """A part of the picture under one conditioning; `part` names it the same way in every step."""

    stream: Hashable
    part: Hashable


class Rounds:
    """The rounds of one run. `shape` is that of the whole latent; None where nobody knows it."""

    def __init__(self, shape: Shape | None = None) -> None:
        self.shape = shape
        self.seen: set[Hashable] = set()  # streams of this evaluation
        self.in_pieces: set[Hashable] = set()  # streams nobody can tell the parts of
        self.piece_calls = 0
        self._evaluation = self._round = shape
        self._seen_in_round: set[Hashable] = set()
        self._earlier: set[Hashable] = set()  # conditionings of the evaluation's earlier rounds
        self._window: Hashable | None = None
        self._variants: dict[Hashable, Hashable] = {}
        self._lock = threading.Lock()

    def begin_evaluation(self, shape: Shape | None) -> bool:
        """Whether it is one of the whole picture."""
        self.seen.clear()
        self._seen_in_round.clear()
        self._earlier.clear()
        self._evaluation = self._round = shape
        self._window = None
        return not differ(shape, self.shape)

    @contextmanager
    def round(self, shape: Shape, part: Hashable | None = None) -> Iterator[None]:
        """One round over a latent of `shape`; `part` says which part of the whole it is, if any."""
        outer = self._round, self._window, self._seen_in_round
        self._round, self._seen_in_round = shape, set()
        self._window = part if shape != self._evaluation else None
        try:
            yield
        finally:
            self._earlier.update(map(conditioning_of, self._seen_in_round))
            self._round, self._window, self._seen_in_round = outer

    def admitted(self, streams: Sequence[Hashable], shape: Shape | None) -> tuple[Hashable, ...]:
        """Under which names the streams of a call are stored; empty: it is beside the schedule."""
        if not streams or len(set(streams)) != len(streams):
            return ()
        names = tuple(streams)
        if self._window is not None:
            names = tuple(Window(stream, self._window) for stream in streams)
        with self._lock:
            torn = self._seen_in_round.intersection(names)
            self.in_pieces |= torn
            if torn or self._is_part(len(streams), shape) or self.in_pieces.intersection(names):
                self.piece_calls += 1
                return ()
            if self.seen.intersection(names) or self._earlier.intersection(
                map(conditioning_of, names)
            ):
                return ()
            self.seen.update(names)
            self._seen_in_round.update(names)
        return names

    def changed(self, stream: Hashable, variant: Hashable) -> bool:
        """Whether the stream's call is of another kind than its last one; `variant` is its kind."""
        before = self._variants.get(stream, variant)
        self._variants[stream] = variant
        return before != variant

    def _is_part(self, streams: int, shape: Shape | None) -> bool:
        """Whether a call is for a part of the picture of which nobody says where it lies."""
        if differ(self._evaluation, self.shape):
            return True
        if self._window is None and differ(self._round, self._evaluation):
            return True
        # An area of the picture is smaller as well, but has all rows of the batch.
        rows = None if self._round is None else (streams * self._round[0],)
        return differ(rows, None if shape is None else shape[:1])


def conditioning_of(stream: Hashable) -> Hashable:
    if isinstance(stream, Window):
        return Window(conditioning_of(stream.stream), stream.part)
    return stream.conditioning if isinstance(stream, Stream) else stream


def differ(one: Shape | None, other: Shape | None) -> bool:
    return one is not None and other is not None and one != other
