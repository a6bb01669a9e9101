"""Which prompts and seeds a schedule is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .errors import PromptSetError
from .prompt_files import load_prompts

BUILTIN_FOLDER = Path(__file__).resolve().parent / "prompt_sets"
BUILTIN_SETS = (
    "emoji-calibration",
    "emoji-heldout",
    "general",
    "people",
    "objects",
    "scenes",
    "lettering",
    "styles",
)
LARGEST_SEED = 2**64 - 1


@dataclass(frozen=True)
class Sample:
    """One image of a calibration: a prompt with a noise seed."""

    index: int
    prompt_index: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class CalibrationPrompts:
    """Prompts, each rendered with `seeds_per_prompt` noise seeds.

    Samples are ordered by seed round: first every prompt with its first seed, then every prompt
    with its second, so that any prefix of the samples covers as many prompts as it can.
    """

    prompts: tuple[str, ...]
    seeds_per_prompt: int = 1
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        named = f"Calibration '{self.source}'" if self.source else "The calibration"
        if not self.prompts:
            raise PromptSetError(f"{named} has no prompts, expected at least one; add a prompt.")
        if self.seeds_per_prompt < 1:
            raise PromptSetError(
                f"{named} has {self.seeds_per_prompt} seeds per prompt, expected at least 1; "
                "raise it."
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise PromptSetError(
                f"{named} has the seed {self.seed}, expected 0 to {LARGEST_SEED}; choose another."
            )

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Seeds are `seed`, `seed + 1`, ... in sample order (modulo 2**64): no two are equal."""
        count = len(self.prompts)
        return tuple(
            Sample(i, i % count, self.prompts[i % count], (self.seed + i) % (LARGEST_SEED + 1))
            for i in range(count * self.seeds_per_prompt)
        )

    def drawn(self, count: int, *, seed: int) -> CalibrationPrompts:
        """`count` of the prompts, drawn without replacement by `seed`, in the order of drawing.

        Files are often sorted by subject; in this order every first few are a fair sample of all.
        """
        if not 1 <= count <= len(self.prompts):
            raise PromptSetError(
                f"{count} prompts were asked of '{self.source}', which has {len(self.prompts)}; "
                f"ask for 1 to {len(self.prompts)}."
            )
        chosen = np.random.default_rng(seed).permutation(len(self.prompts))[:count]
        prompts = tuple(self.prompts[i] for i in chosen)
        return CalibrationPrompts(prompts, self.seeds_per_prompt, self.seed, self.source)


def builtin_prompts(name: str) -> tuple[str, ...]:
    """The prompts of one of BUILTIN_SETS."""
    if name not in BUILTIN_SETS:
        raise PromptSetError(
            f"There is no built-in prompt set '{name}', expected one of {', '.join(BUILTIN_SETS)}; "
            "choose one, or give a prompt file."
        )
    return load_prompts(BUILTIN_FOLDER / f"{name}.txt", "text")


def common_prompts(a: Sequence[str], b: Sequence[str]) -> set[str]:
    """Prompts in both sets, compared without case and spacing: a held-out set must share none."""
    return {" ".join(p.lower().split()) for p in a} & {" ".join(p.lower().split()) for p in b}
