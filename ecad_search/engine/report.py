"""What a run did: how much it computed and reused, how long it took, what it held in memory."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True)
class RunReport:
    """One sampling.

    Cells are counted once per model call, whatever its batch. `cells_forced` of the computed ones
    were to be reused but could not be: nothing usable was stored. `bypassed_calls` were made beside
    the schedule (a guider that calls the model again) and computed everything; their cells are not
    counted. `predicted_speedup` is uncached MACs by `executed_macs`; `measured_speedup` is
    what `timing.uncached_seconds` makes of the run's own evaluations, None if it cannot tell.
    """

    schedule: str
    steps: int
    evaluations: int
    cells_computed: int
    cells_reused: int
    cells_forced: int
    bypassed_calls: int
    seconds: float
    peak_bytes: int
    predicted_bytes: int
    predicted_speedup: float
    measured_speedup: float | None
    executed_macs: int = 0
    messages: tuple[str, ...] = ()

    @property
    def reused_fraction(self) -> float:
        cells = self.cells_computed + self.cells_reused
        return self.cells_reused / cells if cells else 0.0

    def line(self) -> str:
        """For a log or a node: one line."""
        parts = [
            f"{self.schedule or 'schedule'}: reused {self.reused_fraction:.0%} of the cells "
            f"in {self.evaluations} evaluations ({self.steps} steps)",
            f"{self.predicted_speedup:.2f}x fewer MACs",
        ]
        if self.measured_speedup is not None:
            parts.append(f"{self.measured_speedup:.2f}x faster")
        parts.append(f"{self.seconds:.1f} s")
        parts.append(f"{self.peak_bytes / MIB:.1f} MiB held")
        if self.cells_forced:
            parts.append(f"{self.cells_forced} cells computed though scheduled for reuse")
        if self.bypassed_calls:
            parts.append(f"{self.bypassed_calls} extra calls left uncached")
        return " ".join((", ".join(parts) + ".", *self.messages))
