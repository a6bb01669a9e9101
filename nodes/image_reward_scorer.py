"""The node of the published network that the ECAD paper judged pictures with."""

from __future__ import annotations

from comfy_api.latest import io

from .host.paths import SCORERS, scorer_file, scorer_files
from .host.schema import schema
from .host.scorer_files import placement
from .types import ScorerType

NO_CHECKPOINT = f"put ImageReward.pt into models/{SCORERS}"
NO_CONFIG = f"put med_config.json into models/{SCORERS}"


class ImageRewardScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_ImageReward",
            display_name="ECAD ImageReward Scorer",
            category="ECAD/scorers",
            description=(
                "Human preference by ImageReward (arXiv:2304.05977), which the ECAD paper used. "
                f"models/{SCORERS} must hold ImageReward.pt and med_config.json of "
                "THUDM/ImageReward and vocab.txt of bert-base-uncased. Needs "
                "`pip install --no-deps image-reward`."
            ),
            search_aliases=["quality", "human preference", "judge"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=scorer_files(".pt", ".safetensors") or [NO_CHECKPOINT],
                    tooltip=f"ImageReward.pt, a file in models/{SCORERS}.",
                ),
                io.Combo.Input(
                    "config",
                    options=scorer_files(".json") or [NO_CONFIG],
                    tooltip=f"med_config.json, a file in models/{SCORERS}.",
                ),
                io.Combo.Input(
                    "device",
                    options=["default", "cpu"],
                    default="default",
                    tooltip=(
                        "Where the network runs (1.8 GB). default moves it to the GPU while it "
                        "judges and back to main memory after."
                    ),
                ),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None = "") -> bool | str:
        if checkpoint and checkpoint not in scorer_files(".pt", ".safetensors"):
            return (
                f"There is no ImageReward checkpoint '{checkpoint}' in models/{SCORERS}; "
                f"{NO_CHECKPOINT} and refresh the list."
            )
        return True

    @classmethod
    def execute(cls, checkpoint: str, config: str, device: str) -> io.NodeOutput:
        from ..ecad_search.scorers.image_reward import ImageReward

        files = scorer_file(checkpoint), scorer_file(config)
        return io.NodeOutput(ImageReward(*files, placement=placement(device)))
