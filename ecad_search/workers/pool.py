"""A pool of Ray workers that do small pieces of work, and are replaced when they die."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import MissingPackageError, SearchError
from .actor import actor_class

DEPTH = 2  # pieces of work that a worker has at a time: the next one is there when one is done
MOST_DEATHS = 3  # in a row, or of one piece of work
WAITING_SECONDS = 60.0  # before it is said that a worker does not come
STORE_BYTES = 256 * 2**20  # of a local cluster's object store: a few pictures are on their way

log = logging.getLogger("ComfyUI-ECAD")


@dataclass(frozen=True)
class Work:
    """A method of the workers' object and its arguments; `key` is how the caller calls it."""

    key: Any
    what: str
    arguments: Mapping[str, Any]


@dataclass(eq=False)
class Worker:
    """An actor, and what it has been given: first of all to begin."""

    number: int
    actor: Any
    beginning: Any  # Ray's reference to the answer; None once it has begun
    since: float = field(default_factory=time.monotonic)
    given: deque[tuple[Work, Any]] = field(default_factory=deque)
    pid: int = 0
    announced: bool = False

    @property
    def awaited(self) -> Any:
        """The reference that is answered next; None for a worker without work."""
        if self.beginning is not None:
            return self.beginning
        return self.given[0][1] if self.given else None


