"""The node of the demo model's own judge."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema
from .types import ScorerType


class EmojiRewardScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_EmojiReward",
            display_name="ECAD Emoji-Reward Scorer",
            category="ECAD/scorers",
            description=(
                "Judges pictures of the demo model: about 1 for a clean picture that shows its "
                "caption, below 0 for a wrong or a destroyed one. Means nothing on other pictures."
            ),
            search_aliases=["quality", "reward", "judge"],
            inputs=[],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..ecad_search.scorers.emoji_reward import EmojiReward

        return io.NodeOutput(EmojiReward())
