"""Where caches for ComfyUI have gone wrong; each docstring names the trap (T1 ... T28)."""

from __future__ import annotations

import ast
import contextlib
import copy
import gc
import importlib
import inspect
import sys
import threading
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

IRREGULAR = ("heunpp2", "dpm_fast", "dpm_adaptive")
EVALUATIONS_OF_8_STEPS = {
    "euler": 8, "dpmpp_2m": 8, "uni_pc": 8, "heun": 15, "dpm_2": 15, "dpmpp_2s_ancestral": 15,
    "dpmpp_sde": 15, "seeds_3": 22, "sa_solver_pece": 15, "heunpp2": 21, "exp_heun_2_x0": 15,
}  # fmt: skip


@pytest.fixture
def mostly_reusing(pack):
    """Schedule: the first step computes; later ones only the (step, component) pairs given."""

    def build(*computed, steps=8, blocks=3, **info):
        architectures = pack.module("ecad_search.architectures")
        architecture = architectures.sized("pixart", {"blocks": blocks}, hidden=48)
        rows = np.zeros((steps, architecture.n_cells), dtype=bool)
        rows[0] = True
        for step, component in computed:
            rows[step, [c.index for c in architecture.cells if c.component == component]] = True
        schedule = pack.module("ecad_search.core.schedule").Schedule
        return schedule(architecture, rows, name="mostly-reusing", info=info)

    return build


def blocks_of(model):
    return model.model.diffusion_model.blocks


def forwards_left(model):
    modules = model.model.diffusion_model.modules()
    return [m for m in modules if {"forward", "forward_orig"} & set(m.__dict__)]


