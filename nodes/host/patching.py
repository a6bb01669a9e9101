"""Binds a schedule to a MODEL through the host's run-scoped wrappers, and nothing else of the host.

    OUTER_SAMPLE     the state of a sampling is born here and freed here
      PREPARE_SAMPLING the model is about to be loaded: make room for what will be stored
      SAMPLER_SAMPLE   the model is loaded: find its modules, put the shims on, take them off
        PREDICT_NOISE    one evaluation: its noise level says which row of the schedule is due
          CALC_COND_BATCH  each conditioning once: a guider may ask for more rounds, or for windows
            APPLY_MODEL      one forward pass: which streams are in its batch

Only the frozen `CacheConfig` is captured when the node runs. Everything else lives as long as the
sampling, so a cancelled, failed, second or differently sized run starts from nothing.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP

from ...ecad_search import architectures
from ...ecad_search.core.architecture import Architecture, CallInputs, Dimensions, family_of
from ...ecad_search.core.schedule import Schedule
from ...ecad_search.engine.cache_place import PLACES
from ...ecad_search.engine.report import RunReport
from ...ecad_search.engine.rounds import Stream
from ...ecad_search.engine.run import Run, require_runnable, synchronize
from ...ecad_search.engine.self_check import call_model
from ...ecad_search.engine.shims import shimmed
from ...ecad_search.engine.sigma_steps import span_on
from ...ecad_search.errors import ModelMismatchError
from .pixart_small_latents import small_latents_fixed

KEY = "ecad"
CACHE_DEVICES = tuple(PLACES)
log = logging.getLogger("ComfyUI-ECAD")

# Measured on every sampler of the host: these evaluate the model once per step, in order.
ONE_EVALUATION_PER_STEP = frozenset(
    f"sample_{name}"
    for name in (
        "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp lms dpmpp_2m dpmpp_2m_cfg_pp "
        "dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde "
        "dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis res_multistep res_multistep_cfg_pp "
        "res_multistep_ancestral res_multistep_ancestral_cfg_pp gradient_estimation "
        "gradient_estimation_cfg_pp er_sde sa_solver unipc unipc_bh2"
    ).split()
)
# And these go back and forth, or choose noise levels of their own.
IRREGULAR = {
    "sample_heunpp2": "heunpp2",
    "sample_dpm_fast": "dpm_fast",
    "dpm_fast_function": "dpm_fast",
    "sample_dpm_adaptive": "dpm_adaptive",
    "dpm_adaptive_function": "dpm_adaptive",
}
OTHER_CACHES = (
    "easycache lazycache teacache magcache meancache cachedit cache_dit wavespeed fbcache "
    "first_block_cache taylorseer smoothcache spectrum"
).split()


@dataclass(frozen=True)
class CacheOptions:
    """`fix_small_latents`: let PixArt sample at 256 px, where the host divides by zero.

    `quiet`: no line in the log, for a search that samples thousands of times. `cache_device`: where
    stored values lie, "gpu" (beside the model) or "cpu" (main memory, copied in the background).
    """

    fix_small_latents: bool = False
    quiet: bool = False
    cache_device: str = "gpu"


class Twin(Protocol):
    """Is told of the uncached sampling that follows each cached one."""

    def step(self, step: int, x0: Any, x: Any, steps: int) -> None:
        """Called as the host calls a sampler's callback, after each of its steps."""

    def done(self, cached: Any, uncached: Any, seconds: float) -> None:
        """Both latents as the sampler gives them, and what the uncached one took."""


@dataclass(frozen=True)
class CacheConfig:
    """What the node decided; all that outlives a sampling."""

    schedule: Schedule
    options: CacheOptions
    on_report: Callable[[RunReport], None] | None
    on_plan: Callable[[int], None] | None = None
    run: type[Run] = Run
    twin: Twin | None = None


