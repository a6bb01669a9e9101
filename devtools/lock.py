"""One set-up at a time in a folder, also when two terminals start one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[int | None]:
    """Hold the lock at `path`, calling `waiting` once when another process has it.

    Yields the descriptor that holds it, for children to inherit: a pip that outlives a killed
    dev.py keeps the lock until it ends. None on Windows, where locks are not inherited.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        take, wait = _ways(file.fileno())
        try:
            take()
        except OSError:
            waiting()
            wait()
        yield None if os.name == "nt" else file.fileno()


def _ways(descriptor: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """How to take the lock at once or not at all, and how to wait for it."""
    if os.name == "nt":
        import msvcrt
        import time

        def take() -> None:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]

        def wait() -> None:
            while True:
                try:
                    return take()
                except OSError:
                    time.sleep(1)

        return take, wait
    import fcntl

    return (
        lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
        lambda: fcntl.flock(descriptor, fcntl.LOCK_EX),
    )
