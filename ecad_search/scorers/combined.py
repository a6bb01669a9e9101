"""Several scorers as one: a weighted sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ScorerError
from .scorer import Scorer, finite_scores

if TYPE_CHECKING:
    import torch


class Combined:
    """Weighted sum of scores, each on its scorer's own scale; nothing is normalised.

    Emoji-Reward and ImageReward spread by about 1 between good and bad images, SSIM by at most 1,
    PSNR by tens of dB: weigh PSNR with about 0.05 beside them. A negative weight is refused, since
    in every scorer higher is better.
    """

    def __init__(self, parts: Sequence[tuple[Scorer, float]]):
        if not parts:
            raise ScorerError("A combined scorer got no scorers, expected one or more; add one.")
        for scorer, weight in parts:
            if not (math.isfinite(weight) and weight > 0):
                raise ScorerError(
                    f"Scorer '{scorer.name}' has weight {weight}, expected a positive number; "
                    "higher scores are better in every scorer, so leave a scorer out instead."
                )
        self.parts = tuple((scorer, float(weight)) for scorer, weight in parts)

    @property
    def name(self) -> str:
        return " + ".join(f"{weight:g} {scorer.name}" for scorer, weight in self.parts)

    @property
    def needs_reference(self) -> bool:
        return any(scorer.needs_reference for scorer, _ in self.parts)

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        totals = [0.0] * len(prompts)
        for scorer, weight in self.parts:
            scores = scorer.score(images, prompts, references)
            totals = [t + weight * s for t, s in zip(totals, scores, strict=True)]
        return finite_scores(self.name, totals)

    def unload(self) -> None:
        for scorer, _ in self.parts:
            scorer.unload()