def apply_schedule(
    model: comfy.model_patcher.ModelPatcher,
    schedule: Schedule,
    *,
    options: CacheOptions = CacheOptions(),
    on_report: Callable[[RunReport], None] | None = None,
    on_plan: Callable[[int], None] | None = None,
    run: type[Run] = Run,
    twin: Twin | None = None,
) -> comfy.model_patcher.ModelPatcher:
    """A clone of `model` whose samplings follow `schedule`; `on_report` is told after each of them.

    `on_plan` is told before each how many bytes it is going to hold; `run` holds their state. With
    a `twin` each is sampled once more from the same start, uncached; the model gives the cached
    one. A schedule applied before is replaced. Raises ModelMismatchError when it does not fit.
    """
    require_runnable(schedule)
    schedule.require_fit(detect_architecture(model))
    config = CacheConfig(schedule, options, on_report, on_plan, run, twin)
    patched = without_schedule(model)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, OuterSample(config))
    patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, prepare_sampling)
    patched.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, sampler_sample)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
    patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, calc_cond_batch)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, apply_model)
    return patched


def without_schedule(
    model: comfy.model_patcher.ModelPatcher,
) -> comfy.model_patcher.ModelPatcher:
    """A clone of `model` that computes everything."""
    plain = model.clone()
    for wrapper in (
        WrappersMP.OUTER_SAMPLE,
        WrappersMP.PREPARE_SAMPLING,
        WrappersMP.SAMPLER_SAMPLE,
        WrappersMP.PREDICT_NOISE,
        WrappersMP.CALC_COND_BATCH,
        WrappersMP.APPLY_MODEL,
    ):
        plain.remove_wrappers_with_key(wrapper, KEY)
    return plain


def cached_schedule(model: comfy.model_patcher.ModelPatcher) -> Schedule | None:
    """The schedule applied to a MODEL, or None."""
    wrappers = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    return wrappers[-1].config.schedule if wrappers else None  # pyright: ignore[reportFunctionMemberAccess]


def detect_architecture(model: comfy.model_patcher.ModelPatcher) -> Architecture:
    """The architecture of a MODEL; ModelMismatchError when its components cannot be reused."""
    return architecture_of(model.get_model_object("diffusion_model"))


def architecture_of(diffusion_model: Any) -> Architecture:
    architecture = architectures.detect(diffusion_model)
    if architecture is None:
        named = [f.display_name for f in architectures.FAMILIES if f.group_names]
        raise ModelMismatchError(
            f"This model is a {type(diffusion_model).__name__}, whose components cannot be reused; "
            f"load one of {', '.join(named)}, or a transformer whose blocks lie in a list."
        )
    return architecture


