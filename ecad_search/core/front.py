"""The result of a search: schedules that trade quality for speed, and how to pick one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ScheduleError, SearchError, StorageError
from . import pareto, schedule_json
from .architecture import is_whole
from .schedule import Schedule

FORMAT = "ecad-front"
VERSION = 1
NUMBERS = ("cost", "quality", "quality_stderr", "mean_score")


@dataclass(frozen=True)
class FrontPoint:
    """One schedule and what it was measured to do.

    `cost` is the share of the uncached run's MACs (attention included) that is left, in (0, 1]. A
    search that counts in seconds has their share there; then `relative_macs` is that of the MACs
    and `seconds` what one picture is predicted to take.
    `quality` is the mean difference of the scores to the uncached run on the same prompts and
    seeds (0 is as good as uncached, higher is better) and `quality_stderr` its standard error;
    `mean_score` is the raw mean. `is_reference` marks hand-made schedules shown for comparison.
    `cache_bytes` is the most its stored values take at once for one picture, None if unknown. What
    is not `within_limits` takes more than the search allowed: it is shown, but never a member.
    """

    schedule: Schedule
    cost: float
    quality: float
    quality_stderr: float
    samples: int
    mean_score: float = 0.0
    is_reference: bool = False
    cache_bytes: int | None = None
    within_limits: bool = True
    relative_macs: float | None = None
    seconds: float | None = None

    @property
    def speedup(self) -> float:
        """How many times fewer MACs than uncached: the speed-up where compute is the limit.

        Of a search in seconds: the predicted speed-up.
        """
        return 1.0 / self.cost

    @property
    def macs_share(self) -> float:
        """Of the uncached run's MACs, whatever the search counted in."""
        return self.cost if self.relative_macs is None else self.relative_macs

    @property
    def saving(self) -> str:
        """In words: "2.41x fewer MACs"."""
        if self.seconds is None:
            return f"{self.speedup:.2f}x fewer MACs"
        return (
            f"{self.speedup:.2f}x faster by prediction ({self.seconds:.3g} s a picture), "
            f"{1 / self.macs_share:.2f}x fewer MACs"
        )

    def describe(self) -> str:
        """For errors, logs and list rows: "2.41x, quality -0.012 ± 0.004"."""
        return f"{self.speedup:.2f}x, quality {self.quality:+.4g} ± {self.quality_stderr:.2g}"


