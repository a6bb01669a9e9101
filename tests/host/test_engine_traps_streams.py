"""The traps T1 to T28 on PixArt, FLUX.1 and FLUX.2: conditionings, guiders, samplers, whole runs.

`small` is a model of each of the three, `small_flux` one of the two FLUX families; what modules and
weights can do to a cache is in test_engine_traps_modules.py.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import importlib
import threading

import numpy as np
import pytest
import torch

from ecad_search.testing.stream_reference import StreamReference

STEPS = 6  # as `equals_reference` and `schedule_of` do where nothing else is said


def with_model(subject, model):
    return dataclasses.replace(subject, model=model)


def forwards_left(model):
    return [m for m in model.model.diffusion_model.modules() if "forward" in vars(m)]


def host_node(module, name):
    return getattr(importlib.import_module(f"comfy_extras.{module}"), name)


def first_output(node_output):
    """Of a node that the host itself may call: NodeOutput or a tuple."""
    return getattr(node_output, "args", node_output)[0]


@pytest.mark.parametrize("text", [6, 9], ids=["batched", "split"])
def test_a_cfg_pair_in_one_call_or_two_equals_the_slow_reference(text, small, equals_reference):
    """T4, T27: and exactly the predicted bytes are held."""
    arguments = (small.conditioning(1, 6), small.conditioning(2, text))
    outcome = equals_reference(small, *arguments, cfg=3.0)
    report = outcome.report
    assert 0 == report.cells_forced
    assert report.predicted_bytes == report.peak_bytes > 0


def test_a_split_pair_gives_what_a_batched_one_gives(
    small_flux, sample, schedule_of, apply, monkeypatch
):
    """T4, T5: free memory decides at each call, so a pair may change in the middle of a run."""
    model, reports, asked, flips = small_flux.model, [], [], [0]
    patched = apply(model, schedule_of(model), on_report=reports.append)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    options = {"steps": STEPS, "cfg": 3.0, "shape": small_flux.shape}
    batched = sample(patched, *arguments, **options)

    def memory_required(input_shape, **_):
        asked.append(input_shape[0])
        return 1e30 if input_shape[0] > 1 and flips[0] and len(asked) % flips[0] else 0

    monkeypatch.setattr(model.model, "memory_required", memory_required)
    for every in (10**9, 3):
        flips[0] = every
        other = sample(patched, *arguments, **options)
        scale = float(batched.abs().max())
        torch.testing.assert_close(batched, other, rtol=1e-3, atol=1e-5 * scale)
    assert {1, 2} == set(asked)
    assert [0, 0, 0] == [report.cells_forced for report in reports]


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.3, 0.7)], ids=["always", "for some steps"])
def test_skip_layer_guidance_keeps_its_effect_and_the_reuse(
    interval, small, sample, equals_reference, schedule_of, apply
):
    """T6, T23: the host's SkipLayerGuidanceDiT calls the positive stream again, blocks left out."""
    start, end = interval
    node = host_node("nodes_slg", "SkipLayerGuidanceDiT")
    guided = first_output(
        node.execute(
            small.model, 3.0, start, end, double_layers="0", single_layers="1", rescaling_scale=0.2
        )
    )
    arguments = (small.conditioning(1, 6), small.conditioning(2, 9))
    outcome = equals_reference(with_model(small, guided), *arguments, cfg=3.0)
    report, schedule = outcome.report, schedule_of(small.model)
    assert (interval == (0.0, 1.0)) == (report.bypassed_calls == STEPS)
    assert 0 < report.bypassed_calls
    assert 0 == report.cells_forced < report.cells_reused
    alone = sample(
        apply(small.model, schedule), *arguments, cfg=3.0, steps=STEPS, shape=small.shape
    )
    assert not torch.equal(alone, outcome.fast)


def test_guidance_that_skips_layers_of_the_negative_prompt_only(small_flux, equals_reference):
    """T6, T18: for some steps the negative prompt meets another network; its values start anew."""
    node = host_node("nodes_slg", "SkipLayerGuidanceDiTSimple")
    guided = first_output(
        node.execute(small_flux.model, 0.2, 0.8, double_layers="0", single_layers="1")
    )
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 9))
    outcome = equals_reference(with_model(small_flux, guided), *arguments, cfg=3.0)
    assert 0 == outcome.report.bypassed_calls
    assert 0 < outcome.report.cells_forced < outcome.report.cells_reused