class LatentPatch(NamedTuple):
    """How many latent cells make one token: frames, and rows or columns."""

    frames: int
    side: int

    @classmethod
    def of(cls, diffusion_model: Any) -> LatentPatch:
        side = getattr(diffusion_model, "patch_spatial", None)
        if isinstance(side, int):  # Cosmos
            return cls(int(diffusion_model.patch_temporal), side)
        size = getattr(diffusion_model, "patch_size", 1)
        if isinstance(size, int):
            return cls(1, size)
        sides = tuple(int(side) for side in size)
        return cls(sides[0] if len(sides) == 3 else 1, sides[-1])

    def tokens(self, latent: Any) -> int:
        """Of one row of a latent (N, C, rows, columns) or (N, C, frames, rows, columns)."""
        return self.tokens_of(latent.shape[1:])

    def tokens_of(self, shape: Sequence[int]) -> int:
        """Of a latent (C, rows, columns), (C, frames, rows, columns) or (C, length)."""
        frames = shape[1] if len(shape) == 4 else 1
        rows, columns = shape[-2:] if len(shape) > 2 else (1, shape[-1])
        return -(-frames // self.frames) * -(-rows // self.side) * -(-columns // self.side)


class Sampling:
    """One sampling of a guider, from OUTER_SAMPLE to its end. Travels in transformer_options."""

    def __init__(self, config: CacheConfig, *, uncached: bool = False) -> None:
        self.config = config
        self.uncached = uncached
        self.run: Run | None = None
        self.models: tuple[Any, ...] = ()  # the BaseModels whose modules have the shims
        self.patch = LatentPatch(1, 1)
        self.inputs = CallInputs()
        self.sampler: Any = None
        self.sigmas: Any = None
        self.latent_shape: tuple[int, ...] = ()
        self.cfg = 0.0  # 1: the host leaves out the negative prompt; 0: the guider has none
        self.both_predictions = False  # but not with this option
        self.seconds = 0.0

    def __deepcopy__(self, memo: dict) -> Sampling:
        """Nodes that deep-copy model_options in the middle of a sampling still belong to it."""
        return self

    def close(self, *, finished: bool) -> None:
        run, self.run, self.models = self.run, None, ()
        if run is None:
            return
        run.close()
        report = run.report(self.seconds, finished=finished)
        # an uncached schedule that runs uncached is no surprise
        asked_for = run.rows.all() and not run.refused
        level = logging.WARNING if report.messages and not asked_for else logging.INFO
        level = logging.DEBUG if self.config.options.quiet else level
        log.log(level, "ECAD: %s", report.line())
        if self.config.on_report is not None:
            try:
                self.config.on_report(report)
            except Exception:  # a finished picture is worth more than its report
                log.exception("ECAD: the run report could not be shown.")


OUTER_SAMPLE_ARGUMENTS = ("noise", "latent_image", "sampler", "sigmas")
CALLBACK = 5  # its place among them


@dataclass(frozen=True)
class OuterSample:
    config: CacheConfig

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config.twin is None:
            return self.sampled(executor, Sampling(self.config), args, kwargs)
        return self.sampled_twice(executor, self.config.twin, args, kwargs)

    def sampled_twice(self, executor: Any, twin: Twin, args: Any, kwargs: dict) -> Any:
        """The cached latent; `twin` gets both."""
        guider = executor.class_obj
        # What a sampling changes of what it is given:
        conds = {name: [dict(cond) for cond in given] for name, given in guider.conds.items()}
        random = torch.get_rng_state()
        cached = self.sampled(executor, Sampling(self.config), args, kwargs)
        try:
            guider.conds = conds
            plain = Sampling(self.config, uncached=True)
            if len(args) > CALLBACK:
                args = (*args[:CALLBACK], twin.step, *args[CALLBACK + 1 :])
            else:
                kwargs = {**kwargs, "callback": twin.step}
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(random)
                uncached = self.sampled(executor, plain, args, kwargs)
            twin.done(cached, uncached, plain.seconds)
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception:  # a finished picture is worth more than its comparison
            log.exception("ECAD: the uncached picture could not be made.")
        return cached

    def sampled(self, executor: Any, sampling: Sampling, args: Any, kwargs: dict) -> Any:
        guider = executor.class_obj
        given = {**dict(zip(OUTER_SAMPLE_ARGUMENTS, args, strict=False)), **kwargs}
        sampling.sampler, sampling.sigmas = given["sampler"], given["sigmas"]
        sampling.latent_shape = tuple(given["noise"].shape)
        sampling.cfg = float(getattr(guider, "cfg", 0.0) or 0.0)
        options_before = guider.model_options
        sampling.both_predictions = bool(options_before.get("disable_cfg1_optimization"))
        options = comfy.model_patcher.create_model_options_clone(options_before)
        options.setdefault("transformer_options", {})[KEY] = sampling
        guider.model_options = options
        finished = False
        try:
            result = executor(*args, **kwargs)
            finished = True
            return result
        finally:  # never `except`: an interrupt is a BaseException in newer hosts
            guider.model_options = options_before
            sampling.close(finished=finished)


def prepare_sampling(
    executor: Any, model: Any, noise_shape: Any, conds: dict, *args: Any, **kwargs: Any
) -> Any:
    """Let the host's memory manager know what the run will hold beside the model's weights.

    The host comes here before it knows how long the texts will be, so this is rather too much.
    """
    prepared = executor(model, noise_shape, conds, *args, **kwargs)
    sampling = sampling_in(kwargs.get("model_options", args[0] if args else None))
    if sampling is None or sampling.uncached or sampling.config.options.cache_device != "gpu":
        return prepared
    architecture = architectures.detect(model.model.diffusion_model)
    if architecture is None or not architecture.fits(sampling.config.schedule.architecture):
        return prepared  # an error that the run itself is going to tell
    run = new_run(sampling, model.model, architecture, sampling.sigmas, sampling.sampler)
    calls = calls_of(sampling, model.model, architecture, noise_shape, conds)
    usual = architecture.text_tokens + sum(architecture.side_tokens)
    calls = [(n, replace(d, text_tokens=max(d.text_tokens, usual))) for n, d in calls]
    # Twice: guidance runs two predictions in one call where they fit.
    room = run.planned_bytes(calls) + model.memory_required([2 * noise_shape[0], *noise_shape[1:]])
    management = comfy.model_management
    if management.get_free_memory(model.load_device) < room:
        management.free_memory(room, model.load_device)
    return prepared


def calls_of(
    sampling: Sampling, model: Any, architecture: Architecture, noise_shape: Any, conds: dict
) -> list[tuple[int, Dimensions]]:
    """The model calls of an evaluation, each with its number of streams, by noise and prompts."""
    one_prediction = sampling.cfg == 1.0 and not sampling.both_predictions
    patch = LatentPatch.of(model.diffusion_model)
    rows, *latent = noise_shape
    kinds = [
        Dimensions(
            hidden=architecture.hidden,
            batch=rows,
            image_tokens=patch.tokens_of(latent)
            + sum(patch.tokens(other) for other in cond.get("reference_latents") or ()),
            text_tokens=(architecture.text_tokens if (text := text_of(cond)) is None else text)
            + sum(architecture.side_tokens),
            side_tokens=architecture.side_tokens,
        )
        for name, given in conds.items()
        for cond in given or ()
        if not (one_prediction and name == "negative")
    ]
    # Equal ones go into one call.
    return [(n, replace(d, batch=n * rows)) for d, n in Counter(kinds).items()]


def text_of(cond: dict) -> int | None:
    """The length of a prompt: as the model gets it, or as it was encoded; None if it has none."""
    for text in (
        getattr((cond.get("model_conds") or {}).get("c_crossattn"), "cond", None),
        cond.get("cross_attn"),
    ):
        if text is not None:
            return text.shape[1]
    return None


def new_run(
    sampling: Sampling, model: Any, architecture: Architecture, sigmas: Any, sampler: Any
) -> Run:
    schedule, options = sampling.config.schedule, sampling.config.options
    function = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    levels = [float(sigma) for sigma in sigmas.tolist()]
    return sampling.config.run(
        schedule,
        architecture,
        sigmas=levels,
        itemsize=(getattr(model, "manual_cast_dtype", None) or model.get_dtype()).itemsize,
        span=span_of(model.model_sampling, levels, schedule.noise_levels),
        one_evaluation_per_step=function in ONE_EVALUATION_PER_STEP,
        irregular=IRREGULAR.get(function, ""),
        shape=sampling.latent_shape or None,
        keep=outside_malloc_graph,
        place=PLACES[options.cache_device](),
    )


def sampler_sample(
    executor: Any, guider: Any, sigmas: Any, extra_args: dict, *args: Any, **kwargs: Any
) -> Any:
    sampling = sampling_in(extra_args.get("model_options"))
    if sampling is None:
        return executor(guider, sigmas, extra_args, *args, **kwargs)
    if sampling.uncached:
        with ExitStack() as stack:
            if sampling.config.options.fix_small_latents:
                stack.enter_context(small_latents_fixed(guider.inner_model.diffusion_model))
            return timed(sampling, executor, guider, sigmas, extra_args, *args, **kwargs)
    # Clones of other nodes may have swapped the modules since apply_schedule, so look again.
    model = guider.inner_model
    models = (model, *models_of_other_devices(model, extra_args["model_options"]))
    diffusion_model = model.diffusion_model
    architecture = architecture_of(diffusion_model)
    schedule = sampling.config.schedule
    schedule.require_fit(architecture)
    run = new_run(sampling, model, architecture, sigmas, executor.class_obj)
    if sampling.config.on_plan is not None:
        shape = sampling.latent_shape
        calls = calls_of(sampling, model, architecture, shape, guider.conds)
        sampling.config.on_plan(run.planned_bytes(calls))
    run.messages.extend(other_caches(guider.model_options))
    sampling.patch = LatentPatch.of(diffusion_model)
    sampling.inputs = family_of(architecture).inputs(diffusion_model)
    sampling.run, sampling.models = run, models
    with ExitStack() as stack:
        for module in (other.diffusion_model for other in models):
            if sampling.config.options.fix_small_latents:
                stack.enter_context(small_latents_fixed(module))
            stack.enter_context(shimmed(run, module))
        return timed(sampling, executor, guider, sigmas, extra_args, *args, **kwargs)


def timed(
    sampling: Sampling, executor: Any, guider: Any, sigmas: Any, *args: Any, **kwargs: Any
) -> Any:
    """Go on with the sampling, and note what it took."""
    started = time.perf_counter()
    try:
        result = executor(guider, sigmas, *args, **kwargs)
        synchronize(sigmas.device)
        return result
    finally:
        sampling.seconds += time.perf_counter() - started


def predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any = None, *args: Any, **kwargs: Any
) -> Any:
    options = {} if model_options is None else model_options
    sampling = sampling_in(options)
    if sampling is None or sampling.run is None:
        return executor(x, timestep, options, *args, **kwargs)
    with sampling.run.evaluation(float(timestep.max()), x.device, tuple(x.shape)):
        return executor(x, timestep, options, *args, **kwargs)


