"""The result of a search: schedules that trade quality for speed, and how to pick one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .. import json_files
from ..errors import ScheduleError, SearchError
from ..json_files import is_count, is_number
from . import pareto, schedule_json
from .schedule import Schedule

FORMAT = "ecad-front"
VERSION = 1
LARGEST = 128 * 2**20  # bytes of a file; a front of 1,000 schedules of FLUX has 20 MB
DEEPEST_NESTING = json_files.DEEPEST_NESTING + 3  # a schedule stands in a list of points
LEAST_COST = 1e-12
NUMBERS = ("cost", "quality", "quality_stderr", "mean_score")


@dataclass(frozen=True)
class Quality:
    """What one scorer says: mean difference to the uncached run, its error, and the raw mean."""

    mean: float
    stderr: float
    mean_score: float


@dataclass(frozen=True)
class FrontPoint:
    """One schedule and what it was measured to do.

    `cost` is the share of the uncached run's MACs (attention included) that is left, in (0, 1]. A
    search that counts in seconds has their share there; then `relative_macs` is that of the MACs
    and `seconds` what one picture is predicted to take.
    `quality` is the mean difference of the scores to the uncached run on the same prompts and
    seeds (0 is as good as uncached, higher is better) and `quality_stderr` its standard error;
    `mean_score` is the raw mean. A search with several scorers has these of the first, and those of
    the others in `more_qualities`; each is an objective of its own. `losses`, one of each scorer,
    decide who beats whom where that is not the qualities alone: see `evolution.racing.losses_of`.
    `is_reference` marks hand-made schedules shown for comparison. `cache_bytes` is the most its
    stored values take at once for one picture, None if unknown. What is not `within_limits` takes
    more than the search allowed: it is shown, but never a member.
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
    more_qualities: tuple[Quality, ...] = ()
    losses: tuple[float, ...] = ()

    @property
    def objectives(self) -> tuple[float, ...]:
        """What the front is about, all the less the better: cost, and the loss by every scorer."""
        return self.cost, *(self.losses or (-quality for quality in self.qualities))

    @property
    def qualities(self) -> tuple[float, ...]:
        """By every scorer, the first one first."""
        return self.quality, *(quality.mean for quality in self.more_qualities)

    def by_scorer(self, number: int) -> FrontPoint:
        """As one scorer sees it, counted from 0."""
        losses = self.losses[number : number + 1]
        if number == 0:
            return replace(self, more_qualities=(), losses=losses)
        own = self.more_qualities[number - 1]
        return replace(
            self,
            losses=losses,
            quality=own.mean,
            quality_stderr=own.stderr,
            mean_score=own.mean_score,
            more_qualities=(),
        )

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
        found = [(self.quality, self.quality_stderr)]
        found += [(quality.mean, quality.stderr) for quality in self.more_qualities]
        told = " and ".join(f"{mean:+.4g} ± {error:.2g}" for mean, error in found)
        return f"{self.speedup:.2f}x, quality {told}"


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
        ordered = sorted(unique.values(), key=lambda p: (*p.objectives, p.schedule.key))
        kept = set(_front_of(ordered))
        return cls(
            tuple(p for i, p in enumerate(ordered) if i in kept or p.is_reference),
            dict(info or {}),
        )

    @cached_property
    def members(self) -> tuple[FrontPoint, ...]:
        """The points nothing dominates, cheapest (and worst) first."""
        return tuple(self.points[i] for i in _front_of(self.points))

    @cached_property
    def leading(self) -> tuple[FrontPoint, ...]:
        """Members that no other beats on cost and means; a cautious search may have others."""
        means = [(p.cost, *(-quality for quality in p.qualities)) for p in self.members]
        return tuple(self.members[i] for i in pareto.front_indices(means)) if means else ()

    @property
    def references(self) -> tuple[FrontPoint, ...]:
        return tuple(point for point in self.points if point.is_reference)

    @property
    def content(self) -> list[tuple[str, int]]:
        """What tells two states of a search apart: its schedules, each with its samples."""
        return [(point.schedule.key, point.samples) for point in self.points]

    @property
    def n_scorers(self) -> int:
        return len(self.points[0].qualities) if self.points else 1

    def by_scorer(self, number: int) -> Front:
        """All points as one scorer, counted from 0, sees them; its own front is in `members`."""
        if not 0 <= number < self.n_scorers:
            raise SearchError(
                f"This front has the qualities of {self.n_scorers} scorers, scorer {number + 1} "
                f"was asked for. Choose one from 1 to {self.n_scorers}."
            )
        return Front(tuple(point.by_scorer(number) for point in self.points), self.info)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[FrontPoint]:
        return iter(self.points)

    def pick_speedup(self, target: float) -> FrontPoint:
        """The best quality at `target` times fewer MACs (or seconds) or more.

        With several scorers the best is that whose worst quality is best, each measured by how far
        it ranges over the front.
        """
        _require_number("speed-up", target)
        # A target typed from the screen is rounded; do not fail on its last digit.
        return self._best_of(
            [p for p in self._choices() if p.speedup >= target * (1 - 1e-3)],
            by=lambda p: (self._worth(p), p.speedup),
            wish=f"is {target:g} times cheaper than the uncached run",
            best=max(self._choices(), key=lambda p: p.speedup),
            advice="Lower the target, or search longer",
        )

    def pick_quality(self, minimum: float) -> FrontPoint:
        """The fastest point whose quality (difference to uncached) is at least `minimum`.

        Of several scorers the first one's quality is meant.
        """
        _require_number("minimum quality", minimum)
        return self._best_of(
            [p for p in self._choices() if p.quality >= minimum],
            by=lambda p: (p.speedup, self._worth(p)),
            wish=f"has a quality of at least {minimum:g} relative to the uncached run",
            best=max(self._choices(), key=lambda p: p.quality),
            advice="Lower the minimum, or search longer",
        )

    def pick_knee(self) -> FrontPoint:
        """The one of `leading` farthest below the line between their ends: most speed for its loss.

        So nothing that is shown beside it beats it.
        """
        self._choices()  # which raises where there are none
        choices = self.leading
        if len(choices) < 3:
            # No bend to find: the cheapest is what caching is for.
            return min(choices, key=lambda p: p.cost)
        cost = np.array([p.cost for p in choices])
        loss = np.array([p.objectives[1:] for p in choices])
        x = (cost - cost.min()) / max(float(np.ptp(cost)), 1e-12)
        y = (loss - loss.min(axis=0)) / np.maximum(np.ptp(loss, axis=0), 1e-12)
        return choices[int(np.argmin(x + y.max(axis=1)))]

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

    def _worth(self, point: FrontPoint) -> float:
        """Minus the loss; of several scorers the worst, each in its range over the front."""
        own = np.array(point.objectives[1:])
        if len(own) == 1:
            return -float(own[0])
        found = np.array([p.objectives[1:] for p in self._choices()])
        ranges = np.maximum(np.ptp(found, axis=0), 1e-12)
        return float(((found.min(axis=0) - own) / ranges).min())

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
            document = json_files.parsed(text, deepest=DEEPEST_NESTING)
        except json_files.UnusableJson as error:
            raise ScheduleError(
                f"{source} is not a front file: it {error}. Choose the front.json of a search."
            ) from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ScheduleError(
                f"{source} is not a front file: field 'format' is not '{FORMAT}'. "
                "Choose the front.json of a search."
            )
        if document.get("version") != VERSION:
            raise ScheduleError(
                f"{source} is a front of version {document.get('version')!r:.60}, this pack reads "
                f"version {VERSION}. Update ComfyUI-ECAD."
            )
        points, info = document.get("points"), document.get("info", {})
        if not isinstance(points, list) or not isinstance(info, dict):
            raise ScheduleError(
                f"{source} is a broken front file: 'points' must be a list and 'info' an object. "
                "Export it again from its search."
            )
        read = tuple(
            _point(entry, f"point {number} of {source}")
            for number, entry in enumerate(points, start=1)
        )
        if len({len(point.qualities) for point in read}) > 1:
            raise ScheduleError(
                f"{source} is a broken front file: its points differ in the number of scorers. "
                "Export it again from its search."
            )
        return cls(read, info)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` as a whole or not at all."""
        schedule_json.write_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Front:
        """Of a file; StorageError when it cannot be read."""
        content = json_files.read(path, kind="a front file", largest=LARGEST, error=ScheduleError)
        text = json_files.decoded(content, path, error=ScheduleError)
        return cls.from_json(text, source=f"'{json_files.printable(os.fspath(path))}'")


def _front_of(points: Sequence[FrontPoint]) -> list[int]:
    allowed = [i for i, point in enumerate(points) if point.within_limits]
    if not allowed:
        return []
    kept = pareto.front_indices([points[i].objectives for i in allowed])
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
    if point.more_qualities:
        found["more_qualities"] = [
            dict(zip(NUMBERS[1:], astuple(quality), strict=True))
            for quality in point.more_qualities
        ]
    if point.losses:
        found["losses"] = list(point.losses)
    return found


def _require_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SearchError(f"The {name} is {value!r}; expected a finite number.")


def _numbers(entry: Mapping[str, Any], names: Sequence[str], source: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in names:
        value = entry.get(name)
        if not is_number(value):
            raise ScheduleError(
                f"Field '{name}' of {source} is {value!r:.60}, expected a finite number. "
                "Export the front again."
            )
        found[name] = float(value)
    return found


def _more_qualities(entry: Any, source: str) -> tuple[Quality, ...]:
    if not isinstance(entry, list) or not all(isinstance(quality, dict) for quality in entry):
        raise ScheduleError(
            f"Field 'more_qualities' of {source} is {entry!r:.60}, expected a list of objects. "
            "Export the front again."
        )
    return tuple(
        Quality(*_numbers(quality, NUMBERS[1:], f"{source}, quality {number}").values())
        for number, quality in enumerate(entry, start=2)
    )


def _point(entry: Any, source: str) -> FrontPoint:
    if not isinstance(entry, dict):
        raise ScheduleError(
            f"{source} is {type(entry).__name__}, expected an object. Export the front again."
        )
    numbers = _numbers(entry, NUMBERS, source)
    samples, is_reference = entry.get("samples"), entry.get("is_reference", False)
    if not is_count(samples) or samples < 1:
        raise ScheduleError(
            f"Field 'samples' of {source} is {samples!r:.60}, expected a whole number from 1. "
            "Export the front again."
        )
    if not LEAST_COST <= numbers["cost"] <= 1 or not isinstance(is_reference, bool):
        raise ScheduleError(
            f"Field 'cost' of {source} is {numbers['cost']!r} and 'is_reference' "
            f"{is_reference!r:.60}, "
            "expected a number in (0, 1] and true or false. Export the front again."
        )
    stored, within = entry.get("cache_bytes"), entry.get("within_limits", True)
    if not (stored is None or is_count(stored)) or not isinstance(within, bool):
        raise ScheduleError(
            f"Field 'cache_bytes' of {source} is {stored!r:.60} and 'within_limits' "
            f"{within!r:.60}, "
            "expected a whole number from 0 and true or false. Export the front again."
        )
    for name in ("relative_macs", "seconds"):
        value = entry.get(name)
        if value is not None:
            if not is_number(value) or value < LEAST_COST:
                raise ScheduleError(
                    f"Field '{name}' of {source} is {value!r:.60}, expected a number above 0. "
                    "Export the front again."
                )
            numbers[name] = float(value)
    more = _more_qualities(entry.get("more_qualities", []), source)
    losses = entry.get("losses", [])
    if (
        not isinstance(losses, list)
        or not all(map(is_number, losses))
        or len(losses) not in (0, 1 + len(more))
    ):
        raise ScheduleError(
            f"Field 'losses' of {source} is {losses!r:.60}, expected {1 + len(more)} finite "
            "numbers. Export the front again."
        )
    schedule = schedule_json.loads(json.dumps(entry.get("schedule")), source=f"{source}, schedule")
    return FrontPoint(
        schedule=schedule,
        samples=samples,
        is_reference=is_reference,
        cache_bytes=stored,
        within_limits=within,
        more_qualities=more,
        losses=tuple(map(float, losses)),
        **numbers,
    )