def test_perturbed_attention_guidance(small, equals_reference):
    """T6, T23: the host's node; its second call is computed, the first follows the schedule."""
    node = host_node("nodes_pag", "PerturbedAttentionGuidance")
    guided = with_model(small, first_output(node.execute(small.model, 2.0)))
    outcome = equals_reference(guided, small.conditioning(1, 6), small.conditioning(2, 6), cfg=3.0)
    assert (STEPS, 0) == (outcome.report.bypassed_calls, outcome.report.cells_forced)


def test_guidance_by_a_degraded_picture(small, comfy, equals_reference):
    """T6, T23: what SelfAttentionGuidance does; the node itself asks for a UNet's middle block."""

    def guide(args):
        blurred = torch.nn.functional.avg_pool2d(args["uncond_denoised"], 3, 1, 1)
        degraded = blurred + args["input"] - args["uncond_denoised"]
        (other,) = comfy.samplers.calc_cond_batch(
            args["model"], [args["uncond"]], degraded, args["sigma"], args["model_options"]
        )
        return args["denoised"] + (blurred - other) * 0.5

    model = small.model.clone()
    model.set_model_sampler_post_cfg_function(guide, disable_cfg1_optimization=True)
    outcome = equals_reference(
        with_model(small, model), small.conditioning(1, 6), small.conditioning(2, 6)
    )
    assert (STEPS, 0) == (outcome.report.bypassed_calls, outcome.report.cells_forced)


@pytest.mark.parametrize("order", ["fixed", "shuffled"])
def test_tiles_are_computed_and_the_report_says_so(order, small, sample, schedule_of, apply):
    """T6: tiles carry the same uuid, and nodes shuffle or shift them from step to step."""
    generator = np.random.default_rng(1)

    def tile(apply_model, args):
        x, parts = args["input"], [0, 1]
        if order == "shuffled":
            generator.shuffle(parts)
        half = x.shape[-1] // 2
        out = torch.zeros_like(x)
        for part in parts:
            place = slice(part * half, (part + 1) * half)
            out[..., place] = apply_model(x[..., place], args["timestep"], **args["c"])
        return out

    model, reports = small.model.clone(), []
    model.set_model_unet_function_wrapper(tile)
    shape = (*small.shape[:-1], 2 * small.shape[-1])
    arguments = (small.conditioning(1, 6), small.conditioning(2, 6))
    options = {"steps": STEPS, "shape": shape, "cfg": 2.0}
    plain = sample(model, *arguments, **options)
    patched = apply(model, schedule_of(model), on_report=reports.append)
    assert torch.allclose(plain, sample(patched, *arguments, **options), atol=1e-6)
    (report,) = reports
    assert (2 * STEPS - 1, 0) == (report.bypassed_calls, report.cells_reused)
    assert f"{report.bypassed_calls} model calls were for parts" in report.messages[0]


@pytest.mark.parametrize("schedule", ["standard_static", "looped_uniform"])
def test_context_windows_have_values_of_their_own(schedule, small, equals_reference):
    """T6: the host's windows, here over rows, all carry the uuid of their conditioning.

    Set up as its node ContextWindowsManual does.
    """
    rows = small.shape[2]
    windows = importlib.import_module("comfy.context_windows")
    windowed = small.model.clone()
    handler = windowed.model_options["context_handler"] = windows.IndexListContextHandler(
        context_schedule=windows.get_matching_context_schedule(schedule),
        fuse_method=windows.get_matching_fuse_method("flat"),
        context_length=rows,
        context_overlap=rows // 2,
        dim=2,
    )
    handler.causal_window_fix = False  # of newer hosts, for films: one more row than PixArt takes
    windows.create_prepare_sampling_wrapper(windowed)
    shape = (1, small.shape[1], 2 * rows, small.shape[3])
    arguments = (small.conditioning(1, 6), small.conditioning(2, 9))
    outcome = equals_reference(with_model(small, windowed), *arguments, cfg=2.0, shape=shape)
    moving = schedule == "looped_uniform"
    assert moving == (outcome.report.cells_forced > 0)
    assert outcome.reference.forced == outcome.report.cells_forced
    assert 0 == outcome.report.bypassed_calls
    assert moving or outcome.report.predicted_bytes == outcome.report.peak_bytes