@dataclass(frozen=True)
class Front:
    """Points sorted by cost, cheapest first: the front itself, and the dominated references.

    `info` says where it comes from (search, scorers, workload) and must be JSON-able.
    """

    points: tuple[FrontPoint, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Iterable[FrontPoint], info: Mapping[str, Any] | None = None) -> Front:
        """The front of any points: one per schedule; dominated ones stay if they are references."""
        unique: dict[str, FrontPoint] = {}
        for point in points:
            known = unique.get(point.schedule.key)
            if known is None or (point.is_reference and not known.is_reference):
                unique[point.schedule.key] = point
        ordered = sorted(unique.values(), key=lambda p: (p.cost, -p.quality, p.schedule.key))
        kept = set(_front_of(ordered))
        return cls(
            tuple(p for i, p in enumerate(ordered) if i in kept or p.is_reference),
            dict(info or {}),
        )

    @cached_property
    def members(self) -> tuple[FrontPoint, ...]:
        """The points nothing dominates, cheapest (and worst) first."""
        return tuple(self.points[i] for i in _front_of(self.points))

    @property
    def references(self) -> tuple[FrontPoint, ...]:
        return tuple(point for point in self.points if point.is_reference)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[FrontPoint]:
        return iter(self.points)

    def pick_speedup(self, target: float) -> FrontPoint:
        """The best quality at `target` times fewer MACs (or seconds) or more."""
        _require_number("speed-up", target)
        # A target typed from the screen is rounded; do not fail on its last digit.
        return self._best_of(
            [p for p in self._choices() if p.speedup >= target * (1 - 1e-3)],
            by=lambda p: (p.quality, p.speedup),
            wish=f"is {target:g} times cheaper than the uncached run",
            best=max(self._choices(), key=lambda p: p.speedup),
            advice="Lower the target, or search longer",
        )

    def pick_quality(self, minimum: float) -> FrontPoint:
        """The fastest point whose quality (difference to uncached) is at least `minimum`."""
        _require_number("minimum quality", minimum)
        return self._best_of(
            [p for p in self._choices() if p.quality >= minimum],
            by=lambda p: (p.speedup, p.quality),
            wish=f"has a quality of at least {minimum:g} relative to the uncached run",
            best=max(self._choices(), key=lambda p: p.quality),
            advice="Lower the minimum, or search longer",
        )

    def pick_knee(self) -> FrontPoint:
        """The point farthest below the line between the front's ends: most speed for its loss."""
        choices = self._choices()
        if len(choices) < 3:
            # No bend to find: the cheapest is what caching is for.
            return min(choices, key=lambda p: p.cost)
        cost = np.array([p.cost for p in choices])
        loss = -np.array([p.quality for p in choices])
        x = (cost - cost.min()) / max(float(np.ptp(cost)), 1e-12)
        y = (loss - loss.min()) / max(float(np.ptp(loss)), 1e-12)
        return choices[int(np.argmin(x + y))]

    def pick_key(self, key: str) -> FrontPoint:
        """The point of the schedule with this `Schedule.key`, a hand-made one included."""
        found = next((point for point in self.points if point.schedule.key == key), None)
        if found is None:
            raise SearchError(
                f"This front has no schedule with the key '{key}'; it may have left the front when "
                "the search went on. Choose another in the panel of ECAD Search, or pick by "
                "speed-up or quality."
            )
        return found

    def pick(
        self,
        *,
        target_speedup: float | None = None,
        min_quality: float | None = None,
    ) -> FrontPoint:
        """`pick_speedup`, `pick_quality`, or `pick_knee` when neither is given."""
        if target_speedup is not None and min_quality is not None:
            raise SearchError(
                "A point was asked for by speed-up and by quality at once. Give one of the two."
            )
        if target_speedup is not None:
            return self.pick_speedup(target_speedup)
        if min_quality is not None:
            return self.pick_quality(min_quality)
        return self.pick_knee()

    def _choices(self) -> Sequence[FrontPoint]:
        if not self.members:
            raise SearchError(
                "This front is empty, so nothing can be picked from it. Run a search first, or let "
                "the running one finish its first candidates."
            )
        return self.members

    @staticmethod
    def _best_of(
        found: Sequence[FrontPoint],
        *,
        by: Callable[[FrontPoint], tuple[float, float]],
        wish: str,
        best: FrontPoint,
        advice: str,
    ) -> FrontPoint:
        if not found:
            raise SearchError(
                f"No schedule of this front {wish}; the best available is {best.describe()}. "
                f"{advice}."
            )
        return max(found, key=by)

    def to_json(self) -> str:
        """The front as a file; every schedule stands in it as its own file would."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "info": dict(self.info),
            "points": [
                {
                    **{name: getattr(point, name) for name in NUMBERS},
                    "samples": point.samples,
                    "is_reference": point.is_reference,
                    **_extras(point),
                    "schedule": json.loads(schedule_json.dumps(point.schedule)),
                }
                for point in self.points
            ],
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "the front") -> Front:
        """The inverse of `to_json`; `source` names the file in errors."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ScheduleError(
                f"{source} is not a front file: {error}. Choose the front.json of a search."
            ) from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ScheduleError(
                f"{source} is not a front file: field 'format' is not '{FORMAT}'. "
                "Choose the front.json of a search."
            )
        if document.get("version") != VERSION:
            raise ScheduleError(
                f"{source} is a front of version {document.get('version')!r}, this pack reads "
                f"version {VERSION}. Update ComfyUI-ECAD."
            )
        points, info = document.get("points"), document.get("info", {})
        if not isinstance(points, list) or not isinstance(info, dict):
            raise ScheduleError(
                f"{source} is a broken front file: 'points' must be a list and 'info' an object. "
                "Export it again from its search."
            )
        return cls(
            tuple(
                _point(entry, f"point {number} of {source}")
                for number, entry in enumerate(points, start=1)
            ),
            info,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` as a whole or not at all."""
        schedule_json.write_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Front:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ScheduleError(
                f"'{path}' is not a front file: {error.reason}. Choose the front.json of a search."
            ) from error
        except OSError as error:
            raise StorageError(
                f"The front '{path}' cannot be read ({error.strerror or error}). "
                "Choose an existing front.json."
            ) from error
        return cls.from_json(text, source=f"'{path}'")


def _front_of(points: Sequence[FrontPoint]) -> list[int]:
    allowed = [i for i, point in enumerate(points) if point.within_limits]
    if not allowed:
        return []
    kept = pareto.front_indices([[points[i].cost, -points[i].quality] for i in allowed])
    return [allowed[i] for i in kept]


def _extras(point: FrontPoint) -> dict[str, Any]:
    """The fields that not every front has."""
    found: dict[str, Any] = {}
    if point.cache_bytes is not None:
        found["cache_bytes"] = point.cache_bytes
    for name in ("relative_macs", "seconds"):
        if getattr(point, name) is not None:
            found[name] = getattr(point, name)
    if not point.within_limits:
        found["within_limits"] = False
    return found


def _require_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SearchError(f"The {name} is {value!r}; expected a finite number.")


def _point(entry: Any, source: str) -> FrontPoint:
    if not isinstance(entry, dict):
        raise ScheduleError(
            f"{source} is {type(entry).__name__}, expected an object. Export the front again."
        )
    numbers: dict[str, float] = {}
    for name in NUMBERS:
        value = entry.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ScheduleError(
                f"Field '{name}' of {source} is {value!r}, expected a finite number. "
                "Export the front again."
            )
        numbers[name] = float(value)
    samples, is_reference = entry.get("samples"), entry.get("is_reference", False)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ScheduleError(
            f"Field 'samples' of {source} is {samples!r}, expected a whole number from 1. "
            "Export the front again."
        )
    if not 0 < numbers["cost"] <= 1 or not isinstance(is_reference, bool):
        raise ScheduleError(
            f"Field 'cost' of {source} is {numbers['cost']!r} and 'is_reference' {is_reference!r}, "
            "expected a number in (0, 1] and true or false. Export the front again."
        )
    stored, within = entry.get("cache_bytes"), entry.get("within_limits", True)
    is_size = stored is None or (is_whole(stored) and stored >= 0)
    if not is_size or not isinstance(within, bool):
        raise ScheduleError(
            f"Field 'cache_bytes' of {source} is {stored!r} and 'within_limits' {within!r}, "
            "expected a whole number from 0 and true or false. Export the front again."
        )
    for name in ("relative_macs", "seconds"):
        value = entry.get(name)
        if value is not None:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value <= 0:
                raise ScheduleError(
                    f"Field '{name}' of {source} is {value!r}, expected a number above 0. "
                    "Export the front again."
                )
            numbers[name] = float(value)
    schedule = schedule_json.loads(json.dumps(entry.get("schedule")), source=f"{source}, schedule")
    return FrontPoint(
        schedule=schedule,
        samples=samples,
        is_reference=is_reference,
        cache_bytes=stored,
        within_limits=within,
        **numbers,
    )
