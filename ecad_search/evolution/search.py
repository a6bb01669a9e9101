"""The search itself: which candidate to render next on which samples, and what came of it.

`ask` gives a job, the caller renders and scores it, `tell` writes the scores down. All state is a
fold over the journal's records, so a `Search` made on an old journal stands where that one stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import cost, pareto, presets
from ..core.architecture import Architecture, Workload
from ..core.front import Front, FrontPoint, Quality
from ..core.latency import Latency, TimeCost
from ..core.schedule import Schedule
from ..errors import JournalError, ScorerError, SearchError
from ..json_files import is_number, printable
from . import nsga2, proposals, racing, seeding
from .journal import Journal
from .journal_records import DROPPED, MORE, SCORED, TRIED, check
from .memory import MIB, CacheLimit, CacheMemory
from .operators import Grid
from .profile_notes import Note, ProfileNotes
from .proposals import Proposal
from .seeding import Seed
from .settings import SearchSettings
from .surrogate import MOST_OBSERVATIONS, Features, Surrogate

Floats = npt.NDArray[np.float64]

USEFUL_SPREAD = 0.1  # of the uncached run's scores: a loss of so little may always be of use
GROWTH = 0.005  # of the area under the front, less than which is none
HAND_MADE = 72  # schedules of the paper's first population that ecad+ may choose from
MOST_BARREN = 20  # generations in a row without a new schedule before the search gives up


@dataclass(frozen=True)
class Candidate:
    """A schedule under test. `origin` says how it was made; `key` is the schedule's."""

    key: str
    schedule: Schedule
    generation: int
    origin: str


@dataclass(frozen=True)
class Job:
    """Render `candidate` on these samples of the calibration and score each image."""

    candidate: Candidate
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """Where a search stands. `best` is the front's knee; times are of rendering and scoring."""

    generation: int
    images: int
    images_budget: int
    candidates: int
    best: FrontPoint | None
    seconds: float
    eta_seconds: float | None


@dataclass(frozen=True, eq=False)
class _Paired:
    """What a candidate loses by each scorer; mean and variance of its differences to uncached.

    Kept, for every candidate is compared with all others again and again.
    """

    losses: Floats  # (scorers,)
    means: Floats  # (scorers,)
    variances: Floats  # (scorers,)

    @classmethod
    def of(cls, scores: Floats, uncached: Floats, caution: float) -> _Paired:
        """Of (scorers, n) scores and those of the uncached run, n or more; else ValueError."""
        if scores.shape[1] > uncached.shape[1]:
            raise ValueError(f"{scores.shape[1]} samples of which {uncached.shape[1]} are uncached")
        differences = scores - uncached[:, : scores.shape[1]]
        alone = scores.shape[1] == 1
        return cls(
            racing.losses_of(differences, caution),
            differences.mean(axis=1),
            np.zeros(len(scores)) if alone else differences.var(axis=1, ddof=1),
        )


@dataclass
class _Entry:
    """All that is known of a candidate; `verdict` is empty before its first scores.

    What is not `allowed` takes more memory than it may: a reference, scored for comparison alone.
    """

    candidate: Candidate
    cost: float
    is_reference: bool
    scores: Floats  # (scorers, samples so far)
    cache_bytes: int | None = None
    allowed: bool = True
    verdict: str = ""
    failed: str = ""
    paired: _Paired | None = None
    point: FrontPoint | None = None  # made when it is first asked for

    @property
    def done(self) -> int:
        """How many samples it has been scored on."""
        return self.scores.shape[1]

    @property
    def is_open(self) -> bool:
        return not self.failed and self.verdict not in (DROPPED, TRIED, SCORED)

    @property
    def is_scored(self) -> bool:
        """On all samples."""
        return not self.failed and self.verdict == SCORED

    @property
    def is_tried(self) -> bool:
        """On enough samples to wait for the others until it is on the front."""
        return not self.failed and self.verdict == TRIED


@dataclass(eq=False)
class _Out:
    """A job that a worker has; `answer` is what it told, as it will stand in the journal."""

    job: Job
    entry: _Entry
    answer: dict[str, Any] | None = None
    seconds: float = 0.0


