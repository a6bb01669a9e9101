"""The node that draws a schedule."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..ecad_search.core.schedule import Schedule
from .host.pictures import as_image
from .host.schedule_view import schedule_output
from .host.schema import schema
from .types import ScheduleType


class SchedulePreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_SchedulePreview",
            display_name="ECAD Schedule Preview",
            category="ECAD",
            description=(
                "Draws a schedule: one column for a step, one row for a block of each component, "
                "coloured where it computes."
            ),
            search_aliases=["heat map", "plot", "show schedule"],
            is_output_node=True,
            inputs=[
                ScheduleType.Input("schedule", tooltip="The schedule to draw."),
                io.Int.Input(
                    "width",
                    default=1024,
                    min=640,
                    max=4096,
                    step=32,
                    tooltip="Width of the picture in pixels; its height follows the blocks.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The drawing.")],
        )

    @classmethod
    def execute(cls, schedule: Schedule, width: int = 1024) -> io.NodeOutput:
        from ..ecad_search.drawing.schedule_map import schedule_map

        image = as_image(schedule_map(schedule, width=width))
        shown = ui.PreviewImage(image, cls=cls).as_dict()
        return io.NodeOutput(image, ui={**shown, **schedule_output(schedule)})
