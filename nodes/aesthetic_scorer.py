"""The node of LAION's aesthetic predictor, on a CLIP vision model loaded in ComfyUI."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.schema import schema
from .host.scorer_files import FOLDER, weight_file, weight_file_problem, weight_files
from .types import ScorerType

NO_HEAD = f"put sac+logos+ava1-l14-linearMSE.pth into models/{FOLDER}"


class AestheticScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_Aesthetic",
            display_name="ECAD Aesthetic Scorer",
            category="ECAD/scorers",
            description=(
                "How pleasing a picture is, about 1 to 10, by the improved aesthetic predictor; "
                f"prompts are not looked at. models/{FOLDER} must hold "
                "sac+logos+ava1-l14-linearMSE.pth."
            ),
            search_aliases=["beauty", "laion", "quality"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="CLIP ViT-L/14 of OpenAI, from Load CLIP Vision; no other fits.",
                ),
                io.Combo.Input(
                    "head",
                    options=weight_files() or [NO_HEAD],
                    tooltip=f"sac+logos+ava1-l14-linearMSE.pth, a file in models/{FOLDER}.",
                ),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def validate_inputs(cls, head: str | None = "") -> bool | str:
        return weight_file_problem(head, NO_HEAD) or True

    @classmethod
    def execute(cls, clip_vision: Any, head: str) -> io.NodeOutput:
        from ..ecad_search.scorers.aesthetic import Aesthetic
        from .host.clip_embedding import HostVision

        scorer = Aesthetic(HostVision(clip_vision), weight_file(head))
        scorer.load()  # a wrong file is refused here, not after the first pictures
        return io.NodeOutput(scorer)
