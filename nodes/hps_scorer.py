"""The node of Human Preference Score v2."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema
from .host.scorer_files import (
    FOLDER,
    device_input,
    placement,
    tokenizer_beside,
    weight_file,
    weight_files,
)
from .types import ScorerType

NO_CHECKPOINT = f"put HPS_v2.1_compressed.pt into models/{FOLDER}"


class HpsScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_HpsV2",
            display_name="ECAD HPS v2 Scorer",
            category="ECAD/scorers",
            description=(
                "Human Preference Score v2 (arXiv:2306.09341), about 0.2 to 0.35. "
                f"models/{FOLDER} must hold HPS_v2_compressed.pt or HPS_v2.1_compressed.pt of "
                "xswu/HPSv2."
            ),
            search_aliases=["hpsv2", "quality", "human preference", "judge"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=weight_files() or [NO_CHECKPOINT],
                    tooltip=f"HPS_v2_compressed.pt or HPS_v2.1_compressed.pt in models/{FOLDER}.",
                ),
                device_input("4 GB"),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None = "") -> bool | str:
        if checkpoint and checkpoint not in weight_files():
            return (
                f"There is no HPS v2 checkpoint '{checkpoint}' in models/{FOLDER}; "
                f"{NO_CHECKPOINT} and refresh the list."
            )
        return True

    @classmethod
    def execute(cls, checkpoint: str, device: str) -> io.NodeOutput:
        from ..ecad_search.scorers.preference import HpsV2

        path = weight_file(checkpoint)
        tokenizer = tokenizer_beside(path.parent)
        return io.NodeOutput(HpsV2(path, tokenizer=tokenizer, placement=placement(device)))
