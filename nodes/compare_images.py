"""The node that shows two pictures on top of each other."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..ecad_search.errors import EcadError
from .host.image_pairs import difference, image_pairs
from .host.schema import schema


class CompareImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_CompareImages",
            display_name="ECAD Compare Images",
            category="ECAD",
            description=(
                "Shows a picture over its reference, with a slider between them and a map of their "
                "differences, and says how alike they are."
            ),
            search_aliases=["slider", "difference", "before after", "psnr", "ssim"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to judge, such as cached ones."),
                io.Image.Input(
                    "references",
                    tooltip=(
                        "What to hold them against, such as the uncached pictures of the same "
                        "prompts and seeds. As many and as large as the others."
                    ),
                ),
                io.Float.Input(
                    "gain",
                    default=4.0,
                    min=1.0,
                    max=64.0,
                    step=1.0,
                    round=0.1,
                    tooltip="By what the differences are multiplied in the 'difference' output.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="difference",
                    tooltip="How far each colour of each pixel is from its reference, times gain.",
                ),
                io.String.Output(
                    display_name="summary", tooltip="PSNR and SSIM of the pictures, in a line each."
                ),
            ],
        )

    @classmethod
    def execute(cls, images: Any, references: Any, gain: float = 4.0) -> io.NodeOutput:
        images, references = images[..., :3], references[..., :3]
        if images.shape != references.shape:
            raise EcadError(
                f"The images are {described(images)} and the references {described(references)}; "
                "expected as many of the same size, so connect two runs of the same settings."
            )
        pairs = image_pairs(images, references)
        return io.NodeOutput(
            difference(images, references, gain),
            "\n".join(map(pair_line, pairs)),
            ui={"ecad_pairs": ({"pairs": pairs, "gain": gain},)},
        )


def described(images: Any) -> str:
    """2 of 64 x 96 px."""
    n, height, width, _ = images.shape
    return f"{n} of {width} x {height} px"


def pair_line(pair: dict[str, Any]) -> str:
    similarity = "" if pair["ssim"] is None else f", SSIM {pair['ssim']:.4f}"
    return f"Picture {pair['index'] + 1}: PSNR {pair['psnr']:.1f} dB{similarity}"
