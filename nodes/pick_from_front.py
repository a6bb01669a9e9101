"""The node that takes one schedule out of a front."""

from __future__ import annotations

from comfy_api.latest import io

from ..ecad_search.core.front import Front, FrontPoint
from .host.run_report import say
from .host.schedule_view import schedule_output
from .host.schema import schema
from .types import FrontType, ScheduleType

SPEEDUP, QUALITY, KNEE, KEY = "target speed-up", "minimum quality", "knee", "this schedule"


class PickFromFront(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_PickFromFront",
            display_name="Pick from ECAD Front",
            category="ECAD",
            description="Takes the schedule out of a search's front that suits you best.",
            search_aliases=["choose", "pareto", "best schedule"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                FrontType.Input("front", tooltip="What ECAD Search found."),
                io.Combo.Input(
                    "by",
                    options=[KNEE, SPEEDUP, QUALITY, KEY],
                    default=KNEE,
                    tooltip=(
                        "knee: the most speed for the quality it costs. target speed-up: the best "
                        "quality at that speed. minimum quality: the fastest of that quality. "
                        "this schedule: the one with the key below."
                    ),
                ),
                io.Float.Input(
                    "target_speedup",
                    default=2.0,
                    min=1.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How many times fewer MACs at least. Used by 'target speed-up'.",
                ),
                io.Float.Input(
                    "minimum_quality",
                    default=0.0,
                    min=-1000.0,
                    max=1000.0,
                    step=0.005,
                    round=0.0001,
                    tooltip=(
                        "Mean score minus that of the uncached run: 0 is as good, negative is "
                        "worse. Used by 'minimum quality'."
                    ),
                ),
                io.String.Input(
                    "key",
                    default="",
                    optional=True,
                    tooltip=(
                        "Which schedule of the front, as the panel of ECAD Search writes it here. "
                        "Used by 'this schedule'."
                    ),
                ),
            ],
            outputs=[
                ScheduleType.Output(display_name="schedule", tooltip="The schedule picked."),
                io.String.Output(
                    display_name="facts", tooltip="Its speed-up, quality and name as text."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        front: Front,
        by: str,
        target_speedup: float = 2.0,
        minimum_quality: float = 0.0,
        key: str = "",
    ) -> io.NodeOutput:
        if by == SPEEDUP:
            point = front.pick_speedup(target_speedup)
        elif by == QUALITY:
            point = front.pick_quality(minimum_quality)
        elif by == KEY:
            point = front.pick_key(key.strip())
        else:
            point = front.pick_knee()
        text = facts_of(point)
        say(cls.hidden.unique_id if cls.hidden else None, text)
        return io.NodeOutput(point.schedule, text, ui=schedule_output(point.schedule))


def facts_of(point: FrontPoint) -> str:
    schedule = point.schedule
    return "\n".join(
        (
            f"{schedule.name or schedule.key} for {schedule.architecture.describe()}",
            f"{schedule.steps} steps, {schedule.computed_fraction:.0%} of the components computed",
            f"{point.saving} than uncached",
            f"quality {point.quality:+.4f} ± {point.quality_stderr:.4f} to uncached "
            f"({point.samples} samples)",
            *(
                f"quality {quality.mean:+.4f} ± {quality.stderr:.4f} by scorer {number}"
                for number, quality in enumerate(point.more_qualities, start=2)
            ),
        )
    )
