"""The node for everyone: choose a schedule from the list, and the model gets faster."""

from __future__ import annotations

import difflib
import hashlib
import logging
from typing import Any

from comfy_api.latest import io

from ..ecad_search.builtin_schedules import ANY_MODEL, for_any_model
from ..ecad_search.core.schedule import Schedule
from ..ecad_search.errors import EcadError
from .host.patching import CACHE_DEVICES, CacheOptions, apply_schedule, detect_architecture
from .host.paths import schedule_library
from .host.run_report import RunLog, compare_inputs, twin_of
from .host.schedule_list import ordered
from .host.schedule_view import schedule_output
from .host.schema import field, schema
from .types import ScheduleType

log = logging.getLogger("ComfyUI-ECAD")


class CacheLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_CacheLoader",
            display_name="ECAD Cache Loader",
            category="ECAD",
            description=(
                "Makes a diffusion transformer faster by reusing the outputs of its components "
                "between steps, on a schedule. Put it between the model loader and the sampler."
            ),
            search_aliases=["cache", "speed up", "faster", "acceleration", "reuse"],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            not_idempotent=True,  # else two of the same settings share one model and its reports
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "A diffusion transformer such as FLUX or PixArt, or the ECAD Demo Model."
                    ),
                ),
                io.Combo.Input(
                    "schedule",
                    options=schedule_names(),
                    tooltip=(
                        "What to reuse when. The first part of the name is the model it is made "
                        "for, the last one its steps; 'any-model/...' are made for yours, "
                        "'my/...' are files in models/ecad_schedules. Press R to read the folders "
                        "again."
                    ),
                ),
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
                        "The node shows how much a run will hold when it starts."
                    ),
                ),
                *compare_inputs(),
            ],
            outputs=[
                io.Model.Output(tooltip="The model under the schedule; the input is not changed."),
                ScheduleType.Output(
                    display_name="schedule",
                    tooltip="The schedule itself, for ECAD Schedule Preview and others.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, schedule: str | None = None) -> bool | str:
        # Naming the combo here replaces the host's "value not in list" by these sentences.
        if schedule is None or schedule in ANY_MODEL:
            return True
        try:
            schedule_library().load(schedule)
        except EcadError as error:
            return advice(schedule) or str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, schedule: str | None = None, **_: Any) -> str:
        """An edited schedule file is loaded again."""
        try:
            return hashlib.sha256(schedule_library().path(schedule or "").read_bytes()).hexdigest()
        except (EcadError, OSError):
            return ""  # execute says what is wrong

    @classmethod
    def execute(
        cls,
        model: Any,
        schedule: str,
        fix_small_latents: bool = False,
        cache_device: str = "gpu",
        compare: bool = False,
        vae: Any | None = None,
    ) -> io.NodeOutput:
        chosen = chosen_schedule(schedule, model)
        runs = RunLog.of(cls.hidden, chosen)
        runs.meet(detect_architecture(model))
        patched = apply_schedule(
            model,
            chosen,
            options=CacheOptions(fix_small_latents, cache_device=cache_device),
            on_report=runs.report,
            on_plan=runs.plan,
            twin=twin_of("ECAD Cache Loader", runs, compare, vae),
        )
        return io.NodeOutput(patched, chosen, ui={**schedule_output(chosen), **runs.output()})


def chosen_schedule(name: str, model: Any) -> Schedule:
    """The file of that name, or what is made for the model at hand."""
    if name in ANY_MODEL:
        return for_any_model(detect_architecture(model))[name]
    return schedule_library().load(name)


def schedule_names() -> list[str]:
    """The names in the list. An unreadable folder must not take the node out of the menu."""
    try:
        return ordered(schedule_library().names())
    except (EcadError, OSError) as error:
        log.warning("ECAD: the schedule folders cannot be read: %s", error)
        return []


def advice(name: str) -> str | None:
    """What to say about a name that is not in the list; None for one that is there but broken."""
    names = schedule_names()
    if name in names:
        return None
    near = difflib.get_close_matches(name, names, n=1)
    return (
        f"Schedule {name[:80]!r} is not installed: no file of that name came with the pack or is "
        "in models/ecad_schedules; copy it there and press R, or choose another"
        + (f", such as '{near[0]}'." if near else ".")
    )
