"""Jobs in processes of their own, as many at a time as there are cores."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

Job = TypeVar("Job", bound=Hashable)


def finished(
    do: Callable[[Job], dict[str, Any]], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Every job with its result, as they end."""
    share_cores(workers)
    if workers == 1:
        for job in jobs:
            yield job, do(job)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=leave_interrupts_to_parent
    ) as pool:
        started = {pool.submit(do, job): job for job in jobs}
        try:
            for future in as_completed(started):
                yield started[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def share_cores(workers: int) -> None:
    """A core each: threads of one small model wait for one another most of the time."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))


def leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