class WorkerPool:
    """`count` workers, each with `begin(**arguments)` of the pack's module `module` done.

    `host` says how to start ComfyUI there, see `actor.py`. Without an address, or an environment
    variable RAY_ADDRESS, or with "local", a cluster of this machine alone is started, and stopped
    by `close`.

    Raises MissingPackageError without Ray, and SearchError when the workers cannot be had.
    """

    def __init__(
        self,
        count: int,
        host: Mapping[str, Any],
        module: str,
        arguments: Mapping[str, Any],
        *,
        address: str = "",
        accelerated: bool = True,
    ) -> None:
        self.ray = imported_ray()
        self.count = count
        self._owns_cluster = False
        self._scratch = tempfile.mkdtemp(prefix="ecad-workers-")
        self._begin = ({**host, "scratch": self._scratch}, module, dict(arguments))
        self._queue: deque[Work] = deque()
        self._deaths = 0  # since something was last done
        self._died: dict[Any, int] = {}  # by the key of what was being done
        self._workers: list[Worker] = []
        self._number = 0
        try:
            address = address.strip() or os.environ.get("RAY_ADDRESS", "")
            address = "" if address == "local" else address
            self._owns_cluster = self._connect(address)
            gpus = float(self.ray.cluster_resources().get("GPU", 0)) if accelerated else 0.0
            if not address and 0 < gpus < count:
                raise SearchError(
                    f"There are {gpus:g} GPUs here for {count} workers, and each needs one of its "
                    "own; lower workers, or give the address of a Ray cluster."
                )
            self._options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": 0}
            self._class = self.ray.remote(actor_class())
            for _ in range(count):
                self._hire()
        except BaseException:
            self.close()
            raise

    # --- work

    @property
    def has_room(self) -> bool:
        """Whether some worker could take more than is waiting already."""
        places = sum(DEPTH - len(worker.given) for worker in self._workers)
        return len(self._queue) < places

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have begun."""
        return [worker.pid for worker in self._workers if worker.pid]

    @property
    def began(self) -> int:
        """How many workers have begun."""
        return sum(worker.beginning is None for worker in self._workers)

    def give(self, work: Work) -> None:
        """Have this done by whoever is free first."""
        self._queue.append(work)
        self._share_out()

    def done(self, seconds: float) -> list[tuple[Any, Any]]:
        """(key, answer) of what was done, waiting this long for the first; each only once."""
        awaited = {w.awaited: w for w in self._workers if w.awaited is not None}
        if not awaited:
            return []
        ready, _ = self.ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        if not ready:
            ready, _ = self.ray.wait(list(awaited), num_returns=1, timeout=seconds)
        found = []
        for reference in ready:
            answer = self._answer(awaited[reference], reference)
            if answer is not None:
                found.append(answer)
        self._share_out()
        self._say_who_is_missing()
        return found

    def close(self) -> None:
        """End the workers, whatever they are doing, and the cluster if it is ours."""
        for worker in self._workers:
            with contextlib.suppress(Exception):
                self.ray.kill(worker.actor)
        self._workers.clear()
        self._queue.clear()
        if self._owns_cluster:
            self.ray.shutdown()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- workers

    def _connect(self, address: str) -> bool:
        """Whether a cluster was started, which is then ours to stop."""
        if self.ray.is_initialized():
            return False
        quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
        if address:
            try:
                self.ray.init(address=address, namespace="ecad", **quiet)
            except Exception as error:
                raise SearchError(
                    f"No Ray cluster answers at '{address}' ({_first_line(error)}); check "
                    "ray_address, or leave it empty to use this machine."
                ) from error
            return True
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self.ray.init(
                address="local",
                num_cpus=self.count,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                **quiet,
            )
        except Exception as error:
            raise SearchError(
                f"Ray cannot be started on this machine ({_first_line(error)}); look at its log "
                "below /tmp/ray, or search with one worker."
            ) from error
        return True

    def _hire(self) -> None:
        self._number += 1
        actor = self._class.options(**self._options).remote()
        host, module, arguments = self._begin
        self._workers.append(
            Worker(self._number, actor, actor.begin.remote(host, module, arguments))
        )

    def _share_out(self) -> None:
        while self._queue:
            free = [w for w in self._workers if w.beginning is None and len(w.given) < DEPTH]
            if not free:
                return
            worker = min(free, key=lambda w: len(w.given))
            work = self._queue.popleft()
            reference = worker.actor.do.remote(work.what, dict(work.arguments))
            worker.given.append((work, reference))

    def _answer(self, worker: Worker, reference: Any) -> tuple[Any, Any] | None:
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            self._replace(worker, error)
            return None
        except self.ray.exceptions.RayError as error:  # RayTaskError is one
            raise SearchError(
                f"Worker {worker.number} failed: {_last_line(error)}. Its log is below "
                "/tmp/ray/session_latest/logs on its machine."
            ) from error
        if worker.beginning is not None:
            self._begun(worker, answer)
            return None
        work, _ = worker.given.popleft()
        self._deaths = 0
        self._died.pop(work.key, None)
        return work.key, answer

    def _begun(self, worker: Worker, told: Mapping[str, Any]) -> None:
        if "error" in told:
            raise SearchError(f"Worker {worker.number} cannot work: {told['error']}.")
        worker.beginning, worker.pid = None, told["pid"]
        log.info("ECAD: worker %s is process %s on %s", worker.number, worker.pid, told["host"])

    def _replace(self, worker: Worker, error: Exception) -> None:
        """Give what it had to others, in the same order, and hire another one."""
        self._workers.remove(worker)
        self._deaths += 1
        lost = [work for work, _ in worker.given]
        if lost:
            self._died[lost[0].key] = self._died.get(lost[0].key, 0) + 1
        most = max([self._deaths, *(self._died.get(work.key, 0) for work in lost[:1])])
        if most >= MOST_DEATHS:
            raise SearchError(
                f"Workers died {most} times in a row or at the same work, the last one because: "
                f"{_first_line(error)}. All that was told before is in the journal. When memory "
                "ran out, use fewer workers or a smaller batch."
            )
        self._queue.extendleft(reversed(lost))
        log.warning("ECAD: worker %s died and is replaced (%s)", worker.number, _first_line(error))
        with contextlib.suppress(Exception):
            self.ray.kill(worker.actor)
        self._hire()

    def _say_who_is_missing(self) -> None:
        for worker in self._workers:
            late = time.monotonic() - worker.since > WAITING_SECONDS
            if worker.beginning is not None and late and not worker.announced:
                worker.announced = True
                log.warning(
                    "ECAD: worker %s has not begun yet: ComfyUI is still loading there, or the "
                    "cluster has no free machine for it; the others go on.",
                    worker.number,
                )


def imported_ray() -> Any:
    """Ray, which is not needed for one worker; imported in seconds, so late."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingPackageError(
            "More than one worker needs the package 'ray', which is not installed; run "
            "`pip install ray` in the Python of ComfyUI, or search with one worker."
        ) from None
    return ray


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].rstrip(". ") if lines else type(error).__name__
