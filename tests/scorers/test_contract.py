import pytest

from ecad_search.scorers import ALL, Combined, EmojiReward, ImageReward, ReferenceSimilarity
from ecad_search.testing.scorer_contract import OptionalPackageContract, ScorerContract


class TestEmojiReward(ScorerContract):
    covers = EmojiReward

    @pytest.fixture
    def scorer(self):
        return EmojiReward()


class TestSsim(ScorerContract):
    covers = ReferenceSimilarity

    @pytest.fixture
    def scorer(self):
        return ReferenceSimilarity("ssim")


class TestPsnr(ScorerContract):
    covers = ReferenceSimilarity

    @pytest.fixture
    def scorer(self):
        return ReferenceSimilarity("psnr")


class TestCombined(ScorerContract):
    covers = Combined

    @pytest.fixture
    def scorer(self):
        return Combined([(EmojiReward(), 1.0), (ReferenceSimilarity("psnr"), 0.05)])


class TestImageReward(OptionalPackageContract):
    covers = ImageReward
    optional_package = "ImageReward"
    tolerance = 1e-3
    test_better_image_scores_better = None  # random weights cannot tell

    @pytest.fixture
    def scorer(self, tiny_image_reward):
        return tiny_image_reward


def test_every_listed_scorer_is_under_the_contract():
    contracts = (*ScorerContract.__subclasses__(), *OptionalPackageContract.__subclasses__())
    assert set(ALL) == {c.covers for c in contracts if c is not OptionalPackageContract}