def calc_cond_batch(
    executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: Any, **kwargs: Any
) -> Any:
    sampling = sampling_in(model_options)
    if sampling is None or sampling.run is None:
        return executor(model, conds, x, timestep, model_options, **kwargs)
    # The host leaves the option behind; `Rounds` looks at it where x is a part of the picture.
    window = model_options["transformer_options"].get("context_window")
    indices = getattr(window, "index_list", None)
    part = None if indices is None else (getattr(window, "dim", None), *indices)
    with sampling.run.round(tuple(x.shape), part):
        return executor(model, conds, x, timestep, model_options, **kwargs)


APPLY_MODEL_ARGUMENTS = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")


def apply_model(executor: Any, *args: Any, **kwargs: Any) -> Any:
    given = {**dict(zip(APPLY_MODEL_ARGUMENTS, args, strict=False)), **kwargs}
    options = given.get("transformer_options") or {}
    sampling = options.get(KEY)
    if sampling is None or sampling.run is None:
        return executor(*args, **kwargs)
    run, patch = sampling.run, sampling.patch
    x, text = given["x"], given.get("c_crossattn")
    latents = [x, *(latent for name in sampling.inputs.latents for latent in tensors(given, name))]
    sides = tuple(
        sum(side.shape[-2] for side in tensors(given, name)) for name in sampling.inputs.texts
    )
    dimensions = Dimensions(
        hidden=run.architecture.hidden,
        batch=x.shape[0],
        image_tokens=sum(patch.tokens(latent) for latent in latents),
        text_tokens=(run.architecture.text_tokens if text is None else text.shape[1]) + sum(sides),
        side_tokens=sides,
    )
    # Somebody else's copy of the modules has no shims.
    known = any(executor.class_obj is model for model in sampling.models)
    streams = streams_of(options) if known else ()
    call = run.model_call(
        streams,
        dimensions,
        shape=tuple(x.shape),
        network=network_of(options),
        device=x.device,
    )
    with call as made:
        interrupts = (comfy.model_management.InterruptProcessingException,)
        return call_model(executor, args, kwargs, made, dimensions, interrupts=interrupts)


