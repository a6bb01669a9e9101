"""Where numbers about images come from, and the memory that lets a killed benchmark go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ecad_search.calibration import CalibrationPrompts
from ecad_search.core.schedule import Schedule


class ImageSource(Protocol):
    """Numbers about the image of each sample of `prompts` in `indices` under a schedule.

    scores: the scorer's, higher is better. drifts: how far the final latent is from the uncached
    run's of the same prompt and noise, as a share of its mean square. profile: what a profile of
    `images` images' work measures on the first `samples` of the prompts.
    """

    def scores(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]: ...

    def drifts(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]: ...

    def profile(
        self, prompts: CalibrationPrompts, steps: int, samples: int, images: float
    ) -> Profile: ...


class Profile(NamedTuple):
    """What ECAD Quick Schedule measures on the first samples: see `evolution.quick`.

    benefits: (n_units,) of computing each unit alone. measured: the gaps (start, length, fill) of
    a schedule, the sample, and the drift there.
    """

    benefits: list[float]
    measured: list[tuple[list[list[int]], int, float]]


Key = tuple[str, str, str, int]  # kind of number, schedule's key, caption, noise seed


class RememberedImages:
    """An ImageSource that asks `inner` once for each image and appends what it said to `path`.

    What is in `path` is what this run has seen, so running it again takes the same course.
    `others` are the files of other runs: an image that is in one of them is not rendered again,
    but copied. A last line that a kill has torn is cut off. An image is what it is, but what a
    profile measures is decided by code: `code` tells one version of it from another.
    """

    def __init__(
        self, inner: ImageSource, path: Path, others: Iterable[Path] = (), *, code: str = ""
    ) -> None:
        self.inner = inner
        self.code = code
        self.path = path
        self.known: dict[Key, float] = {}
        self.borrowed: dict[Key, float] = {}
        self.rendered = 0
        self.profiles: dict[str, Profile] = {}
        cut_torn_line(path)
        for other in others:
            if other != path:
                self.borrowed.update(read_images(other))
                self.profiles.update(read_profiles(other))
        self.known.update(read_images(path))
        self.profiles.update(read_profiles(path))

    def scores(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]:
        return self._remembered("scores", self.inner.scores, schedule, prompts, indices)

    def drifts(
        self, schedule: Schedule, prompts: CalibrationPrompts, indices: Sequence[int]
    ) -> list[float]:
        return self._remembered("drifts", self.inner.drifts, schedule, prompts, indices)

    def profile(
        self, prompts: CalibrationPrompts, steps: int, samples: int, images: float
    ) -> Profile:
        first = [[s.prompt, s.seed] for s in prompts.samples[:samples]]
        key = json.dumps([steps, first, images, self.code])
        if key not in self.profiles:
            self.profiles[key] = self.inner.profile(prompts, steps, samples, images)
            self.rendered += samples + len(self.profiles[key].measured)
            self._append_line({"profiled": key, "profile": self.profiles[key]})
        return self.profiles[key]

    def _remembered(
        self,
        kind: str,
        ask: Callable[[Schedule, CalibrationPrompts, Sequence[int]], list[float]],
        schedule: Schedule,
        prompts: CalibrationPrompts,
        indices: Sequence[int],
    ) -> list[float]:
        samples = [prompts.samples[i] for i in indices]
        keys = [(kind, schedule.key, sample.prompt, sample.seed) for sample in samples]
        fresh = {
            key: self.borrowed[key]
            for key in keys
            if key not in self.known and key in self.borrowed
        }
        unknown = [
            (i, key)
            for i, key in zip(indices, keys, strict=True)
            if key not in self.known and key not in fresh
        ]
        if unknown:
            asked = ask(schedule, prompts, [i for i, _ in unknown])
            # Rounded before anybody sees them, so that they are the same when read back.
            values = [float(f"{value:.6g}") for value in asked]
            fresh.update(zip([key for _, key in unknown], values, strict=True))
            self.rendered += len(unknown)
        if fresh:
            self._append(kind, schedule.key, fresh)
            self.known.update(fresh)
        return [self.known[key] for key in keys]

    def _append(self, kind: str, schedule: str, fresh: dict[Key, float]) -> None:
        images = [[caption, seed, value] for (_, _, caption, seed), value in fresh.items()]
        self._append_line({"schedule": schedule, kind: images})

    def _append_line(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":"))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.write(line.encode() + b"\n")


def read_profiles(path: Path) -> dict[str, Profile]:
    """What was profiled -> the profile, of a file of RememberedImages."""
    found: dict[str, Profile] = {}
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            record = json.loads(line)
            if "profile" in record:
                found[record["profiled"]] = Profile(*record["profile"])
    return found


def read_images(path: Path) -> dict[Key, float]:
    """What a file of RememberedImages holds; a torn last line is passed over."""
    found: dict[Key, float] = {}
    if not path.exists():
        return found
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        for kind in ("scores", "drifts"):
            for caption, seed, value in record.get(kind, ()):
                found.setdefault((kind, record["schedule"], caption, seed), value)
    return found


def cut_torn_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
