"""The node that makes one scorer of up to four."""

from __future__ import annotations

from comfy_api.latest import io

from ..ecad_search.scorers.scorer import Scorer
from .host.schema import schema
from .types import ScorerType

LETTERS = ("a", "b", "c", "d")


class CombineScorers(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        scorers = [
            ScorerType.Input(
                f"scorer_{letter}",
                optional=letter != "a",
                tooltip="One of the scorers to add up, each on its own scale.",
            )
            for letter in LETTERS
        ]
        weights = [
            io.Float.Input(
                f"weight_{letter}",
                default=1.0,
                min=0.0001,
                max=1000.0,
                step=0.01,
                round=0.0001,
                tooltip=f"What a score of scorer_{letter} is multiplied with. PSNR: about 0.05.",
            )
            for letter in LETTERS
        ]
        return schema(
            node_id="ECAD_CombineScorers",
            display_name="ECAD Combine Scorers",
            category="ECAD/scorers",
            description="The weighted sum of several scorers as one.",
            search_aliases=["sum", "weights", "quality"],
            inputs=[*scorers, *weights],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def execute(
        cls,
        scorer_a: Scorer,
        scorer_b: Scorer | None = None,
        scorer_c: Scorer | None = None,
        scorer_d: Scorer | None = None,
        weight_a: float = 1.0,
        weight_b: float = 1.0,
        weight_c: float = 1.0,
        weight_d: float = 1.0,
    ) -> io.NodeOutput:
        from ..ecad_search.scorers.combined import Combined

        given = (
            (scorer_a, weight_a),
            (scorer_b, weight_b),
            (scorer_c, weight_c),
            (scorer_d, weight_d),
        )
        return io.NodeOutput(Combined([(s, weight) for s, weight in given if s is not None]))