def streams_of(transformer_options: dict) -> list[Stream]:
    uuids = transformer_options.get("uuids") or ()
    predictions = transformer_options.get("cond_or_uncond") or [0] * len(uuids)
    return [Stream(*pair) for pair in zip(uuids, predictions, strict=False)]


def network_of(transformer_options: dict) -> Any:
    """Which of the model's blocks and functions are replaced or patched for this call."""
    replaced = transformer_options.get("patches_replace") or {}
    patched = transformer_options.get("patches") or {}
    return (
        frozenset((kind, place) for kind, places in replaced.items() for place in places),
        frozenset((kind, len(patches)) for kind, patches in patched.items()),
    )


def tensors(arguments: dict, name: str) -> list[Any]:
    """An argument that is a tensor, a list of them or missing."""
    value = arguments.get(name)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def models_of_other_devices(model: Any, model_options: dict) -> Iterator[Any]:
    """The copies of `model` that a multi-GPU sampling (0.23) runs, each in a thread of its own.

    They have to follow the schedule as well: guidance enlarges the difference between its two
    predictions, so one of them computed and the other reused is worse than both reused.
    """
    for patcher in (model_options.get("multigpu_clones") or {}).values():
        if patcher.model is not model:
            yield patcher.model


def outside_malloc_graph() -> AbstractContextManager:
    """Where the host allows to allocate what outlives a block of the model.

    From about 0.34 on, some models run their blocks inside a graph of allocations that must all
    be freed when the block ends. Where none does, the module is not even loaded.
    """
    pause = getattr(sys.modules.get("comfy.model_prefetch"), "pause_malloc_graph", None)
    return nullcontext() if pause is None else pause()


