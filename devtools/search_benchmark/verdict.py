"""What the runs say: means with intervals over the seeds, and who needs how many images."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .arms import ARMS, ECAD, OFFICIAL

Curve = Sequence[Sequence[float]]  # [images, hypervolume], in the order of images
Runs = Mapping[str, Sequence[Mapping[str, Any]]]  # arm -> its runs, in the order of seeds


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half of its 95 % interval (Student's t); None for one seed."""

    mean: float
    half_width: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, None)
        from scipy.stats import t

        error = statistics.stdev(values) / len(values) ** 0.5
        return cls(mean, float(t.ppf(0.975, len(values) - 1)) * error)

    @property
    def lowest(self) -> float:
        return self.mean - (self.half_width or 0.0)

    @property
    def highest(self) -> float:
        return self.mean + (self.half_width or 0.0)

    def text(self, format: str) -> str:
        """`estimate.text("+.3f")` -> "+0.012 ± 0.004"."""
        if self.half_width is None:
            return f"{self.mean:{format}}"
        return f"{self.mean:{format}} ± {self.half_width:{format.lstrip('+')}}"


def value_at(curve: Curve, images: float) -> float:
    """The hypervolume of the last checkpoint at `images` or before; 0 before the first.

    An arm that has ended keeps what it had.
    """
    reached = [value for spent, value in curve if spent <= images]
    return reached[-1] if reached else 0.0


def curves(runs: Sequence[Mapping[str, Any]]) -> list[Curve]:
    return [run["curve"] for run in runs]


def mean_curve(found: Sequence[Curve]) -> list[tuple[float, float]]:
    """(images, mean hypervolume) wherever the run that went on longest was looked at.

    From where every run has been: before, the mean would be of some of them alone. A run that has
    ended keeps its last value.
    """
    if not found:
        return []
    begun = max(curve[0][0] for curve in found)
    longest = max(found, key=lambda curve: curve[-1][0])
    images = [n for n, _ in longest if n >= begun]
    return [(n, statistics.fmean(value_at(curve, n) for curve in found)) for n in images]


def images_needed(found: Sequence[Curve], target: float) -> float | None:
    """The first checkpoint at which the mean over the runs is `target` or more; None for never.

    Nothing is interpolated: what lies between two checkpoints counts as the later one.
    """
    return next((images for images, value in mean_curve(found) if value >= target), None)


def final(run: Mapping[str, Any]) -> float:
    return run["curve"][-1][1]


@dataclass(frozen=True)
class Standing:
    """One arm against the official one; ratios are None where its hypervolume was not reached."""

    arm: str
    is_ablation: bool
    images: float  # spent at the end, mean
    final: Estimate
    images_ratio_to_official: float | None
    ratio_of_each_seed: tuple[float | None, ...]  # to the official run of the same seed


def standings(runs: Runs) -> list[Standing]:
    """Of every arm that has runs, in the order of ARMS."""
    official = runs[OFFICIAL]
    spent = statistics.fmean(run["images"] for run in official)
    target = statistics.fmean(final(run) for run in official)
    rivals = {run["seed"]: run for run in official}
    found = []
    for arm in ARMS:
        own = runs.get(arm.name, ())
        if not own:
            continue
        needed = images_needed(curves(own), target)
        each: list[float | None] = []
        for run in own:
            rival = rivals[run["seed"]]
            alone = images_needed([run["curve"]], final(rival))
            each.append(None if alone is None else alone / rival["images"])
        found.append(
            Standing(
                arm.name,
                arm.is_ablation,
                statistics.fmean(run["images"] for run in own),
                Estimate.of([final(run) for run in own]),
                None if needed is None else needed / spent,
                tuple(each),
            )
        )
    return found


def lead(runs: Runs, first: str, second: str, images: float) -> Estimate:
    """Hypervolume of `first` less that of `second` at equal images, paired by seed."""
    rivals = {run["seed"]: run for run in runs[second]}
    return Estimate.of(
        [
            value_at(run["curve"], images) - value_at(rivals[run["seed"]]["curve"], images)
            for run in runs[first]
            if run["seed"] in rivals
        ]
    )


@dataclass(frozen=True)
class Duel:
    """ecad+ against another arm at equal images, at the checkpoint where it stands worst."""

    rival: str
    images: float
    worst: Estimate
    is_lost: bool  # the mean over the seeds is below 0
    is_surely_lost: bool  # and so is the whole interval


def duels(runs: Runs, images_at: Sequence[int]) -> list[Duel]:
    found = []
    for arm in ARMS:
        if arm.name == ECAD or arm.is_ablation or not runs.get(arm.name):
            continue
        leads = [(lead(runs, ECAD, arm.name, images), images) for images in images_at]
        worst, images = min(leads, key=lambda pair: pair[0].mean)
        surely = worst.half_width is not None and worst.highest < 0
        found.append(Duel(arm.name, images, worst, worst.mean < 0, surely))
    return found