def regions(subject, seeds, shape, **extra):
    """What ConditioningSetArea gives: the left and the right half of the picture."""
    rows, columns = shape[-2], shape[-1] // 2
    left, right = (subject.conditioning(seed, 6) for seed in seeds)
    for (_, options), first in ((left[0], 0), (right[0], columns)):
        options.update(area=(rows, columns, 0, first), strength=0.8, set_area_to_bounds=False)
        options.update(extra)
    return left + right


def test_regional_prompts_by_area(small, equals_reference):
    """T4, T6: several conditionings of one prompt, two of them smaller than the picture."""
    shape = (*small.shape[:-1], 2 * small.shape[-1])
    positive = small.conditioning(1, 6) + regions(small, (3, 4), shape)
    outcome = equals_reference(small, positive, small.conditioning(2, 9), cfg=3.0, shape=shape)
    assert (0, 0) == (outcome.report.bypassed_calls, outcome.report.cells_forced)


def test_regional_prompts_by_mask(small, equals_reference):
    """T4: what ConditioningSetMask gives."""
    mask = torch.zeros(1, *small.shape[-2:])
    mask[..., : small.shape[-1] // 2] = 1
    masked = small.conditioning(3, 9)
    masked[0][1].update(mask=mask, set_area_to_bounds=False, mask_strength=0.7)
    positive = small.conditioning(1, 6) + masked
    outcome = equals_reference(small, positive, small.conditioning(2, 6), cfg=3.0)
    assert (0, 0) == (outcome.report.bypassed_calls, outcome.report.cells_forced)


def test_prompt_scheduling(small, equals_reference):
    """T7: a second prompt takes over, and a third is there for some steps in the middle."""

    def at(seed, start, end):
        return small.conditioning(seed, 6, start_percent=start, end_percent=end)

    positive = at(1, 0.0, 0.5) + at(3, 0.5, 1.0) + at(4, 0.3, 0.7)
    outcome = equals_reference(small, positive, small.conditioning(2, 9), cfg=3.0)
    assert 0 == outcome.report.bypassed_calls
    assert 0 < outcome.report.cells_forced == outcome.reference.forced


def test_a_guidance_interval(small, comfy, equals_reference):
    """T7: the negative prompt is away for two steps; what was due then is computed afterwards."""
    model, sigmas = small.model.clone(), []

    def calc(args):
        sigmas.append(float(args["sigma"][0]))
        step = len(sigmas) % STEPS
        conds = [args["conds"][0], None] if step in (3, 4) else args["conds"]
        out = comfy.samplers.calc_cond_batch(
            args["model"], conds, args["input"], args["sigma"], args["model_options"]
        )
        return out if conds[1] is not None else [out[0], out[0]]

    model.model_options["sampler_calc_cond_batch_function"] = calc
    arguments = (small.conditioning(1, 6), small.conditioning(2, 9))
    outcome = equals_reference(with_model(small, model), *arguments, cfg=3.0, share=0.6)
    assert outcome.reference.forced == outcome.report.cells_forced > 0


@pytest.mark.parametrize(
    "sampler, evaluations",
    {
        "euler": 6, "dpmpp_2m": 6, "uni_pc": 6, "heun": 11, "dpm_2": 11, "dpmpp_2s_ancestral": 11,
        "dpmpp_sde": 11, "seeds_2": 11, "seeds_3": 16, "heunpp2": 15,
    }.items(),
)  # fmt: skip
def test_samplers_of_several_evaluations_a_step(
    sampler, evaluations, small_flux, require_sampler, sample, schedule_of, apply
):
    """T8: evaluations are not steps."""
    require_sampler(sampler)
    model, reports = small_flux.model, []
    patched = apply(model, schedule_of(model), on_report=reports.append)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 9))
    latent = sample(
        patched, *arguments, cfg=2.0, steps=STEPS, sampler=sampler, shape=small_flux.shape
    )
    (report,) = reports
    assert torch.isfinite(latent).all()
    assert evaluations == report.evaluations
    cells = report.cells_computed + report.cells_reused
    calls = 1 if small_flux.family == "flux2" else 2  # which pads its texts to one length
    assert calls * evaluations * len(small_flux.sites) == cells
    assert 0 < report.cells_reused and report.peak_bytes <= report.predicted_bytes
    assert (sampler == "heunpp2") == bool(report.messages)
    assert sampler == "heunpp2" or 0 == report.cells_forced