class Search:
    """One search over the schedules of `architecture` at `steps` steps.

    The first job is always the uncached run: its scores are what all others are compared with.
    `n_samples` is the number of calibration samples (prompts x seeds), in an order whose every
    prefix is as varied as can be. `seeds` are schedules to start from besides the built-in ones.
    `memory` tells what stored values take; a limit on that needs it. With several `scorers` each
    is an objective of its own: the front has all that is beaten in none of them at its cost.

    Several workers may ask before the first one tells, and tell in any order: what is told counts
    in the order of asking, so that the course of a search does not depend on how many they are.
    `ask` gives None when there is nothing to do until another worker tells; with `finished` it
    means that nothing will ever be to do.
    """

    def __init__(
        self,
        settings: SearchSettings,
        architecture: Architecture,
        steps: int,
        workload: Workload,
        n_samples: int,
        journal: Journal,
        *,
        seeds: Sequence[Schedule] = (),
        memory: CacheMemory | None = None,
        scorers: int = 1,
    ) -> None:
        self.settings = settings
        self.architecture = architecture
        self.steps = steps
        self.workload = workload
        self.n_samples = n_samples
        self.n_scorers = scorers
        self.journal = journal
        self._seeds = [Seed(self._fitted(schedule), "given") for schedule in seeds]
        self._check_size()
        self._trial = settings.trial_of(n_samples)
        self._memory = memory
        self._limit = self._cache_limit()
        self._grid = Grid.of(architecture)
        self._features = Features(self._grid)
        self._cell_costs, self._base_cost = self._relative_costs()
        self._times: TimeCost | None = None
        uncached = presets.uncached(architecture, steps)
        self._uncached = _Entry(
            Candidate(uncached.key, uncached, 0, "uncached"),
            cost=1.0,
            is_reference=True,
            scores=self._no_scores(),
            cache_bytes=None if memory is None else memory.of(uncached),
        )
        self._entries: dict[str, _Entry] = {uncached.key: self._uncached}
        # What is asked for again and again, and would else be looked for among all entries.
        self._open: dict[str, _Entry] = {uncached.key: self._uncached}
        self._known_bits = {np.packbits(uncached.compute).tobytes()}  # of all schedules, packed
        self._rivals: list[_Entry] = []  # have all samples, and may be on the front
        self._references: list[_Entry] = []
        self._spreads: dict[str, Floats] = {}  # variances of the ranked, but for the uncached run
        self._usual: list[float | None] | None = None  # the median of these, once it is asked for
        self._members: list[_Entry] = []  # of the current generation, in order
        self._genomes: list[npt.NDArray[np.bool_]] = []  # theirs, (steps, cells), as bred
        self._out: list[_Out] = []  # what was asked for, in that order
        self._population: list[tuple[npt.NDArray[np.bool_], _Entry]] = []  # paper mode
        # A schedule's key takes a millisecond on FLUX; each is asked for more than once.
        self._made: dict[tuple[bytes, str], Schedule] = {}
        self._generation = -1
        self._profiled: list[Seed] | None = None
        self.profile_notes = ProfileNotes()
        self._barren = 0
        self._images = 0
        self._exhausted = False
        self._front: Front | None = None
        self._kept: list[_Entry] = []  # what can be on it, and the references
        self._area = 0.0  # under it, summed over the scorers, when it last grew
        self._grown_at = 0  # images
        journal.begin(self._header())
        for number, record in enumerate(journal.records, start=2):
            try:
                check(record, n_samples)
                self._apply(record)
            except (KeyError, TypeError, ValueError) as error:
                reason = printable(f"{type(error).__name__}: {error}")[:300]
                raise JournalError(
                    f"Line {number} of '{journal.path}' does not fit the lines before it "
                    f"({reason}). Restore the file from a backup, or cut "
                    f"it off before line {number} to go on from there."
                ) from error
        journal.repair()

    # --- what a caller sees ----------------------------------------------------------------------

    @property
    def awaits_latency(self) -> bool:
        """Whether cost is to be counted in seconds, and nothing has been measured yet."""
        return self.settings.cost == "seconds" and self._times is None

    @property
    def latency(self) -> Latency | None:
        """What cost is counted in, None for MACs."""
        return None if self._times is None else self._times.latency

    def count_in(self, latency: Latency, *, images: int, seconds: float = 0.0) -> None:
        """Count cost in the seconds of this measurement, which took `images` of the budget.

        Journaled: a search that goes on counts in the same, wherever it does.
        """
        if not self.awaits_latency:
            raise SearchError(
                f"This search counts cost in {self.settings.cost}"
                f"{'' if self._times is None else ' that were measured before'}; a search in "
                "seconds takes one measurement, before it begins. Use another journal."
            )
        record = {"latency": latency.to_json(), "images": images}
        self.journal.append(record, seconds=seconds)
        self._apply(record)

    @property
    def awaits_start(self) -> bool:
        """Whether `start_from` may still be called: ecad+ that has bred nothing yet."""
        return self.settings.mode == "ecad+" and self._generation < 0 and self._profiled is None

    def note_profile(self, note: Note, *, seconds: float = 0.0) -> None:
        """Write down what a profile has found; `profile_notes` has it when the search goes on."""
        self._require_start()
        record = {"profile": note}
        self.journal.append(record, seconds=seconds)
        self._apply(record)

    def start_from(
        self, schedules: Sequence[Schedule], *, images: int, seconds: float = 0.0
    ) -> None:
        """Begin with these in the place of our own start, of which the references stay.

        They come from a profile that took `images` of the budget. Journaled: a search that goes on
        has them.
        """
        self._require_start()
        fitted = [self._fitted(schedule) for schedule in schedules]
        record = {
            "start": [
                {"bits": np.packbits(s.compute).tobytes().hex(), "name": s.name} for s in fitted
            ],
            "images": images,
        }
        self._require_latency()
        self.journal.append(record, seconds=seconds)
        self._apply(record)

    def ask(self) -> Job | None:
        """The next job, or None when there is none: see `finished`."""
        self._require_memory()
        self._require_latency()
        while True:
            job = self._next_job()
            if job is not None or self._is_waiting or self.finished:
                return job
            self._raise_if_all_failed()
            self._breed()

    def tell(
        self, job: Job, scores: Sequence[float], *more: Sequence[float], seconds: float = 0.0
    ) -> None:
        """Write down the raw score of each sample of `job`, in the same order, by every scorer."""
        out = self._out_of(job)
        self._require_scorers(1 + len(more))
        out.answer = {"scores": self._checked_scores(job, scores)}
        if more:
            out.answer["more"] = [self._checked_scores(job, values) for values in more]
        out.seconds = seconds
        self._write_answers()

    def fail(self, job: Job, reason: str) -> None:
        """Take the job's candidate out of the race (out of memory, no usable score); journaled."""
        out = self._out_of(job)
        if job.candidate is self._uncached.candidate:
            self._out.remove(out)
            raise SearchError(
                f"The uncached run failed ({reason}), so there is nothing to compare schedules "
                "with. Make it work without a schedule first (smaller batch or picture, another "
                "scorer), then queue the search again."
            )
        out.answer = {"failed": str(reason) or "no reason given"}
        self._write_answers()

    @property
    def finished(self) -> bool:
        """True when no job is out and none is left: budget spent, stalled, or all was tried."""
        if self._is_waiting:
            return False
        if self._time_is_up:
            return True
        if any(map(self._may_work_on, self._open.values())):
            return False
        if self._unconfirmed():
            return False
        return self._exhausted or not self._has_room_for_new or not self._may_breed

    @property
    def front(self) -> Front:
        """The front of the candidates, with the references beside it.

        All are scored on every sample, unless settings.tried_on lets them wait for that: then each
        point says on how many. When the search has finished, what still waits is left out.
        """
        if self._front is None:
            confirmed = self._confirmed() if self.finished else []
            found = any(entry.is_scored and not entry.is_reference for entry in confirmed)
            self._front = self._front_of(confirmed if found else self._kept)
        return self._front

    @property
    def confirmed_front(self) -> Front:
        """The front of those alone that have every sample: what a finished search ends with."""
        return self._front_of(self._confirmed())

    def _front_of(self, entries: Sequence[_Entry]) -> Front:
        return Front.of(
            map(self._point, entries),
            {
                "search": self.settings.hash,
                "mode": self.settings.mode,
                "images": self._images,
                "samples": self.n_samples,
                "identity": self.journal.identity,
                **({} if self._times is None else {"latency": self._times.latency.to_json()}),
            },
        )

    @property
    def progress(self) -> Progress:
        tried = len(self._entries) - len(self._open) - (not self._uncached.is_open)
        seconds = self.journal.seconds
        eta = None
        if self._images and seconds > 0:
            left = max(0, self.settings.images - self._images) * seconds / self._images
            if self.settings.minutes is not None:
                left = min(left, max(0.0, 60.0 * self.settings.minutes - seconds))
            eta = 0.0 if self.finished else left
        return Progress(
            generation=max(self._generation, 0),
            images=self._images,
            images_budget=self.settings.images,
            candidates=tried,
            best=self.front.pick_knee() if self.front.members else None,
            seconds=seconds,
            eta_seconds=eta,
        )

    # --- setting up ------------------------------------------------------------------------------

    def _fitted(self, schedule: Schedule) -> Schedule:
        schedule.require_fit(self.architecture)
        return Schedule(
            self.architecture, schedule.resampled(self.steps).compute, name=schedule.name
        )

    def _check_size(self) -> None:
        if isinstance(self.n_samples, bool) or self.n_samples < 2:
            raise SearchError(
                f"The calibration has {self.n_samples} samples; a search needs at least 2, and 16 "
                "or more to tell schedules apart. Add prompts or seeds."
            )
        if self.steps < 2:
            raise SearchError(
                f"A sampling of {self.steps} steps leaves nothing to reuse; search with 2 steps or "
                "more."
            )
        if self.settings.images < 2 * self.n_samples:
            raise SearchError(
                f"The budget of {self.settings.images} images cannot score even one schedule "
                f"beside the uncached run on all {self.n_samples} samples. Allow at least "
                f"{2 * self.n_samples} images (better {20 * self.n_samples}), or use fewer samples."
            )

    def _cache_limit(self) -> CacheLimit | None:
        mib = self.settings.largest_cache_mib
        if mib is None or self._memory is None:
            return None
        return CacheLimit(self.architecture, self.steps, self.workload, self._memory, mib)

    def _relative_costs(self) -> tuple[npt.NDArray[np.float64], float]:
        """Shares of the uncached run's MACs: of each cell computed once, and of all base steps."""
        total = cost.uncached_macs(self.architecture, self.steps, self.workload).total
        cells = cost.cell_macs(self.architecture, self.workload) / total
        base = self.steps * cost.base_step_macs(self.architecture, self.workload) / total
        return cells, base

    def _require_memory(self) -> None:
        mib = self.settings.largest_cache_mib
        if mib is not None and self._memory is None:
            raise SearchError(
                f"Stored values may take {mib} MiB, but nothing tells what they take on "
                f"{self.architecture.describe()}. Search without a limit on them."
            )

    def _require_latency(self) -> None:
        if self.awaits_latency:
            raise SearchError(
                "This search counts cost in seconds, but no component has been timed yet. Measure "
                "the model's latency first, or count in macs."
            )

    def _require_start(self) -> None:
        if not self.awaits_start:
            raise SearchError(
                f"This search (mode {self.settings.mode}, generation {self._generation}) cannot "
                "start from a profile: only ecad+ does, before its first candidates. Use another "
                "journal."
            )

    def _shares(self, compute: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """(n,) costs relative to the uncached run, of (n, steps, cells) all at once."""
        if self._times is not None:
            return self._times.shares(compute)
        return compute.sum(axis=1) @ self._cell_costs + self._base_cost

    def _share(self, schedule: Schedule) -> float:
        """The same of one schedule, exactly."""
        if self._times is not None:
            return float(self._times.shares(schedule.compute))
        return cost.relative_cost(schedule, self.workload)

    def _header(self) -> dict[str, Any]:
        return {
            "settings": self.settings.course(),
            "settings_hash": self.settings.hash,
            "architecture": {
                "id": self.architecture.id,
                "family": self.architecture.family,
                "counts": self.architecture.counts,
                "size": dict(self.architecture.size),
            },
            "steps": self.steps,
            "workload": {
                "batch": self.workload.batch,
                "width": self.workload.width,
                "height": self.workload.height,
                "text_tokens": self.workload.text_tokens,
            },
            "samples": self.n_samples,
            "seeds": [seed.schedule.key for seed in self._seeds],
            **({} if self._limit is None else {"cache": dict(self._limit.memory.terms)}),
            **({} if self.n_scorers == 1 else {"scorers": self.n_scorers}),
        }

    def _no_scores(self) -> Floats:
        return np.empty((self.n_scorers, 0))

    # --- the fold over the journal ---------------------------------------------------------------

    def _apply(self, record: dict[str, Any]) -> None:
        self._front = None
        if "latency" in record:
            if not self.awaits_latency:
                raise ValueError("a latency that nothing waits for")
            latency = Latency.from_json(record["latency"])
            self._times = TimeCost(self.architecture, self.steps, latency)
            self._images += record["images"]
            return
        if self.awaits_latency:
            raise ValueError("costs in seconds, but no latency before it")
        if "generation" in record:
            self._begin_generation(record)
            return
        if "profile" in record:
            if not self.awaits_start:
                raise ValueError("a profile after the search had begun")
            self.profile_notes.take(record["profile"])
            return
        if "start" in record:
            self._begin_start(record)
            return
        if "confirm" in record:
            self._begin_confirming(record)
            return
        entry = self._entries[record["key"]]
        start, stop = record["samples"]
        if start != entry.done or not entry.is_open:
            raise ValueError(f"candidate {record['key']} has {entry.done} scores")
        self._images += stop - start
        if "failed" in record:
            entry.failed = record["failed"]
            self._place(entry)
            return
        found = self._scores_of(record)
        if found.shape != (self.n_scorers, stop - start):
            raise ValueError(f"scores of the shape {found.shape} for samples {start} to {stop - 1}")
        entry.scores = np.hstack([entry.scores, found])
        entry.verdict = record["verdict"]
        entry.paired = _Paired.of(entry.scores, self._uncached.scores, self.settings.caution)
        entry.point = None
        self._place(entry)

    def _place(self, entry: _Entry) -> None:
        """Put `entry`, of which something new is known, where it now belongs."""
        key = entry.candidate.key
        if not entry.is_open:
            self._open.pop(key, None)
        if entry.is_scored and entry.allowed:
            self._rivals.append(entry)
        is_ranked = self._is_ranked(entry) and entry is not self._uncached
        if is_ranked or key in self._spreads:
            self._usual = None
        if is_ranked:
            self._spreads[key] = self._paired(entry).variances
        else:
            self._spreads.pop(key, None)
        self._keep(entry)

    @staticmethod
    def _scores_of(answer: Mapping[str, Any]) -> Floats:
        """(scorers, samples)."""
        return np.array([answer["scores"], *answer.get("more", [])], dtype=np.float64)

    def _begin_start(self, record: dict[str, Any]) -> None:
        if not self.awaits_start:
            raise ValueError("a start after the search had begun")
        self._images += record["images"]
        self._profiled = [
            Seed(Schedule(self.architecture, self._genome(f["bits"]), name=f["name"]), "profile")
            for f in record["start"]
        ]

    def _begin_confirming(self, record: dict[str, Any]) -> None:
        self._members = [self._entries[key] for key in record["confirm"]]
        for entry in self._members:
            if not entry.is_tried:
                raise ValueError(f"candidate {entry.candidate.key} does not wait for samples")
            entry.verdict = MORE
            self._open[entry.candidate.key] = entry

    def _genome(self, packed: str) -> npt.NDArray[np.bool_]:
        shape = (self.steps, self.architecture.n_cells)
        bits = np.frombuffer(bytes.fromhex(packed), dtype=np.uint8)
        return np.unpackbits(bits, count=shape[0] * shape[1]).astype(bool).reshape(shape)

    def _begin_generation(self, record: dict[str, Any]) -> None:
        number = record["generation"]
        if number != self._generation + 1:
            raise ValueError(f"generation {number} after generation {self._generation}")
        if self.settings.mode == "paper" and number > 0:
            rng = np.random.default_rng([self.settings.seed, number])
            self._population, _ = self._paper_population(rng)
        members, genomes = [], []
        for fields in record["candidates"]:
            genome = self._genome(fields["bits"])
            limited = self.settings.largest_cache_mib is not None
            entry = self._entry_for(
                genome,
                number,
                fields["origin"],
                fields.get("reference", False),
                fields.get("name"),
                fields["cache_bytes"] if limited else None,
            )
            if entry.candidate.key != fields["key"]:
                raise ValueError(f"the bits of {fields['key']} are those of {entry.candidate.key}")
            members.append(entry)
            genomes.append(genome)
        self._generation, self._members, self._genomes = number, members, genomes
        self._made.clear()
        self._barren = 0 if any(entry.is_open for entry in members) else self._barren + 1

    def _entry_for(
        self,
        genome: npt.NDArray[np.bool_],
        generation: int,
        origin: str,
        is_reference: bool,
        name: str | None,
        cache_bytes: int | None,
    ) -> _Entry:
        """The entry of what `genome` does: an old one when that was met before."""
        schedule = self._schedule(genome, name or "")
        known = self._entries.get(schedule.key)
        if known is not None:
            return known
        if cache_bytes is None and self._memory is not None:
            cache_bytes = self._memory.of(schedule)
        mib = self.settings.largest_cache_mib
        entry = _Entry(
            Candidate(schedule.key, schedule, generation, origin),
            cost=self._share(schedule),
            is_reference=is_reference,
            scores=self._no_scores(),
            cache_bytes=cache_bytes,
            allowed=mib is None or (cache_bytes is not None and cache_bytes <= mib * MIB),
        )
        self._entries[schedule.key] = self._open[schedule.key] = entry
        self._known_bits.add(np.packbits(schedule.compute).tobytes())
        if is_reference:
            self._references.append(entry)
        return entry

    def _schedule(self, genome: npt.NDArray[np.bool_], name: str = "") -> Schedule:
        """What runs when `genome` is tried: the first step computes, lost work is left out."""
        compute = genome.copy()
        compute[0] = True
        identity = (np.packbits(compute).tobytes(), name)
        if identity not in self._made:
            schedule = Schedule(self.architecture, compute, name=name).canonical()
            if not name:
                schedule = replace(schedule, name=f"searched-{schedule.key[:8]}")
            self._made[identity] = schedule
        return self._made[identity]

    # --- jobs ------------------------------------------------------------------------------------

    def _next_job(self) -> Job | None:
        """Of the current heat those with the fewest scores are next, in their order.

        Nobody gets a second job before all of these have been told, so whatever a worker is handed
        is what a single worker would have come to.
        """
        if self._time_is_up:
            return None
        entry = self._next_entry()
        if entry is None:
            return None
        samples = racing.next_block(
            entry.done,
            self._trial if entry.done < self._trial else self.n_samples,
            first_block=self.settings.first_block,
            racing=self._is_racing and entry is not self._uncached,
        )
        job = Job(entry.candidate, samples)
        self._out.append(_Out(job, entry))
        return job

    def _next_entry(self) -> _Entry | None:
        members = self._members if self._uncached.is_scored else [self._uncached]
        for start in range(0, len(members), self.settings.heat):
            heat = members[start : start + self.settings.heat]
            racing_on = [entry for entry in heat if entry.is_open and self._may_work_on(entry)]
            if racing_on:
                fewest = min(entry.done for entry in racing_on)
                level = [entry for entry in racing_on if entry.done == fewest]
                return next((entry for entry in level if not self._is_out(entry)), None)
            if self._is_waiting:  # what comes next depends on what is left of the budget
                return None
        return None

    def _out_of(self, job: Job) -> _Out:
        """What `job` was handed out as."""
        for out in self._out:
            if out.job == job and out.answer is None:
                return out
        raise SearchError(
            f"Candidate {job.candidate.key} was not asked for with the samples "
            f"{list(job.samples)}, or was told already. Tell each job once, as `ask` gave it."
        )

    def _write_answers(self) -> None:
        """Write down what was told, as far as everything asked for before it was told as well."""
        while self._out and (answer := self._out[0].answer) is not None:
            out = self._out[0]
            record: dict[str, Any] = {
                "key": out.job.candidate.key,
                "samples": [out.job.samples[0], out.job.samples[-1] + 1],
                **answer,
            }
            if "scores" in answer:
                whole = np.hstack([out.entry.scores, self._scores_of(answer)])
                record["verdict"] = self._judge(out.entry, whole)
            self.journal.append(record, seconds=out.seconds)
            self._apply(record)
            self._out.remove(out)

    @property
    def _is_racing(self) -> bool:
        return self.settings.mode == "ecad+"

    @property
    def _is_waiting(self) -> bool:
        return bool(self._out)

    def _is_out(self, entry: _Entry) -> bool:
        return any(out.entry is entry for out in self._out)

    @property
    def _time_is_up(self) -> bool:
        minutes = self.settings.minutes
        return minutes is not None and self.journal.seconds >= 60.0 * minutes

    def _may_work_on(self, entry: _Entry) -> bool:
        """A candidate that was begun is finished; a new one is begun only if it can be."""
        return entry.done > 0 or self._is_out(entry) or self._has_room_for_new

    @property
    def _has_room_for_new(self) -> bool:
        begun = [e for e in self._open.values() if e.done or self._is_out(e)]
        waiting = self._waiting_on_front()
        reserved = sum(self.n_samples - entry.done for entry in [*begun, *waiting])
        return self._images + reserved + self.n_samples <= self.settings.images

    @property
    def _may_breed(self) -> bool:
        limit = self.settings.generations
        return (limit is None or self._generation < limit) and not self._has_stalled

    def _checked_scores(self, job: Job, scores: Sequence[float]) -> list[float]:
        values = [float(score) for score in scores]
        if len(values) != len(job.samples):
            raise ScorerError(
                f"The scorer gave {len(values)} scores for {len(job.samples)} pictures; expected "
                "one for each. Check the scorer."
            )
        for sample, value in zip(job.samples, values, strict=True):
            if not is_number(value):
                raise ScorerError(
                    f"The score of sample {sample} is {value}; expected a finite number. Look at "
                    f"the picture of that sample under schedule {job.candidate.key} (a black one "
                    "points at half precision), or choose another scorer."
                )
        return values

    def _require_scorers(self, given: int) -> None:
        if given != self.n_scorers:
            raise ScorerError(
                f"Scores of {given} scorers were told, this search has {self.n_scorers}. Tell one "
                "list for each."
            )

    def _judge(self, entry: _Entry, scores: Floats) -> str:
        """What becomes of `entry` with these scores, (scorers, samples so far)."""
        done = scores.shape[1]
        if done == self.n_samples:
            return SCORED
        if not self._is_racing or entry is self._uncached:
            return MORE
        usual = self._usual_variances()
        hopeless = (
            racing.is_hopeless(
                own - uncached[:done],
                -limit,
                self.n_samples,
                confidence=self.settings.confidence,
                usual_variance=variance,
            )
            for own, uncached, limit, variance in zip(
                scores, self._uncached.scores, self._useful_losses(), usual, strict=True
            )
        )
        if any(hopeless):
            return DROPPED
        dominated = racing.is_dominated(
            scores,
            entry.cost,
            [(rival.cost, rival.scores) for rival in self._rivals],
            confidence=self.settings.confidence,
            usual_variances=usual,
            uncached=self._uncached.scores[:, :done],
            caution=self.settings.caution,
        )
        if dominated:
            return DROPPED
        return TRIED if done == self._trial else MORE

    # --- what was learnt -------------------------------------------------------------------------

    def _paired(self, entry: _Entry) -> _Paired:
        assert entry.paired is not None, "only candidates with scores are compared"
        return entry.paired

    def _is_ranked(self, entry: _Entry) -> bool:
        """Whether it has the samples that tell where it stands, and is not out of the race."""
        return not entry.failed and entry.verdict != DROPPED and entry.done >= self._trial

    def _keep(self, entry: _Entry) -> None:
        """Take what `entry` is now into `_kept`: all that can be on the front, and the references.

        What is beaten by a candidate that has all samples stays beaten, so it needs no second look;
        what is beaten by others waits, for they may turn out to be worse.
        """
        entries = [e for e in self._kept if e is not entry]
        if self._is_ranked(entry):
            entries.append(entry)
        elif len(entries) == len(self._kept):
            return  # neither was nor is among them
        self._kept = [
            e
            for e, is_beaten in zip(entries, self._beaten(entries), strict=True)
            if e.is_reference or not is_beaten
        ]
        self._watch_growth()

    def _beaten(self, entries: Sequence[_Entry]) -> Sequence[bool]:
        """Which of them are beaten by one among them that has every sample, so for good."""
        final = [self._objectives(e) for e in entries if e.is_scored and e.allowed]
        if not final:
            return [False] * len(entries)
        return pareto.dominated_by([self._objectives(e) for e in entries], final).tolist()

    def _confirmed(self) -> list[_Entry]:
        """Of `_kept` what has every sample, and the references that such a one beats."""
        return [
            e
            for e, is_beaten in zip(self._kept, self._beaten(self._kept), strict=True)
            if e.is_scored or is_beaten or not e.allowed
        ]

    def _waiting_on_front(self) -> list[_Entry]:
        """What is on the front without having all samples.

        Most of these are there by luck: of many that were tried, the front takes the luckiest.
        """
        if self._trial == self.n_samples:
            return []
        ranked = [e for e in self._kept if e.allowed]
        if not ranked:
            return []
        best = pareto.front_indices([self._objectives(e) for e in ranked])
        return [ranked[i] for i in best if ranked[i].is_tried]

    def _unconfirmed(self) -> list[_Entry]:
        """Those of them that may be of use, as many as the budget has room for."""
        limits = self._useful_losses()
        left = self.settings.images - self._images
        found = []
        for entry in self._waiting_on_front():
            missing = self.n_samples - entry.done
            if missing <= left and (self._paired(entry).losses <= limits).all():
                found.append(entry)
                left -= missing
        return found

    def _watch_growth(self) -> None:
        """Note when the front last grew; only once every hand-made schedule is in."""
        if self.settings.patience is None or self._generation < 1:
            return
        known = [entry for entry in self._kept if entry.allowed and entry.is_scored]
        points = np.array([self._objectives(entry) for entry in known])
        limits = self._useful_losses()
        limits = np.where(np.isinf(limits), points[:, 1:].max(axis=0) + 1e-9, limits)
        area = sum(
            pareto.hypervolume(points[:, [0, 1 + number]], [1.0, limit])
            for number, limit in enumerate(limits)
        )
        if area > self._area * (1 + GROWTH):
            self._area, self._grown_at = area, self._images

    @property
    def _has_stalled(self) -> bool:
        patience = self.settings.patience
        return (
            patience is not None
            and self._generation >= 1
            and self._images - self._grown_at >= patience
        )

    def _useful_losses(self) -> Floats:
        """(scorers,) losses beyond which nobody wants a schedule, however cheap.

        Without them the cheapest ruins, which nothing dominates, take the images of the search. The
        worst of the hand-made schedules says what still can be used. Infinite before that is known.
        """
        found = [entry.paired.losses for entry in self._references if entry.paired is not None]
        if not found:
            return np.full(self.n_scorers, np.inf)
        least = USEFUL_SPREAD * self._uncached.scores.std(axis=1)
        worst = np.max([least, *found], axis=0)
        return np.where(worst > 0, worst, np.inf)

    def _usual_variances(self) -> list[float | None]:
        """Of each scorer, the spread between samples of the differences to the uncached run."""
        if not self._spreads:
            return [None] * self.n_scorers
        if self._usual is None:
            median = np.median(list(self._spreads.values()), axis=0)
            self._usual = [float(spread) for spread in median]
        return self._usual

    def _point(self, entry: _Entry) -> FrontPoint:
        if entry.point is None:
            entry.point = self._point_of(entry)
        return entry.point

    def _point_of(self, entry: _Entry) -> FrontPoint:
        paired = self._paired(entry)
        qualities = [
            Quality(mean, math.sqrt(variance / entry.done), float(raw.mean()))
            for mean, variance, raw in zip(
                paired.means.tolist(), paired.variances.tolist(), entry.scores, strict=True
            )
        ]
        first = qualities[0]
        schedule = entry.candidate.schedule
        info = {
            "objectives": [
                *(
                    {
                        "name": "quality",
                        "value": quality.mean,
                        "stderr": quality.stderr,
                        "samples": entry.done,
                    }
                    for quality in qualities
                ),
                *self._cost_objectives(entry),
            ],
            "provenance": {
                "search": self.settings.hash,
                "mode": self.settings.mode,
                "seed": self.settings.seed,
                "generation": entry.candidate.generation,
                "origin": entry.candidate.origin,
            },
        }
        return FrontPoint(
            schedule=Schedule(self.architecture, schedule.compute, name=schedule.name, info=info),
            cost=entry.cost,
            quality=first.mean,
            quality_stderr=first.stderr,
            samples=entry.done,
            mean_score=first.mean_score,
            more_qualities=tuple(qualities[1:]),
            losses=tuple(paired.losses.tolist()) if self.settings.caution else (),
            is_reference=entry.is_reference,
            cache_bytes=entry.cache_bytes,
            within_limits=entry.allowed,
            relative_macs=None if self._times is None else self._relative_macs(entry),
            seconds=self._seconds(entry),
        )

    def _cost_objectives(self, entry: _Entry) -> list[dict[str, Any]]:
        values = {
            "relative_seconds": None if self._times is None else entry.cost,
            "seconds": self._seconds(entry),
            "relative_macs": self._relative_macs(entry),
            "cache_bytes": entry.cache_bytes,
        }
        return [{"name": name, "value": v} for name, v in values.items() if v is not None]

    def _relative_macs(self, entry: _Entry) -> float:
        if self._times is None:
            return entry.cost
        return cost.relative_cost(entry.candidate.schedule, self.workload)

    def _seconds(self, entry: _Entry) -> float | None:
        if self._times is None:
            return None
        return float(self._times.seconds(entry.candidate.schedule.compute))

    def _objectives(self, entry: _Entry) -> tuple[float, ...]:
        """Cost, and the loss by each scorer."""
        return entry.cost, *self._paired(entry).losses.tolist()

    def _raise_if_all_failed(self) -> None:
        closed = [e for e in self._entries.values() if e is not self._uncached and not e.is_open]
        if closed and all(entry.failed for entry in closed):
            raise SearchError(
                f"All {len(closed)} candidates of the search failed, the last one because: "
                f"{closed[-1].failed}. Fix the cause, then start again with a new journal."
            )

    # --- generations -----------------------------------------------------------------------------

    def _breed(self) -> None:
        """Write down what comes next: what the front holds without all samples, or a generation."""
        if waiting := self._unconfirmed():
            record = {"confirm": [entry.candidate.key for entry in waiting]}
            self.journal.append(record)
            self._apply(record)
            return
        number = self._generation + 1
        rng = np.random.default_rng([self.settings.seed, number])
        made = self._next_generation(number, rng)
        if not made or self._barren >= MOST_BARREN:
            self._exhausted, self._front = True, None
            return
        record = {
            "generation": number,
            "candidates": [self._candidate_record(proposal) for proposal in made],
        }
        self.journal.append(record)
        self._apply(record)

    def _candidate_record(self, proposal: Proposal) -> dict[str, Any]:
        schedule = self._schedule(proposal.compute, proposal.name)
        fields: dict[str, Any] = {
            "key": schedule.key,
            "origin": proposal.origin,
            "bits": np.packbits(proposal.compute).tobytes().hex(),
        }
        if self._limit is not None:
            fields["cache_bytes"] = self._limit.memory.of(schedule)
        if proposal.is_reference:
            fields["reference"] = True
        if proposal.name:
            fields["name"] = proposal.name
        return fields

    def _next_generation(self, number: int, rng: np.random.Generator) -> list[Proposal]:
        size = self.settings.offspring_for(self.architecture)
        if self.settings.mode == "random":
            made = seeding.random_population(self.architecture, self.steps, 4 * size, rng)
            return self._new_ones(self._fitting([self._proposal(s) for s in made], rng), size)
        if self.settings.mode == "paper":
            return self._paper_generation(number, rng)
        if number == 0:
            ours = seeding.ecad_population(self.architecture, self.steps)
            if self._profiled:
                ours = [*self._profiled, *(seed for seed in ours if seed.is_reference)]
            made = [*self._seeds, *ours]
            if self._limit is not None:
                made += seeding.fitting_population(self._limit)
            return self._new_ones([self._proposal(seed) for seed in made], len(made))
        return self._guided_generation(size, rng)

    @staticmethod
    def _proposal(seed: Seed) -> Proposal:
        return Proposal(seed.schedule.compute, seed.origin, seed.is_reference, seed.schedule.name)

    def _new_ones(self, made: list[Proposal], n: int) -> list[Proposal]:
        """The first `n` that do something no candidate did before, within the limits.

        References are taken whatever they take.
        """
        known, fresh = set(self._entries), []
        if self._limit is not None and made:
            allowed = self._limit.fit(_stacked(made))
            made = [p for p, fits in zip(made, allowed, strict=True) if fits or p.is_reference]
        for proposal in made:
            key = self._schedule(proposal.compute, proposal.name).key
            if key not in known and len(fresh) < n:
                known.add(key)
                fresh.append(proposal)
        return fresh

    def _fitting(self, made: list[Proposal], rng: np.random.Generator) -> list[Proposal]:
        """Where memory is limited: what takes too much reuses fewer components, whichever."""
        if self._limit is None or not made:
            return made
        found = list(made)
        beyond = np.flatnonzero(~self._limit.fit(_stacked(made)))
        if len(beyond):
            n_units = len(self._limit.unit_bytes)
            orders = rng.permuted(np.tile(np.arange(n_units), (len(beyond), 1)), axis=1)
            fitted = self._limit.fitted(_stacked([made[i] for i in beyond]), orders)
            for i, compute in zip(beyond.tolist(), fitted, strict=True):
                origin = f"{made[i].origin}, made to fit"
                found[i] = made[i]._replace(compute=compute, origin=origin)
        return found

    # --- mode: paper -----------------------------------------------------------------------------

    def _paper_generation(self, number: int, rng: np.random.Generator) -> list[Proposal]:
        size = self.settings.population_for(self.architecture)
        if number == 0:
            made = seeding.paper_population(self.architecture, self.steps, size, rng)
            return [self._proposal(seed) for seed in [*self._seeds, *made][:size]]
        population, crowd = self._paper_population(rng)
        if not population:
            return []
        points = np.array([self._paper_objectives(entry) for _, entry in population])

        def select(count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
            return nsga2.binary_tournament(count, crowd.ranks, crowd.crowding, rng, points=points)

        # The first step is in the genome although it changes nothing: so it is in the paper's code,
        # where it takes its share of the crossover points and of the mutations.
        bred = nsga2.offspring(
            np.stack([genome.reshape(-1) for genome, _ in population]),
            self.settings.offspring_for(self.architecture),
            rng,
            select=select,
            crossover_points=self.settings.crossover_points,
            crossover_probability=self.settings.crossover_probability,
            mutation_probability=self.settings.mutation_probability,
        )
        shape = (self.steps, self.architecture.n_cells)
        return [Proposal(genome.reshape(shape), "crossover and mutation") for genome in bred]

    def _paper_objectives(self, entry: _Entry) -> tuple[float, ...]:
        """The constraint: what equals the uncached schedule is infeasible, worse than anything."""
        objectives = self._objectives(entry)
        return (np.inf,) * len(objectives) if entry is self._uncached else objectives

    def _paper_population(
        self, rng: np.random.Generator
    ) -> tuple[list[tuple[npt.NDArray[np.bool_], _Entry]], nsga2.Survivors]:
        """The survivors of the last population and its children."""
        merged = [
            *self._population,
            *(
                (genome, entry)
                for genome, entry in zip(self._genomes, self._members, strict=True)
                if entry.is_scored
            ),
        ]
        points = np.array([self._paper_objectives(entry) for _, entry in merged])
        points = points.reshape(-1, 1 + self.n_scorers)
        crowd = nsga2.survive(points, self.settings.population_for(self.architecture), rng)
        return [merged[i] for i in crowd.indices], crowd

    # --- mode: ecad+ -----------------------------------------------------------------------------

    def _guided_generation(self, size: int, rng: np.random.Generator) -> list[Proposal]:
        useful_losses = self._useful_losses()
        scored = [e for e in self._entries.values() if self._is_ranked(e) and e.allowed]
        useful = [e for e in scored if (self._paired(e).losses <= useful_losses).all()]
        scored = useful if len(useful) > 1 else scored
        # From here on losses are saturated, those of the models too.
        front = np.array([self._objectives(entry) for entry in scored])
        front[:, 1:] = proposals.saturated(front[:, 1:], useful_losses)
        limits = proposals.saturated(useful_losses, useful_losses)
        kept, select = proposals.tournament(
            front, self.settings.population_for(self.architecture), rng
        )
        parents = [scored[i].candidate.schedule.compute for i in kept]
        known = set(self._known_bits)

        def proposed(
            parents: list[npt.NDArray[np.bool_]], select: proposals.Select
        ) -> list[Proposal]:
            children = self._fitting(self._children(parents, rng, select), rng)
            return proposals.unique(children, known)

        pool = proposed(parents, select)
        surrogates = self._fitted_surrogates(useful_losses) if self.settings.guided else []

        def predicted(pool: list[Proposal]) -> Floats:
            if not pool:
                return np.empty((0, len(surrogates)))
            compute = _stacked(pool)
            return -np.column_stack([surrogate.predict(compute) for surrogate in surrogates])

        if surrogates:
            pool += proposals.unique(self._fitting(self._hand_made, rng), known)
        ranked = pool[: size * 3]  # without a model: in random order already
        if surrogates and pool:
            losses = predicted(pool)
            for _ in range(proposals.ROUNDS):
                points = np.column_stack([self._costs(pool), np.round(losses, 9)])
                points[(losses > limits).any(axis=1), 0] = 1.0  # saving nothing: out of the way
                kept, select = proposals.tournament(points, proposals.POOL // 2, rng)
                pool = [pool[i] for i in kept]
                born = proposed([proposal.compute for proposal in pool], select)
                losses = np.concatenate([losses[kept], predicted(born)])
                pool += born
            chosen = proposals.choose(
                self._costs(pool),
                losses,
                front[pareto.front_indices(front)],
                min(3 * size, len(pool)),
                rng,
                useful_losses=limits,
            )
            ranked = [pool[i] for i in chosen]
        return self._new_ones(ranked, size) or self._new_ones(self._anything(rng), size)

    def _children(
        self,
        parents: list[npt.NDArray[np.bool_]],
        rng: np.random.Generator,
        select: proposals.Select,
    ) -> list[Proposal]:
        return proposals.children(parents, proposals.POOL, rng, grid=self._grid, select=select)

    @cached_property
    def _hand_made(self) -> list[Proposal]:
        """The paper's first population: the model tells which of it is worth an image."""
        rng = np.random.default_rng(self.settings.seed)
        made = seeding.paper_population(self.architecture, self.steps, HAND_MADE, rng)
        return [Proposal(seed.schedule.compute, seed.origin) for seed in made]

    def _anything(self, rng: np.random.Generator) -> list[Proposal]:
        """Random schedules: for spaces so small that mutation brings nothing new."""
        made = seeding.random_population(self.architecture, self.steps, 200, rng)
        return self._fitting([self._proposal(seed)._replace(name="") for seed in made], rng)

    def _costs(self, pool: list[Proposal]) -> npt.NDArray[np.float64]:
        """(n,) relative costs, all at once; lost work counts here, so they may be too high."""
        return self._shares(_stacked(pool))

    def _fitted_surrogates(self, useful_losses: Floats) -> list[Surrogate]:
        """A model for each scorer of all saturated losses so far; none before there are any."""
        usual = self._usual_variances()
        seen = [
            entry
            for entry in self._entries.values()
            if entry is not self._uncached and entry.done >= 2
        ]
        if len(seen) < 4:
            return []
        seen = seen[-MOST_OBSERVATIONS:]
        compute = np.stack([entry.candidate.schedule.compute for entry in seen])
        losses = np.stack([self._paired(entry).losses for entry in seen])
        losses = proposals.saturated(losses, useful_losses)
        return [
            Surrogate(
                self._features,
                compute,
                -losses[:, number],
                np.array([variance / entry.done for entry in seen]),
            )
            for number, variance in enumerate(usual)
            if variance is not None
        ]


def _stacked(pool: list[Proposal]) -> npt.NDArray[np.bool_]:
    return np.stack([proposal.compute for proposal in pool])
