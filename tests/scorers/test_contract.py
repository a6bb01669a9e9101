import pytest

from ecad_search.scorers import (
    ALL,
    Aesthetic,
    ClipScore,
    Combined,
    EmojiReward,
    HpsV2,
    ImageReward,
    Lpips,
    PickScore,
    ReferenceSimilarity,
)
from ecad_search.scorers.clip_network import ClipNetwork
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


class TestLpips(ScorerContract):
    covers = Lpips

    @pytest.fixture(params=["alex", "vgg"])
    def scorer(self, lpips_files, request):
        kind = request.param
        return Lpips(
            lpips_files / f"{kind}-backbone.pth", network=kind, heads=lpips_files / f"{kind}.pth"
        )


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


class TestClipScore(OptionalPackageContract):
    covers = ClipScore
    optional_package = "transformers"
    test_better_image_scores_better = None  # random weights cannot tell

    @pytest.fixture
    def scorer(self, tiny_clip_folder):
        return ClipScore(ClipNetwork(tiny_clip_folder))


class TestPickScore(OptionalPackageContract):
    covers = PickScore
    optional_package = "transformers"
    test_better_image_scores_better = None  # random weights cannot tell

    @pytest.fixture
    def scorer(self, tiny_clip_folder):
        return PickScore(tiny_clip_folder)


class TestHpsV2(OptionalPackageContract):
    covers = HpsV2
    optional_package = "transformers"
    test_better_image_scores_better = None  # random weights cannot tell

    @pytest.fixture
    def scorer(self, tiny_open_clip_file):
        return HpsV2(tiny_open_clip_file)


class TestAesthetic(OptionalPackageContract):
    covers = Aesthetic
    optional_package = "transformers"
    test_better_image_scores_better = None  # random weights cannot tell

    @pytest.fixture
    def scorer(self, tiny_clip_folder, aesthetic_head):
        return Aesthetic(ClipNetwork(tiny_clip_folder), aesthetic_head)


def test_every_listed_scorer_is_under_the_contract():
    contracts = (*ScorerContract.__subclasses__(), *OptionalPackageContract.__subclasses__())
    assert set(ALL) == {c.covers for c in contracts if c is not OptionalPackageContract}
