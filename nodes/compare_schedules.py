"""The node that checks a front on prompts it was not found on, against FORA and uncached."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
from comfy_api.latest import io, ui
from PIL import Image

from ..ecad_search.calibration import common_prompts
from ..ecad_search.core.front import Front, FrontPoint
from ..ecad_search.core.schedule import Schedule
from ..ecad_search.core.schedule_json import write_atomically
from ..ecad_search.errors import StorageError
from ..ecad_search.scorers.scorer import Scorer
from .host.comparison import (
    Contender,
    contenders,
    grid_columns,
    images_to_sample,
    known_calibration,
    sample_in_turn,
    score_all,
    score_calibration,
    summarised,
    table,
)
from .host.evaluation import Evaluator, as_pillow
from .host.paths import output_name, result_name_problem, result_path
from .host.pictures import as_image
from .host.progress import NodeProgress
from .host.rendering import EncodedCalibration, Renderer, SamplerSettings
from .host.schema import field, schema
from .types import CalibrationType, FrontType, SamplerSettingsType, ScheduleType, ScorerType


class CompareSchedules(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_CompareSchedules",
            display_name="ECAD Compare Schedules",
            category="ECAD",
            description=(
                "Measures schedules of a front on held-out prompts: score, and wall-clock against "
                "the uncached run and FORA, sampled in turn on the same prompts and seeds."
            ),
            search_aliases=["benchmark", "held-out", "speed-up", "measure", "table"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model, without a schedule on it."),
                io.Vae.Input("vae", tooltip="Decodes the pictures."),
                CalibrationType.Input(
                    "held_out", tooltip="Prompts and seeds that the search has not seen."
                ),
                SamplerSettingsType.Input(
                    "sampler_settings",
                    tooltip="How to sample. Schedules of other step counts are resampled.",
                ),
                ScorerType.Input("scorer", tooltip="What quality is."),
                FrontType.Input("front", tooltip="The result of a search."),
                io.Int.Input(
                    "picks",
                    default=3,
                    min=0,
                    max=20,
                    tooltip=(
                        "How many schedules of the front to compare: the best between the costs of "
                        "FORA 2 and FORA 3, of FORA 3 and FORA 4, and so on; then the knee."
                    ),
                ),
                io.Int.Input(
                    "rounds",
                    default=5,
                    min=1,
                    max=1000,
                    tooltip="Batches to time at least; the median of their speed-ups is shown.",
                ),
                io.Boolean.Input(
                    "save",
                    default=True,
                    tooltip="Write summary.json, front.json and grid.png into output/ecad/<name>.",
                ),
                io.String.Input(
                    "name", default="comparison", tooltip="Folder in output/ecad to save into."
                ),
                CalibrationType.Input(
                    "calibration",
                    optional=True,
                    tooltip=(
                        "The prompts of the search, to score on them what the front has no score "
                        "of. Takes time, and shows how much of a gain was fitted to the prompts."
                    ),
                ),
                ScheduleType.Input(
                    "schedule", optional=True, tooltip="One more schedule to compare."
                ),
                field(
                    io.Int,
                    "grid_rows",
                    default=4,
                    min=1,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="Samples to show in the picture grid.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="The comparison as text."),
                io.String.Output(display_name="json", tooltip="The comparison's rows as JSON."),
                io.Image.Output(
                    display_name="grid", tooltip="The same samples under each schedule."
                ),
                FrontType.Output(
                    display_name="front",
                    tooltip="The front; what was compared carries its held-out measurements.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return True if name is None else result_name_problem(name) or True

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        held_out: EncodedCalibration,
        sampler_settings: SamplerSettings,
        scorer: Scorer,
        front: Front,
        picks: int,
        rounds: int,
        save: bool,
        name: str,
        calibration: EncodedCalibration | None = None,
        schedule: Schedule | None = None,
        grid_rows: int = 4,
    ) -> io.NodeOutput:
        evaluator = Evaluator(Renderer(model, vae, held_out, sampler_settings), scorer)
        rows = contenders(evaluator.renderer, front, picks=picks, given=schedule)
        known_calibration(rows, front, scorer.name)
        folder = result_path(name) if save else None
        node_id = cls.hidden.unique_id if cls.hidden else None
        try:
            measure(evaluator, rows, calibration, rounds, node_id)
        finally:
            scorer.unload()
        summary = summary_of(evaluator, rows, front, calibration)
        text = table(summary["rows"])
        grid = grid_of(evaluator, rows, grid_rows)
        measured = annotated(front, rows, summary["rows"])
        shown: dict[str, Any] = {"text": (text,), "ecad_comparison": (summary,)}
        if folder is not None:
            save_all(folder, summary, measured, grid)
            path = Path(output_name(folder / "grid.png"))
            shown["images"] = [
                {"filename": path.name, "subfolder": path.parent.as_posix(), "type": "output"}
            ]
        else:
            shown |= ui.PreviewImage(as_image(grid), cls=cls).as_dict()
        return io.NodeOutput(
            text, json.dumps(summary, indent=1), as_image(grid), measured, ui=shown
        )


def measure(
    evaluator: Evaluator,
    rows: Sequence[Contender],
    calibration: EncodedCalibration | None,
    rounds: int,
    node_id: str | None,
) -> None:
    """Fill the rows: sample in turn, then decode and score, then what the front does not know."""
    renderer = evaluator.renderer
    total = images_to_sample(renderer, rows, rounds)
    more = 0
    if calibration is not None:
        unknown = sum(row.calibration_mean is None for row in rows)
        more = (unknown + 1) * len(calibration.prompts.samples) if unknown else 0
    progress = NodeProgress(node_id, total + more + 1)

    def on_images(done: float, name: str) -> None:
        progress.update(done)
        progress.text(f"{name}, {done:.0f} of {total + more} images")

    sample_in_turn(renderer, rows, rounds=rounds, on_images=on_images)
    progress.text("scoring", force=True)
    score_all(evaluator, rows)
    if calibration is not None:
        other = Renderer(renderer.model, renderer.vae, calibration, renderer.settings)
        score_calibration(
            Evaluator(other, evaluator.scorer),
            rows,
            lambda done, name: on_images(total + done, name),
        )
    progress.update(progress.total)


def summary_of(
    evaluator: Evaluator,
    rows: Sequence[Contender],
    front: Front,
    calibration: EncodedCalibration | None,
) -> dict[str, Any]:
    renderer = evaluator.renderer
    prompts, settings = renderer.calibration.prompts, renderer.settings
    summary: dict[str, Any] = {
        "format": "ecad-comparison",
        "version": 1,
        "architecture": renderer.architecture.id,
        "device": device_name(),
        "sampling": {
            "steps": renderer.steps,
            "sampler": settings.sampler,
            "scheduler": settings.scheduler if settings.sigmas is None else "sigmas",
            "cfg": settings.cfg,
            "width": settings.width,
            "height": settings.height,
            "batch": settings.batch,
        },
        "scorer": evaluator.scorer.name,
        "held_out": {
            "source": prompts.source,
            "prompts": len(prompts.prompts),
            "seeds_per_prompt": prompts.seeds_per_prompt,
            "seed": prompts.seed,
            "samples": len(prompts.samples),
        },
        "search": {name: front.info[name] for name in ("search", "images") if name in front.info},
        "rows": [summarised(row, rows[0], renderer.workload) for row in rows],
    }
    if calibration is not None:
        shared = common_prompts(calibration.prompts.prompts, prompts.prompts)
        summary["prompts_in_both_sets"] = len(shared)
    return summary


def device_name() -> str:
    device = comfy.model_management.get_torch_device()
    named = getattr(comfy.model_management, "get_torch_device_name", None)
    return str(named(device)) if named is not None else str(device)


def grid_of(evaluator: Evaluator, rows: Sequence[Contender], count: int) -> Image.Image:
    """Samples down, schedules across."""
    from ..ecad_search.drawing.grid import picture_grid

    columns = grid_columns(rows)
    shown = range(min(count, len(evaluator.renderer.calibration.prompts.samples)))
    pictures = [
        [as_pillow(column.pictures[i]) for column in columns if column.pictures is not None]
        for i in shown
    ]
    labels = [
        f"{column.name}\n{statistics.median(column.speedups):.2f}x faster"
        if column.kind != "uncached"
        else f"{column.name}\n{statistics.median(column.seconds):.3g} s an image"
        for column in columns
    ]
    return picture_grid(pictures, evaluator.prompts(list(shown)), labels)


def annotated(
    front: Front, rows: Sequence[Contender], summaries: Sequence[dict[str, Any]]
) -> Front:
    """The front with held-out quality and measured speed-up in the files of what was compared."""
    measured = {}
    for row, summary in zip(rows, summaries, strict=True):
        found = [
            {
                "name": "quality_heldout",
                "value": summary["quality_heldout"],
                "stderr": summary["quality_heldout_stderr"],
                "samples": summary["images"],
            },
            {"name": "measured_speedup", "value": summary["speedup_measured"]},
        ]
        # A resampled schedule is another one than the front's.
        if row.point is not None and row.schedule.key == row.point.schedule.key:
            if not row.problem:
                measured[row.schedule.key] = found

    def with_measurements(point: FrontPoint) -> FrontPoint:
        found = measured.get(point.schedule.key)
        if found is None:
            return point
        names = {objective["name"] for objective in found}
        objectives = [
            objective
            for objective in point.schedule.info.get("objectives", [])
            if not (isinstance(objective, dict) and objective.get("name") in names)
        ]
        info = {**point.schedule.info, "objectives": [*objectives, *found]}
        return replace(point, schedule=replace(point.schedule, info=info))

    return Front(tuple(with_measurements(point) for point in front), front.info)


def save_all(folder: Path, summary: dict[str, Any], front: Front, grid: Image.Image) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        grid.save(folder / "grid.png")
    except OSError as error:
        raise StorageError(
            f"The comparison cannot be written into '{folder.name}' of output/ecad "
            f"({error.strerror or error}); choose another name or make the folder writable."
        ) from error
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    front.save(folder / "front.json")