def test_unusual_sigmas(small_flux, sample, schedule_of, apply):
    """T9, T10: repeated, one step, equal, zeros, truncated, rising; also in half precision."""
    model, reports = small_flux.model, []
    patched = apply(model, schedule_of(model), on_report=reports.append)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    for levels in (
        [1.0, 0.6, 0.6, 0.2, 0.0],
        [1.0, 0.0],
        [0.5, 0.5],
        [0.0, 0.0],
        [1.0, 0.8, 0.5, 0.3],
        [0.05, 0.3, 0.8],
        [0.4, 0.2, 0.0],
    ):
        for dtype in (torch.float32, torch.float16):
            sigmas = torch.tensor(levels, dtype=dtype)
            sample(patched, *arguments, sigmas=sigmas, shape=small_flux.shape)
            report = reports.pop()
            assert len(levels) - 1 == report.steps == report.evaluations
            cells = report.cells_computed + report.cells_reused
            assert report.steps * len(small_flux.sites) == cells


def test_img2img_and_stages_follow_their_part_of_the_schedule(
    small_flux, comfy, sample, schedule_of, apply
):
    """T10: denoise 0.5 in 6 steps is the second half of 12; so is a second KSampler (Advanced)."""
    model, schedule = small_flux.model, schedule_of(small_flux.model, steps=12)
    patched = apply(model, schedule)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    latent = torch.randn(small_flux.shape, generator=torch.Generator().manual_seed(3))
    stage = {"steps": 12, "force_full_denoise": False}
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 12).tolist()
    second = schedule.compute[6:].copy()
    second[0] = True
    for rows, levels, options in (
        (second, sigmas[6:], {"steps": 6, "denoise": 0.5}),
        (schedule.compute[:6], sigmas[:7], {"last_step": 6, **stage}),
        (second, sigmas[6:], {"start_step": 6, **stage}),
    ):
        fast = sample(patched, *arguments, latent=latent, **options)
        with StreamReference(small_flux, rows, levels).hooked() as reference:
            assert torch.equal(sample(reference.model, *arguments, latent=latent, **options), fast)
        assert not torch.equal(sample(model, *arguments, latent=latent, **options), fast)


def test_each_run_starts_from_nothing_and_leaves_nothing(small, pack, sample, schedule_of, apply):
    """T11: another seed, size and batch on the executed MODEL; then no stored tensor is left."""
    model, schedule, reports = small.model, schedule_of(small.model), []
    used = apply(model, schedule, on_report=reports.append)
    arguments = (small.conditioning(1, 6), small.conditioning(2, 6))
    larger = (*small.shape[:-1], small.shape[-1] + 12)
    options = {"steps": STEPS, "cfg": 3.0}
    for change in ({}, {"seed": 5}, {"shape": larger}, {"shape": (2, *small.shape[1:])}):
        change = {"shape": small.shape} | change
        again = sample(used, *arguments, **options, **change)
        fresh = sample(apply(model, schedule), *arguments, **options, **change)
        assert torch.equal(fresh, again)
        assert 0 == reports[-1].cells_forced < reports[-1].cells_reused
    gc.collect()
    kinds = (
        pack.module("ecad_search.engine.run").Run,
        pack.module("ecad_search.engine.cache_store").Stored,
    )
    assert not [o for o in gc.get_objects() if type(o) in kinds]


PLACES_TO_STOP = {
    "pixart": ("blocks.0.attn.qkv", "blocks.1.mlp.fc2"),
    "flux": ("double_blocks.0.txt_mlp.2", "single_blocks.0.linear1", "single_blocks.1.linear2"),
    "flux2": ("double_blocks.0.txt_mlp.2", "single_blocks.0.linear1", "single_blocks.1.linear2"),
}


