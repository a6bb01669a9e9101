"""What a user can choose about a search."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..core.architecture import Architecture
from ..errors import SearchError
from ..json_files import printable

MODES = ("ecad+", "paper", "random")
COSTS = ("macs", "seconds")
LEAST_TRIAL = 8  # samples
USUAL_CAUTION = 0.5  # of new searches; chosen by fronts of some prompts judged on others
LARGEST_JOB = 32  # samples; an interrupted job is lost, so none may be long

# Budgets end a search but do not change its course: a finished one goes on when they are raised.
BUDGETS = ("images", "minutes", "generations", "patience")
# Settings that came later: a journal holds them only where they are chosen, so older ones go on.
LATER = ("cost", "largest_cache_mib", "tried_on", "caution")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How to search, and how long.

    mode: "ecad+" (ours), "paper" (Aggarwal et al. 2025 as its code really runs), or "random" (the
        control: random schedules, scored in full).
    images: budget in images, the uncached ones included; minutes, generations: further limits.
    patience: stop when the front has not grown for this many images (see search.GROWTH).
    population: how many may breed; None is the mode's own (paper: 72, FLUX 24; ecad+: 24).
    offspring: new candidates per generation; None is the mode's own (paper: as many as breed).
    first_block: samples a new candidate gets before it is first judged (ecad+).
    tried_on: samples that say whether a candidate comes near the front; only what is on it gets
        the others (ecad+). None gives all of them to whatever is not dropped. See `usual_trial`.
    caution: from 0 to 1, how much a loss is how far scores move either way instead of how far they
        fall (ecad+). See `racing.losses_of`.
    confidence: how sure the judge must be that a candidate is dominated to drop it (ecad+).
    heat: candidates that race at a time; more of them keep more workers busy, but fewer rivals are
        known when one is judged.
    guided: let a model of the scores so far choose among proposed children (ecad+).
    cost: "macs", or "seconds" as measured on the machine the search began on.
    largest_cache_mib: candidates whose stored values take more MiB at once are never rendered; None
        is no limit. References are, for comparison.
    crossover_points, crossover_probability, mutation_probability: the paper's genome operators.
    """

    mode: str = "ecad+"
    seed: int = 0
    images: int = 1000
    minutes: float | None = None
    generations: int | None = None
    patience: int | None = None
    population: int | None = None
    offspring: int | None = None
    first_block: int = 4
    confidence: float = 0.9
    heat: int = 4
    guided: bool = True
    crossover_points: int = 4
    crossover_probability: float = 0.9
    mutation_probability: float = 0.05
    cost: str = "macs"
    largest_cache_mib: int | None = None
    tried_on: int | None = None
    caution: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SearchError(
                f"The search mode is {self.mode!r}; expected one of {', '.join(MODES)}."
            )
        if self.cost not in COSTS:
            raise SearchError(
                f"The search's cost is {self.cost!r}; expected one of {', '.join(COSTS)}."
            )
        for name, lowest, largest in (
            ("seed", 0, 2**64 - 1),
            ("images", 1, 10**9),
            ("first_block", 2, LARGEST_JOB),
            ("heat", 1, 1000),
            ("crossover_points", 1, 10_000),
        ):
            _require_whole(name, getattr(self, name), lowest, largest)
        for name, lowest, largest in (
            ("generations", 0, 10**6),
            ("patience", 1, 10**9),
            ("population", 4, 10_000),
            ("offspring", 1, 10_000),
            ("largest_cache_mib", 1, 10**9),
            ("tried_on", 2, 10**9),
        ):
            if getattr(self, name) is not None:
                _require_whole(name, getattr(self, name), lowest, largest)
        for name, lowest, largest in (
            ("confidence", 0.5, 1.0),
            ("caution", 0.0, 1.0),
            ("crossover_probability", 0.0, 1.0),
            ("mutation_probability", 0.0, 1.0),
        ):
            _require_number(name, getattr(self, name), lowest, largest)
        if self.minutes is not None:
            _require_number("minutes", self.minutes, 0.0, 10**6)
        if self.mode == "paper" and self.largest_cache_mib is not None:
            raise SearchError(
                "The search mode 'paper' is the published search, which knows no limit on stored "
                f"values, but largest_cache_mib is {self.largest_cache_mib}. Choose mode ecad+."
            )
        if self.mode != "ecad+" and (self.tried_on is not None or self.caution):
            raise SearchError(
                f"The search mode '{self.mode}' scores every candidate on all samples and goes by "
                f"means, but tried_on is {self.tried_on} and caution {self.caution:g}. Choose mode "
                "ecad+, or leave them out."
            )
        if not isinstance(self.guided, bool):
            raise SearchError(
                f"The search setting 'guided' is {self.guided!r}; expected true or false."
            )

    def population_for(self, architecture: Architecture) -> int:
        if self.population is not None:
            return self.population
        if self.mode == "paper":
            return 24 if architecture.family == "flux" else 72
        return 24

    def offspring_for(self, architecture: Architecture) -> int:
        if self.offspring is not None:
            return self.offspring
        return self.population_for(architecture) if self.mode == "paper" else 6

    def trial_of(self, n_samples: int) -> int:
        """How many of so many samples tell where a candidate stands."""
        return min(self.tried_on or n_samples, n_samples)

    def for_new(self, n_samples: int) -> SearchSettings:
        """What a new search on so many samples has besides: ecad+ tries candidates, with caution.

        It is not the default, for journals of before go on without.
        """
        if self.mode != "ecad+":
            return self
        return replace(self, tried_on=usual_trial(n_samples), caution=USUAL_CAUTION)

    def course(self) -> dict[str, Any]:
        """The settings that decide what the search does next; these must agree to resume it."""
        usual = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in self.to_json().items()
            if name not in BUDGETS and not (name in LATER and value == usual[name])
        }

    @property
    def hash(self) -> str:
        """16 hex digits over `course`."""
        text = json.dumps(self.course(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SearchSettings:
        """The inverse of `to_json`, and of `course` up to the budgets."""
        known = {field.name for field in fields(cls)}
        unknown = [printable(str(name))[:60] for name in document if name not in known]
        if unknown:
            raise SearchError(
                f"A search has no setting {', '.join(unknown)}; expected some of "
                f"{', '.join(sorted(known))}."
            )
        return cls(**document)


def usual_trial(n_samples: int) -> int | None:
    """`tried_on` for so many calibration samples: a quarter; None where that says too little."""
    trial = max(LEAST_TRIAL, n_samples // 4)
    return trial if 2 * trial <= n_samples else None


def _require_whole(name: str, value: Any, lowest: int, largest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= largest:
        raise SearchError(
            f"The search setting '{name}' is {value!r}; expected a whole number from {lowest} to "
            f"{largest}."
        )


def _require_number(name: str, value: Any, lowest: float, largest: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not lowest <= value <= largest:
        raise SearchError(
            f"The search setting '{name}' is {value!r}; expected a number from {lowest:g} to "
            f"{largest:g}."
        )
