"""What a profile has measured so far, so that one which was cut off goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .quick import Gap

Note = dict[str, Any]  # as it stands in a journal


@dataclass(eq=False)
class ProfileNotes:
    """benefits: (n_units,) of computing each unit alone, None before they are known. drifts: of
    the schedules with certain gaps, on a sample each.
    """

    benefits: list[float] | None = None
    drifts: dict[tuple[tuple[Gap, ...], int], float] = field(default_factory=dict)

    def take(self, note: Mapping[str, Any]) -> None:
        """Learn what one of the notes below says; what was known before stays."""
        if "benefits" in note:
            if self.benefits is None:
                self.benefits = list(note["benefits"])
            return
        gaps = tuple(Gap(*gap) for gap in note["gaps"])
        self.drifts.setdefault((gaps, note["sample"]), note["drift"])


def note_of_benefits(benefits: Sequence[float]) -> Note:
    return {"benefits": [float(share) for share in benefits]}


def note_of_drift(gaps: Sequence[Gap], sample: int, drift: float) -> Note:
    return {"gaps": [list(gap) for gap in gaps], "sample": sample, "drift": drift}
