"""Runs a benchmark: samples columns in turn, decodes, scores, and writes down what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...ecad_search.benchmark.record import Measured, Record
from ...ecad_search.benchmark.summary import REFERENCE, ColumnFacts
from ...ecad_search.core.cost import relative_cost, schedule_macs
from ...ecad_search.core.front import Front
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.liveness import predicted_bytes
from ...ecad_search.errors import SearchError
from ...ecad_search.scorers.combined import Combined
from ...ecad_search.scorers.scorer import Scorer
from .comparison import contenders
from .evaluation import Evaluator, UnusableResult, as_pillow, eight_bit
from .fingerprint import model_fingerprint
from .latency_batches import Seconds, timed
from .patching import cached_schedule
from .progress import spoken_seconds
from .reference_pictures import ReferencePictures
from .rendering import Renderer, SampledBatch

CHUNK = 4  # samples measured between two entries of the record, at least one batch
SHOWN_PIXELS = 512  # longest side of the pictures kept for the grid


@runtime_checkable
class SeesFeatures(Protocol):
    """A scorer, or a network alone, that gives features to compare sets of pictures by."""

    name: str

    def image_features(self, images: torch.Tensor) -> Any: ...

    def unload(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Column:
    """One column: a schedule on the benchmark's model, or another model as it is.

    `renderer` samples it in another way than the benchmark's, such as in fewer steps.
    """

    facts: ColumnFacts
    model: Any
    identity: str
    schedule: Schedule | None = None
    renderer: Renderer | None = None

    @property
    def name(self) -> str:
        return self.facts.name


def columns_of(
    renderer: Renderer,
    *,
    front: Front | None = None,
    picks: int = 0,
    fora: bool = True,
    given: Sequence[Schedule] = (),
    models: Sequence[tuple[str, Any]] = (),
) -> list[Column]:
    """Uncached first, then FORA, the given schedules, picks of the front, and other models."""
    rows = contenders(renderer, front or Front(), picks=picks if front else 0)
    chosen = [(r.name, r.kind, r.schedule) for r in rows if fora or r.kind != "fora"]
    for i, schedule in enumerate(given):
        schedule.require_fit(renderer.architecture)
        resampled = schedule.resampled(renderer.steps)
        chosen.append((schedule.name or f"schedule {i + 1}", "given", resampled))
    names: set[str] = set()
    columns = []
    for name, kind, schedule in chosen:
        facts = schedule_facts(distinct(name, names), kind, schedule, renderer)
        columns.append(Column(facts, renderer.model_with(schedule), schedule.key, schedule))
    for name, model in models:
        require_same_latents(renderer, name, model)
        applied = cached_schedule(model)
        named = distinct(name, names)
        identity = f"{model_fingerprint(model)} {applied.key if applied else ''}".strip()
        if applied is not None and applied.steps == renderer.steps:
            facts = schedule_facts(named, "model", applied, renderer)
        else:
            facts = ColumnFacts(named, "model")
        columns.append(Column(facts, model, identity))
    return columns


def distinct(name: str, taken: set[str]) -> str:
    """`name`, with a number behind it when another column has it."""
    name = " ".join(name.split()) or "model"
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    taken.add(found)
    return found


def schedule_facts(name: str, kind: str, schedule: Schedule, renderer: Renderer) -> ColumnFacts:
    workload = renderer.workload
    uncached = bool(schedule.compute.all())
    return ColumnFacts(
        name=name,
        kind=kind,
        key=schedule.key,
        macs=schedule_macs(schedule, workload).total,
        relative_macs=relative_cost(schedule, workload),
        cache_bytes=0 if uncached else predicted_bytes(schedule, workload, calls=(1,)),
        computed_fraction=schedule.computed_fraction,
    )


def require_same_latents(renderer: Renderer, name: str, model: Any) -> None:
    """Another column must turn the same noise into latents of the same VAE."""
    ours = renderer.model.get_model_object("latent_format")
    theirs = model.get_model_object("latent_format")
    if type(ours) is not type(theirs):
        raise SearchError(
            f"'{name}' works on latents of the kind {type(theirs).__name__}, the benchmark's model "
            f"on {type(ours).__name__}, expected the same; connect the same model with another "
            "cache on it."
        )


def features_of(scorers: Sequence[Scorer]) -> SeesFeatures | None:
    """The first scorer, or part of a combined one, that gives features."""
    for scorer in scorers:
        parts = [part for part, _ in scorer.parts] if isinstance(scorer, Combined) else [scorer]
        for part in parts:
            if isinstance(part, SeesFeatures):
                return part
    return None


class BenchmarkRun:
    """One execution; what earlier ones measured is in the record."""

    def __init__(
        self,
        renderer: Renderer,
        columns: Sequence[Column],
        scorers: Sequence[Scorer],
        folder: Path,
        on_images: Callable[[float, str], None],
        *,
        features: SeesFeatures | None = None,
        reference: ReferencePictures | None = None,
    ):
        self.renderer = renderer
        self.columns = columns
        self.scorers = scorers
        self.features = features or features_of(scorers)
        self.reference = reference
        if reference is not None and self.features is None:
            raise SearchError(
                f"A distance to the pictures of '{reference.name}' was asked for, but no scorer "
                "here has features to measure it in; connect ECAD Inception Features, or a scorer "
                "such as CLIP score."
            )
        self.folder = folder
        self.on_images = on_images
        names = [scorer.name for scorer in scorers]
        if len(set(names)) < len(names):
            raise SearchError(
                f"Two scorers have the name '{max(names, key=names.count)}', expected different "
                "ones; connect each scorer once."
            )
        identity = renderer.identity() | {
            "scorers": names,
            "features": self.features.name if self.features else "",
            "schedules": {column.name: column.identity for column in columns},
        }
        self.count = len(renderer.calibration.prompts.samples)
        self.record = Record(
            folder / "benchmark.jsonl", identity, [column.name for column in columns], self.count
        )
        self.images = 0.0  # sampled in this execution
        self.started = 0.0

    @property
    def total(self) -> int:
        return self.count * len(self.columns)

    def measure(self) -> None:
        """Measure what the record lacks, chunk by chunk."""
        known = set(self.record.samples())
        missing = [i for i in range(self.count) if i not in known]
        if not missing:
            return
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
        batches = self.renderer.batches(missing)
        self.on_images(self.done(), "warm-up")
        for column in self.columns:
            for _ in (column.renderer or self.renderer).sample(column.model, batches[0]):
                pass
        self.started = time.monotonic()
        chunk: list[tuple[int, ...]] = []
        for number, batch in enumerate(batches):
            chunk.append(batch)
            if sum(map(len, chunk)) >= CHUNK or number == len(batches) - 1:
                self.measure_chunk(chunk, number)
                chunk = []

    def latencies(self, sizes: Sequence[int], device: str) -> Seconds:
        """Median seconds a picture where `sizes` of them are sampled at once; see `timed`."""

        def sampler(column: Column) -> Callable[[tuple[int, ...]], list[float]]:
            renderer = column.renderer or self.renderer
            return lambda batch: [part.seconds for part in renderer.sample(column.model, batch)]

        return timed(
            sizes,
            {column.name: sampler(column) for column in self.columns},
            self.folder / "latency.json",
            self.record.head["identity"] | {"device": device},
            lambda what: self.on_images(self.done(), what),
        )

    def reference_features(self) -> npt.NDArray[np.float32] | None:
        """Of the reference pictures, (pictures, features), at the size of this benchmark's."""
        if self.reference is None or self.features is None:
            return None
        reference, settings, done = self.reference, self.renderer.settings, self.done()
        return reference.features(
            self.features,
            settings.width,
            settings.height,
            self.folder / "reference.safetensors",
            lambda n: self.on_images(
                done, f"reference pictures, {n:,} of {len(reference.files):,}"
            ),
        )

    def done(self) -> float:
        return len(self.record.samples()) * len(self.columns)

    def measure_chunk(self, batches: Sequence[tuple[int, ...]], turn: int) -> None:
        """Sample all columns in turn, then decode, then score: each model is loaded once."""
        seconds: dict[tuple[int, str], float] = {}
        peaks: dict[tuple[int, str], int | None] = {}
        sampled: dict[str, list[SampledBatch]] = {column.name: [] for column in self.columns}
        before, images = self.done(), 0.0
        for offset, batch in enumerate(batches):
            for place in range(len(self.columns)):
                # A busy machine slows neighbours alike, so another column begins each time.
                column = self.columns[(place + turn + offset) % len(self.columns)]
                start = before + images

                def on_step(done: float, start: float = start, name: str = column.name) -> None:
                    self.tell(start + done, name)

                watch = PeakMemory()
                renderer = column.renderer or self.renderer
                parts = list(renderer.sample(column.model, batch, on_step))
                took, peak = sum(part.seconds for part in parts), watch.bytes()
                for i in batch:
                    seconds[i, column.name], peaks[i, column.name] = took / len(batch), peak
                sampled[column.name] += parts
                images += len(batch)
                self.images += len(batch)
        indices = [i for batch in batches for i in batch]
        judged = self.judged(sampled, indices)
        self.record.append(
            Measured(i, name, seconds[i, name], scores, peaks[i, name], problem, features)
            for (i, name), (scores, problem, features) in judged.items()
        )

    def tell(self, done: float, name: str) -> None:
        spent, own = time.monotonic() - self.started, self.images
        left = (self.total - done) * spent / own if own else None
        eta = f", {spoken_seconds(left)} left" if left is not None else ""
        self.on_images(done, f"{name}, {done:.0f} of {self.total} images{eta}")

    def judged(
        self, sampled: dict[str, list[SampledBatch]], indices: Sequence[int]
    ) -> dict[tuple[int, str], tuple[dict[str, float], str, Any]]:
        """(scores, problem, features) of every sample of a chunk under every column."""
        decoded: dict[str, torch.Tensor] = {}
        problems: dict[tuple[int, str], str] = {}
        for name, parts in sampled.items():
            floats = self.renderer.decode(parts, indices)
            rows = []
            for i, picture in zip(indices, floats, strict=True):
                try:
                    rows.append(eight_bit(picture[None], [i]))
                except UnusableResult as error:
                    if name == REFERENCE:
                        raise SearchError(
                            f"The uncached pictures cannot be judged: {error}; look at the model "
                            "and its precision before measuring schedules."
                        ) from error
                    problems[i, name] = str(error)
                    rows.append(torch.zeros_like(picture[None], dtype=torch.uint8))
            decoded[name] = torch.cat(rows)
        scores: dict[tuple[int, str], dict[str, float]] = {
            (i, name): {} for name in sampled for i in indices
        }
        for scorer in self.scorers:
            evaluator = Evaluator(self.renderer, scorer)
            evaluator.remember(indices, decoded[REFERENCE])
            for name, pictures in decoded.items():
                fine = [k for k, i in enumerate(indices) if (i, name) not in problems]
                if not fine:
                    continue
                kept = [indices[k] for k in fine]
                found = self.scored(evaluator, name, pictures[fine], kept)
                for i, value in zip(kept, found, strict=True):
                    if isinstance(value, str):
                        problems[i, name] = value
                    else:
                        scores[i, name][scorer.name] = value
        result = {}
        for name, pictures in decoded.items():
            seen: Any = [None] * len(indices)
            if self.features is not None:
                seen = np.asarray(self.features.image_features(pictures.float() / 255), np.float32)
            for i, picture, features in zip(indices, pictures, seen, strict=True):
                problem = problems.get((i, name), "")
                self.keep_picture(i, name, picture)
                kept_scores = {} if problem else scores[i, name]
                result[i, name] = kept_scores, problem, None if problem else features
        return result

    @staticmethod
    def scored(
        evaluator: Evaluator, name: str, pictures: torch.Tensor, indices: Sequence[int]
    ) -> list[float | str]:
        """A score for each picture, or in its place why it has none."""
        uncached = name == REFERENCE
        try:
            return [*evaluator.score(pictures, indices, uncached=uncached)]
        except UnusableResult as error:
            if len(indices) == 1:
                return [str(error)]
        found: list[float | str] = []  # one by one: the others of the chunk may be fine
        for picture, i in zip(pictures, indices, strict=True):
            try:
                found += evaluator.score(picture[None], [i], uncached=uncached)
            except UnusableResult as error:
                found.append(str(error))
        return found

    def picture_path(self, sample: int, name: str) -> Path:
        number = [column.name for column in self.columns].index(name)
        return self.folder / "pictures" / f"{sample:05d}-{number:02d}.jpg"

    def keep_picture(self, sample: int, name: str, picture: torch.Tensor) -> None:
        image = as_pillow(picture)
        image.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
        image.save(self.picture_path(sample, name), quality=92)

    def picture(self, sample: int, name: str) -> Image.Image:
        """As kept; a grey one in place of a file that somebody has taken away."""
        try:
            with Image.open(self.picture_path(sample, name)) as image:
                return image.convert("RGB")
        except OSError:
            settings = self.renderer.settings
            return Image.new("RGB", (settings.width, settings.height), (128, 128, 128))


class PeakMemory:
    """The most memory that PyTorch held on the GPU since this was made; None without CUDA."""

    def __init__(self) -> None:
        self.cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def bytes(self) -> int | None:
        return cast(int, torch.cuda.max_memory_allocated()) if self.cuda else None