def test_cancel_inside_a_layer_leaves_nothing(small, comfy, pack, sample, schedule_of, apply):
    """T12: the host raises it inside whichever layer comes next; a callback may raise as well."""
    model, reports = small.model, []
    patched = apply(model, schedule_of(model), on_report=reports.append)
    arguments = (small.conditioning(1, 6), small.conditioning(2, 9))
    options = {"steps": STEPS, "cfg": 3.0, "shape": small.shape}
    expected, plain = sample(patched, *arguments, **options), sample(model, *arguments, **options)
    cancelled = comfy.model_management.InterruptProcessingException
    larger = (*small.shape[:-1], small.shape[-1] + 12)

    def stop_at(call):
        calls = []

        def stop(*_):
            calls.append(1)
            if len(calls) == call:
                comfy.model_management.interrupt_current_processing()

        return stop

    def stopped(**more):
        with pytest.raises(cancelled):
            sample(patched, *arguments, **(options | {"shape": larger} | more))
        assert any("stopped" in message for message in reports[-1].messages)
        assert [] == forwards_left(model)
        assert torch.equal(expected, sample(patched, *arguments, **options))

    network = model.model.diffusion_model
    for place in PLACES_TO_STOP[small.family]:
        handle = network.get_submodule(place).register_forward_pre_hook(stop_at(3))
        try:
            stopped()
        finally:
            handle.remove()
    stopped(callback=stop_at(3))

    def fail(step, *_):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(patched, *arguments, callback=fail, **options)
    assert [] == forwards_left(model)
    gc.collect()
    kind = pack.module("ecad_search.engine.cache_store").Stored
    assert not [o for o in gc.get_objects() if type(o) is kind]
    assert torch.equal(plain, sample(model, *arguments, **options))


def test_the_unpatched_branch_is_untouched(small_flux, comfy, sample, schedule_of, apply):
    """T13: it shares the modules, and is called even while the shims are on them."""
    model, during = small_flux.model, []
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    options = {"steps": STEPS, "cfg": 3.0, "shape": small_flux.shape}
    plain = sample(model, *arguments, **options)
    text, pooled = arguments[0][0][0], arguments[0][0][1].get("pooled_output")
    extra = {} if pooled is None else {"y": pooled, "guidance": torch.tensor([3.5])}

    def call_beside(*_):
        x, sigma = torch.ones(small_flux.shape), torch.tensor([0.5])
        during.append(model.model.apply_model(x, sigma, c_crossattn=text, **extra))

    call_beside()
    patched = apply(model, schedule_of(model))
    alone = sample(patched, *arguments, **options)
    assert torch.equal(alone, sample(patched, *arguments, callback=call_beside, **options))
    assert STEPS + 1 == len(during) and all(torch.equal(during[0], other) for other in during)
    assert torch.equal(plain, sample(model, *arguments, **options))


def test_clones_before_and_after_the_node(small_flux, pack, sample, schedule_of, apply):
    """T14: `clone` copies or shares what is in model_options, depending on the host."""
    model, schedule = small_flux.model, schedule_of(small_flux.model)
    patching = pack.module("nodes.host.patching")
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 9))
    options = {"steps": STEPS, "cfg": 3.0, "shape": small_flux.shape}
    patched = apply(model, schedule)
    expected = sample(patched, *arguments, **options)
    copied = patched.clone()
    copied.model_options = copy.deepcopy(copied.model_options)
    for other in (patched.clone(), apply(model.clone(), schedule), copied, patched):
        assert torch.equal(expected, sample(other, *arguments, **options))
        assert schedule == patching.cached_schedule(other)
    twice = apply(apply(model, schedule_of(model, seed=7)), schedule)
    assert torch.equal(expected, sample(twice, *arguments, **options))
    plain = patching.without_schedule(patched)
    assert torch.equal(sample(model, *arguments, **options), sample(plain, *arguments, **options))


