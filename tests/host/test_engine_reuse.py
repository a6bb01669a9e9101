"""What a schedule does in the real host, against a slow reference that shares no code with it."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

COMPONENTS = ("attn", "cross_attn", "mlp")
# All of ComfyUI 0.3.75 to 0.33.0; a test below says when the host has others.
SAMPLERS = (
    "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral "
    "lms dpm_fast dpm_adaptive dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde "
    "dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun "
    "dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis res_multistep "
    "res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp "
    "gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver "
    "sa_solver_pece ddim uni_pc uni_pc_bh2 exp_heun_2_x0 exp_heun_2_x0_sde"
).split()


class SlowReference:
    """Computes every component always, then puts the stored output in place of the computed one.

    Streams are told apart by ComfyUI's cond_or_uncond, steps by looking the sigma up. It hooks the
    modules' outputs, while the engine stands in front of their forward.
    """

    def __init__(self, model, compute, sigmas):
        self.model = model.clone()
        self.compute, self.sigmas = compute, [float(s) for s in sigmas]
        self.stored, self.streams, self.step = {}, None, None
        self.model.set_model_unet_function_wrapper(self.call_model)
        self.counts = {"reused": 0, "computed": 0}

    def call_model(self, apply_model, arguments):
        sigma = float(arguments["timestep"].flatten()[0])
        self.step = int(np.argmin([abs(sigma - s) for s in self.sigmas[:-1]]))
        self.streams = arguments["cond_or_uncond"]
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    def hook(self, cell):
        def substitute(module, args, output):
            if self.compute[self.step, cell]:
                self.counts["computed"] += 1
                for stream, part in zip(self.streams, output.chunk(len(self.streams)), strict=True):
                    self.stored[stream, cell] = part.clone()
                return None
            self.counts["reused"] += 1
            return torch.cat([self.stored[stream, cell] for stream in self.streams])

        return substitute

    def __enter__(self):
        blocks = self.model.model.diffusion_model.blocks
        modules = [getattr(block, name) for block in blocks for name in COMPONENTS]
        self.handles = [
            module.register_forward_hook(self.hook(cell)) for cell, module in enumerate(modules)
        ]
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def sigmas_of(comfy, model, steps, scheduler="simple"):
    sampling = model.get_model_object("model_sampling")
    return comfy.samplers.calculate_sigmas(sampling, scheduler, steps)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_all_compute_schedule_changes_no_bit(
    sampler, require_sampler, tiny_pixart, conditioning, sample, uncached, apply
):
    """On every sampler of the host, flow matching and noise prediction in turn."""
    require_sampler(sampler)
    model = tiny_pixart(flow=SAMPLERS.index(sampler) % 2 == 0)
    arguments = (conditioning(1), conditioning(2))
    options = {"steps": 4, "cfg": 2.0, "sampler": sampler}
    reports = []
    plain = sample(model, *arguments, **options)
    cached = sample(apply(model, uncached(4), on_report=reports.append), *arguments, **options)
    assert torch.equal(plain, cached)
    assert (0, 0) == (reports[0].cells_reused, reports[0].cells_forced)
    assert 0 == reports[0].peak_bytes
    assert 1.0 == reports[0].predicted_speedup


def test_the_list_of_samplers_above_is_the_hosts(comfy):
    assert set(comfy.samplers.KSampler.SAMPLERS) <= set(SAMPLERS)


@pytest.mark.parametrize("flow", [False, True], ids=["noise", "flow"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_engine_knows_how_each_sampler_goes_through_the_steps(
    sampler, flow, require_sampler, pack, comfy, tiny_pixart, conditioning, sample
):
    """Values are held as long as a sampler needs them: a wrong belief costs memory or reuse."""
    require_sampler(sampler)
    patching, wrappers = pack.module("nodes.host.patching"), comfy.patcher_extension.WrappersMP
    model, steps, rows, functions = tiny_pixart(flow=flow), [], [], []

    def begin(executor, guider, sigmas, *args, **kwargs):
        function = getattr(executor.class_obj, "sampler_function", None)
        functions.append(getattr(function, "__name__", ""))
        steps.append(pack.module("ecad_search.engine.sigma_steps").SigmaSteps(sigmas.tolist()))
        return executor(guider, sigmas, *args, **kwargs)

    def evaluate(executor, x, timestep, *args, **kwargs):
        rows.append(steps[0].step(float(timestep.max())))
        return executor(x, timestep, *args, **kwargs)

    model.add_wrapper_with_key(wrappers.SAMPLER_SAMPLE, "watch", begin)
    model.add_wrapper_with_key(wrappers.PREDICT_NOISE, "watch", evaluate)
    sample(model, conditioning(1), conditioning(2), sampler=sampler, steps=6)
    once = rows == list(range(steps[0].steps))
    (function,) = functions
    assert once == (function in patching.ONE_EVALUATION_PER_STEP)
    if rows != sorted(rows):
        assert patching.IRREGULAR[function] == sampler
    assert not (once and function in patching.IRREGULAR)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("cfg", "tokens"), [(1.0, 6), (3.0, 6), (3.0, 9)], ids=["one stream", "batched", "split"]
)
def test_a_random_schedule_equals_the_slow_reference(
    seed, cfg, tokens, comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T4 (split and batched CFG) and T23, with every report number counted independently."""
    model, schedule, reports = tiny_pixart(), random_schedule(seed), []
    arguments = (conditioning(1), conditioning(2, tokens=tokens))
    options = {"cfg": cfg, "sampler": ("euler", "dpmpp_2m", "ddim", "lcm")[seed]}
    fast = sample(apply(model, schedule, on_report=reports.append), *arguments, **options)
    plain = sample(model, *arguments, **options)
    with SlowReference(model, schedule.compute, sigmas_of(comfy, model, 8)) as reference:
        slow = sample(reference.model, *arguments, **options)
    assert torch.equal(slow, fast)
    assert not torch.equal(plain, fast)
    (report,) = reports
    assert reference.counts == {"reused": report.cells_reused, "computed": report.cells_computed}
    assert (0, 0, 8) == (report.cells_forced, report.bypassed_calls, report.evaluations)
    assert report.predicted_bytes == report.peak_bytes > 0
    assert () == report.messages


