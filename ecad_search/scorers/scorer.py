"""What a scorer is, and the checks that every scorer shares.

A new scorer is one file here, one name in `ALL` (see `__init__.py`) and one subclass of
`ecad_search.testing.scorer_contract.ScorerContract`. Importing its module must need neither torch
nor any optional package: heavy imports stand inside `load`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import MissingPackageError, ScorerError

if TYPE_CHECKING:
    import torch


class Scorer(Protocol):
    """Images and prompts -> one number per image; higher is always better.

    `images` is (N, H, W, 3) float in [0, 1]. `references`, the uncached images of the same samples
    in the same shape, is only looked at when `needs_reference` is True. A score depends on its own
    image, prompt and reference alone, never on the rest of the batch.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs_reference(self) -> bool: ...

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]: ...

    def unload(self) -> None:
        """Free the memory that `score` took; the next `score` loads again."""
        ...


def check_batch(name: str, images: torch.Tensor, prompts: Sequence[str]) -> None:
    """Raise ScorerError unless `images` is finite (N, H, W, 3) with one prompt per image."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[3] != 3:
        raise ScorerError(
            f"Scorer '{name}' got images of shape {shape}, expected (images, height, width, 3); "
            "give it decoded RGB images."
        )
    if shape[0] != len(prompts):
        raise ScorerError(
            f"Scorer '{name}' got {shape[0]} images and {len(prompts)} prompts, expected one "
            "prompt per image; repeat a prompt for every image made from it."
        )
    finite = images.isfinite().flatten(1).all(1).tolist()
    if False in finite:
        sample = finite.index(False)
        raise ScorerError(
            f"Scorer '{name}' got an image with values that are no numbers, sample {sample} of "
            f"{len(finite)} (prompt '{prompts[sample][:60]}'), "
            "expected finite values; a schedule that reuses too much or a half-precision overflow "
            "makes such images, leave that schedule out."
        )


def check_references(name: str, images: torch.Tensor, references: torch.Tensor | None) -> None:
    if references is None:
        raise ScorerError(
            f"Scorer '{name}' compares with the uncached images but got none; render the uncached "
            "schedule first, or choose a scorer that needs no reference."
        )
    if tuple(images.shape) != tuple(references.shape):
        raise ScorerError(
            f"Scorer '{name}' got images of shape {tuple(images.shape)} and references of shape "
            f"{tuple(references.shape)}, expected equal shapes; render both at one size."
        )


def finite_scores(name: str, values: Iterable[float]) -> list[float]:
    """The values as floats; a NaN or an infinity raises ScorerError naming the first bad sample."""
    scores = [float(value) for value in values]
    for sample, score in enumerate(scores):
        if not math.isfinite(score):
            raise ScorerError(
                f"Scorer '{name}' returned {score} for sample {sample} of {len(scores)}, expected "
                "a finite number; look at that image, and run the scorer in full precision."
            )
    return scores


def require_package(scorer: str, module: str, install: str) -> None:
    """Raise MissingPackageError with the pip line when `module` cannot be found."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ValueError:  # a module without a spec is there all the same
        found = True
    if not found:
        raise MissingPackageError(
            f"Scorer '{scorer}' needs the Python package '{module}', which is not installed; "
            f"install it with `{install}`, or choose another scorer."
        )