def test_the_state_of_a_run_survives_the_copies_of_transformer_options(
    small_flux, comfy, sample, schedule_of, apply
):
    """T16: every call gets a new dict."""
    seen, reports = [], []

    def watch(executor, *args, **kwargs):
        options = kwargs.get("transformer_options") or args[5]
        options["left by another node"] = True
        seen.append(options)
        return executor(*args, **kwargs)

    patched = apply(small_flux.model, schedule_of(small_flux.model), on_report=reports.append)
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    options = {"steps": STEPS, "shape": small_flux.shape}
    expected = sample(patched, *arguments, **options)
    watched = patched.clone()
    watched.add_wrapper_with_key(kind, "watch", watch)
    assert torch.equal(expected, sample(watched, *arguments, **options))
    assert STEPS == len({id(options) for options in seen})
    assert reports[1].cells_reused > 0


def test_another_packs_model_function_wrapper_stays_in_use(small_flux, sample, schedule_of, apply):
    """T17: that is a single slot, so the engine does not take it."""
    model, schedule, calls = small_flux.model, schedule_of(small_flux.model), []

    def halve(apply_model, args):
        calls.append(1)
        return apply_model(args["input"], args["timestep"], **args["c"]) * 0.5

    before, after = model.clone(), apply(model, schedule)
    before.set_model_unet_function_wrapper(halve)
    before = apply(before, schedule)
    after.set_model_unet_function_wrapper(halve)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    options = {"steps": STEPS, "shape": small_flux.shape}
    first = sample(before, *arguments, **options)
    assert torch.equal(first, sample(after, *arguments, **options))
    assert not torch.equal(first, sample(apply(model, schedule), *arguments, **options))
    assert 2 * STEPS == len(calls)


def reference_latents(subject, **options):
    generator = torch.Generator().manual_seed(11)
    return {"reference_latents": [torch.randn(subject.shape, generator=generator)], **options}


@pytest.mark.parametrize("method", ["index", "offset", "uxo"])
def test_reference_pictures(method, small_flux, equals_reference):
    """T19, T27: Kontext's tokens beside the picture's are counted and held like them."""
    extra = reference_latents(small_flux, reference_latents_method=method)
    arguments = (small_flux.conditioning(1, 6, **extra), small_flux.conditioning(2, 6))
    outcome = equals_reference(small_flux, *arguments, cfg=3.0)
    assert (0, 0) == (outcome.report.bypassed_calls, outcome.report.cells_forced)
    assert outcome.report.predicted_bytes == outcome.report.peak_bytes


def test_tokens_that_go_after_the_first_evaluation(small_flux, equals_reference):
    """T19: what FluxKVCache does to the reference tokens; what is stored for more does not fit."""
    model, calls = small_flux.model.clone(), []
    side = model.model.diffusion_model.patch_size
    pictures = small_flux.shape[-2] // side * (small_flux.shape[-1] // side)

    def drop(args):
        calls.append(1)
        if len(calls) % STEPS != 1:
            args["img"] = args["img"][:, :pictures]
            args["img_ids"] = args["img_ids"][:, :pictures]
        return args

    model.set_model_post_input_patch(drop)
    extra = reference_latents(small_flux)
    arguments = (small_flux.conditioning(1, 6, **extra), small_flux.conditioning(2, 6))
    outcome = equals_reference(with_model(small_flux, model), *arguments, share=0.3)
    assert 0 < outcome.report.cells_forced < outcome.report.cells_reused


def test_the_hosts_cache_of_keys_and_values(small_of, sample, schedule_of, apply):
    """T19: FluxKVCache (0.17) with FLUX.2's reference pictures."""
    nodes_flux = importlib.import_module("comfy_extras.nodes_flux")
    if not hasattr(nodes_flux, "FluxKVCache"):
        pytest.skip("this ComfyUI has no FluxKVCache")
    subject, reports = small_of("flux2"), []
    kept = first_output(nodes_flux.FluxKVCache.execute(subject.model))
    extra = reference_latents(subject)
    arguments = (subject.conditioning(1, 6, **extra), subject.conditioning(2, 6))
    patched = apply(kept, schedule_of(subject.model), on_report=reports.append)
    latent = sample(patched, *arguments, steps=STEPS, shape=subject.shape)
    assert torch.isfinite(latent).all()
    assert 0 < reports[0].cells_forced and 0 < reports[0].cells_reused


