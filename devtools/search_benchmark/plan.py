"""The sizes of the benchmark: how many images, prompts, seeds and checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ecad_search.calibration import CalibrationPrompts, builtin_prompts

POPULATION = 24  # of the official settings
STEPS = 14  # at 20 the demo model loses next to nothing under FORA 4, so every arm looks alike
CONFIRMED = 24  # samples that a schedule on the front of ecad+ has at least
WORST_LOSS = 0.1  # the reference point: a clean picture scores about 1, so this is a tenth of it
# Noise seeds: those of run s start at s million, those of the held-out samples far above.
SEEDS_APART = 1_000_000
HELDOUT_SEED = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One size of the benchmark.

    seeds: runs of every arm; each has calibration prompts and noise of its own, the same for all
        arms.
    samples: calibration images per candidate (the paper: 1,000). ecad+ confirms its front with
        further seeds of the same prompts, see `seeds_to_confirm`.
    generations: of the official settings, the initial population included; with `samples` this is
        the official arm's budget, 24 * samples * generations images.
    heldout: held-out captions, each with `heldout_seeds` noise seeds.
    picks: how many schedules of a front are scored on them.
    checkpoints: shares of the official budget at which an arm's front is looked at.
    shares: arm -> share of the official budget it may spend, where that is not all of it.
    """

    name: str
    steps: int = STEPS
    seeds: int
    samples: int
    generations: int
    heldout: int
    heldout_seeds: int
    picks: int
    checkpoints: tuple[float, ...] = (1 / 40, 1 / 20, 1 / 10, 1 / 5, 2 / 5, 1.0)
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Images of the official arm, and of every arm without a share of its own."""
        return POPULATION * self.samples * self.generations

    def budget_of(self, arm: str) -> int:
        return max(round(self.budget * self.shares.get(arm, 1.0)), 3 * self.samples)

    def images_at(self) -> list[int]:
        """The checkpoints, in whole images that are no more than their share."""
        return [math.floor(share * self.budget + 1e-9) for share in self.checkpoints]

    @property
    def seeds_to_confirm(self) -> int:
        """How many times `samples` a front is confirmed on, each time with other noise seeds."""
        return max(1, math.ceil(CONFIRMED / self.samples))

    def calibration(self, seed: int, times: int = 1) -> CalibrationPrompts:
        """What every arm of run `seed` searches on; `times` as many noise seeds of its prompts."""
        texts = builtin_prompts("emoji-calibration")
        rounds = -(-self.samples // len(texts))
        if self.samples % rounds:
            raise ValueError(f"{self.samples} samples are not {rounds} seeds of whole prompts.")
        prompts = CalibrationPrompts(texts, rounds * times, SEEDS_APART * seed, "emoji-calibration")
        return prompts.drawn(self.samples // rounds, seed=seed)

    def heldout_samples(self) -> CalibrationPrompts:
        """Captions that neither a search nor the model's training saw, with noise of their own."""
        texts = builtin_prompts("emoji-heldout")
        prompts = CalibrationPrompts(texts, self.heldout_seeds, HELDOUT_SEED, "emoji-heldout")
        return prompts.drawn(self.heldout, seed=0)

    def with_steps(self, steps: int) -> Plan:
        name = self.name if steps == self.steps else f"{self.name}, {steps} steps"
        return replace(self, name=name, steps=steps)

    @property
    def option(self) -> str:
        """What asks the command for this size; nothing for the full one."""
        size = self.name.split(",")[0]
        return f"--{size}" if size in ("quick", "short") else ""

    @property
    def course(self) -> dict[str, Any]:
        """All but the number of runs and the shares of arms, which change no run's outcome."""
        return {k: v for k, v in asdict(self).items() if k not in ("name", "seeds", "shares")}

    @property
    def hash(self) -> str:
        """Of the course, 8 hex digits."""
        return hashlib.sha256(json.dumps(self.course, sort_keys=True).encode()).hexdigest()[:8]


ABLATIONS = (
    "surrogate",
    "racing",
    "confirming",
    "caution",
    "its long profile",
    "profile",
    "profile, surrogate",
    "profile, structured moves",
    "its start",
    "structured moves",
)

# The official number of generations for a population of 24 (FLUX's); the images of a candidate are
# as many as six hours on two cores allow.
FULL = Plan(
    name="full",
    seeds=3,
    samples=8,
    generations=250,
    heldout=64,
    heldout_seeds=1,
    picks=8,
    checkpoints=(1 / 160, 1 / 80, 1 / 40, 1 / 20, 1 / 10, 1 / 5, 2 / 5, 1.0),
    shares={
        "ecad+": 0.05,
        "paper": 0.05,
        "random": 0.05,
        "step-mask DP": 0.025,
        "simulated-annealing": 0.025,
        **{f"ecad+ without {part}": 0.025 for part in ABLATIONS},
    },
)
SHORT_SHARES = {
    "random": 0.35,
    "step-mask DP": 0.35,
    "simulated-annealing": 0.35,
    **{f"ecad+ without {part}": 0.2 for part in ABLATIONS},
}
# A twentieth of the generations, for three times the images of a candidate.
SHORT = replace(
    FULL,
    name="short",
    samples=24,
    generations=12,
    checkpoints=Plan.checkpoints,
    shares=SHORT_SHARES,
)
# Where a GPU is there: closer to the paper's images per candidate, and more runs. A batch of two
# images takes as long there as one of a hundred, so the step masks get less.
GPU = replace(
    FULL,
    name="full, on a GPU",
    seeds=5,
    samples=16,
    heldout_seeds=4,
    picks=12,
    shares={**FULL.shares, "step-mask DP": 0.02, "simulated-annealing": 0.02},
)
QUICK = Plan(
    name="quick",
    seeds=2,
    samples=8,
    generations=3,
    heldout=16,
    heldout_seeds=1,
    picks=5,
    checkpoints=(1 / 4, 1 / 2, 1.0),
    shares=SHORT_SHARES,
)
