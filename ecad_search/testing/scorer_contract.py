"""What every scorer must hold, as a pytest class to inherit from.

class TestMyScorer(ScorerContract):
    covers = MyScorer

    @pytest.fixture
    def scorer(self):
        return MyScorer()
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from ..errors import MissingPackageError, ScorerError

if TYPE_CHECKING:
    import torch

    from ..scorers.scorer import Scorer

PICTURES = Path(__file__).resolve().parent / "pictures"
PACKAGE_PARENT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "safetensors", "PIL", "ImageReward")

IMPORT_ALONE = """
import sys
sys.modules.update(dict.fromkeys({heavy!r}))
__import__({module!r})
"""


def pictures() -> tuple[torch.Tensor, list[str]]:
    """Three clean pictures (3, 96, 96, 3) in [0, 1] and their captions."""
    import numpy as np
    import torch
    from PIL import Image

    files = sorted(PICTURES.glob("*.png"))
    rows = [np.asarray(Image.open(file).convert("RGB"), np.float32) / 255 for file in files]
    return torch.from_numpy(np.stack(rows)), [file.stem.replace("-", " ") for file in files]


def damaged(images: torch.Tensor, kind: str) -> torch.Tensor:
    """The pictures, visibly worse: "noise", "ghost" (the next picture shines through) or "grey"."""
    import torch

    if kind == "noise":
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return (images + 0.25 * noise).clamp(0, 1)
    if kind == "ghost":
        return torch.lerp(images, images.roll(1, 0), 0.4)
    return torch.lerp(images, torch.full_like(images, 0.6), 0.7)


class ScorerContract:
    covers: ClassVar[type]
    tolerance: ClassVar[float] = 1e-4  # a batch of another size sums in another order

    @pytest.fixture
    def scorer(self) -> Scorer:
        raise NotImplementedError("A contract test gives the scorer as a fixture.")

    @staticmethod
    def scores(scorer: Scorer, images, prompts) -> list[float]:
        """Scores against the clean pictures where the scorer compares."""
        clean, captions = pictures()
        rows = [captions.index(prompt) for prompt in prompts]
        return scorer.score(images, prompts, clean[rows] if scorer.needs_reference else None)

    def test_module_is_importable_without_any_heavy_package(self):
        module = self.covers.__module__[self.covers.__module__.index("ecad_search") :]
        code = IMPORT_ALONE.format(heavy=HEAVY, module=module)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PACKAGE_PARENT, capture_output=True, encoding="utf-8"
        )
        assert "" == done.stderr

    def test_name_is_one_line_of_text(self, scorer):
        assert scorer.name and scorer.name == " ".join(scorer.name.split())

    def test_every_image_gets_one_finite_float(self, scorer):
        images, prompts = pictures()
        scores = self.scores(scorer, images, prompts)
        assert [float] * len(images) == [type(score) for score in scores]
        assert all(math.isfinite(score) for score in scores)

    def test_same_images_get_the_same_scores(self, scorer):
        batch = pictures()
        assert self.scores(scorer, *batch) == self.scores(scorer, *batch)

    def test_scores_are_the_same_after_unload(self, scorer):
        batch = pictures()
        before = self.scores(scorer, *batch)
        scorer.unload()
        assert before == self.scores(scorer, *batch)

    def test_score_does_not_depend_on_the_batch(self, scorer):
        images, prompts = pictures()
        images = damaged(images, "noise")
        alone = [
            self.scores(scorer, images[i : i + 1], prompts[i : i + 1])[0]
            for i in range(len(images))
        ]
        assert alone == pytest.approx(self.scores(scorer, images, prompts), abs=self.tolerance)

    @pytest.mark.parametrize("kind", ["noise", "ghost", "grey"])
    def test_better_image_scores_better(self, scorer, kind):
        images, prompts = pictures()
        better = self.scores(scorer, images, prompts)
        worse = self.scores(scorer, damaged(images, kind), prompts)
        assert all(b > w for b, w in zip(better, worse, strict=True))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_image_that_is_no_number_is_refused_by_its_sample(self, scorer, value):
        images, prompts = pictures()
        images[1, 5, 5, 0] = value
        with pytest.raises(ScorerError, match="sample 1 of 3"):
            self.scores(scorer, images, prompts)

    def test_prompt_count_must_equal_image_count(self, scorer):
        images, prompts = pictures()
        with pytest.raises(ScorerError, match="3 images and 2 prompts"):
            scorer.score(images, prompts[:2], images)

    def test_images_must_be_rgb_with_channels_last(self, scorer):
        images, prompts = pictures()
        with pytest.raises(ScorerError, match=r"\(3, 3, 96, 96\)"):
            scorer.score(images.permute(0, 3, 1, 2), prompts, images)

    def test_missing_reference_is_refused_where_one_is_needed(self, scorer):
        images, prompts = pictures()
        if scorer.needs_reference:
            with pytest.raises(ScorerError, match="uncached images"):
                scorer.score(images, prompts)
        else:
            assert self.scores(scorer, images, prompts) == scorer.score(images, prompts, images)


class OptionalPackageContract(ScorerContract):
    """For a scorer that needs a package which ComfyUI does not install."""

    optional_package: ClassVar[str]

    def test_missing_package_is_named_with_the_pip_line(self, scorer, monkeypatch):
        monkeypatch.setitem(sys.modules, self.optional_package, None)
        scorer.unload()
        with pytest.raises(MissingPackageError, match="pip install"):
            self.scores(scorer, *pictures())
