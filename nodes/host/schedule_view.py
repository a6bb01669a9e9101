"""What the browser draws of schedules and fronts: JSON of a few kB, with the bits packed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ecad_search.core.architecture import Architecture
from ...ecad_search.core.cost import relative_cost
from ...ecad_search.core.front import Front, FrontPoint
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.liveness import predicted_bytes
from ...ecad_search.library import part

LONGEST_LINE = 160  # characters of one line about a schedule's origin


def schedule_output(schedule: Schedule) -> dict[str, tuple[dict[str, Any]]]:
    """A node's `ui` output that draws the schedule on the node."""
    return {"ecad_schedule": (schedule_view(schedule),)}


def schedule_view(schedule: Schedule) -> dict[str, Any]:
    """One schedule, with what is known before it runs: MACs and bytes at the model's native size.

    `bytes` is for one prompt at a time, as the node's text says it, and None for a model whose
    stored values have an unknown size.
    """
    architecture = schedule.architecture
    native = architecture.native_workload()
    known = not architecture.fingerprint
    return {
        **layout_view(architecture, schedule.steps),
        **bits_view(schedule),
        "speedup": 1 / relative_cost(schedule, native),
        "native": [native.width, native.height],
        "bytes": predicted_bytes(schedule, native, calls=(1,)) if known else None,
        "payload": schedule.payload,
        "origin": origin_lines(schedule.info),
    }


def front_view(front: Front, *, bits: bool) -> dict[str, Any]:
    """A front with all it takes to draw it and, with `bits`, each of its schedules."""
    if not front.points:
        return {"points": []}
    first = front.points[0].schedule
    members = {point.schedule.key for point in front.members}
    return {
        **layout_view(first.architecture, first.steps),
        "knee": front.pick_knee().schedule.key,
        "points": [
            {**point_view(point, bits=bits), "on_front": point.schedule.key in members}
            for point in front
        ],
    }


def point_view(point: FrontPoint, *, bits: bool) -> dict[str, Any]:
    return {
        **(bits_view(point.schedule) if bits else named(point.schedule)),
        "cost": point.cost,
        "seconds": point.seconds,
        "quality": point.quality,
        "quality_stderr": point.quality_stderr,
        "more_qualities": [[quality.mean, quality.stderr] for quality in point.more_qualities],
        "samples": point.samples,
        "is_reference": point.is_reference,
        "origin": origin_lines(point.schedule.info) if bits else [],
    }


def layout_view(architecture: Architecture, steps: int) -> dict[str, Any]:
    """What the bits of a schedule stand for."""
    return {
        "model": architecture.describe(),
        "fits": fits_key(architecture),
        "groups": groups_of(architecture),
        "steps": steps,
    }


def groups_of(architecture: Architecture) -> list[list[Any]]:
    """Name, number of blocks and names of components of each group."""
    return [
        [group.name, group.count, [component.name for component in group.components]]
        for group in architecture.groups
    ]


def fits_key(architecture: Architecture) -> str:
    """Equal for two architectures whose schedules fit each other, and for no others."""
    counts = ",".join(f"{name}={count}" for name, count in architecture.counts.items())
    return f"{architecture.family}:{counts}:{architecture.fingerprint}"


def named(schedule: Schedule) -> dict[str, Any]:
    return {"key": schedule.key, "name": schedule.name, "computed": schedule.computed_fraction}


def bits_view(schedule: Schedule) -> dict[str, Any]:
    """`compute` in hex: step by step, in the order of the cells, the first one the highest bit."""
    return {**named(schedule), "compute": np.packbits(schedule.compute).tobytes().hex()}


def origin_lines(info: Mapping[str, Any]) -> list[str]:
    """Where a schedule comes from, in short lines; nothing that its file does not say."""
    sampling, origin = part(info, "sampling"), part(info, "provenance")
    lines = [
        spoken(
            origin,
            preset="preset {}",
            mode="search, mode {}",
            generation="generation {}",
            origin="from {}",
            seed="seed {}",
            source_file="file {}",
            paper="{}",
        ),
        spoken(sampling, sampler="{}", scheduler="{}", cfg="CFG {}", guidance="guidance {}")
        + "".join(f" · {w} x {h} px" for w, h in [(sampling.get("width"), sampling.get("height"))]
                  if is_number(w) and is_number(h)),
        *map(objective_line, info.get("objectives") or []),
    ]  # fmt: skip
    if "resampled_from" in info:
        lines.append(f"stretched from {info['resampled_from']} steps")
    lines = [line.strip(" ·")[:LONGEST_LINE] for line in lines]
    return [line for line in lines if line]


def objective_line(objective: Any) -> str:
    if not isinstance(objective, Mapping) or objective.get("name") != "quality":
        return ""
    value, error = objective.get("value"), objective.get("stderr")
    if not is_number(value):
        return ""
    line = f"quality {value:+.4f}" + (f" ± {error:.4f}" if is_number(error) else "")
    return line + "".join(
        f" · {words.format(objective[name])}"
        for name, words in (("samples", "{} samples"), ("scorer", "{}"), ("prompts", "{}"))
        if is_plain(objective.get(name))
    )


def spoken(fields: Mapping[str, Any], **words: str) -> str:
    said = [form.format(fields[name]) for name, form in words.items() if is_plain(fields.get(name))]
    return " · ".join(said)


def is_plain(value: Any) -> bool:
    return (isinstance(value, str) and value != "") or is_number(value)


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)
