"""Quick schedules on real models of the real host: what is measured, and what comes out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

STEPS = 8
CFG_PP = ["euler_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep_cfg_pp"]


@pytest.fixture
def uninterrupted(comfy):
    yield
    comfy.model_management.interrupt_current_processing(False)


@pytest.fixture
def renderer_of(pack, tiny_vae, settings, small_of):
    """A Renderer of a small model of a family, with two prompts of its own."""

    def build(name="pixart", **changes):
        small = small_of(name, **({"flow": True} if name == "pixart" else {}))
        prompts = pack.module("ecad_search.calibration").CalibrationPrompts(
            ("a", "b"), 2, 0, "test"
        )
        rendering = pack.module("nodes.host.rendering")
        encoded = rendering.EncodedCalibration(
            prompts,
            (small.conditioning(1, 6), small.conditioning(2, 6)),
            small.conditioning(99, 6),
            "",
            0.0,
            "test",
        )
        side = small.shape[-1]
        changes = {"steps": STEPS, "batch": 1, "width": side, "height": side, **changes}
        return rendering.Renderer(small.model, tiny_vae(), encoded, settings(**changes))

    return build


@pytest.fixture
def profiler_of(pack):
    def build(renderer, samples=2, on_images=lambda images, what: None):
        made_on = partial(pack.module("nodes.search").made_on, renderer.sigmas)
        profiling = pack.module("nodes.host.profiling")
        return profiling.Profiler(renderer, samples, made_on, on_images)

    return build


@pytest.fixture
def quick_profiler_of(pack):
    def build(renderer, samples=2, on_images=lambda images, what: None):
        made_on = partial(pack.module("nodes.search").made_on, renderer.sigmas)
        profiling = pack.module("nodes.host.quick_profiling")
        return profiling.QuickProfiler(renderer, samples, made_on, on_images)

    return build


@pytest.fixture
def quick_schedule(pack, tiny_pixart, tiny_vae, calibration, settings):
    """Runs the node; keywords replace its inputs."""
    node = pack.module("nodes.quick_schedule").QuickSchedule

    def run(**changes):
        inputs = {
            "model": tiny_pixart(depth=2, flow=True),
            "vae": tiny_vae(),
            "calibration": calibration(),
            "sampler_settings": settings(steps=STEPS),
            "target_speedup": 1.5,
            "samples": 2,
        }
        with torch.inference_mode():
            return node.execute(**(inputs | changes))

    return run


def sampled(renderer, schedule, sample):
    (part,) = renderer.sample(renderer.model_with(schedule), (sample,))
    return part.latents


@pytest.mark.parametrize("name", ["pixart", "flux", "flux2"])
@pytest.mark.parametrize("sampler", ["euler", *CFG_PP])
def test_the_profiled_sampling_is_the_uncached_one_to_the_last_bit(
    renderer_of, profiler_of, name, sampler
):
    renderer = renderer_of(name, sampler=sampler, cfg=2.0)
    profiler = profiler_of(renderer)
    unit = np.arange(renderer.architecture.n_cells)
    shares = profiler.sample_uncached(0, 3, [unit == cell for cell in unit])
    assert torch.equal(sampled(renderer, None, 0), profiler.uncached[0].latent)
    assert len(unit) == len(shares)
    assert list(range(STEPS)) == [kept.step for kept in profiler.uncached[0].predictions]


@pytest.mark.parametrize("name", ["pixart", "flux", "flux2"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "heun", *CFG_PP])
def test_a_gap_measured_from_kept_predictions_is_the_whole_sampling_to_the_last_bit(
    pack, renderer_of, profiler_of, name, sampler
):
    quick = pack.module("ecad_search.evolution.quick")
    profiling = pack.module("nodes.host.profiling")
    renderer = renderer_of(name, sampler=sampler)
    profiler = profiler_of(renderer)
    profiler.sample_uncached(0, -1, [])
    n_units = int(quick.units(renderer.architecture).max()) + 1
    plan = quick.plan_of(renderer.architecture, STEPS, renderer.workload, np.arange(n_units) + 1.0)
    gaps = (quick.Gap(2, 2, 0), quick.Gap(5, 1, 1))
    measured = profiler.measured(plan, gaps, 0, "gaps")
    whole = sampled(renderer, plan.schedule(gaps), 0)
    expected = profiling.relative_drift(whole, sampled(renderer, None, 0))
    assert expected == measured.drift > 0


@pytest.mark.parametrize("name", ["pixart", "flux"])
def test_a_component_is_as_good_as_the_same_step_run_under_a_schedule_shows(
    pack, renderer_of, profiler_of, name
):
    """The error of the last step's prediction under a schedule that computes one unit there."""
    renderer = renderer_of(name, sampler="euler", scheduler="simple")
    quick, schedules = (
        pack.module(f"ecad_search.{place}") for place in ("evolution.quick", "core.schedule")
    )
    unit = quick.units(renderer.architecture)
    units = [unit == number for number in range(int(unit.max()) + 1)]
    profiler = profiler_of(renderer)
    last = STEPS - 1
    shares = profiler.sample_uncached(0, last, units)
    uncached = profiler.uncached[0].latent.double()

    def error(computes):
        rows = np.ones((STEPS, len(unit)), dtype=bool)
        rows[last] = computes
        latent = sampled(renderer, schedules.Schedule(renderer.architecture, rows), 0)
        return float((latent.double() - uncached).square().sum())

    none = error(np.zeros(len(unit), dtype=bool))
    # Euler's last step ends at the prediction itself.
    for number in (0, 1, len(units) - 1):
        assert 1 - error(units[number]) / none == pytest.approx(shares[number], abs=1e-4)


