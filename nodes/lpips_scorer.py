"""The node of LPIPS, how different a picture looks from the uncached one."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema
from .host.scorer_files import (
    DEVICES,
    FOLDER,
    placement,
    weight_file,
    weight_file_problem,
    weight_files,
)
from .types import ScorerType

NO_BACKBONE = f"put alexnet-owt-7be5be79.pth into models/{FOLDER}"
OF_PACKAGE = "of the package lpips"


class LpipsScorer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = weight_files()
        return schema(
            node_id="ECAD_Lpips",
            display_name="ECAD LPIPS Scorer",
            category="ECAD/scorers",
            description=(
                "Minus the LPIPS distance (arXiv:1801.03924) to the uncached picture of the same "
                "prompt and seed: 0 when equal. It measures change, not beauty. "
                f"models/{FOLDER} must hold torchvision's alexnet-owt-7be5be79.pth or "
                "vgg16-397923af.pth; the linear heads come with `pip install --no-deps lpips`."
            ),
            search_aliases=["perceptual", "fidelity", "quality"],
            inputs=[
                io.Combo.Input(
                    "network",
                    options=["alex", "vgg"],
                    default="alex",
                    tooltip="alex is quick and the authors' choice to measure with.",
                ),
                io.Combo.Input(
                    "backbone",
                    options=files or [NO_BACKBONE],
                    tooltip=(
                        f"alexnet-owt-7be5be79.pth or vgg16-397923af.pth, a file in "
                        f"models/{FOLDER}."
                    ),
                ),
                io.Combo.Input(
                    "heads",
                    options=[OF_PACKAGE, *files],
                    default=OF_PACKAGE,
                    tooltip="The linear heads: the installed package's, or alex.pth or vgg.pth.",
                ),
                io.Combo.Input(
                    "device",
                    options=DEVICES,
                    default="default",
                    tooltip="Where the network runs (10 or 60 MB).",
                ),
            ],
            outputs=[ScorerType.Output(display_name="scorer", tooltip="For ECAD Search.")],
        )

    @classmethod
    def validate_inputs(
        cls, backbone: str | None = "", heads: str | None = OF_PACKAGE
    ) -> bool | str:
        if problem := weight_file_problem(backbone, NO_BACKBONE):
            return problem
        if heads and heads != OF_PACKAGE and heads not in weight_files():
            return f"There is no file '{heads}' in models/{FOLDER}; put it there and refresh."
        return True

    @classmethod
    def execute(cls, network: str, backbone: str, heads: str, device: str) -> io.NodeOutput:
        from ..ecad_search.scorers.lpips import Lpips

        scorer = Lpips(
            weight_file(backbone),
            network="vgg" if network == "vgg" else "alex",
            heads=None if heads == OF_PACKAGE else weight_file(heads),
            placement=placement(device),
        )
        scorer.load()  # a wrong file is refused here, not after the first pictures
        return io.NodeOutput(scorer)
