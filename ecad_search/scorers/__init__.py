"""Scorers: image and prompt -> one number, higher is better. `ALL` lists them."""

from .combined import Combined
from .emoji_reward import EmojiReward
from .image_reward import ImageReward
from .reference_similarity import ReferenceSimilarity
from .scorer import Scorer

ALL = (EmojiReward, ImageReward, ReferenceSimilarity, Combined)

__all__ = ["ALL", "Combined", "EmojiReward", "ImageReward", "ReferenceSimilarity", "Scorer"]
