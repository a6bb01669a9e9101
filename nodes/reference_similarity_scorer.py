"""The node that scores how little a schedule changes a picture."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema
from .types import ScorerType

PSNR_WEIGHT = 0.05  # brings 20 dB, a clear difference, to the scale of SSIM


class ReferenceSimilarityScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_ReferenceSimilarity",
            display_name="ECAD Reference Similarity Scorer",
            category="ECAD/scorers",
            description=(
                "Scores how close a picture is to the uncached one of the same prompt and seed. "
                "Works for every model without any download; it measures change, not beauty."
            ),
            search_aliases=["psnr", "ssim", "fidelity", "quality"],
            inputs=[
                io.Combo.Input(
                    "metric",
                    options=["SSIM", "PSNR", "both"],
                    default="SSIM",
                    tooltip=(
                        "SSIM compares structure (1 is equal), PSNR pixels (dB). both is "
                        f"SSIM + {PSNR_WEIGHT} PSNR."
                    ),
                )
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def execute(cls, metric: str) -> io.NodeOutput:
        from ..ecad_search.scorers.combined import Combined
        from ..ecad_search.scorers.reference_similarity import ReferenceSimilarity

        if metric == "both":
            parts = [(ReferenceSimilarity("ssim"), 1.0), (ReferenceSimilarity("psnr"), PSNR_WEIGHT)]
            return io.NodeOutput(Combined(parts))
        return io.NodeOutput(ReferenceSimilarity("ssim" if metric == "SSIM" else "psnr"))
