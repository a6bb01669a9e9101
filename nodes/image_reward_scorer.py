"""The node of the published network that the ECAD paper judged pictures with."""

from __future__ import annotations

from comfy_api.latest import io

from .host.paths import IMAGE_REWARD
from .host.schema import schema
from .host.scorer_files import device_input, placement
from .types import ScorerType

FOLDER = IMAGE_REWARD.name
WEIGHTS = (".pt", ".safetensors")
NO_CHECKPOINT = f"put ImageReward.pt into models/{FOLDER}"
NO_CONFIG = f"put med_config.json into models/{FOLDER}"


class ImageRewardScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_ImageReward",
            display_name="ECAD ImageReward Scorer",
            category="ECAD/scorers",
            description=(
                "Human preference by ImageReward (arXiv:2304.05977), which the ECAD paper used. "
                f"models/{FOLDER} must hold ImageReward.pt and med_config.json of "
                "THUDM/ImageReward and vocab.txt of bert-base-uncased. Needs "
                "`pip install --no-deps image-reward`."
            ),
            search_aliases=["quality", "human preference", "judge"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=IMAGE_REWARD.files(*WEIGHTS) or [NO_CHECKPOINT],
                    tooltip=f"ImageReward.pt, a file in models/{FOLDER}.",
                ),
                io.Combo.Input(
                    "config",
                    options=IMAGE_REWARD.files(".json") or [NO_CONFIG],
                    tooltip=f"med_config.json, a file in models/{FOLDER}.",
                ),
                device_input("1.8 GB"),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None = "") -> bool | str:
        if checkpoint and checkpoint not in IMAGE_REWARD.files(*WEIGHTS):
            return (
                f"There is no ImageReward checkpoint '{checkpoint}' in models/{FOLDER}; "
                f"{NO_CHECKPOINT} and refresh the list."
            )
        return True

    @classmethod
    def execute(cls, checkpoint: str, config: str, device: str) -> io.NodeOutput:
        from ..ecad_search.scorers.image_reward import ImageReward

        files = IMAGE_REWARD.file(checkpoint), IMAGE_REWARD.file(config)
        return io.NodeOutput(ImageReward(*files, placement=placement(device)))