@pytest.mark.parametrize("name", ["pixart", "flux", "flux2"])
def test_a_profile_costs_no_more_than_it_may(pack, renderer_of, profiler_of, name):
    quick = pack.module("ecad_search.evolution.quick")
    heard = []
    renderer = renderer_of(name)
    profiler = profiler_of(renderer, on_images=lambda images, what: heard.append((images, what)))
    plan, measured = profiler.profile()
    assert profiler.done <= quick.IMAGES
    exhausted = not quick.worth_measuring(plan, measured, profiler.samples, 0)
    assert exhausted or 0.75 * quick.IMAGES < profiler.done
    assert ["uncached", "gaps", "schedules"] == list(dict.fromkeys(what for _, what in heard))
    assert sorted(images for images, _ in heard) == [images for images, _ in heard]
    assert quick.start_of(plan, measured)
    assert not {"wrappers"} & set(renderer.model.model_options)


@pytest.mark.parametrize("name", ["pixart", "flux", "flux2"])
def test_a_quick_profile_costs_no_more_than_it_may_and_ends_in_a_front(
    pack, renderer_of, quick_profiler_of, name
):
    quick_front = pack.module("ecad_search.evolution.quick_front")
    heard = []
    renderer = renderer_of(name)
    profiler = quick_profiler_of(renderer, on_images=lambda done, what: heard.append((done, what)))
    evidence, paths = profiler.evidence()
    assert profiler.done <= quick_front.IMAGES
    assert ["uncached", "schedules"] == list(dict.fromkeys(what for _, what in heard))
    assert sorted(images for images, _ in heard) == [images for images, _ in heard]
    front = quick_front.front_of(evidence, paths, renderer.workload)
    assert min(point.cost for point in front.members) < 0.65
    for point in front:
        point.schedule.require_fit(renderer.architecture)
    assert not {"wrappers"} & set(renderer.model.model_options)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "heun", "uni_pc"])
def test_every_sampling_is_its_predictions_with_the_sampler_s_weights(
    renderer_of, quick_profiler_of, sampler
):
    """Inputs of every call, and the final latent, of schedules that were really sampled."""
    profiler = quick_profiler_of(renderer_of("pixart", sampler=sampler))
    evidence, _ = profiler.evidence()
    weights = evidence.sampler.weights
    for sample, trials in enumerate(evidence.trials):
        for trial in trials:
            told = weights[:-1] @ trial.predictions
            scale = np.abs(trial.inputs).max()
            assert np.allclose(trial.inputs, told, atol=1e-2 * scale)
            drift = ((weights[-1] @ trial.predictions) ** 2).sum() / evidence.norms[sample]
            assert evidence.drifts[sample, trial.path] == pytest.approx(drift, rel=0.1)  # sketched


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", *CFG_PP])
def test_what_was_tried_is_told_as_it_was_measured(renderer_of, quick_profiler_of, sampler):
    evidence, _ = quick_profiler_of(renderer_of("pixart", sampler=sampler, cfg=2.0)).evidence()
    paths = [path for path in evidence.tried if not any(0 < ring < max(path) for ring in path)]
    told = np.log(evidence.told(np.array(paths)))
    off = told - np.log([evidence.tried[path] for path in paths])
    assert len(paths) > 2
    assert np.abs(off).mean() < 0.5


@pytest.fixture
def one_path_tried(pack, quick_profiler_of):
    """A profiler that has tried one path, and nothing else, on the samples of a renderer."""
    quick_front = pack.module("ecad_search.evolution.quick_front")

    def tried(renderer):
        profiler = quick_profiler_of(renderer)
        plan = profiler.planned()
        profiler.begin()
        profiler.try_everywhere(plan, quick_front.first_paths(plan)[0])
        return profiler

    return tried


