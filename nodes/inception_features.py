"""The node of Inception's features, which the Fréchet Inception Distance is measured in."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema
from .host.scorer_files import (
    FOLDER,
    device_input,
    placement,
    weight_file,
    weight_file_problem,
    weight_files,
)
from .types import FeaturesType

FILE = "weights-inception-2015-12-05-6726825d.pth"
NO_WEIGHTS = f"put {FILE} into models/{FOLDER}"


class InceptionFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_InceptionFeatures",
            display_name="ECAD Inception Features",
            category="ECAD/scorers",
            description=(
                "What ECAD Benchmark measures FID in (arXiv:1706.08500): the features of the "
                "Inception network, as the package torch-fidelity has it. Needs "
                "`pip install --no-deps torch-fidelity` and its weights in "
                f"models/{FOLDER}."
            ),
            search_aliases=["fid", "frechet", "quality"],
            inputs=[
                io.Combo.Input(
                    "weights",
                    options=weight_files() or [NO_WEIGHTS],
                    tooltip=f"{FILE}, which torch-fidelity publishes, a file in models/{FOLDER}.",
                ),
                device_input("95 MB"),
            ],
            outputs=[
                FeaturesType.Output(display_name="features", tooltip="For ECAD Benchmark."),
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None = "") -> bool | str:
        return weight_file_problem(weights, NO_WEIGHTS) or True

    @classmethod
    def execute(cls, weights: str, device: str) -> io.NodeOutput:
        from ..ecad_search.scorers.inception import Inception

        features = Inception(weight_file(weights), placement=placement(device))
        features.load()  # a wrong file is refused here, not after the first pictures
        return io.NodeOutput(features)
