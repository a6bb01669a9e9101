"""How good are the pictures of a schedule? Renders samples and has a scorer judge them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from PIL import Image

from ...ecad_search.core.schedule import Schedule
from ...ecad_search.errors import MissingPackageError, ScorerError
from ...ecad_search.scorers.scorer import Scorer
from .rendering import Renderer

PREVIEWED = 16  # uncached pictures kept when the scorer does not need them
Pictures: TypeAlias = torch.Tensor  # (N, H, W, 3) uint8 on the CPU: what a saved file would hold


class UnusableResult(Exception):
    """A schedule gave pictures or scores that are not finite numbers; the message says which."""


@dataclass(eq=False)
class Evaluator:
    """Scores schedules on calibration samples; remembers the uncached pictures.

    Pictures are rounded to 8 bits before they are scored, as they would be in a saved file, and
    kept that way: 128 references of 1024 px are 400 MB. A scorer that needs none has a few kept
    for the preview.
    """

    renderer: Renderer
    scorer: Scorer
    references: dict[int, torch.Tensor] = field(default_factory=dict)  # index -> (H, W, 3) uint8

    def prompts(self, indices: Sequence[int]) -> list[str]:
        samples = self.renderer.calibration.prompts.samples
        return [samples[i].prompt for i in indices]

    def evaluate(
        self,
        schedule: Schedule,
        indices: Sequence[int],
        on_step: Callable[[float], None] | None = None,
    ) -> tuple[list[float], Pictures]:
        """One score for each sample (higher is better), and the pictures.

        Raises UnusableResult for a schedule that breaks the pictures, ScorerError when even the
        uncached pictures get no number.
        """
        pictures = self.pictures(schedule, indices, on_step)
        return self.judged(schedule, indices, pictures), pictures

    def pictures(
        self,
        schedule: Schedule | None,
        indices: Sequence[int],
        on_step: Callable[[float], None] | None = None,
    ) -> Pictures:
        """Render them, in the order of `indices`; None is uncached."""
        return eight_bit(self.renderer.render(schedule, indices, on_step), indices)

    def by(self, scorer: Scorer) -> Evaluator:
        """The same with another scorer; the uncached pictures are shared."""
        return replace(self, scorer=scorer)

    def judged(self, schedule: Schedule, indices: Sequence[int], pictures: Pictures) -> list[float]:
        """One score for each of the pictures that `schedule` gave."""
        uncached = bool(schedule.compute.all())
        if uncached:
            self.remember(indices, pictures)
        elif self.scorer.needs_reference:
            self.render_references(indices)
        return self.score(pictures, indices, uncached=uncached)

    def render_references(self, indices: Sequence[int]) -> None:
        """Render the uncached pictures that are not known yet (a resumed search has lost them)."""
        unknown = [i for i in indices if i not in self.references]
        if unknown:
            pictures = self.pictures(None, unknown)
            self.references.update(zip(unknown, pictures, strict=True))

    def remember(self, indices: Sequence[int], pictures: Pictures) -> None:
        for index, picture in zip(indices, pictures, strict=True):
            if self.scorer.needs_reference or len(self.references) < PREVIEWED:
                self.references[index] = picture

    def score(
        self, pictures: Pictures, indices: Sequence[int], *, uncached: bool = False
    ) -> list[float]:
        """The scorer's numbers for pictures in the order of `indices`."""
        try:
            scores = self._numbers(pictures, indices)
        except MissingPackageError:
            raise
        except ScorerError as error:
            # Whose fault is it? A scorer that cannot judge the uncached picture either is broken.
            if uncached:
                raise
            self.render_references(indices[:1])
            self._numbers(self.references[indices[0]][None], indices[:1])
            raise UnusableResult(str(error)) from error
        broken = [i for i, score in zip(indices, scores, strict=True) if not math.isfinite(score)]
        if broken and uncached:
            raise ScorerError(
                f"The scorer '{self.scorer.name}' gives no finite number for the uncached picture "
                f"of sample {broken[0]} ('{self.prompts(broken)[0][:60]}'), so nothing can be "
                "compared with it; look at that picture, or choose another scorer."
            )
        if broken:
            raise UnusableResult(f"the score of sample {broken[0]} is not a finite number")
        return scores

    def _numbers(self, pictures: Pictures, indices: Sequence[int]) -> list[float]:
        references = None
        if self.scorer.needs_reference:
            references = torch.stack([self.references[i] for i in indices]).float() / 255
        images = pictures.float() / 255
        return [float(s) for s in self.scorer.score(images, self.prompts(indices), references)]


def eight_bit(images: torch.Tensor, indices: Sequence[int]) -> Pictures:
    """(N, H, W, 3) float in [0, 1] -> uint8. Not-a-number must not turn into black here."""
    pictures, finite = finite_eight_bit(images)
    require_finite(finite, indices)
    return pictures


def finite_eight_bit(images: torch.Tensor) -> tuple[Pictures, torch.Tensor]:
    """The same, with (N,) which of them are finite; the others are of no use."""
    finite = torch.isfinite(images).flatten(1).all(1)
    images = torch.where(finite[:, None, None, None], images, 0.0)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8), finite


def require_finite(finite: torch.Tensor, indices: Sequence[int]) -> None:
    if not bool(finite.all()):
        raise UnusableResult(f"the picture of sample {indices[int(finite.int().argmin())]} has NaN")


def as_pillow(picture: torch.Tensor) -> Image.Image:
    """(H, W, 3) uint8 -> a Pillow image."""
    return Image.fromarray(picture.numpy(), mode="RGB")


def side_by_side(left: torch.Tensor | None, right: torch.Tensor) -> Image.Image:
    """A preview: the uncached picture, when it is known, and the current one beside it."""
    return as_pillow(right if left is None else torch.cat([left, right], 1))
