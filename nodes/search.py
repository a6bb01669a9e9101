"""The node that searches schedules for the connected model, sampler settings and scorer."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..ecad_search.comfyui.workflow import SearchWorkflow
from ..ecad_search.core.front import Front, FrontPoint
from ..ecad_search.core.schedule import Schedule
from ..ecad_search.core.schedule_json import write_atomically
from ..ecad_search.errors import SearchError
from ..ecad_search.evolution import quick
from ..ecad_search.evolution.journal import Journal
from ..ecad_search.evolution.search import Job, Search
from ..ecad_search.evolution.settings import COSTS, SearchSettings
from ..ecad_search.scorers.scorer import Scorer
from ..ecad_search.workers.pool import WorkerPool
from .host.cache_memory import cache_memory
from .host.evaluation import Evaluator, Pictures, UnusableResult, side_by_side
from .host.latency import measured_latency
from .host.paths import output_name, result_name_problem, result_path
from .host.picture_strips import PictureStrips
from .host.profiling import Profiler
from .host.progress import EVENT_SECONDS, NodeProgress, spoken_seconds, workflow_id
from .host.rendering import (
    EncodedCalibration,
    Renderer,
    SamplerSettings,
    is_out_of_memory,
    release_memory,
)
from .host.schedule_view import front_view
from .host.schema import field, schema
from .host.search_snapshots import SNAPSHOTS
from .host.workers import SharedEvaluator, SharedJob, worker_pool
from .types import CalibrationType, FrontType, SamplerSettingsType, ScheduleType, ScorerType

EVENT = "ecad.search"
SCHEDULES_SECONDS = 5.0  # between two events that carry the schedules of the front, some 50 kB
PROFILED_SAMPLES = 4
PROFILED_BUDGET = 6 * round(quick.IMAGES)  # images; a smaller budget is better spent on candidates
log = logging.getLogger("ComfyUI-ECAD")


class SearchNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_Search",
            display_name="ECAD Search",
            category="ECAD",
            description=(
                "Searches schedules that make this model faster at the least loss of quality, by "
                "rendering calibration pictures with and without reuse. Cancel keeps everything: "
                "queue the same graph again and it goes on; a finished search returns at once."
            ),
            search_aliases=["evolve", "optimize", "cache schedule", "speed up", "pareto"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo, io.Hidden.prompt],
            inputs=[
                io.Model.Input("model", tooltip="The model to speed up, without a schedule on it."),
                io.Vae.Input("vae", tooltip="Decodes the pictures that the scorer looks at."),
                CalibrationType.Input(
                    "calibration", tooltip="The prompts and seeds every candidate is judged on."
                ),
                SamplerSettingsType.Input(
                    "sampler_settings", tooltip="How you sample: a schedule is made for that."
                ),
                ScorerType.Input(
                    "scorer",
                    tooltip="What quality is. It is compared with the uncached run, pair by pair.",
                ),
                io.Int.Input(
                    "images",
                    default=1000,
                    min=2,
                    max=10_000_000,
                    tooltip=(
                        "Budget: pictures to render, the uncached ones included. At least twice "
                        "the calibration samples, better twenty times. A finished search goes on "
                        "when this is raised."
                    ),
                ),
                io.Combo.Input(
                    "mode",
                    options=["ecad+", "paper"],
                    default="ecad+",
                    tooltip=(
                        "ecad+ drops hopeless candidates after a few pictures. paper is the "
                        "published search with its own population and operators; needs far more."
                    ),
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,  # a new seed would be a new search
                    tooltip="Seed of the search itself; the pictures' seeds are the calibration's.",
                ),
                io.String.Input(
                    "journal",
                    default="",
                    tooltip=(
                        "Name of the journal in output/ecad. Empty: a name made from the model and "
                        "all settings, so changing any of them starts a new search."
                    ),
                ),
                ScheduleType.Input(
                    "start_from",
                    optional=True,
                    tooltip="A schedule to begin with, beside the built-in ones.",
                ),
                field(
                    io.Float,
                    "minutes",
                    default=0.0,
                    min=0.0,
                    max=100_000.0,
                    step=1.0,
                    round=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="Stop after this time of rendering and scoring. 0 is no limit.",
                ),
                field(
                    io.Int,
                    "generations",
                    default=0,
                    min=0,
                    max=1_000_000,
                    optional=True,
                    advanced=True,
                    tooltip="Stop after this many generations. 0 is no limit.",
                ),
                field(
                    io.Int,
                    "population",
                    default=0,
                    min=0,
                    max=10_000,
                    optional=True,
                    advanced=True,
                    tooltip="How many candidates may breed, 4 or more. 0 lets the mode choose.",
                ),
                field(
                    io.Int,
                    "offspring",
                    default=0,
                    min=0,
                    max=10_000,
                    optional=True,
                    advanced=True,
                    tooltip="New candidates in each generation. 0 lets the mode choose.",
                ),
                field(
                    io.Int,
                    "first_samples",
                    default=4,
                    min=2,
                    max=32,
                    optional=True,
                    advanced=True,
                    tooltip="ecad+: samples a new candidate gets before it is first judged.",
                ),
                field(
                    io.Float,
                    "confidence",
                    default=0.9,
                    min=0.5,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="ecad+: how sure to be that a candidate is worse before dropping it.",
                ),
                FrontType.Input(
                    "start_front",
                    optional=True,
                    tooltip="Schedules to begin with: of ECAD Quick Schedule or another search.",
                ),
                field(
                    io.Boolean,
                    "profile_first",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "ecad+: first measure what reuses change, with a tenth of the images (120 "
                        "at most), and begin with schedules made from that. Left out when the "
                        "budget is small."
                    ),
                ),
                field(
                    io.Int,
                    "largest_cache_mib",
                    default=0,
                    min=0,
                    max=10_000_000,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "ecad+: the most memory (MiB) that stored outputs may take for one picture "
                        "at a time. Schedules that would take more are not tried. 0 is no limit."
                    ),
                ),
                field(
                    io.Combo,
                    "cost",
                    options=list(COSTS),
                    default="macs",
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "What is to be saved. macs: arithmetic, the same on every machine. "
                        "seconds: time, as each component of this model takes it on this machine "
                        "at these sampler settings; measured first, in the time of a few pictures."
                    ),
                ),
                field(
                    io.Int,
                    "workers",
                    default=1,
                    min=1,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Processes that render at a time, each with a GPU of its own; more than 1 "
                        "needs Ray (pip install ray). The result does not depend on it."
                    ),
                ),
                field(
                    io.String,
                    "ray_address",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Ray cluster to use, such as ray-head:6379. Empty: this machine alone.",
                ),
                field(
                    io.Int,
                    "heat",
                    default=4,
                    min=1,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "ecad+: candidates that race at a time. More of them keep many workers "
                        "busy and cost some images. Changing it is another search."
                    ),
                ),
                *(
                    ScorerType.Input(
                        name,
                        optional=True,
                        tooltip=(
                            "Another scorer, as an objective of its own: the front has schedules "
                            "that please one or the other. Costs images; to weigh them against "
                            "each other yourself use ECAD Combine Scorers."
                        ),
                    )
                    for name in ("second_scorer", "third_scorer")
                ),
                field(
                    io.Int,
                    "patience",
                    default=0,
                    min=0,
                    max=10_000_000,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Stop when the area under the front has grown by less than half a percent "
                        "for this many images. 0 is never."
                    ),
                ),
            ],
            outputs=[
                FrontType.Output(
                    display_name="front", tooltip="The schedules found, from fast to faithful."
                ),
                io.String.Output(
                    display_name="front_path",
                    tooltip="The front's JSON file, inside ComfyUI's output folder.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, journal: str | None = "") -> bool | str:
        name = (journal or "").strip()
        return result_name_problem(name) or True if name else True

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        calibration: EncodedCalibration,
        sampler_settings: SamplerSettings,
        scorer: Scorer,
        images: int,
        mode: str,
        seed: int,
        journal: str,
        start_from: Schedule | None = None,
        minutes: float = 0.0,
        generations: int = 0,
        population: int = 0,
        offspring: int = 0,
        first_samples: int = 4,
        confidence: float = 0.9,
        start_front: Front | None = None,
        profile_first: bool = True,
        largest_cache_mib: int = 0,
        cost: str = "macs",
        workers: int = 1,
        ray_address: str = "",
        heat: int = 4,
        second_scorer: Scorer | None = None,
        third_scorer: Scorer | None = None,
        patience: int = 0,
    ) -> io.NodeOutput:
        settings = SearchSettings(
            mode=mode,
            seed=seed,
            images=images,
            minutes=minutes or None,
            generations=generations or None,
            patience=patience or None,
            population=population or None,
            offspring=offspring or None,
            first_block=first_samples,
            confidence=confidence,
            heat=heat,
            cost=cost,
            largest_cache_mib=largest_cache_mib or None,
        )
        renderer = Renderer(model, vae, calibration, sampler_settings)
        scorers = [scorer, *(s for s in (second_scorer, third_scorer) if s is not None)]
        identity = {**renderer.identity(), "scorer": scorer.name}
        if len(scorers) > 1:
            identity["more_scorers"] = [another.name for another in scorers[1:]]
        seeds = [] if start_from is None else [start_from]
        if start_front is not None:
            seeds += [p.schedule for p in start_front.members if not p.is_reference]
        profiled = profile_first and mode == "ecad+" and images >= PROFILED_BUDGET
        # Not `profiled`: a search begun with few images goes on when it is given more.
        wished = profile_first and mode == "ecad+"
        name = journal.strip() or default_name(identity, settings, seeds, wished)
        front_path = result_path(name, ".front.json")
        hidden = cls.hidden
        samples = len(calibration.prompts.samples)
        with Journal(result_path(name, ".jsonl"), identity) as records:
            if not records.was_begun_with(settings):  # else it is one of before, or not ecad+
                settings = settings.for_new(samples)
            run = SearchRun(
                search=Search(
                    settings,
                    renderer.architecture,
                    renderer.steps,
                    renderer.workload,
                    samples,
                    records,
                    seeds=seeds,
                    memory=cache_memory(renderer),
                    scorers=len(scorers),
                ),
                evaluator=Evaluator(renderer, scorer),
                scorers=scorers,
                progress=NodeProgress(cls.hidden.unique_id if cls.hidden else None, images),
                front_path=front_path,
                strips=PictureStrips(result_path(name, ".pictures")),
                name=name,
                workflow=workflow_id(cls.hidden.extra_pnginfo) if cls.hidden else None,
            )
            if hidden:  # only now: the journal of another search would have been refused
                keep_workflow(
                    result_path(name, ".workflow.json"), hidden.prompt, hidden.unique_id, name
                )
            if run.search.awaits_latency:
                run.time_components()
            if profiled and run.search.awaits_start:
                run.profile()
            hire = None
            if (workers > 1 or ray_address.strip()) and not run.search.finished:
                prompt, node = (hidden.prompt, hidden.unique_id) if hidden else (None, None)
                hire = partial(worker_pool, renderer, prompt, node, workers, ray_address)
            front = run.finish(hire)
        shown = {"text": (run.summary(),), "ecad_search": (run.payload(),)}
        return io.NodeOutput(front, output_name(front_path), ui=shown)


def default_name(
    identity: Mapping[str, Any],
    settings: SearchSettings,
    seeds: list[Schedule],
    profiled: bool = False,
) -> str:
    """A journal name that changes with everything that makes it another search."""
    parts = [identity, settings.hash, [schedule.key for schedule in seeds]]
    if profiled:
        parts.append("profiled")
    text = json.dumps(parts, sort_keys=True)
    return f"search-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(eq=False)
class SearchRun:
    """One queueing of the node: from where the journal stands to the end of the budget."""

    search: Search
    evaluator: Evaluator  # with the first of the scorers
    scorers: Sequence[Scorer]
    progress: NodeProgress
    front_path: Path
    strips: PictureStrips
    name: str = ""  # of the journal in output/ecad
    workflow: str | None = None  # so that another tab's node of the same number stays silent
    resumed_images: int = 0
    failed: int = 0
    saved: Front | None = None

    def time_components(self) -> None:
        """Let the search count in seconds, as this machine takes them."""
        started = time.perf_counter()
        renderer = self.evaluator.renderer

        def on_images(images: float) -> None:
            self.progress.update(images)
            self.progress.text("measuring how long the model's components take")

        latency, images = measured_latency(renderer, partial(made_on, renderer.sigmas), on_images)
        self.search.count_in(latency, images=images, seconds=time.perf_counter() - started)

    def profile(self) -> None:
        """Let the search begin with schedules made from a few measured reuses."""
        started = time.perf_counter()
        renderer = self.evaluator.renderer
        # one picture at a time, as the profile counts its work
        single = replace(renderer, settings=replace(renderer.settings, batch=1))
        samples = min(PROFILED_SAMPLES, self.search.n_samples)
        settings = self.search.settings
        minutes = settings.minutes

        def on_images(images: float, what: str) -> None:
            self.progress.update(images)
            self.progress.text(f"profile, {what}: {min(images / profiler.images, 1.0):.0%}")

        def lap() -> float:
            """Seconds since the last time it was asked for."""
            nonlocal started
            before, started = started, time.perf_counter()
            return started - before

        profiler = Profiler(
            single,
            samples,
            partial(made_on, renderer.sigmas),
            on_images,
            self.search.latency,
            images=quick.images_before(settings.images),
            seconds=None if minutes is None else quick.SEARCH_SHARE * 60 * minutes,
            known=self.search.profile_notes,
            on_note=lambda note: self.search.note_profile(note, seconds=lap()),
        )
        try:
            start = quick.start_of(*profiler.profile())
        except SearchError as error:  # such as more steps than a profile is for
            log.info("ECAD: the search begins without a profile: %s", error)
            return
        self.search.start_from(start, images=round(profiler.images), seconds=lap())

    def finish(self, hire: Callable[[], WorkerPool] | None = None) -> Front:
        """Work through the jobs that are left; returns the front, which is also on the disk.

        `hire` gives workers to share them out to.
        """
        self.resumed_images = self.search.progress.images
        self.report(force=True)
        try:
            if hire is None:
                while (job := self.search.ask()) is not None:
                    self.do(job)
            else:
                self.progress.text("starting the workers", force=True)
                with hire() as pool:
                    self.share(pool)
        finally:
            for scorer in self.scorers:
                scorer.unload()
            # Also when it was cancelled: its node has no output then, and what the page has counted
            # of the job that was cut off is lost.
            SNAPSHOTS.keep(self.workflow, self.progress.node_id, self.payload())
            self.report(force=True)
        front = self.save_front()
        log.info("ECAD: %s", self.summary())
        return front

    def do(self, job: Job) -> None:
        """Render and score one job, and write down what came of it."""
        done = self.search.progress.images
        started = time.perf_counter()
        schedule = made_on(self.evaluator.renderer.sigmas, job.candidate.schedule)

        def render() -> Pictures:
            return self.evaluator.pictures(
                schedule, job.samples, lambda images: self.step(done + images)
            )

        self.conclude(job, schedule, self.evaluator, render, lambda: time.perf_counter() - started)

    def share(self, pool: WorkerPool) -> None:
        """Have workers render the jobs, several at a time; judge them here."""
        evaluator = SharedEvaluator(
            self.evaluator.renderer, self.evaluator.scorer, self.evaluator.references, pool=pool
        )
        sigmas = self.evaluator.renderer.sigmas
        out: list[tuple[Job, Schedule, SharedJob]] = []
        started = time.perf_counter()

        def waited() -> float:  # since the last job was told: together they are the time that went
            nonlocal started
            before, started = started, time.perf_counter()
            return started - before

        while True:
            while evaluator.has_room and (job := self.search.ask()) is not None:
                schedule = made_on(sigmas, job.candidate.schedule)
                out.append((job, schedule, evaluator.begin(schedule, job.samples)))
            if not out:
                return
            evaluator.collect()
            self.step(self.search.progress.images + sum(shared.images for _, _, shared in out))
            for entry in [entry for entry in out if entry[2].complete]:
                out.remove(entry)
                job, schedule, shared = entry
                self.conclude(job, schedule, evaluator, shared.pictures, waited)

    def conclude(
        self,
        job: Job,
        schedule: Schedule,
        evaluator: Evaluator,
        render: Callable[[], Pictures],
        seconds: Callable[[], float],
    ) -> None:
        """Write down what the scorers say of what `render` gives, or why there is nothing."""
        try:
            pictures = render()
            scores = [
                evaluator.by(scorer).judged(schedule, job.samples, pictures)
                for scorer in self.scorers
            ]
        except UnusableResult as error:
            return self.fail(job, str(error))
        except Exception as error:
            # An interrupt passes through here on hosts where it is an Exception.
            if not is_out_of_memory(error):
                raise
            return self.fail(job, "out of memory")
        self.search.tell(job, *scores, seconds=seconds())
        if job.samples[0] == 0:  # every strip shows the same samples
            self.strips.see(job.candidate.key, pictures)
        if self.saved is None or self.search.front.content != self.saved.content:
            self.save_front()
        self.show(job, pictures)
        self.report()

    def fail(self, job: Job, reason: str) -> None:
        release_memory()
        self.failed += 1
        log.warning("ECAD: candidate %s failed: %s", job.candidate.key, reason)
        self.search.fail(job, reason)

    def save_front(self) -> Front:
        front = annotated(self.search.front, self.evaluator, self.scorers)
        front.save(self.front_path)
        self.strips.write(point.schedule.key for point in front)
        self.saved = self.search.front
        return front

    # --- what the user sees ----------------------------------------------------------------------

    def step(self, images: float) -> None:
        """After every sampling step: large models take minutes for one job."""
        self.progress.update(images)
        if self.progress.due("step", EVENT_SECONDS):
            self.report(images=int(images))

    def show(self, job: Job, pictures: Pictures) -> None:
        """Preview: the uncached picture beside the candidate's."""
        first = job.samples[0]
        reference = None
        if job.candidate.origin != "uncached":
            reference = self.evaluator.references.get(first)
        self.progress.update(
            self.search.progress.images, preview=side_by_side(reference, pictures[0])
        )

    def report(self, *, images: int | None = None, force: bool = False) -> None:
        whole = force or self.progress.due("schedules", SCHEDULES_SECONDS)
        payload = self.payload(bits=whole)
        if images is not None:  # in the middle of a job
            payload["images"] = images
        self.progress.text(self.line(payload["images"]), force=force)
        self.progress.event(EVENT, {**payload, "workflow_id": self.workflow}, force=whole)

    def line(self, images: int) -> str:
        now = self.search.progress
        parts = [f"generation {now.generation}", f"{images} of {now.images_budget} images"]
        if now.best is not None and now.best.cost < 1:
            parts.append(f"best {now.best.describe()}")
        if now.eta_seconds is not None and not self.search.finished:
            parts.append(f"{spoken_seconds(now.eta_seconds)} left")
        return " · ".join(parts)

    def payload(self, *, bits: bool = True) -> dict[str, Any]:
        """What a plot needs; the same in the event and in the node's ui output.

        Without `bits` the schedules themselves are left out of `front`.
        """
        now, front = self.search.progress, self.search.front
        return {
            "journal": self.name,
            "pictures": output_name(self.strips.folder),
            "scorers": [scorer.name for scorer in self.scorers],
            "generation": now.generation,
            "images": now.images,
            "images_budget": now.images_budget,
            "candidates": now.candidates,
            "best": None if now.best is None else described(now.best),
            "seconds": round(now.seconds, 2),
            "eta_seconds": None if now.eta_seconds is None else round(now.eta_seconds, 1),
            "finished": self.search.finished,
            "points": [[p.cost, p.quality, p.schedule.key] for p in front.members],
            "references": [[p.cost, p.quality, p.schedule.name] for p in front.references],
            "front": front_view(front, bits=bits),
        }

    def summary(self) -> str:
        now, front = self.search.progress, self.search.front
        rendered = now.images - self.resumed_images
        parts = [
            f"{len(front.members)} schedules on the front after {now.images} images, "
            f"{now.candidates} candidates and {now.generation} generations"
        ]
        if rendered < now.images:
            parts.append(f"{rendered} of the images rendered now, the others were in the journal")
        if now.best is not None:
            parts.append(f"knee: {now.best.describe()}")
        if self.failed:
            parts.append(f"{self.failed} candidates failed, see the log")
        return "; ".join(parts) + "."


