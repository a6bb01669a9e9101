"""Scorers: image and prompt -> one number, higher is better. `ALL` lists them."""

from .aesthetic import Aesthetic
from .clip_score import ClipScore
from .combined import Combined
from .emoji_reward import EmojiReward
from .image_reward import ImageReward
from .lpips import Lpips
from .preference import HpsV2, PickScore
from .reference_similarity import ReferenceSimilarity
from .scorer import Scorer

ALL = (
    EmojiReward,
    ImageReward,
    PickScore,
    HpsV2,
    ClipScore,
    Aesthetic,
    ReferenceSimilarity,
    Lpips,
    Combined,
)

__all__ = [
    "ALL",
    "Aesthetic",
    "ClipScore",
    "Combined",
    "EmojiReward",
    "HpsV2",
    "ImageReward",
    "Lpips",
    "PickScore",
    "ReferenceSimilarity",
    "Scorer",
]
