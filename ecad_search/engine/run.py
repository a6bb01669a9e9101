"""One sampling under a schedule: what is due at each evaluation, what is stored, what happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from ..core.architecture import Architecture, Dimensions
from ..core.schedule import Schedule
from ..errors import ScheduleError
from .cache_place import CachePlace
from .cache_store import CacheStore, Signatures, signatures
from .liveness import Liveness, StoredSizes, stored_sizes
from .report import RunReport
from .rounds import Rounds, Shape, Window
from .self_check import SelfCheck, Trial
from .short_way import Rehearsal
from .sigma_steps import SigmaSteps, rows_of_run
from .timing import Timing, uncached_seconds
from .watch import Watch


def require_runnable(schedule: Schedule) -> None:
    """Raise ScheduleError for what a schedule may say but the engine cannot do."""
    if schedule.payload:
        raise ScheduleError(
            f"Schedule {schedule.name!r} asks for a forecast payload "
            f"({', '.join(sorted(set(schedule.payload.values())))}), which this version cannot "
            "run; choose a schedule of plain reuse."
        )


class Run:
    """The state of one sampling. Made when it starts, closed when it ends however it ends.

    `sigmas` are the noise levels the sampler got, (steps + 1,). `span` see `rows_of_run`.
    `irregular` names a sampler that does not go through the noise levels in order; its first
    evaluation in each step computes everything. `shape` see `Rounds`, `keep` and `place` see
    `CacheStore`.
    """

    def __init__(
        self,
        schedule: Schedule,
        architecture: Architecture,
        *,
        sigmas: Sequence[float],
        itemsize: int,
        span: tuple[float, float] = (0.0, 1.0),
        one_evaluation_per_step: bool = False,
        irregular: str = "",
        shape: Shape | None = None,
        keep: Callable[[], AbstractContextManager] = nullcontext,
        place: CachePlace | None = None,
    ) -> None:
        require_runnable(schedule)
        schedule.require_fit(architecture)
        self.schedule = schedule
        self.architecture = architecture
        self.sigma_steps = SigmaSteps(sigmas)
        self.liveness = Liveness(
            rows_of_run(schedule, self.sigma_steps.steps, span)
            if self.sigma_steps.steps
            else np.ones((1, architecture.n_cells), dtype=np.bool_),
            one_evaluation_per_step and not irregular,
            architecture.readers,
        )
        self.store = CacheStore(keep, place)
        # How a module packs its outputs, by cell: None for a bare tensor, else its tuple's type.
        self.containers: dict[int, type | None] = {}
        # Whether the short way through a kind of block gave what the block itself gives.
        self.short_ways: dict[str, bool] = {}
        # Of a model of no known family: what has been proven of its components.
        self.self_check = SelfCheck() if architecture.fingerprint else None
        self.messages: list[str] = []
        self.evaluations = 0
        self.cells_computed = self.cells_reused = self.cells_forced = 0
        self.bypassed_calls = 0
        self.shim_calls = 0
        self._itemsize = itemsize
        self._irregular = False
        self._row: int | None = None
        self._last_rows: dict[Hashable, int] = {}  # per stream
        self._rounds = Rounds(shape)
        self._calls_of_first_evaluation: list[tuple[int, Dimensions]] = []
        self._slot = threading.local()
        self._lock = threading.Lock()
        self._macs: dict[Dimensions, tuple[int, npt.NDArray[np.int64]]] = {}
        self._executed_macs = self._uncached_macs = 0
        # Of each evaluation: MACs executed, MACs of it uncached, and its time.
        self._watches: list[tuple[int, int, Watch]] = []
        if irregular:
            self._become_irregular(irregular)
        if self.sigma_steps.rising:
            self.messages.append("The noise rises in this run, so its steps are taken in order.")

    @property
    def rows(self) -> npt.NDArray[np.bool_]:
        return self.liveness.compute

    @property
    def refused(self) -> bool:
        """Whether the model failed its check, so that nothing is reused."""
        return self.self_check is not None and self.self_check.failed

    @property
    def current_call(self) -> Call | None:
        """The model call in progress in this thread."""
        return getattr(self._slot, "call", None)

    @contextmanager
    def evaluation(
        self, sigma: float, device: torch.device | None = None, shape: Shape | None = None
    ) -> Iterator[None]:
        """The sampler asks for one prediction; the guider may make several model calls for it."""
        row = self.sigma_steps.step(sigma)
        if self._row is not None and row < self._row:
            self._become_irregular("this sampler")
        self._row = row
        self.evaluations += 1
        whole = self._rounds.begin_evaluation(shape)
        executed, uncached = self._executed_macs, self._uncached_macs
        needed = self.liveness.read[row] | self.liveness.kept_after[row]
        for stream in self._last_rows if whole else ():
            gone = self.due(stream) | ~needed  # kept for a step that is over, where not due
            self.store.drop(stream, [cell for cell in self.store.held(stream) if gone[cell]])
        watch = Watch(device)
        yield
        watch.stop()
        for stream in list(self._last_rows) if whole else ():
            # Windows move on, and what they left nobody needs.
            if isinstance(stream, Window) and stream not in self._rounds.seen:
                self._forget(stream)
        macs = self._executed_macs - executed, self._uncached_macs - uncached
        self._watches.append((*macs, watch))

    def due(self, stream: Hashable) -> npt.NDArray[np.bool_]:
        """Which cells must compute for this stream now, (n_cells,).

        Rows passed since the stream's last call count too: a component that was to be recomputed
        while the stream was away, or in a step the sampler jumped over, is recomputed now.
        """
        row, last = self._row, self._last_rows.get(stream)
        if row is None or last is None or row < last or (self._irregular and row != last):
            return np.ones(self.architecture.n_cells, dtype=np.bool_)
        return np.logical_or.reduce(self.rows[min(last + 1, row) : row + 1], axis=0)

    def round(self, shape: Shape, part: Hashable | None = None) -> AbstractContextManager[None]:
        """The guider has the model called once for each stream; see `Rounds`."""
        return self._rounds.round(shape, part)

    @contextmanager
    def model_call(
        self,
        streams: Sequence[Hashable],
        dimensions: Dimensions,
        *,
        shape: Shape | None = None,
        network: Hashable = None,
        device: torch.device | None = None,
    ) -> Iterator[Call | None]:
        """One forward pass for these streams, in the order of its batch; yields None if bypassed.

        `shape` is that of its latents, `network` whatever makes the model another one, such as
        blocks that patches replace, `device` where it runs. `Rounds` says which calls are bypassed;
        they neither read nor write.
        """
        known = self._row is not None and dimensions.batch % max(len(streams), 1) == 0
        streams = self._rounds.admitted(streams, shape) if known else ()
        for stream in list(self._rounds.in_pieces):
            self._forget(stream)
        for stream in streams:
            if self._rounds.changed(stream, (shape and shape[1:], network)):
                self._forget(stream)
        base, cell_macs = self._macs_of(dimensions)
        if not streams:
            with self.bypass():
                yield None
            with self._lock:
                self._count_macs(base + int(cell_macs.sum()), base + int(cell_macs.sum()))
            return
        if self.evaluations == 1:
            self._calls_of_first_evaluation.append((len(streams), dimensions))
        call = Call(self, streams)
        if device is not None:
            self.store.place.expect(call.expected(), device)
        outer = self.current_call
        self._slot.call = call
        finished = False
        try:
            yield call
            finished = True
        finally:
            self._slot.call = outer
            if not finished:  # half of the values are of this step, half are older
                for stream in streams:
                    self._forget(stream)
        assert self._row is not None
        computed = ~call.reused
        n_computed = int(np.count_nonzero(computed))
        executed = computed | call.executed
        with self._lock:  # other devices of a multi-GPU sampling call in threads of their own
            for stream in streams:
                self._last_rows[stream] = self._row
            self.cells_computed += n_computed
            self.cells_reused += computed.size - n_computed
            self.cells_forced += int(np.count_nonzero(computed & ~self.rows[self._row]))
            self._count_macs(base + int(cell_macs[executed].sum()), base + int(cell_macs.sum()))

    @contextmanager
    def bypass(self) -> Iterator[None]:
        """A model call beside the schedule: it computes everything and leaves no trace."""
        outer = self.current_call
        self._slot.call = None
        with self._lock:
            self.bypassed_calls += 1
        try:
            yield
        finally:
            self._slot.call = outer

    def predicted_bytes(self) -> int:
        """The most bytes the schedule needs held at once, for the calls of the first evaluation."""
        return self.planned_bytes(self._calls_of_first_evaluation)

    def planned_bytes(self, calls: Sequence[tuple[int, Dimensions]]) -> int:
        """The same for an evaluation of such calls: (streams, dimensions) of each."""
        if not calls:
            return 0
        sizes = self._seen_sizes(calls) or [
            stored_sizes(self.architecture, replace(d, batch=d.batch // streams), self._itemsize)
            for streams, d in calls
        ]
        return self.liveness.peak_bytes(
            [size.bytes for size in sizes], [streams for streams, _ in calls], sizes[0].cells
        )

    def _seen_sizes(self, calls: Sequence[tuple[int, Dimensions]]) -> list[StoredSizes]:
        """Of an unknown model, if such calls have been seen; formulas are but estimates there."""
        seen = {} if self.self_check is None else self.self_check.sizes
        sizes = [seen[d] for _, d in calls if d in seen]
        alike = len(sizes) == len(calls) and len({size.cells for size in sizes}) == 1
        return sizes if alike else []

    def close(self) -> None:
        """Let go of every stored value."""
        self.store.clear()
        self._last_rows.clear()
        self._slot = threading.local()

    def report(self, seconds: float, *, finished: bool) -> RunReport:
        messages = list(self.messages)
        calls = self._uncached_macs > 0
        if not finished:
            messages.append("The run was stopped before its end.")
        if self._rounds.piece_calls:
            messages.append(
                f"{self._rounds.piece_calls} model calls were for parts of the picture (tiles, or "
                "another size than the run's) that cannot be told apart from step to step, so they "
                "were left uncached."
            )
        if self.rows.all() and not self.refused:
            messages.append("The schedule computes every cell in this run, so nothing was reused.")
        elif calls and self.shim_calls == 0 and not self.refused and self.bypassed_calls == 0:
            messages.append(
                "0 cells were hooked: the model never called the components of the schedule, "
                "so the run was uncached; another node has replaced its blocks."
            )
        elif calls and self.cells_computed == 0:
            messages.append(
                "Every model call was made beside the schedule, so the run was uncached."
            )
        return RunReport(
            schedule=self.schedule.name,
            steps=self.sigma_steps.steps,
            evaluations=self.evaluations,
            cells_computed=self.cells_computed,
            cells_reused=self.cells_reused,
            cells_forced=self.cells_forced,
            bypassed_calls=self.bypassed_calls,
            seconds=seconds,
            peak_bytes=self.store.peak_bytes,
            predicted_bytes=self.predicted_bytes(),
            predicted_speedup=(
                self._uncached_macs / self._executed_macs if self._executed_macs else 1.0
            ),
            measured_speedup=self._measured_speedup(seconds),
            executed_macs=self._executed_macs,
            messages=tuple(messages),
        )

    def _measured_speedup(self, seconds: float) -> float | None:
        if not self.cells_reused:
            return None
        uncached = uncached_seconds(
            [Timing(executed, whole, watch.seconds) for executed, whole, watch in self._watches]
        )
        return uncached / seconds if uncached and seconds > 0 else None

    def always_compute(self, cells: Iterable[int]) -> None:
        """From the next model call on, whatever the schedule says."""
        rows = self.rows.copy()
        rows[:, list(cells)] = True
        once = self.liveness.one_evaluation_per_step
        self.liveness = Liveness(rows, once, self.architecture.readers)

    def _become_irregular(self, sampler: str) -> None:
        if self._irregular:
            return
        self._irregular = True
        self.liveness = Liveness(self.rows, False, self.architecture.readers)
        self.messages.append(
            f"{sampler[0].upper()}{sampler[1:]} does not go through the steps in order, so the "
            "first evaluation in each step computes everything; choose another sampler for the "
            "full speed-up."
        )

    def _forget(self, stream: Hashable) -> None:
        self.store.forget(stream)
        self._last_rows.pop(stream, None)

    def _count_macs(self, executed: int, uncached: int) -> None:
        self._executed_macs += executed
        self._uncached_macs += uncached

    def _macs_of(self, dimensions: Dimensions) -> tuple[int, npt.NDArray[np.int64]]:
        if dimensions not in self._macs:
            cells = [
                component.macs(dimensions) + component.attention_macs(dimensions)
                for component in self.architecture.cell_components
            ]
            base = self.architecture.base_macs(dimensions)
            self._macs[dimensions] = base, np.array(cells, dtype=np.int64)
        return self._macs[dimensions]


class Call:
    """One model call of a run: what its shims ask and tell.

    `reused` marks the cells whose module did not have to run for this call; `executed` those of
    them that ran all the same, because another cell of the same fused layer had to.
    """

    def __init__(self, run: Run, streams: tuple[Hashable, ...]) -> None:
        self.run = run
        self.streams = streams
        row = run._row
        assert row is not None
        # The streams of a batch share one decision: one of them due means all compute.
        self.due = np.logical_or.reduce([run.due(stream) for stream in streams])
        self.kept_after = run.liveness.kept_after[row]
        self.reused = np.zeros_like(self.due)
        self.executed = np.zeros_like(self.due)
        self.given: dict[int, Signatures] = {}
        # What a block gave whose own code would have given it channel by channel: pixart_blocks.
        self.laid_by_token: torch.Tensor | None = None
        # What a block's own code gets in the place of a layer's output, by (cell, part).
        self.handed: dict[tuple[int, int], torch.Tensor] = {}
        self.storing = True
        # While the short way through a block is tried out, see short_way.
        self.rehearsal: Rehearsal | None = None
        self.trial: Trial | None = None

    def expected(self) -> Iterator[torch.Tensor]:
        """The stored tensors that this call may ask for, in the order in which it comes to them."""
        store = self.run.store
        for part in self.run.architecture.stored_parts:
            if not self.due[part.cell]:
                known = [s for s in self.streams if store.get(s, part.cell, part.part) is not None]
                if known:
                    for stored in store.pieces(tuple(known), part.cell, part.part):
                        yield stored.value

    def offer(self, cell: int, inputs: Sequence[torch.Tensor]) -> None:
        """Say what `cell` is about to be computed from; a value is good for equal shapes only."""
        self.run.shim_calls += 1
        self.given[cell] = signatures(inputs, len(self.streams))

    def available(self, cell: int, parts: int = 1) -> bool:
        """Whether `cell` is to be reused and every stream has a value made from such inputs."""
        if self.due[cell] or self.reused[cell]:
            return False
        wanted, store = self.given[cell], self.run.store
        return all(
            (stored := store.get(stream, cell, part)) is not None and stored.signatures == wanted
            for stream in self.streams
            for part in range(parts)
        )

    def take(self, cell: int, part: int = 0, *, to_read: bool = False) -> torch.Tensor:
        """One tensor of an available value, (streams * batch, ...).

        The caller may write on it. If it is `to_read`, which saves a copy, it is the caller's only
        until anything is stored.
        """
        store, device = self.run.store, self.given[cell][0].device
        last_read = not self.kept_after[cell]
        pieces = store.pieces(self.streams, cell, part)
        if last_read:
            given_away = not to_read and len(pieces) == 1
            for stream in self.streams:
                store.drop_part(stream, cell, part, given_away=given_away)
        # A copy, since blocks may work in place on what they get; the last reader may have it.
        as_held = last_read or to_read or len(pieces) > 1
        values = [store.place.load(piece.value, device, as_held=as_held) for piece in pieces]
        self.reused[cell] = True
        return torch.cat(values) if len(values) > 1 else values[0]

    def pass_over(self, cell: int) -> None:
        """Nobody reads what `cell` would give, so its module did not run."""
        self.reused[cell] = True

    def wants(self, cell: int) -> bool:
        """Whether the output of `cell` is to be computed and will be read."""
        return bool(self.due[cell] and self.kept_after[cell])

    def store(self, cell: int, value: torch.Tensor, part: int = 0) -> None:
        """One tensor of the output of `cell` was computed: hold it if it will be read."""
        if not self.storing or not self.kept_after[cell] or cell not in self.given:
            return
        n = len(self.streams)
        if self.run.current_call is not self or value.shape[0] % n:
            return
        self.run.store.put(self.streams, cell, part, value, self.given[cell])


def synchronize(device: torch.device | None) -> None:
    """Wait for the device, so that a clock read next tells what it did."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