def keep_workflow(path: Path, prompt: Any, node: str | None, name: str) -> None:
    """Write the graph that feeds the search beside its journal, so that it alone can be resumed."""
    if not isinstance(prompt, Mapping) or node not in prompt:  # called by another node, or a script
        return
    workflow = SearchWorkflow.of(dict(prompt), node, source="the graph")
    text = json.dumps(workflow.changed({"journal": name}).nodes, indent=1) + "\n"
    write_atomically(path, text)


def described(point: FrontPoint) -> dict[str, Any]:
    return {
        "key": point.schedule.key,
        "name": point.schedule.name,
        "cost": point.cost,
        "speedup": point.speedup,
        "quality": point.quality,
        "quality_stderr": point.quality_stderr,
        "more_qualities": [[quality.mean, quality.stderr] for quality in point.more_qualities],
    }


def made_on(sigmas: Any, schedule: Schedule) -> Schedule:
    """The schedule, said to be made on `sigmas`, (steps + 1,): each row is one of their steps.

    Without it a search on a part of the way (the sigmas of img2img) would have rows that no step
    ever takes.
    """
    sampling = {**schedule.info.get("sampling", {}), **stated(sigmas)}
    return replace(schedule, info={**schedule.info, "sampling": sampling})


def stated(sigmas: Any) -> dict[str, list[float]]:
    """Noise levels as a schedule file states them; nothing of a run that is not from noise down."""
    levels = [float(f"{level:.7g}") for level in sigmas.tolist()]  # as much as float32 holds
    falling = levels[0] > levels[-1] and levels == sorted(levels, reverse=True)
    return {"sigmas": levels} if falling else {}


