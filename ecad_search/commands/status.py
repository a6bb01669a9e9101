"""Progress on stderr: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

QUIET_SECONDS = 30.0  # between two lines where there is no terminal


class StatusLine:
    """`show` what is being done; `say` what shall stay."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._live = self.stream.isatty()
        self._width = 0
        self._said = ""
        self._when = float("-inf")

    def show(self, text: str) -> None:
        if self._live:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)
        elif text != self._said and time.monotonic() - self._when >= QUIET_SECONDS:
            self.say(text)

    def say(self, text: str) -> None:
        self.clear()
        self._write(text + "\n")
        self._said, self._when = text, time.monotonic()

    def clear(self) -> None:
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def spoken(seconds: float | None) -> str:
    """`95` -> "1:35", None -> "?"."""
    if seconds is None or not 0 <= seconds < 3_600_000:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
