"""Which presets `schedules/` holds; `python -m ecad_search presets` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .architectures import (
    AURAFLOW,
    CHROMA,
    CHROMA_RADIANCE,
    COSMOS_PREDICT2_2B,
    COSMOS_PREDICT2_14B,
    EMOJI_FLUX,
    EMOJI_PIXART,
    FLUX,
    HIDREAM,
    HUNYUAN_DIT,
    HUNYUAN_VIDEO,
    HUNYUAN_VIDEO_1_5,
    LTXV_2B,
    LTXV_13B,
    LUMINA2,
    PIXART,
    QWEN_IMAGE,
    SD3_5_LARGE,
    SD3_5_MEDIUM,
    SD3_MEDIUM,
    WAN_5B,
    WAN_14B,
    WAN_VACE_14B,
    Z_IMAGE,
)
from .core import presets
from .core.architecture import Architecture
from .core.cost import relative_cost, schedule_macs
from .core.schedule import Schedule

FOLDER = Path(__file__).resolve().parent.parent / "schedules"
# FORA alone, at the steps these are usually sampled with.
USUAL_STEPS = (
    (CHROMA, 28),
    (CHROMA_RADIANCE, 28),
    (QWEN_IMAGE, 20),
    (SD3_MEDIUM, 28),
    (SD3_5_MEDIUM, 28),
    (SD3_5_LARGE, 28),
    (WAN_14B, 20),
    (WAN_5B, 20),  # and the 1.3B model, which has as many blocks
    (WAN_VACE_14B, 20),
    (HUNYUAN_VIDEO, 20),  # and HunyuanImage
    (HUNYUAN_VIDEO_1_5, 20),
    (LTXV_2B, 30),
    (LTXV_13B, 30),
    (COSMOS_PREDICT2_2B, 35),
    (COSMOS_PREDICT2_14B, 35),
    (AURAFLOW, 25),
    (HIDREAM, 28),
    (HUNYUAN_DIT, 25),
    (LUMINA2, 25),
    (Z_IMAGE, 28),  # not its Turbo, which takes 8
)

EVERY_AND_STEPS = tuple((every, steps) for steps in (20, 28, 50) for every in (2, 3, 4, 5))
ANY_MODEL = tuple(f"any-model/fora-{every}-{steps}-steps" for every, steps in EVERY_AND_STEPS)


def builtin_schedules() -> dict[str, Schedule]:
    """Library name -> schedule, with provenance and its analytic cost for one image or film."""
    found = {}
    for schedule, preset, settings in _presets():
        architecture = schedule.architecture
        workload = architecture.native_workload(batch=1)
        cost: dict[str, Any] = {
            "name": "macs",
            "value": schedule_macs(schedule, workload).total,
            "fraction_of_uncached": relative_cost(schedule, workload),
            "batch": workload.batch,
            "width": workload.width,
            "height": workload.height,
            "text_tokens": architecture.text_tokens,
        }
        if workload.frames > 1:
            cost["frames"] = workload.frames
        info = {"objectives": [cost], "provenance": provenance(preset, settings)}
        found[f"{architecture.id}/{schedule.name}"] = replace(schedule, info=info)
    return found


def for_any_model(architecture: Architecture) -> dict[str, Schedule]:
    """Library name -> schedule: FORA is the same for every model, so it needs no file.

    `ANY_MODEL` has the names.
    """
    found = {}
    for (every, steps), name in zip(EVERY_AND_STEPS, ANY_MODEL, strict=True):
        info = {"provenance": provenance("fora", {"every": every})}
        found[name] = replace(presets.fora(architecture, steps, every), info=info)
    return found


def provenance(preset: str, settings: dict[str, int]) -> dict[str, Any]:
    return {"tool": "ComfyUI-ECAD", "preset": preset, "settings": settings}


def _presets() -> Iterator[tuple[Schedule, str, dict[str, int]]]:
    for architecture in (PIXART, FLUX):
        for steps in (20, 28):
            for every in (2, 3, 4, 5):
                yield presets.fora(architecture, steps, every), "fora", {"every": every}
            yield presets.fora_attention(architecture, steps, 2), "fora_attention", {"every": 2}
            if architecture is PIXART:
                gate = steps // 2
                yield presets.tgate(architecture, steps, gate), "tgate", {"gate_step": gate}
    for architecture, steps in (*USUAL_STEPS, (EMOJI_PIXART, 20), (EMOJI_FLUX, 20)):
        for every in (2, 3, 4, 5):
            yield presets.fora(architecture, steps, every), "fora", {"every": every}
