"""The node of PickScore, human preference from the pairs of Pick-a-Pic."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema
from .host.scorer_files import (
    FOLDER,
    device_input,
    model_folder,
    model_folders,
    placement,
    tokenizer_beside,
)
from .types import ScorerType

NO_FOLDER = f"put the folder PickScore_v1 into models/{FOLDER}"


class PickScoreScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_PickScore",
            display_name="ECAD PickScore Scorer",
            category="ECAD/scorers",
            description=(
                "Human preference by PickScore (arXiv:2305.01569), about 18 to 24. "
                f"models/{FOLDER} must hold the folder PickScore_v1 of yuvalkirstain: config.json "
                "and model.safetensors."
            ),
            search_aliases=["quality", "human preference", "judge"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=model_folders() or [NO_FOLDER],
                    tooltip=f"PickScore_v1, a folder in models/{FOLDER}.",
                ),
                device_input("4 GB"),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = "") -> bool | str:
        if folder and folder not in model_folders():
            return f"There is no folder '{folder}' in models/{FOLDER}; {NO_FOLDER} and refresh."
        return True

    @classmethod
    def execute(cls, folder: str, device: str) -> io.NodeOutput:
        from ..ecad_search.scorers.preference import PickScore

        path = model_folder(folder)
        return io.NodeOutput(
            PickScore(path, tokenizer=tokenizer_beside(path), placement=placement(device))
        )
