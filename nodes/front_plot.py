"""The node that draws a front: quality against cost."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..ecad_search.core.front import Front
from ..ecad_search.core.schedule import Schedule
from .host.pictures import as_image
from .host.schema import schema
from .types import FrontType, ScheduleType


class FrontPlot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_FrontPlot",
            display_name="ECAD Front Plot",
            category="ECAD",
            description=(
                "Draws what a search found: the quality of every schedule on the front against its "
                "cost, with the uncached run and the hand-made schedules for comparison. Of a "
                "search with several scorers, one picture for each."
            ),
            search_aliases=["pareto", "chart", "graph", "quality cost"],
            is_output_node=True,
            inputs=[
                FrontType.Input("front", tooltip="What ECAD Search found."),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=640,
                    max=4096,
                    step=32,
                    tooltip="Width of the picture in pixels; its height is three quarters of it.",
                ),
                ScheduleType.Input(
                    "picked",
                    optional=True,
                    tooltip="A schedule to mark, such as the one of Pick from ECAD Front.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The drawing.")],
        )

    @classmethod
    def execute(
        cls, front: Front, width: int = 1024, picked: Schedule | None = None
    ) -> io.NodeOutput:
        from ..ecad_search.drawing.front_plot import front_plot

        plots = [
            as_image(front_plot(front.by_scorer(number), picked=picked, width=width))
            for number in range(front.n_scorers)
        ]
        images = torch.cat(plots)
        return io.NodeOutput(images, ui=ui.PreviewImage(images, cls=cls))