def test_a_token_count_that_changes_forces_computing(small_flux, comfy, sample, schedule_of, apply):
    """T19, T22: another node feeds the model a wider latent from the fourth step on."""
    model, calls, reports = small_flux.model.clone(), [], []

    def widen(executor, x, *args, **kwargs):
        calls.append(1)
        if len(calls) <= 3:
            return executor(x, *args, **kwargs)
        return executor(torch.nn.functional.pad(x, (0, 12)), *args, **kwargs)[..., : x.shape[-1]]

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "widen", widen)
    patched = apply(model, schedule_of(model, share=0), on_report=reports.append)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    latent = sample(patched, *arguments, steps=STEPS, shape=small_flux.shape)
    assert torch.isfinite(latent).all()
    cells = len(small_flux.sites)
    (report,) = reports
    assert (cells, 4 * cells) == (report.cells_forced, report.cells_reused)


def test_blocks_nobody_calls_are_reported(small_flux, sample, schedule_of, apply):
    """T20: another node's patches replace all blocks and call none of them."""
    model, reports = small_flux.model.clone(), []
    for place in (("double_block", 0), ("single_block", 0), ("single_block", 1)):
        model.set_model_patch_replace(lambda args, extra: args, "dit", *place)
    patched = apply(model, schedule_of(model), on_report=reports.append)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    sample(patched, *arguments, steps=STEPS, shape=small_flux.shape)
    assert "0 cells were hooked" in reports[0].messages[0]


def test_a_schedule_of_another_family_is_refused_at_once(pack, small_of, schedule_of, apply):
    """T24: FLUX.1, FLUX.2 and PixArt are told apart by their modules, never by a widget."""
    errors = pack.module("ecad_search.errors")
    subjects = [small_of(name) for name in ("pixart", "flux", "flux2")]
    for subject in subjects:
        for other in subjects:
            if other is not subject:
                with pytest.raises(errors.ModelMismatchError):
                    apply(subject.model, schedule_of(other.model))
    with pytest.raises(errors.ModelMismatchError, match=r"2 single.*4 single"):
        apply(small_of("flux", depth_single_blocks=4).model, schedule_of(subjects[1].model))


def test_a_run_prints_nothing(small_flux, sample, schedule_of, apply, capfd):
    """T25: no debug leftovers; the one line of a run goes through logging."""
    patched = apply(small_flux.model, schedule_of(small_flux.model))
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    capfd.readouterr()
    sample(patched, *arguments, steps=STEPS, shape=small_flux.shape)
    assert "" == capfd.readouterr().out


def test_a_foreign_copy_of_the_modules_in_a_thread_is_bypassed(
    small_flux, small_of, sample, schedule_of, apply
):
    """T28: a call of modules without shims neither reads nor writes, whatever thread it is in."""
    model, reports, results = small_flux.model.clone(), [], []
    twin = small_of(small_flux.family).model.model
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    options = {"steps": STEPS, "shape": small_flux.shape}
    expected = sample(apply(model, schedule_of(model)), *arguments, **options)

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
    patched = apply(model, schedule_of(model), on_report=reports.append)
    assert torch.equal(expected, sample(patched, *arguments, **options))
    assert STEPS == len(results) == reports[0].bypassed_calls


@pytest.mark.parametrize("place", ["wrapper", "model_function_wrapper"])
def test_another_cache_on_top_is_a_warning(place, small_flux, comfy, sample, schedule_of, apply):
    """T20: two caches on one model are nobody's measured quality; the picture still comes."""
    model, reports = small_flux.model.clone(), []

    def teacache(apply_model, args):
        return apply_model(args["input"], args["timestep"], **args["c"])

    patched = apply(model, schedule_of(model), on_report=reports.append)
    if place == "wrapper":
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        patched.add_wrapper_with_key(kind, "teacache", lambda executor, *a, **k: executor(*a, **k))
    else:
        patched.set_model_unet_function_wrapper(teacache)
    arguments = (small_flux.conditioning(1, 6), small_flux.conditioning(2, 6))
    latent = sample(patched, *arguments, steps=STEPS, shape=small_flux.shape)
    assert torch.isfinite(latent).all()
    assert reports[0].messages[0].startswith("teacache is active")