def annotated(front: Front, evaluator: Evaluator, scorers: Sequence[Scorer]) -> Front:
    """The front whose schedules also say on which model and sampling they were found."""
    renderer = evaluator.renderer
    settings, calibration = renderer.settings, renderer.calibration
    sampling: dict[str, Any] = {
        "sampler": settings.sampler,
        "scheduler": settings.scheduler if settings.sigmas is None else "sigmas",
        "cfg": settings.cfg,
        "width": settings.width,
        "height": settings.height,
        **stated(renderer.sigmas),
    }
    if calibration.guidance:
        sampling["guidance"] = calibration.guidance
    identity = front.info.get("identity", {})
    found = {
        "sampling": sampling,
        "model": {"fingerprint": identity.get("model", ""), "family": renderer.architecture.family},
    }
    scored = {
        "prompts": calibration.prompts.source,
        "seeds_per_prompt": calibration.prompts.seeds_per_prompt,
    }

    def with_origin(point: FrontPoint) -> FrontPoint:
        names = iter([scorer.name for scorer in scorers])
        objectives = [
            {**objective, "scorer": next(names), **scored}
            if objective.get("name") == "quality"
            else objective
            for objective in point.schedule.info.get("objectives", [])
        ]
        info = {**point.schedule.info, **found, "objectives": objectives}
        return replace(point, schedule=replace(point.schedule, info=info))

    return Front(tuple(with_origin(point) for point in front), front.info)