def test_blocks_that_work_in_place_do_not_spoil_stored_values(
    tiny_pixart, conditioning, sample, random_schedule, apply, monkeypatch
):
    """T1, T2: a component's output may be changed in place by the block, computed or reused."""
    model, schedule = tiny_pixart(), random_schedule(1)
    block_class = type(blocks_of(model)[0])
    arguments = (conditioning(1), conditioning(2))
    expected = sample(apply(model, schedule), *arguments, cfg=3.0)

    def forward(self, x, y, t, mask=None, HW=None, **kwargs):
        table = self.scale_shift_table[None] + t.reshape(x.shape[0], 6, -1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = table.chunk(6, dim=1)

        def add(value, gate):
            nonlocal x
            value *= gate
            x = x + value
            value.fill_(float("nan"))

        add(self.attn(self.norm1(x) * (1 + scale_a) + shift_a, HW=HW), gate_a)
        add(self.cross_attn(x, y, mask), 1)
        add(self.mlp(self.norm2(x) * (1 + scale_m) + shift_m), gate_m)
        return x

    monkeypatch.setattr(block_class, "forward", forward)
    assert torch.equal(expected, sample(apply(model, schedule), *arguments, cfg=3.0))


def test_the_samplers_tensor_is_left_alone(
    comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T3: in float32 the model's input is the sampler's own tensor."""
    patched, changed = apply(tiny_pixart(flow=True), random_schedule(2)), []

    def watch(executor, x, *args, **kwargs):
        before = x.clone()
        result = executor(x, *args, **kwargs)
        changed.append(not torch.equal(before, x))
        return result

    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    patched.add_wrapper_with_key(kind, "watch", watch)
    sample(patched, conditioning(1), conditioning(2))
    assert 8 == len(changed) and not any(changed)


def test_batching_may_change_from_call_to_call(
    tiny_pixart, conditioning, sample, random_schedule, apply, monkeypatch
):
    """T5: free memory decides at each call whether the CFG pair is one call or two."""
    model, reports, asked = tiny_pixart(), [], []
    patched = apply(model, random_schedule(3), on_report=reports.append)
    arguments = (conditioning(1), conditioning(2))
    steady = sample(patched, *arguments, cfg=3.0)

    def memory_required(input_shape, **_):
        asked.append(input_shape[0])
        return 1e30 if input_shape[0] > 1 and len(asked) % 3 else 0

    monkeypatch.setattr(model.model, "memory_required", memory_required)
    flipping = sample(patched, *arguments, cfg=3.0)
    assert {1, 2} == set(asked)
    torch.testing.assert_close(steady, flipping, rtol=1e-3, atol=1e-4)
    assert 0 == reports[1].cells_forced and reports[1].cells_reused > reports[0].cells_reused


def test_a_second_call_for_the_same_conditioning_stays_beside_the_schedule(
    comfy, tiny_pixart, conditioning, sample, random_schedule, uncached, apply
):
    """T6, T23: guiders that call the model again keep their effect and shift no schedule."""
    model, schedule, reports, extra = tiny_pixart(), random_schedule(4), [], []

    def guide(args):
        calc = comfy.samplers.calc_cond_batch
        options = args["model_options"]
        (other,) = calc(args["model"], [args["cond"]], args["input"] * 1.1, args["sigma"], options)
        extra.append(1)
        return args["denoised"] + 0.5 * (args["cond_denoised"] - other)

    guided = model.clone()
    guided.set_model_sampler_post_cfg_function(guide)
    arguments = (conditioning(1), conditioning(2))
    plain = sample(guided, *arguments, cfg=3.0)
    assert torch.equal(plain, sample(apply(guided, uncached()), *arguments, cfg=3.0))
    extra.clear()
    fast = sample(apply(guided, schedule, on_report=reports.append), *arguments, cfg=3.0)
    alone = sample(apply(model, schedule), *arguments, cfg=3.0)
    assert 8 == len(extra) == reports[0].bypassed_calls
    assert int(schedule.compute.sum()) == reports[0].cells_computed
    assert 0 == reports[0].cells_forced
    assert not torch.equal(alone, fast)


def test_what_was_due_while_a_stream_was_away_is_computed_when_it_is_back(
    comfy, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T7: a guidance interval drops the negative prompt at steps 3 to 5; attn was due at step 4."""
    reports, step = [], [-1]
    model = tiny_pixart().clone()

    def calc(args):
        step[0] += 1
        conds = args["conds"] if not 3 <= step[0] <= 5 else [args["conds"][0], None]
        out = comfy.samplers.calc_cond_batch(
            args["model"], conds, args["input"], args["sigma"], args["model_options"]
        )
        return out if conds[1] is not None else [out[0], out[0]]

    model.model_options["sampler_calc_cond_batch_function"] = calc
    for due, forced in ((((4, "attn"),), 3), (((4, "attn"), (5, "mlp")), 6), ((), 0)):
        step[0] = -1
        patched = apply(model, mostly_reusing(*due), on_report=reports.append)
        sample(patched, conditioning(1), conditioning(2, tokens=9), cfg=3.0)
        assert forced == reports[-1].cells_forced
        assert 9 * (8 + 5) == reports[-1].cells_computed + reports[-1].cells_reused


def test_a_stream_that_appears_late_computes_first(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T7: prompt scheduling brings in a conditioning nobody has stored anything for."""
    reports = []
    late = conditioning(1, end_percent=0.5) + conditioning(3, start_percent=0.5)
    patched = apply(tiny_pixart(), mostly_reusing(), on_report=reports.append)
    sample(patched, late, conditioning(2))
    assert 9 == reports[0].cells_forced
    assert 9 * 6 == reports[0].cells_reused


@pytest.mark.parametrize("flow", [False, True], ids=["noise", "flow"])
@pytest.mark.parametrize("sampler", EVALUATIONS_OF_8_STEPS)
def test_multi_evaluation_samplers_follow_the_noise_level(
    sampler, flow, require_sampler, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T8: evaluations are not steps; every evaluation of a step follows the step's row."""
    require_sampler(sampler)
    reports = []
    schedule = mostly_reusing((3, "attn"), (3, "cross_attn"), (3, "mlp"), (6, "mlp"))
    patched = apply(tiny_pixart(flow=flow), schedule, on_report=reports.append)
    latent = sample(patched, conditioning(1), conditioning(2), sampler=sampler)
    (report,) = reports
    assert torch.isfinite(latent).all()
    assert EVALUATIONS_OF_8_STEPS[sampler] == report.evaluations
    assert 9 * report.evaluations == report.cells_computed + report.cells_reused
    assert report.cells_reused > 0
    assert (sampler in IRREGULAR) == bool(report.messages)
    assert report.peak_bytes <= report.predicted_bytes
    if sampler not in IRREGULAR:
        assert 0 == report.cells_forced


@pytest.mark.parametrize("sampler", IRREGULAR)
def test_an_irregular_sampler_is_named_in_the_report(
    sampler, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """Never a silent no-op: the message says what happens instead and what to do."""
    reports = []
    patched = apply(tiny_pixart(), mostly_reusing(steps=5), on_report=reports.append)
    latent = sample(patched, conditioning(1), conditioning(2), sampler=sampler, steps=5)
    assert torch.isfinite(latent).all()
    assert sampler in reports[0].messages[0].lower()
    assert reports[0].messages[0] in reports[0].line()


@pytest.mark.parametrize(
    "levels",
    [
        [10.0, 4.0, 4.0, 1.0, 0.0],
        [10.0, 0.0],
        [3.0, 3.0],
        [0.0, 0.0],
        [14.6, 9.0, 5.0, 2.0],
        [0.1, 1.0, 5.0, 14.6],
        [5.0, 1.0, 0.0],
    ],
    ids=["repeated", "one step", "equal", "zeros", "stops early", "rising", "starts late"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
def test_unusual_sigmas_are_sampled_without_error(
    levels, dtype, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T9, T10: repeated, truncated, single, rising and half-precision noise levels."""
    reports = []
    patched = apply(tiny_pixart(), mostly_reusing(), on_report=reports.append)
    sample(patched, conditioning(1), conditioning(2), sigmas=torch.tensor(levels, dtype=dtype))
    (report,) = reports
    assert len(levels) - 1 == report.steps == report.evaluations
    assert 9 * report.steps == report.cells_computed + report.cells_reused
    rising = levels[0] < levels[-1]
    assert rising == any("rises" in message for message in report.messages)
    if rising or levels[-1] == 0.0 < levels[-2]:
        assert 0 == report.cells_forced


def test_a_step_that_was_jumped_over_counts(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T9: with a repeated sigma step 1 is never visited; what it should compute, step 2 does."""
    model, reports = tiny_pixart(), []
    top = float(model.get_model_object("model_sampling").sigma_max)
    levels = torch.tensor([top, 4.0, 4.0, 1.0, 0.0])
    patched = apply(model, mostly_reusing((1, "attn"), steps=4), on_report=reports.append)
    sample(patched, conditioning(1), conditioning(2), sigmas=levels)
    assert (9 + 3, 3) == (reports[0].cells_computed, reports[0].cells_forced)


@pytest.mark.parametrize("flow", [False, True], ids=["noise", "flow"])
def test_img2img_follows_the_part_of_the_schedule_its_noise_is_in(
    flow, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T10: denoise 0.5 in 8 steps is the second half of 16."""
    reports = []
    schedule = mostly_reusing((2, "attn"), (12, "mlp"), steps=16)
    patched = apply(tiny_pixart(flow=flow), schedule, on_report=reports.append)
    latent = torch.randn(1, 4, 36, 36, generator=torch.Generator().manual_seed(3))
    sample(patched, conditioning(1), conditioning(2), latent=latent, denoise=0.5)
    assert (8, 9 + 3) == (reports[0].steps, reports[0].cells_computed)


def test_stages_of_one_picture_each_follow_their_part(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T10: KSampler (Advanced), steps 0 to 8 and then 8 to 16."""
    reports = []
    schedule = mostly_reusing((2, "attn"), (12, "mlp"), (14, "mlp"), steps=16)
    patched = apply(tiny_pixart(flow=True), schedule, on_report=reports.append)
    options = {"steps": 16, "force_full_denoise": False}
    first = sample(patched, conditioning(1), conditioning(2), last_step=8, **options)
    options |= {"start_step": 8, "disable_noise": True}
    sample(patched, conditioning(1), conditioning(2), latent=first, **options)
    assert [(8, 9 + 3), (8, 9 + 6)] == [(r.steps, r.cells_computed) for r in reports]


@pytest.mark.parametrize("steps", [3, 8, 13])
def test_a_schedule_of_other_length_is_resampled_to_the_run(
    steps, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """Steps are never read from a widget: the run's sigmas decide."""
    reports, schedule = [], random_schedule(7)
    patched = apply(tiny_pixart(), schedule, on_report=reports.append)
    sample(patched, conditioning(1), conditioning(2), steps=steps)
    assert int(schedule.resampled(steps).compute.sum()) == reports[0].cells_computed
    assert 0 == reports[0].cells_forced


def test_each_run_starts_from_nothing(tiny_pixart, conditioning, sample, random_schedule, apply):
    """T11: second prompt, second seed, second resolution and batch on the executed MODEL."""
    model, schedule, reports = tiny_pixart(), random_schedule(8), []
    used = apply(model, schedule, on_report=reports.append)
    for options in ({}, {"seed": 5}, {"shape": (1, 4, 36, 60)}, {"shape": (2, 4, 36, 36)}):
        again = sample(used, conditioning(1), conditioning(2), cfg=3.0, **options)
        fresh = apply(model, schedule)
        assert torch.equal(
            sample(fresh, conditioning(1), conditioning(2), cfg=3.0, **options), again
        )
        assert 0 == reports[-1].cells_forced < reports[-1].cells_reused


@pytest.mark.parametrize("failing", ["cancelled", "in a block", "in a callback"])
def test_a_run_that_ends_early_leaves_nothing(
    failing, comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T12: Cancel is a BaseException in newer hosts; errors may rise anywhere."""
    model, reports, calls = tiny_pixart(), [], []
    patched = apply(model, random_schedule(9), on_report=reports.append)
    arguments = (conditioning(1), conditioning(2))
    expected = sample(patched, *arguments)
    plain = sample(model, *arguments, seed=4)

    class Stop(BaseException):
        pass

    def fail(*_):
        calls.append(1)
        if len(calls) == 6:
            cancelled = comfy.model_management.InterruptProcessingException
            raise cancelled() if failing == "cancelled" else Stop()

    handle = None
    options = {"callback": fail}
    if failing == "in a block":
        handle = blocks_of(model)[1].attn.proj.register_forward_hook(fail)
        options = {"sampler": "heun"}
    with pytest.raises(BaseException) as caught:
        sample(patched, *arguments, shape=(1, 4, 36, 42), **options)
    assert type(caught.value).__name__ in ("Stop", "InterruptProcessingException")
    if handle is not None:
        handle.remove()
    assert 6 == len(calls)
    assert any("stopped" in message for message in reports[-1].messages)
    assert [] == forwards_left(model)
    assert torch.equal(expected, sample(patched, *arguments))
    assert torch.equal(plain, sample(model, *arguments, seed=4))


def test_the_unpatched_branch_is_untouched_before_during_and_after(
    tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T13: both branches share their modules, even while the shims are on them."""
    model, during = tiny_pixart(), []
    positive, negative = conditioning(1), conditioning(2)
    plain = sample(model, positive, negative, cfg=3.0)
    patched = apply(model, random_schedule(1))
    x, sigma = torch.ones(1, 4, 36, 36), torch.tensor([1.5])

    def call_beside(*_):
        during.append(model.model.apply_model(x, sigma, c_crossattn=positive[0][0]))

    call_beside()
    alone = sample(patched, positive, negative, cfg=3.0)
    watched = sample(patched, positive, negative, cfg=3.0, callback=call_beside)
    assert torch.equal(alone, watched)
    assert 9 == len(during) and all(torch.equal(during[0], other) for other in during)
    assert torch.equal(plain, sample(model, positive, negative, cfg=3.0))


def test_clones_and_later_nodes_keep_the_schedule(
    pack, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T14: clone and LoRA after the node; nothing at node time that a deep copy could break."""
    model, schedule, reports = tiny_pixart(), random_schedule(2), []
    patching = pack.module("nodes.host.patching")
    arguments = (conditioning(1), conditioning(2))
    patched = apply(model, schedule, on_report=reports.append)
    expected = sample(patched, *arguments)
    key = "diffusion_model.blocks.0.mlp.fc1.weight"
    change = {key: (torch.ones(96, 48) * 0.1,)}
    first, second = patched.clone(), model.clone()
    assert 1 == len(first.add_patches(change)) == len(second.add_patches(change))
    after, before = sample(first, *arguments), sample(apply(second, schedule), *arguments)
    assert torch.equal(before, after) and not torch.equal(expected, after)
    copied = patched.clone()
    copied.model_options = copy.deepcopy(copied.model_options)
    assert torch.equal(expected, sample(copied, *arguments))
    assert schedule == patching.cached_schedule(copied)
    assert patching.cached_schedule(model) is None
    copy.deepcopy(patched.get_wrappers("outer_sample", patching.KEY)[0].config.schedule)
    plain = patching.without_schedule(patched)
    assert torch.equal(sample(model, *arguments), sample(plain, *arguments))
    twice = apply(apply(model, random_schedule(3)), schedule)
    assert torch.equal(expected, sample(twice, *arguments))


def test_modules_are_looked_up_when_the_run_starts(
    pack, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T15: a node behind ours may put the MODEL on another copy of the modules."""
    model, schedule, reports = tiny_pixart(), random_schedule(3), []
    patched = apply(model, schedule, on_report=reports.append)
    arguments = (conditioning(1), conditioning(2))
    expected = sample(patched, *arguments)
    other = patched.clone()
    other.model = tiny_pixart().model
    assert torch.equal(expected, sample(other, *arguments))
    assert reports[0].cells_reused == reports[1].cells_reused
    smaller = patched.clone()
    smaller.model = tiny_pixart(depth=2).model
    error = pack.module("ecad_search.errors").ModelMismatchError
    with pytest.raises(error, match=r"3 blocks.*2 blocks"):
        sample(smaller, *arguments)


def test_another_packs_model_function_wrapper_stays_in_use(
    tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T17: that is a single slot, so the engine does not take it."""
    model, schedule, calls = tiny_pixart(), random_schedule(4), []

    def halve(apply_model, args):
        calls.append(1)
        return apply_model(args["input"], args["timestep"], **args["c"]) * 0.5

    before, after = model.clone(), apply(model, schedule)
    before.set_model_unet_function_wrapper(halve)
    before = apply(before, schedule)
    after.set_model_unet_function_wrapper(halve)
    arguments = (conditioning(1), conditioning(2))
    assert torch.equal(sample(before, *arguments), sample(after, *arguments))
    assert 16 == len(calls)


def test_another_packs_forward_is_called_and_put_back(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T18: an object patch on the very forward the engine shims."""
    model, calls = tiny_pixart(), []
    attention = blocks_of(model)[0].attn
    forward = attention.forward

    def theirs(*args, **kwargs):
        calls.append(1)
        return forward(*args, **kwargs)

    patched = apply(model, mostly_reusing((4, "attn")))
    patched.add_object_patch("diffusion_model.blocks.0.attn.forward", theirs)
    sample(patched, conditioning(1), conditioning(2))
    assert 2 == len(calls)
    assert attention.__dict__.get("forward") in (None, theirs)
    patched.unpatch_model()


def test_a_token_count_that_changes_forces_computing(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T19: another node feeds the model a larger latent from step 4 on."""
    model, reports, calls = tiny_pixart(), [], []

    def enlarge(apply_model, args):
        calls.append(1)
        x = args["input"]
        if len(calls) <= 4:
            return apply_model(x, args["timestep"], **args["c"])
        x = torch.nn.functional.pad(x, (0, 12))
        return apply_model(x, args["timestep"], **args["c"])[..., :36]

    model.set_model_unet_function_wrapper(enlarge)
    patched = apply(model, mostly_reusing(), on_report=reports.append)
    assert torch.isfinite(sample(patched, conditioning(1), conditioning(2))).all()
    assert (9, 18, 54) == (
        reports[0].cells_forced,
        reports[0].cells_computed,
        reports[0].cells_reused,
    )


def test_the_hosts_own_cache_of_reference_tokens_forces_computing(
    pack, tiny_flux2, flux_conditioning, sample, apply
):
    """T19: Flux KV Cache leaves the reference's tokens out from the second evaluation on."""
    nodes = importlib.import_module("comfy_extras.nodes_flux")
    if not hasattr(nodes, "FluxKVCache"):
        pytest.skip("this ComfyUI has no Flux KV Cache")
    architecture = pack.module("nodes.host.patching").detect_architecture(tiny_flux2())
    rows = np.ones((8, architecture.n_cells), dtype=bool)
    schedule = pack.module("ecad_search.core.schedule").Schedule
    everything = schedule(architecture, rows.copy(), name="all")
    rows[1:] = False
    reference = torch.randn(1, 128, 4, 4, generator=torch.Generator().manual_seed(5))
    positive = flux_conditioning(1, reference_latents=[reference])

    def run(wrap=lambda model: model):
        model = wrap(nodes.FluxKVCache.execute(tiny_flux2()).result[0])
        return sample(model, positive, flux_conditioning(2), shape=(1, 128, 4, 4))

    reports = []
    plain = run()
    assert torch.equal(plain, run(lambda model: apply(model, everything)))
    once = schedule(architecture, rows, name="once")
    assert torch.isfinite(run(lambda model: apply(model, once, on_report=reports.append))).all()
    text_cells = sum(cell.component == "txt_mlp" for cell in architecture.cells)
    assert architecture.n_cells - text_cells == reports[0].cells_forced


def test_blocks_nobody_calls_are_reported(
    pack, tiny_pixart, conditioning, sample, mostly_reusing, apply, caplog
):
    """T20: replaced blocks that never call the hooked modules are told, not passed over."""
    model, reports = tiny_pixart(), []
    for block in blocks_of(model):
        block.forward = lambda x, *args, **kwargs: x * 0.9
    patched = apply(model, mostly_reusing(), on_report=reports.append)
    with caplog.at_level("INFO", logger="ComfyUI-ECAD"):
        sample(patched, conditioning(1), conditioning(2))
    assert "0 cells were hooked" in reports[0].messages[0]
    assert ["WARNING"] == [r.levelname for r in caplog.records if r.name == "ComfyUI-ECAD"]


def test_a_compiled_model_gives_what_the_eager_one_gives_and_compiles_once(
    comfy, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T21: graphs must freeze no step's decision, and runs not use up dynamo's eight versions."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.testing import CompileCounter

    schedule = mostly_reusing((2, "attn"), steps=3, blocks=1)
    model, arguments = tiny_pixart(depth=1), (conditioning(1), conditioning(2))
    reports, graphs, compiler = [], [], CompileCounter()
    expected = sample(apply(model, schedule, on_report=reports.append), *arguments, steps=3)
    compiled = apply(model, schedule, on_report=reports.append)
    set_torch_compile_wrapper(compiled, backend=compiler, keys=["diffusion_model.blocks.0"])
    for _ in range(3):
        latent = sample(compiled, *arguments, steps=3)
        torch.testing.assert_close(expected, latent)
        graphs.append(compiler.frame_count)
    assert 0 < graphs[0] == graphs[2]
    assert {reports[0].cells_reused} == {report.cells_reused for report in reports}


def test_a_bf16_model_reuses_too(tiny_pixart, conditioning, sample, mostly_reusing, apply):
    """T22: the dtype stored is the dtype computed."""
    reports = []
    patched = apply(tiny_pixart(dtype=torch.bfloat16), mostly_reusing(), on_report=reports.append)
    assert torch.isfinite(sample(patched, conditioning(1), conditioning(2), cfg=3.0)).all()
    (report,) = reports
    assert (0, 9 * 7) == (report.cells_forced, report.cells_reused)
    assert report.predicted_bytes == report.peak_bytes == 2 * 9 * 36 * 48 * 2


def test_models_and_schedules_that_do_not_fit_are_refused_at_once(
    pack, comfy, tiny_pixart, mostly_reusing, apply
):
    """T24: the architecture is read from the modules, and the sentence names both sides."""
    errors = pack.module("ecad_search.errors")
    with pytest.raises(errors.ModelMismatchError, match=r"3 blocks.*4 blocks"):
        apply(tiny_pixart(depth=4), mostly_reusing())
    stranger = tiny_pixart().clone()
    stranger.add_object_patch("diffusion_model", torch.nn.Linear(1, 1))
    with pytest.raises(errors.ModelMismatchError, match="Linear"):
        apply(stranger, mostly_reusing())
    with pytest.raises(errors.ScheduleError, match="taylor1"):
        apply(tiny_pixart(), mostly_reusing(payload={"attn": "taylor1"}))


def test_the_adapter_imports_no_model_code_of_the_host(pack):
    """T26: the host's comfy.ldm moves; a pack that imports from it does not load the day after."""
    for name in ("patching", "pixart_small_latents"):
        tree = ast.parse(open(pack.module(f"nodes.host.{name}").__file__, encoding="utf-8").read())
        imported = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        imported += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        assert not [name for name in imported if name.startswith("comfy.ldm")]


def test_a_foreign_copy_of_the_modules_in_a_thread_is_bypassed(
    comfy, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """T28: multi-GPU sampling runs other instances of the modules in worker threads."""
    model, reports, results = tiny_pixart(), [], []
    twin = tiny_pixart().model

    def beside(apply_model, args):
        def work():
            with torch.inference_mode():
                results.append(twin.apply_model(args["input"], args["timestep"], **args["c"]))

        thread = threading.Thread(target=work)
        thread.start()
        result = apply_model(args["input"], args["timestep"], **args["c"])
        thread.join()
        return result

    twin.current_patcher = model
    model.set_model_unet_function_wrapper(beside)
    patched = apply(model, mostly_reusing(), on_report=reports.append)
    sample(patched, conditioning(1), conditioning(2))
    assert 8 == len(results) == reports[0].bypassed_calls
    assert (9, 63, 0) == (
        reports[0].cells_computed,
        reports[0].cells_reused,
        reports[0].cells_forced,
    )


def test_a_sampling_on_two_devices_gives_what_one_device_gives(
    comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T28: the host calls a copy of the model in a thread for each device, here two of the CPU."""
    try:
        multigpu = importlib.import_module("comfy.multigpu")
    except ImportError:
        pytest.skip("this ComfyUI samples on one device only")
    model, reports, seen = tiny_pixart(), [], []
    model.cached_patcher_init = (tiny_pixart, ())
    patched = apply(model, random_schedule(3), on_report=reports.append)
    arguments = (conditioning(1), conditioning(2, tokens=9))  # two calls on one device, too
    expected = sample(patched, *arguments, cfg=3.0)

    other = patched.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    other.is_multigpu_base_clone = True
    both = patched.clone()
    both.set_additional_models("multigpu", [other])
    both.match_multigpu_clones()
    multigpu.GPUOptionsGroup().register(both)

    def watch(executor, *args, **kwargs):
        seen.append((threading.current_thread(), executor.class_obj))
        return executor(*args, **kwargs)

    both.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "watch", watch)
    assert torch.equal(expected, sample(both, *arguments, cfg=3.0))
    assert 2 == len(set(seen)) and threading.main_thread() not in {thread for thread, _ in seen}
    assert {id(model.model), id(other.model)} == {id(called) for _, called in seen}
    one, two = reports
    assert (0, 0) == (two.bypassed_calls, two.cells_forced)
    assert (one.cells_computed, one.cells_reused) == (two.cells_computed, two.cells_reused)
    assert one.predicted_speedup == two.predicted_speedup > 1
    assert [] == forwards_left(model) == forwards_left(other)


def test_a_deep_clone_of_the_host_follows_the_schedule(
    comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T15: nodes that pick a device or compile put the MODEL on newly loaded modules."""
    if "force_deepcopy" not in inspect.signature(comfy.model_patcher.ModelPatcher.clone).parameters:
        pytest.skip("this ComfyUI makes no deep clones on a CPU")
    model, reports = tiny_pixart(), []
    model.cached_patcher_init = (lambda **_: tiny_pixart(), ())
    patched = apply(model, random_schedule(3), on_report=reports.append)
    arguments = (conditioning(1), conditioning(2))
    expected = sample(patched, *arguments, cfg=3.0)
    deep = patched.clone(force_deepcopy=True)
    assert deep.model is not model.model
    assert torch.equal(expected, sample(deep, *arguments, cfg=3.0))
    assert reports[0].cells_reused == reports[1].cells_reused > 0


def test_what_is_stored_is_allocated_where_the_host_wants_it(
    pack, tiny_pixart, conditioning, sample, random_schedule, apply, monkeypatch
):
    """Newest hosts free what a block allocates at its end, but for a context they offer."""
    inside, allocated, kept = [False], [], []

    @contextlib.contextmanager
    def pause_malloc_graph(sync=False):
        inside[0] = True
        yield
        inside[0] = False

    class Allocations(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            if isinstance(output, torch.Tensor) and inside[0]:
                allocated.append(output.untyped_storage().data_ptr())
            return output

    def look(*_):
        for run in runs():
            values = run.store._streams.values()
            kept.extend(
                stored.value.untyped_storage().data_ptr()
                for cells in values
                for parts in cells.values()
                for stored in parts.values()
            )

    def runs():
        kind = pack.module("ecad_search.engine.run").Run
        return [o for o in gc.get_objects() if type(o) is kind]

    module = sys.modules.get("comfy.model_prefetch") or ModuleType("comfy.model_prefetch")
    monkeypatch.setitem(sys.modules, "comfy.model_prefetch", module)
    monkeypatch.setattr(module, "pause_malloc_graph", pause_malloc_graph, raising=False)
    patched = apply(tiny_pixart(), random_schedule(3))
    with Allocations():
        sample(patched, conditioning(1), conditioning(2), cfg=3.0, callback=look)
    assert kept and set(kept) <= set(allocated)


@pytest.mark.parametrize("name", ["easycache", "TeaCache"])
def test_another_cache_on_the_same_model_is_reported(
    name, comfy, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """Two caches on one model are nobody's measured quality."""
    model, reports = tiny_pixart(), []
    kind = comfy.patcher_extension.WrappersMP.CALC_COND_BATCH
    model.add_wrapper_with_key(kind, name, lambda executor, *args: executor(*args))
    patched = apply(model, mostly_reusing(), on_report=reports.append)
    sample(patched, conditioning(1), conditioning(2))
    assert [f"{name.lower()} is active"] == [m[: len(name) + 10] for m in reports[0].messages]


def test_a_report_that_cannot_be_shown_does_not_cost_the_picture(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    def broken(report):
        raise RuntimeError("no browser")

    patched = apply(tiny_pixart(), mostly_reusing(), on_report=broken)
    assert torch.isfinite(sample(patched, conditioning(1), conditioning(2))).all()


def test_speed_is_measured_when_the_run_itself_can_tell(
    tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    reports, everything = [], [(s, c) for s in (1, 2, 3) for c in ("attn", "cross_attn", "mlp")]
    for computed in ([], everything):
        patched = apply(tiny_pixart(), mostly_reusing(*computed), on_report=reports.append)
        sample(patched, conditioning(1), conditioning(2), shape=(1, 4, 96, 96))
    assert reports[0].measured_speedup is None
    assert 0.5 < reports[1].measured_speedup < 8


@pytest.mark.parametrize("tokens", [120, 300], ids=["alpha", "sigma"])
def test_256_px_samples_with_the_fix_and_only_with_it(
    tokens, pack, tiny_pixart, conditioning, sample, mostly_reusing, apply
):
    """The host divides by zero below 33 latent cells; other sizes must not change by a bit."""
    options = pack.module("nodes.host.patching").CacheOptions(fix_small_latents=True)
    config = {"patch_size": 2, "pe_interpolation": 0, "input_size": 32}
    model = tiny_pixart(model_max_length=tokens, **config)
    arguments = (conditioning(1), conditioning(2))
    small, larger = {"steps": 2, "shape": (1, 4, 32, 32)}, {"steps": 2, "shape": (1, 4, 36, 36)}
    with pytest.raises(ZeroDivisionError):
        sample(apply(model, mostly_reusing()), *arguments, **small)
    fixed = apply(model, mostly_reusing(), options=options)
    assert torch.isfinite(sample(fixed, *arguments, **small)).all()
    assert [] == forwards_left(model)
    with pytest.raises(ZeroDivisionError):
        sample(model, *arguments, **small)
    model = tiny_pixart(model_max_length=tokens, patch_size=2)
    plain = sample(apply(model, mostly_reusing()), *arguments, **larger)
    fixed = sample(apply(model, mostly_reusing(), options=options), *arguments, **larger)
    assert torch.equal(plain, fixed)


def test_the_state_of_a_run_survives_the_copies_of_transformer_options(
    comfy, tiny_pixart, conditioning, sample, random_schedule, apply
):
    """T16: the host hands a new dict to every call; what is counted in one is there in the next."""
    seen, reports = [], []
    wrappers = comfy.patcher_extension.WrappersMP

    def watch(executor, *args, **kwargs):
        options = kwargs.get("transformer_options") or args[5]
        options["left by another node"] = True
        seen.append(options)
        return executor(*args, **kwargs)

    patched = apply(tiny_pixart(), random_schedule(1), on_report=reports.append)
    patched.add_wrapper_with_key(wrappers.APPLY_MODEL, "watch", watch)
    arguments = (conditioning(1), conditioning(2))
    expected = sample(apply(tiny_pixart(), random_schedule(1)), *arguments)
    assert torch.equal(expected, sample(patched, *arguments))
    assert len(seen) == len({id(options) for options in seen}) == reports[0].evaluations
    assert reports[0].cells_reused > 0


def test_a_run_prints_nothing(tiny_pixart, conditioning, sample, random_schedule, apply, capfd):
    """T25: no debug leftovers; the one line of a run goes through logging."""
    patched = apply(tiny_pixart(), random_schedule(1))
    capfd.readouterr()
    sample(patched, conditioning(1), conditioning(2))
    assert "" == capfd.readouterr().out