@pytest.mark.parametrize("batch", [2, 3])
def test_batches_reuse_their_own_rows(
    batch, comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """Batch > 1: the batch of one conditioning is a part of the model call's."""
    model, schedule, reports = tiny_pixart(flow=True), random_schedule(9), []
    arguments = (conditioning(1), conditioning(2))
    options = {"cfg": 3.0, "shape": (batch, 4, 36, 42)}
    fast = sample(apply(model, schedule, on_report=reports.append), *arguments, **options)
    with SlowReference(model, schedule.compute, sigmas_of(comfy, model, 8)) as reference:
        slow = sample(reference.model, *arguments, **options)
    assert torch.equal(slow, fast)
    assert reports[0].predicted_bytes == reports[0].peak_bytes


def test_reports_equal_a_count_by_forward_hooks(
    tiny_pixart, conditioning, sample, random_schedule, apply
):
    model, schedule, reports, calls = tiny_pixart(), random_schedule(5), [], []
    inner = [m for b in model.model.diffusion_model.blocks for m in (b.attn.proj, b.mlp.fc1)]
    handles = [m.register_forward_hook(lambda *_: calls.append(1)) for m in inner]
    sample(apply(model, schedule, on_report=reports.append), conditioning(1), conditioning(2))
    for handle in handles:
        handle.remove()
    columns = [c.index for c in schedule.architecture.cells if c.component != "cross_attn"]
    assert int(schedule.compute[:, columns].sum()) == len(calls)
    assert int(schedule.compute.sum()) == reports[0].cells_computed
    macs = reports[0].predicted_speedup
    assert 1.0 < macs < 1 / schedule.computed_fraction + 1e-9


def test_nothing_is_held_after_a_run(tiny_pixart, conditioning, sample, random_schedule, apply):
    """T11: state must not outlive the run; a scan of the whole heap finds no stored output."""
    model, schedule, reports = tiny_pixart(), random_schedule(6), []
    patched, seen = apply(model, schedule, on_report=reports.append), []

    def stored(*_):  # 66 tokens: no other tensor of this process has that shape, either way round
        shapes = ((66, 48), (48, 66))
        return [o for o in gc.get_objects() if type(o) is torch.Tensor and o.shape[1:] in shapes]

    def look(*_):
        seen.append(len(stored()))

    options = {"cfg": 3.0, "shape": (1, 4, 36, 66), "callback": look}
    sample(patched, conditioning(1), conditioning(2), **options)
    gc.collect()
    alive = stored()
    assert [] == alive and seen[0] > 0
    assert not any("forward" in m.__dict__ for m in model.model.diffusion_model.modules())
    kinds = {type(o).__name__ for o in gc.get_objects()}
    assert not kinds & {"Sampling", "Run", "CacheStore"}
