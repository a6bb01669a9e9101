"""The node that scores how well a picture fits its prompt, by a CLIP loaded in ComfyUI."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.schema import schema
from .types import ScorerType


class ClipScoreScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_ClipScore",
            display_name="ECAD CLIP Score Scorer",
            category="ECAD/scorers",
            description=(
                "How well a picture fits its prompt: 100 times the cosine of their CLIP "
                "embeddings. Connect both halves of one CLIP."
            ),
            search_aliases=["clipscore", "alignment", "quality"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="The half that reads pictures, from Load CLIP Vision.",
                ),
                io.Clip.Input(
                    "clip",
                    tooltip=(
                        "The half of the same CLIP that reads texts, with its text projection: the "
                        "text tower of openai/clip-vit-large-patch14 for CLIP ViT-L/14, an SDXL "
                        "checkpoint's for CLIP-ViT-bigG-14."
                    ),
                ),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def execute(cls, clip_vision: Any, clip: Any) -> io.NodeOutput:
        from ..ecad_search.scorers.clip_score import ClipScore
        from .host.clip_embedding import HostClip

        embedder = HostClip(clip_vision, clip)
        embedder.projection()  # a CLIP without one is refused here, not after the first pictures
        return io.NodeOutput(ClipScore(embedder))
