import time

import pytest
import torch

from ecad_search.calibration import builtin_prompts
from ecad_search.errors import ScorerError
from ecad_search.scorers import EmojiReward
from ecad_search.scorers.emoji_reward import WEIGHTS
from ecad_search.testing.scorer_contract import damaged, pictures


@pytest.fixture(scope="module")
def reward():
    return EmojiReward()


def test_weights_are_small_enough_to_ship():
    assert WEIGHTS.stat().st_size <= 1_400_000


def test_every_word_of_the_built_in_captions_is_known(reward):
    _, words = reward.load()
    captions = builtin_prompts("emoji-calibration") + builtin_prompts("emoji-heldout")
    assert 1 not in words.encode(captions)


def test_clean_pictures_are_rewarded_with_about_one(reward):
    assert [1, 1, 1] == pytest.approx(reward.score(*pictures()), abs=0.35)


def test_wrong_captions_are_rewarded_below_zero(reward):
    images, prompts = pictures()
    assert max(reward.score(images, [*prompts[1:], prompts[0]])) < 0


def test_wrong_background_costs_reward(reward):
    images, prompts = pictures()
    wrong = [prompt.rsplit(" ", 2)[0] + " green background" for prompt in prompts]
    scores = zip(reward.score(images, prompts), reward.score(images, wrong), strict=True)
    assert all(right > other + 0.1 for right, other in scores)


def test_destroyed_pictures_are_rewarded_below_zero(reward):
    images, prompts = pictures()
    assert max(reward.score(damaged(damaged(images, "noise"), "grey"), prompts)) < 0
    assert max(reward.score(torch.rand(images.shape), prompts)) < 0


def test_larger_pictures_are_shrunk_to_the_size_it_knows(reward):
    images, prompts = pictures()
    large = images.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert reward.score(images, prompts) == pytest.approx(reward.score(large, prompts), abs=0.2)


def test_own_caption_is_found_first_among_all(reward):
    images, prompts = pictures()
    gallery = [*prompts, *builtin_prompts("emoji-calibration")]
    assert [0, 0, 0] == reward.caption_ranks(images, prompts, gallery).tolist()
    wrong = [prompts[1], prompts[2], prompts[0]]
    assert all(reward.caption_ranks(images, wrong, gallery) > 0)


def test_features_are_one_row_an_image(reward):
    images, _ = pictures()
    assert (3, 128) == reward.image_features(images).shape


@pytest.mark.slow
def test_one_image_takes_few_milliseconds(reward):
    images, prompts = pictures()
    batch, words = images.repeat(10, 1, 1, 1), prompts * 10
    reward.score(batch, words)
    started = time.perf_counter()
    reward.score(batch, words)
    assert (time.perf_counter() - started) / len(batch) < 0.05


def test_absent_weights_say_how_to_get_them(tmp_path):
    with pytest.raises(ScorerError, match=r"demo\.train\.reward"):
        EmojiReward(tmp_path / "none.safetensors").load()


def test_other_weights_are_refused():
    with pytest.raises(ScorerError, match="holds no weights of Emoji-Reward"):
        EmojiReward(WEIGHTS.with_name("emoji-vae.safetensors")).load()


def test_broken_weights_are_refused(tmp_path):
    path = tmp_path / "emoji-reward.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(ScorerError, match="holds no weights of Emoji-Reward"):
        EmojiReward(path).load()
