"""How long a stretch of work takes, without waiting for the device in the middle of a run."""

from __future__ import annotations

import time

import torch


class Watch:
    """Runs from when it is made until `stop`; `seconds` may be asked for any time later.

    On CUDA two marks in the queue of work tell the time, so that the host goes on; reading them
    waits for the work. Elsewhere it is the clock on the wall.
    """

    def __init__(self, device: torch.device | None) -> None:
        self._device = device if device is not None and device.type == "cuda" else None
        self._begin, self._end = self._mark(), None

    def stop(self) -> None:
        self._end = self._mark()

    @property
    def seconds(self) -> float:
        begin, end = self._begin, self._end
        if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
            end.synchronize()
            return begin.elapsed_time(end) / 1000
        assert isinstance(begin, float) and isinstance(end, float)
        return end - begin

    def _mark(self) -> float | torch.cuda.Event:
        if self._device is None:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