@pytest.mark.parametrize("name", ["pixart", "flux", "flux2"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", *CFG_PP[:1]])
def test_samples_tried_in_one_batch_deviate_as_they_do_alone(
    renderer_of, one_path_tried, name, sampler
):
    alone = one_path_tried(renderer_of(name, sampler=sampler, cfg=2.0, batch=1))
    both = one_path_tried(renderer_of(name, sampler=sampler, cfg=2.0, batch=4))
    assert [(0,), (1,)] == alone.batches
    assert [(0, 1)] == both.batches
    assert alone.drifts == pytest.approx(both.drifts, rel=1e-3)
    assert alone.done == pytest.approx(both.done)
    for (expected,), (actual,) in zip(alone.trials, both.trials, strict=True):
        scale = np.abs(expected.predictions).max()
        assert expected.path == actual.path
        assert np.allclose(expected.inputs, actual.inputs, atol=1e-3 * scale)
        assert np.allclose(expected.predictions, actual.predictions, atol=1e-3 * scale)


def test_samples_whose_noise_would_depend_on_a_neighbour_are_tried_alone(
    renderer_of, one_path_tried
):
    profiler = one_path_tried(renderer_of("pixart", sampler="euler_ancestral", batch=4))
    assert [(0,), (1,)] == profiler.batches


def test_when_memory_runs_out_a_batch_is_halved_and_nothing_is_lost(renderer_of, one_path_tried):
    expected = one_path_tried(renderer_of("pixart", cfg=1.0, batch=1))
    renderer = renderer_of("pixart", cfg=1.0, batch=4)
    together = []

    def small_memory(apply, arguments):
        if len(arguments["input"]) > 1:
            together.append(1)
            if len(together) == 3:
                raise torch.OutOfMemoryError("no memory")
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    renderer.model.set_model_unet_function_wrapper(small_memory)
    profiler = one_path_tried(renderer)
    assert 3 == len(together)
    assert [(0,), (1,)] == profiler.batches
    assert expected.drifts == pytest.approx(profiler.drifts, rel=1e-4)
    assert [1, 1] == [len(trials) for trials in profiler.trials]
    assert expected.done == pytest.approx(profiler.done)
    assert 2 == len(profiler.watched)  # the uncached ones


def test_a_sketch_keeps_lengths_and_adds_up(pack):
    sketch = pack.module("nodes.host.quick_profiling").Sketch(100_000)
    lot = torch.Generator().manual_seed(1)
    a, b = torch.randn((2, 3, 10, 10_000), generator=lot)
    assert (3, 4096) == sketch(a).shape
    assert np.allclose(sketch(a) + sketch(b), sketch(a + b), atol=1e-3)
    for row, length in enumerate(a.flatten(1).norm(dim=1).tolist()):
        assert length == pytest.approx(np.linalg.norm(sketch(a)[row]), rel=0.05)
        assert np.array_equal(sketch(a[row : row + 1])[0], sketch(a)[row])


def test_the_node_gives_a_front_and_the_schedule_for_the_speed_up_asked_for(quick_schedule, pack):
    front, schedule, summary = quick_schedule(target_speedup=1.5).args
    picked = front.pick_speedup(1.5)
    assert picked.schedule.key == schedule.key
    assert picked.speedup >= 1.49
    assert "predicted" in summary
    assert 16 == len(schedule.info["model"]["fingerprint"])
    assert (1.0, 0.875, 0.75) == schedule.noise_levels[:3]
    assert 0.0 == max(front, key=lambda point: point.cost).quality


def test_the_same_profile_gives_the_same_front(quick_schedule):
    first, second = (quick_schedule().args[0].to_json() for _ in range(2))
    assert first == second


def test_more_samples_than_there_are_means_all(quick_schedule):
    assert 2 == quick_schedule(samples=8).args[0].info["samples"]


def test_a_model_with_a_schedule_on_it_is_refused(quick_schedule, tiny_pixart, apply, pack):
    model = tiny_pixart(depth=2, flow=True)
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    fora = pack.module("ecad_search.core.presets").fora(architecture, STEPS, 2)
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="already carries"):
        quick_schedule(model=apply(model, fora))


def test_a_speed_up_beyond_all_schedules_says_how_far_they_go(quick_schedule, pack):
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="best available"):
        quick_schedule(target_speedup=20.0)


@pytest.mark.usefixtures("uninterrupted")
def test_cancel_stops_it(comfy, quick_schedule, tiny_pixart):
    model = tiny_pixart(depth=2, flow=True)
    calls = []

    def count(apply, arguments):
        calls.append(1)
        if len(calls) == 30:
            comfy.model_management.interrupt_current_processing()
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(count)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        quick_schedule(model=model)
    assert len(calls) < 30 + 2 * (2 + 6) + 2  # what is left of a step with its trials
    assert "forward" not in model.model.diffusion_model.blocks[0].attn.__dict__


def test_a_search_begins_with_the_schedules_of_a_quick_front(
    quick_schedule, search, settings, pack
):
    four = settings(steps=4)
    quick = quick_schedule(sampler_settings=four, target_speedup=1.1).args[0]
    front, path = search(sampler_settings=four, start_front=quick, images=60, generations=1).args
    assert front.members
    given = {p.schedule.key for p in quick.members if not p.is_reference}
    journal = pack.module("nodes.host.paths").result_path(
        path.rsplit("/", 1)[-1].removesuffix(".front.json"), ".jsonl"
    )
    assert given
    assert all(key in journal.read_text() for key in given)
