"""The node that puts a schedule from a link on a model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..ecad_search.core.schedule import Schedule
from .host.patching import CACHE_DEVICES, CacheOptions, apply_schedule
from .host.run_report import RunLog, compare_inputs, twin_of
from .host.schedule_view import schedule_output
from .host.schema import field, schema
from .types import ScheduleType


class ApplySchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_ApplySchedule",
            display_name="Apply ECAD Schedule",
            category="ECAD",
            description=(
                "Puts a schedule on a model: the ECAD Cache Loader for one that comes from another "
                "node, such as Pick from ECAD Front."
            ),
            search_aliases=["cache", "speed up", "reuse"],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            not_idempotent=True,  # else two of the same settings share one model and its reports
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A diffusion transformer such as FLUX, or the ECAD Demo Model.",
                ),
                ScheduleType.Input("schedule", tooltip="A schedule made for this model."),
                field(
                    io.Boolean,
                    "fix_small_latents",
                    default=False,
                    advanced=True,
                    tooltip=(
                        "Lets PixArt sample below 264 px, where ComfyUI divides by zero. Off "
                        "leaves that code alone."
                    ),
                ),
                field(
                    io.Combo,
                    "cache_device",
                    options=list(CACHE_DEVICES),
                    default="gpu",
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Where stored outputs lie: 'gpu' beside the model, the fastest; 'cpu' in "
                        "main memory, copied in the background, for cards that the model fills. "
                        "When a run starts, the node shows how much it will hold."
                    ),
                ),
                *compare_inputs(),
            ],
            outputs=[
                io.Model.Output(tooltip="The model under the schedule; the input is not changed.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        schedule: Schedule,
        fix_small_latents: bool = False,
        cache_device: str = "gpu",
        compare: bool = False,
        vae: Any | None = None,
    ) -> io.NodeOutput:
        runs = RunLog.of(cls.hidden, schedule)
        patched = apply_schedule(
            model,
            schedule,
            options=CacheOptions(fix_small_latents, cache_device=cache_device),
            on_report=runs.report,
            on_plan=runs.plan,
            twin=twin_of("Apply ECAD Schedule", runs, compare, vae),
        )
        return io.NodeOutput(patched, ui={**schedule_output(schedule), **runs.output()})
