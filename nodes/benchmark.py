"""The node that measures schedules and other caches thoroughly, and writes a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from comfy_api.latest import io
from PIL import Image

from ..ecad_search.benchmark.summary import shown_samples, summarised
from ..ecad_search.core.front import Front, FrontPoint
from ..ecad_search.core.schedule import Schedule
from ..ecad_search.core.schedule_json import write_atomically
from ..ecad_search.errors import EcadError, StorageError
from ..ecad_search.scorers.scorer import Scorer
from .compare_schedules import device_name
from .host.benchmark import BenchmarkRun, Column, SeesFeatures, columns_of
from .host.latency_batches import Seconds, batch_sizes
from .host.paths import output_name, result_name_problem, result_path
from .host.pictures import as_image
from .host.progress import NodeProgress
from .host.reference_pictures import ReferencePictures
from .host.rendering import EncodedCalibration, Renderer, SamplerSettings
from .host.schema import schema
from .types import (
    CalibrationType,
    FeaturesType,
    FrontType,
    SamplerSettingsType,
    ScheduleType,
    ScorerType,
)


class Benchmark(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        scorers = [
            ScorerType.Input(
                f"scorer_{letter}", optional=True, tooltip="Another scorer to judge with."
            )
            for letter in "bc"
        ]
        schedules = [
            ScheduleType.Input(
                f"schedule_{letter}", optional=True, tooltip="A schedule to measure as a column."
            )
            for letter in "abc"
        ]
        models = [
            io.Model.Input(
                f"model_{letter}",
                optional=True,
                tooltip=(
                    "The same model with another cache on it, of this pack or another, to measure "
                    "as a column."
                ),
            )
            for letter in "bc"
        ]
        names = [
            io.String.Input(
                f"name_{letter}",
                default=f"model {letter}",
                optional=True,
                tooltip=f"What the column of model_{letter} is called.",
            )
            for letter in "bc"
        ]
        return schema(
            node_id="ECAD_Benchmark",
            display_name="ECAD Benchmark",
            category="ECAD",
            description=(
                "Measures schedules and other caches beside the uncached model on many prompts: "
                "latency, MACs, memory, scores with confidence intervals and paired tests. Writes "
                "a report into output/ecad/<name>; queued again, it goes on where it stopped."
            ),
            search_aliases=["benchmark", "measure", "latency", "report", "compare caches"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model, without a schedule on it."),
                io.Vae.Input("vae", tooltip="Decodes the pictures."),
                CalibrationType.Input(
                    "prompts", tooltip="Prompts and seeds that no search has seen; 100 or more."
                ),
                SamplerSettingsType.Input(
                    "sampler_settings",
                    tooltip="How to sample. Schedules of other step counts are resampled.",
                ),
                ScorerType.Input("scorer", tooltip="What quality is; the plot shows this one."),
                io.Int.Input(
                    "picks",
                    default=4,
                    min=0,
                    max=20,
                    tooltip=(
                        "How many schedules of the front to measure: the best between the costs of "
                        "FORA 2 and FORA 3, of FORA 3 and FORA 4, and so on; then the knee."
                    ),
                ),
                io.Boolean.Input(
                    "fora", default=True, tooltip="Measure FORA 2 to 5 (hand-made schedules) too."
                ),
                io.Int.Input(
                    "grid_rows",
                    default=6,
                    min=1,
                    max=64,
                    tooltip="Samples in the picture grid: the worst and those around the median.",
                ),
                io.String.Input(
                    "name",
                    default="benchmark",
                    tooltip=(
                        "Folder in output/ecad. A benchmark of the same settings that is there is "
                        "gone on with."
                    ),
                ),
                FrontType.Input("front", optional=True, tooltip="The result of a search."),
                *schedules,
                *models,
                *names,
                *scorers,
                FeaturesType.Input(
                    "features",
                    optional=True,
                    tooltip=(
                        "What the Frechet distances are measured in, from ECAD Inception Features "
                        "for FID. Without it the first scorer that has features gives them."
                    ),
                ),
                io.String.Input(
                    "reference_folder",
                    default="",
                    optional=True,
                    tooltip=(
                        "A folder of pictures in ComfyUI's input folder, such as photographs of "
                        "the same prompts: the Frechet distance to them is measured as well. "
                        "Empty: to the uncached pictures alone."
                    ),
                ),
                io.String.Input(
                    "latency_batches",
                    default="",
                    optional=True,
                    tooltip=(
                        "How many pictures to sample at once for a second table of times, such as "
                        "1, 4. Empty: the batch of the sampler settings alone."
                    ),
                ),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="The results as text."),
                io.String.Output(display_name="json", tooltip="The results as JSON."),
                io.Image.Output(
                    display_name="plot", tooltip="The measured schedules: quality against cost."
                ),
                io.Image.Output(
                    display_name="grid", tooltip="Worst and median samples under each column."
                ),
                FrontType.Output(
                    display_name="front", tooltip="The measured schedules with their new quality."
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        name: str | None = None,
        reference_folder: str | None = None,
        latency_batches: str | None = None,
    ) -> bool | str:
        try:
            if reference_folder and reference_folder.strip():
                ReferencePictures.of(reference_folder.strip())
            batch_sizes(latency_batches or "")
        except EcadError as error:
            return str(error)
        return True if name is None else result_name_problem(name) or True

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        prompts: EncodedCalibration,
        sampler_settings: SamplerSettings,
        scorer: Scorer,
        picks: int,
        fora: bool,
        grid_rows: int,
        name: str,
        front: Front | None = None,
        schedule_a: Schedule | None = None,
        schedule_b: Schedule | None = None,
        schedule_c: Schedule | None = None,
        model_b: Any = None,
        model_c: Any = None,
        name_b: str = "model b",
        name_c: str = "model c",
        scorer_b: Scorer | None = None,
        scorer_c: Scorer | None = None,
        features: SeesFeatures | None = None,
        reference_folder: str = "",
        latency_batches: str = "",
    ) -> io.NodeOutput:
        from ..ecad_search.drawing.front_plot import front_plot

        sizes = batch_sizes(latency_batches)
        renderer = Renderer(model, vae, prompts, sampler_settings)
        columns = columns_of(
            renderer,
            front=front,
            picks=picks,
            fora=fora,
            given=[s for s in (schedule_a, schedule_b, schedule_c) if s is not None],
            models=[(n, m) for n, m in ((name_b, model_b), (name_c, model_c)) if m is not None],
        )
        scorers = [s for s in (scorer, scorer_b, scorer_c) if s is not None]
        node_id = cls.hidden.unique_id if cls.hidden else None
        progress = NodeProgress(node_id, len(columns) * len(prompts.prompts.samples) + 1)

        def on_images(done: float, line: str) -> None:
            progress.update(done)
            progress.text(line)
            progress.event("ecad.benchmark", {"done": done, "line": line})

        folder = reference_folder.strip()
        run = BenchmarkRun(
            renderer,
            columns,
            scorers,
            result_path(name),
            on_images,
            features=features,
            reference=ReferencePictures.of(folder) if folder else None,
        )
        try:
            run.measure()
            latencies = run.latencies(sizes, device_name())
            summary = summary_of(run, name, reference=run.reference_features(), latencies=latencies)
        finally:
            for each in scorers:
                each.unload()
            if features is not None:
                features.unload()
        points = measured_points(run.columns, summary, front)
        info = {"benchmark": name, "scorer": scorer.name}
        measured = Front.of(points, info)
        # The plot shows what is dominated on these prompts as well.
        plot, grid = front_plot(Front(tuple(points), info)), grid_of(run, summary, grid_rows)
        text = write_report(run, summary, measured, plot, grid)
        progress.update(progress.total)
        shown = [
            {"filename": path.name, "subfolder": path.parent.as_posix(), "type": "output"}
            for path in (Path(output_name(run.folder / f)) for f in ("plot.png", "grid.png"))
        ]
        return io.NodeOutput(
            text,
            json.dumps(summary, indent=1),
            as_image(plot),
            as_image(grid),
            measured,
            ui={"text": (text,), "images": shown, "ecad_benchmark": (summary,)},
        )


def summary_of(
    run: BenchmarkRun,
    name: str,
    *,
    reference: npt.NDArray[np.float32] | None = None,
    latencies: Seconds | None = None,
) -> dict[str, Any]:
    """What was measured; `reference` and `latencies` are as `run` gives them."""
    renderer = run.renderer
    prompts, settings = renderer.calibration.prompts, renderer.settings
    scorers = [scorer.name for scorer in run.scorers]
    numbers = [sample.prompt_index for sample in prompts.samples]
    return {
        "format": "ecad-benchmark-summary",
        "version": 1,
        "name": name,
        "architecture": renderer.architecture.id,
        "model": renderer.architecture.describe(),
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
        "prompts": {
            "source": prompts.source,
            "prompts": len(prompts.prompts),
            "seeds_per_prompt": prompts.seeds_per_prompt,
            "seed": prompts.seed,
            "samples": len(prompts.samples),
            "measured": len(run.record.samples()),
        },
        "scorers": scorers,
        "compares_itself": [scorer.name for scorer in run.scorers if scorer.needs_reference],
        "features": run.features.name if run.features is not None else "",
        "reference": (
            {"folder": run.reference.name, "pictures": len(run.reference.files)}
            if run.reference is not None
            else None
        ),
        "rows": summarised(
            run.record,
            [c.facts for c in run.columns],
            scorers,
            numbers,
            reference=reference,
        ),
        "latencies": [
            {"batch": size, "seconds": seconds} for size, seconds in (latencies or {}).items()
        ],
    }


def measured_points(
    columns: Sequence[Column], summary: dict[str, Any], front: Front | None
) -> list[FrontPoint]:
    """The columns that are schedules of this model, by the first scorer; cheapest first."""
    known = {} if front is None else {point.schedule.key: point.schedule for point in front}
    points = []
    for column, row in zip(columns, summary["rows"], strict=True):
        found = row["scores"][summary["scorers"][0]]
        if column.schedule is None or row["relative_macs"] is None or found["mean"] is None:
            continue
        difference = found["difference"] or 0.0
        points.append(
            FrontPoint(
                schedule=known.get(row["key"], column.schedule),
                cost=row["relative_macs"],
                quality=difference,
                quality_stderr=found.get("stderr") or 0.0,
                samples=row["images"],
                mean_score=found["mean"],
                is_reference=column.facts.kind in ("uncached", "fora"),
            )
        )
    return sorted(points, key=lambda point: (point.cost, -point.quality, point.schedule.key))


def write_report(
    run: BenchmarkRun, summary: dict[str, Any], front: Front, plot: Image.Image, grid: Image.Image
) -> str:
    """Write report.md and what lies beside it; gives the table for the node."""
    from ..ecad_search.benchmark import report

    samples = run.renderer.calibration.prompts.samples
    rows = report.sample_rows(
        run.record, summary["scorers"], [s.prompt for s in samples], [s.seed for s in samples]
    )
    try:
        plot.save(run.folder / "plot.png")
        grid.save(run.folder / "grid.png")
    except OSError as error:
        raise StorageError(
            f"The report cannot be written into '{run.folder.name}' of output/ecad "
            f"({error.strerror or error}); make room or choose another name."
        ) from error
    texts = {
        "report.md": report.markdown(summary, plot=True, grid=True),
        "summary.json": json.dumps(summary, indent=1) + "\n",
        "samples.csv": report.as_csv(rows),
        "samples.json": json.dumps(rows, indent=1) + "\n",
    }
    for file, text in texts.items():
        write_atomically(run.folder / file, text)
    front.save(run.folder / "front.json")
    return report.summary_table(summary)


def grid_of(run: BenchmarkRun, summary: dict[str, Any], count: int) -> Image.Image:
    from ..ecad_search.drawing.grid import picture_grid

    names = [column.name for column in run.columns]
    shown = shown_samples(run.record, names, summary["scorers"][0], count)
    samples = run.renderer.calibration.prompts.samples
    labels = [
        f"{row['name']}\n{row['speedup']:.2f}x faster"
        if row["kind"] != "uncached"
        else f"{row['name']}\n{row['seconds']:.3g} s an image"
        for row in summary["rows"]
    ]
    return picture_grid(
        [[run.picture(sample, name) for name in names] for _, sample in shown],
        [f"{why}: {samples[sample].prompt}" for why, sample in shown],
        labels,
    )
