"""One calm status line that is rewritten on a terminal and printed once where there is none."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class StatusLine:
    """`show` rewrites the line, `finish` ends it. Without a terminal, only `finish` prints."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self.live = self._stream.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        if not self.live:
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(len(self._shown)))
        self._stream.flush()
        self._shown = text

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

    def finish(self, text: str) -> None:
        self.clear()
        try:
            print(text, file=self._stream, flush=True)
        except UnicodeEncodeError:  # an old Windows code page
            encoding = self._stream.encoding or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), file=self._stream, flush=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[Stopwatch]:
        """Show `title` while the block runs, then leave `title` and the seconds it took."""
        watch = Stopwatch()
        self.show(f"  {title} ...")
        yield watch
        self.finish(f"  {title:<28}{watch.seconds:5.0f} s")


class Stopwatch:
    def __init__(self):
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def duration(seconds: float | None) -> str:
    """`95` -> "1:35", None -> "--:--"."""
    if seconds is None or not 0 <= seconds < 360_000:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bar(done: float, width: int = 24, full: str = "█", empty: str = "░") -> str:
    filled = round(width * min(max(done, 0.0), 1.0))
    return full * filled + empty * (width - filled)