def sampling_in(model_options: Any) -> Sampling | None:
    return (model_options or {}).get("transformer_options", {}).get(KEY)


def span_of(
    model_sampling: Any, sigmas: list[float], made_on: tuple[float, ...] = ()
) -> tuple[float, float]:
    """The part of the way from noise (0) to picture (1) a run covers.

    By the noise levels that the schedule was `made_on`, where it states them and they are of this
    kind of model; by the host's percent otherwise.
    """
    if len(sigmas) < 2 or sigmas[0] <= sigmas[-1]:
        return 0.0, 1.0
    if made_on and made_on[0] <= 1.001 * float(model_sampling.sigma_max):
        return span_on(made_on, sigmas)
    return percent_of(model_sampling, sigmas[0]), percent_of(model_sampling, sigmas[-1])


def percent_of(model_sampling: Any, sigma: float) -> float:
    """The inverse of the host's percent_to_sigma, which falls from 0 to 1, by bisection."""
    if sigma <= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if float(model_sampling.percent_to_sigma(middle)) > sigma:
            low = middle
        else:
            high = middle
    return low


def other_caches(model_options: dict) -> Iterator[str]:
    """A warning for each other pack that caches the same model; quality is anyone's guess then."""
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {})
    places = {str(key) for kinds in wrappers.values() for key in kinds}
    places |= {
        f"{getattr(wrapper, '__module__', '')}.{getattr(wrapper, '__qualname__', '')}"
        for kinds in wrappers.values()
        for wrapped in kinds.values()
        for wrapper in wrapped
    }
    single = model_options.get("model_function_wrapper")
    if single is not None:
        places.add(f"{getattr(single, '__module__', '')}.{getattr(single, '__qualname__', '')}")
    for name in OTHER_CACHES:
        if any(name in place.lower() for place in places):
            yield f"{name} is active on the same model; remove one of the two caches."
