"""The traps T1 to T28 on PixArt, FLUX.1 and FLUX.2: blocks, patches, weights, compiled graphs.

`small` is a model of each of the three, `small_flux` one of the two FLUX families; what guiders and
samplers can do to a cache is in test_engine_traps_streams.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import shutil

import pytest
import torch
from torch import nn

STEPS = 6


def pair(subject, second=6):
    return subject.conditioning(1, 6), subject.conditioning(2, second)


def with_model(subject, model):
    return dataclasses.replace(subject, model=model)


def first_output(node_output):
    """Of a node that the host itself may call: NodeOutput or a tuple."""
    return getattr(node_output, "args", node_output)[0]


def blocks_of(model):
    """(name, block) of every block, as object patches and compile keys name them."""
    network = model.model.diffusion_model
    for path in ("blocks", "double_blocks", "single_blocks"):
        for index, block in enumerate(getattr(network, path, ())):
            yield f"diffusion_model.{path}.{index}", block


@pytest.mark.parametrize("cfg", [1.0, 3.0], ids=["one stream", "pair"])
def test_stored_values_stay_as_they_were_stored(
    cfg, small, pack, sample, schedule_of, apply, monkeypatch
):
    """T1: blocks add in place to what they got and to what they return; stored is a copy."""
    store_class = pack.module("ecad_search.engine.cache_store").CacheStore
    held, compared = [], []
    put = store_class.put

    def watched(self, streams, cell, part, value, given, **options):
        put(self, streams, cell, part, value, given, **options)
        for stream in streams:
            stored = self.get(stream, cell, part)
            assert stored.value.untyped_storage().data_ptr() != value.untyped_storage().data_ptr()
            held.append((self, (stream, cell, part), stored, stored.value.clone()))

    def look(*_):
        for store, key, stored, as_it_was in held:
            if store.get(*key) is stored:
                compared.append(torch.equal(as_it_was, stored.value))

    monkeypatch.setattr(store_class, "put", watched)
    model = small.model
    options = {"steps": STEPS, "cfg": cfg, "shape": small.shape, "callback": look}
    sample(apply(model, schedule_of(model)), *pair(small), **options)
    assert len(compared) > len(held) / 2 and all(compared)


def two_modulations(vec):
    """Of one vector, or of FLUX.2's ready-made modulation: a second one beside it."""
    if isinstance(vec, torch.Tensor):
        return torch.stack((vec, 0.5 * vec), dim=1)
    if isinstance(vec, tuple):
        return tuple(two_modulations(part) for part in vec)
    fields = (getattr(vec, name) for name in ("shift", "scale", "gate"))
    return type(vec)(*(torch.cat((value, 0.5 * value), dim=1) for value in fields))


def test_modulation_of_token_ranges_works_in_place(small_flux, equals_reference):
    """T2: with `modulation_dims`, apply_mod writes on what a component gave, reused or not.

    The host's own code takes one picture at a time there.
    """
    model = small_flux.model.clone()
    network = model.model.diffusion_model

    def dims(tokens):
        middle = tokens.shape[1] // 2
        return [(0, middle, 0), (middle, tokens.shape[1], 1)]

    def double(index):
        def replace(args, extra):
            img, txt = args["img"], args["txt"]
            img, txt = network.double_blocks[index](
                img=img,
                txt=txt,
                vec=two_modulations(args["vec"]),
                pe=args["pe"],
                modulation_dims_img=dims(img),
                modulation_dims_txt=dims(txt),
                transformer_options=args["transformer_options"],
            )
            return {"img": img, "txt": txt}

        return replace

    def single(index):
        def replace(args, extra):
            block, x = network.single_blocks[index], args["img"]
            vec = two_modulations(args["vec"])
            return {"img": block(x, vec=vec, pe=args["pe"], modulation_dims=dims(x))}

        return replace

    model.set_model_patch_replace(double(0), "dit", "double_block", 0)
    for index in range(2):
        model.set_model_patch_replace(single(index), "dit", "single_block", index)
    outcome = equals_reference(with_model(small_flux, model), *pair(small_flux))
    assert 0 == outcome.report.cells_forced
    assert () == outcome.report.messages


def test_reference_pictures_at_timestep_zero(small_of, equals_reference):
    """T2: the host's own use of modulation_dims (0.17), on FLUX.2."""
    subject = small_of("flux2")
    network = subject.model.model.diffusion_model
    if "timestep_zero_index" not in inspect.signature(network.forward_orig).parameters:
        pytest.skip("this ComfyUI has no index_timestep_zero")
    latent = torch.randn(subject.shape, generator=torch.Generator().manual_seed(11))
    extra = {"reference_latents": [latent], "reference_latents_method": "index_timestep_zero"}
    # One prediction, for the host's own code takes one picture at a time there.
    outcome = equals_reference(subject, subject.conditioning(1, 6, **extra), pair(subject)[1])
    assert 0 == outcome.report.cells_forced


@pytest.mark.parametrize("family", ["pixart", "flux", "flux2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_samplers_tensor_is_left_alone(
    dtype, family, small_of, comfy, sample, schedule_of, apply
):
    """T3: in float32 a flow model's input is the sampler's own tensor; bf16 reuses as much."""
    subject, changed, reports = small_of(family, dtype=dtype), [], []

    def watch(executor, x, *args, **kwargs):
        before = x.clone()
        result = executor(x, *args, **kwargs)
        changed.append(not torch.equal(before, x))
        return result

    schedule = schedule_of(subject.model)
    patched = apply(subject.model, schedule, on_report=reports.append)
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    patched.add_wrapper_with_key(kind, "watch", watch)
    latent = sample(patched, *pair(subject), steps=STEPS, shape=subject.shape)
    assert STEPS == len(changed) and not any(changed)
    assert torch.isfinite(latent).all()
    assert 0 == reports[0].cells_forced
    assert reports[0].predicted_bytes == reports[0].peak_bytes


def lora(model, seed=5, scale=0.05):
    """Weight patches as a LoRA loader makes them, for a layer in every block."""
    generator = torch.Generator().manual_seed(seed)
    patches = {}
    for name, block in blocks_of(model):
        for part, module in block.named_modules():
            if isinstance(module, nn.Linear) and part.endswith(("proj", "fc1", "linear2", "mlp.0")):
                noise = torch.randn(module.weight.shape, generator=generator)
                patches[f"{name}.{part}.weight"] = (noise * scale,)
    return patches


def test_a_lora_before_and_after_the_node(small, equals_reference, sample, schedule_of, apply):
    """T14: weights are patched in place and back; either order is the same picture."""
    patches, schedule = lora(small.model), schedule_of(small.model)
    options = {"steps": STEPS, "cfg": 3.0, "shape": small.shape}
    plain = sample(small.model, *pair(small), **options)
    without = sample(apply(small.model, schedule), *pair(small), **options)
    before = small.model.clone()
    assert len(patches) == len(before.add_patches(patches)) > 1
    outcome = equals_reference(with_model(small, before), *pair(small), cfg=3.0)
    after = apply(small.model, schedule)
    after.add_patches(patches)
    assert torch.equal(outcome.fast, sample(after, *pair(small), **options))
    assert not torch.equal(outcome.fast, without)
    assert torch.equal(without, sample(apply(small.model, schedule), *pair(small), **options))
    small.model.unpatch_model()
    assert torch.equal(plain, sample(small.model, *pair(small), **options))


def test_lora_hooks_on_a_conditioning(small, equals_reference):
    """T5, T14: the host swaps weights between the calls of one evaluation, and over the steps."""
    from comfy import hooks

    group = hooks.create_hook_model_as_lora({}, None, 1.0, 1.0)
    group.hooks[0].weights = lora(small.model)
    keyframes = hooks.HookKeyframeGroup()
    keyframes.add(hooks.HookKeyframe(1.0, 0.0))
    keyframes.add(hooks.HookKeyframe(0.2, 0.5))
    group.set_keyframes_on_hooks(keyframes)
    hooked = hooks.set_hooks_for_conditioning(small.conditioning(3, 6), group)
    positive = small.conditioning(1, 6) + hooked
    outcome = equals_reference(small, positive, small.conditioning(2, 6), cfg=3.0)
    assert (0, 0) == (outcome.report.bypassed_calls, outcome.report.cells_forced)
    alone = equals_reference(small, small.conditioning(1, 6), small.conditioning(2, 6), cfg=3.0)
    assert not torch.equal(alone.plain, outcome.plain)


def test_a_clone_that_returns_other_modules(small_flux, small_of, pack, sample, schedule_of, apply):
    """T15: nodes behind ours may put the MODEL on another copy of the modules."""
    reports = []
    patched = apply(small_flux.model, schedule_of(small_flux.model), on_report=reports.append)
    options = {"steps": STEPS, "cfg": 3.0, "shape": small_flux.shape}
    expected = sample(patched, *pair(small_flux), **options)
    other = patched.clone()
    other.model = small_of(small_flux.family).model.model
    assert other.model is not patched.model
    assert torch.equal(expected, sample(other, *pair(small_flux), **options))
    assert reports[0].cells_reused == reports[1].cells_reused > 0
    assert [] == [m for m in other.model.modules() if "forward" in vars(m)]


def test_replacements_that_call_the_block_are_called_every_step(small_flux, equals_reference):
    """T18: PuLID and its like wrap blocks by patches_replace and add something of their own."""
    model, calls = small_flux.model.clone(), []

    def wrap(kind, index):
        def replace(args, extra):
            calls.append((kind, index))
            out = dict(extra["original_block"](args))
            out["img"] = out["img"] + 0.1 * torch.sin(out["img"] + index)
            return out

        return replace

    places = [("double_block", 0), ("single_block", 1)]
    for kind, index in places:
        model.set_model_patch_replace(wrap(kind, index), "dit", kind, index)
    outcome = equals_reference(with_model(small_flux, model), *pair(small_flux), cfg=3.0)
    runs = 4  # uncached, all-compute, the schedule, the reference
    per_run = len(calls) / len(places) / runs
    assert per_run in (STEPS, 2 * STEPS)  # FLUX.2 pads its texts, so a pair is one call
    assert 0 == outcome.report.cells_forced < outcome.report.cells_reused


def test_controlnet_residuals_are_added_on_reused_steps(small_flux, comfy, equals_reference):
    """T18: the host adds them between the blocks, in place; that is outside every component."""
    from comfy.controlnet import ControlBase

    network = small_flux.model.model.diffusion_model
    tokens = small_flux.shape[-1] * small_flux.shape[-2] // network.patch_size**2

    class Control(ControlBase):
        """Gives residuals as comfy.controlnet's own do, of seeded noise and the noise level."""

        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            generator = torch.Generator().manual_seed(9)
            size = (len(x_noisy), tokens, network.hidden_size)
            doubles = [torch.randn(size, generator=generator) * t.mean()]
            singles = [torch.randn(size, generator=generator)]
            return self.control_merge(
                {"input": doubles, "output": [None, *singles]}, None, x_noisy.dtype
            )

        def copy(self):
            other = Control()
            self.copy_to(other)
            return other

    control = Control().set_cond_hint(torch.zeros(1, 3, 8, 8), 0.3, (0.0, 1.0))
    positive, negative = pair(small_flux)
    without = equals_reference(small_flux, positive, negative, cfg=3.0)
    for cond in (positive, negative):
        cond[0][1].update(control=control, control_apply_to_uncond=False)
    outcome = equals_reference(small_flux, positive, negative, cfg=3.0)
    assert 0 == outcome.report.cells_forced
    assert not torch.equal(without.fast, outcome.fast)


@pytest.mark.parametrize("place", ["block", "proj", "last layer"])
def test_another_packs_forward_is_called_and_put_back(
    place, small_flux, equals_reference, sample, schedule_of, apply
):
    """T18: an object patch on the very forward the engine shims, on a block or on a layer."""
    where = {  # under which name the host knows it
        "block": "diffusion_model.double_blocks.0",
        "proj": "diffusion_model.double_blocks.0.img_attn.proj",
        "last layer": "diffusion_model.single_blocks.1.linear2",
    }[place]
    model, calls = small_flux.model.clone(), []
    module = model.get_model_object(where)
    own = module.forward

    def theirs(*args, **kwargs):
        calls.append(1)
        out = own(*args, **kwargs)
        return (out[0] * 1.1, out[1]) if isinstance(out, tuple) else out * 1.1

    model.add_object_patch(f"{where}.forward", theirs)
    outcome = equals_reference(with_model(small_flux, model), *pair(small_flux))
    assert 0 == outcome.report.cells_forced < outcome.report.cells_reused
    if place == "block":  # is called on every step, so what lies in it has to be computed
        assert 4 * STEPS == len(calls)
    assert vars(module).get("forward") == theirs
    outcome.reference.model.unpatch_model()
    assert module.forward == own


def test_attention_patches_stay_in_use(small_flux, sample, equals_reference):
    """T18: attn1_output_patch (0.14) changes what the attention gives, where it is computed."""
    source = inspect.getsource(inspect.getmodule(type(next(blocks_of(small_flux.model))[1])))
    if "attn1_output_patch" not in source:
        pytest.skip("this ComfyUI has no attention patches in FLUX's blocks")
    model, calls = small_flux.model.clone(), []

    def patch(attn, extra_options):
        calls.append(1)
        return attn * 1.5

    model.set_model_attn1_output_patch(patch)
    outcome = equals_reference(with_model(small_flux, model), *pair(small_flux))
    assert calls and 0 == outcome.report.cells_forced < outcome.report.cells_reused


class Packed(nn.Linear):
    """A linear layer as GGUF loaders make it: its weight is bytes, unpacked in every call."""

    def __init__(self, layer):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()
        self.scale = weight.abs().max().item() / 127
        packed = (weight / self.scale).round().to(torch.int8).view(torch.uint8).flatten()
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias, requires_grad=False)

    def forward(self, x):
        weight = self.weight.view(torch.int8).view(self.out_features, self.in_features)
        return nn.functional.linear(x, weight.to(x.dtype) * self.scale, self.bias)


def test_layers_whose_weight_is_packed(small, sites_of, equals_reference):
    """T20, T22: no weight is touched, so quantised layers need no knowledge of them."""
    replaced = []
    for _, block in blocks_of(small.model):
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent = block.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], Packed(layer))
                replaced.append(name)
    assert len(replaced) > 8
    subject = dataclasses.replace(small, sites=sites_of(small.model))
    outcome = equals_reference(subject, *pair(subject), cfg=3.0)
    assert 0 == outcome.report.cells_forced < outcome.report.cells_reused


@pytest.mark.parametrize("family", ["pixart", "flux", "flux2"])
def test_fp8_weights_with_manual_cast(family, small_of, comfy, sample, schedule_of, apply):
    """T22: what is stored is what was computed, in bfloat16, not what the weights are."""
    subject, reports = small_of(family), []
    base = subject.model.model
    config = type(base.model_config)(dict(base.model_config.unet_config))
    config.set_inference_dtype(torch.float8_e4m3fn, torch.bfloat16)
    config.unet_config["dtype"] = torch.float8_e4m3fn
    options = {} if family != "pixart" else {"model_type": comfy.model_base.ModelType.EPS}
    model = type(base)(config, device="cpu", **options)
    model.diffusion_model.load_state_dict(base.diffusion_model.state_dict())
    model.eval().requires_grad_(False)
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, cpu, cpu)
    weights = {p.dtype for p in model.diffusion_model.parameters() if p.ndim > 1}
    assert torch.float8_e4m3fn in weights
    patched = apply(patcher, schedule_of(patcher), on_report=reports.append)
    latent = sample(patched, *pair(subject), cfg=3.0, steps=STEPS, shape=subject.shape)
    (report,) = reports
    assert torch.isfinite(latent).all()
    assert 0 == report.cells_forced < report.cells_reused
    assert report.predicted_bytes == report.peak_bytes > 0


def test_half_precision_that_overflows(small_of, sample, pack, schedule_of, apply):
    """T22: float16 blocks clamp infinities; reused steps go through the same clamp."""
    for name in ("flux", "flux2"):
        subject = small_of(name, dtype=torch.float16)
        with torch.no_grad():
            for _, block in blocks_of(subject.model):
                for layer in (
                    getattr(block, "txt_mlp", [None])[-1],
                    getattr(block, "linear2", None),
                ):
                    if layer is not None:
                        layer.weight.mul_(3000.0)
        options = {"steps": STEPS, "shape": subject.shape}
        uncached = pack.module("ecad_search.core.presets").uncached
        schedule, reports = schedule_of(subject.model), []
        plain = sample(subject.model, *pair(subject), **options)
        same = apply(subject.model, uncached(schedule.architecture, STEPS))
        assert torch.equal(plain.nan_to_num(), sample(same, *pair(subject), **options).nan_to_num())
        patched = apply(subject.model, schedule, on_report=reports.append)
        sample(patched, *pair(subject), **options)
        assert 0 == reports[0].cells_forced < reports[0].cells_reused
        assert not any("do more than" in message for message in reports[0].messages)


def test_a_dtype_that_changes_in_the_middle_of_a_run(small_flux, sample, schedule_of, apply):
    """T22: a stored value of another dtype is not used, and reuse goes on after it."""
    model, calls, reports = small_flux.model.clone(), [], []
    network = model.model.diffusion_model

    def convert(args):
        calls.append(1)
        if len(calls) > 3:
            args["img"], args["txt"] = args["img"].bfloat16(), args["txt"].bfloat16()
        return args

    def cast(apply_model, args):
        if len(calls) == 3:
            network.to(torch.bfloat16)
            model.model.manual_cast_dtype = torch.bfloat16
        return apply_model(args["input"], args["timestep"], **args["c"])

    model.set_model_post_input_patch(convert)
    model.set_model_unet_function_wrapper(cast)
    patched = apply(model, schedule_of(model, share=0), on_report=reports.append)
    latent = sample(patched, *pair(small_flux), steps=STEPS, shape=small_flux.shape)
    assert torch.isfinite(latent).all()
    cells = len(small_flux.sites)
    assert (cells, 4 * cells) == (reports[0].cells_forced, reports[0].cells_reused)


def test_weights_that_stay_behind_for_want_of_memory(small, comfy, sample, schedule_of, apply):
    """T22, T27: low-VRAM mode casts each layer's weight in its call, a LoRA's patch included."""
    seen = []

    class LittleMemory(comfy.model_patcher.ModelPatcher):
        def load(self, device_to=None, lowvram_model_memory=0, *args, full_load=False, **kwargs):
            super().load(device_to, 1, *args, full_load=False, **kwargs)

    def look(*_):
        modules = small.model.model.diffusion_model.modules()
        seen.append(sum(bool(getattr(m, "comfy_cast_weights", False)) for m in modules))

    schedule = schedule_of(small.model)
    options = {"steps": STEPS, "cfg": 3.0, "shape": small.shape}
    cpu = torch.device("cpu")

    def outcome(kind):
        reports = []
        model = kind(small.model.model, cpu, cpu)
        model.add_patches(lora(small.model))
        patched = apply(model, schedule, on_report=reports.append)
        latent = sample(patched, *pair(small), callback=look, **options)
        model.unpatch_model()
        patched.unpatch_model()
        return latent, reports[0]

    plain, first = outcome(comfy.model_patcher.ModelPatcher)
    assert {0} == set(seen)
    seen.clear()
    offloaded, second = outcome(LittleMemory)
    assert seen and min(seen) > 3
    torch.testing.assert_close(plain, offloaded, rtol=1e-4, atol=1e-5)
    assert first.cells_reused == second.cells_reused > 0
    assert first.peak_bytes == second.peak_bytes == second.predicted_bytes


def compile_keys(model, whole):
    return ["diffusion_model"] if whole else [name for name, _ in blocks_of(model)]


@pytest.mark.parametrize(
    "family, whole",
    [
        ("pixart", False),
        pytest.param("flux", True, marks=pytest.mark.slow),
        pytest.param("flux2", False, marks=pytest.mark.slow),
    ],
)
def test_compiled_is_what_eager_is(family, whole, small_of, sample, schedule_of, apply):
    """T21: graphs freeze no step's decision, also without the guards that newer hosts drop."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.testing import CompileCounter

    sizes = {"depth": 1} if family == "pixart" else {"depth": 1, "depth_single_blocks": 1}
    subject = small_of(family, **sizes)
    reports, graphs, counter = [], [], CompileCounter()

    def keep(guards):
        return [("transformer_options" not in guard.name) for guard in guards]

    options = {"steps": 4, "shape": subject.shape}
    schedule = schedule_of(subject.model, seed=3, steps=4)
    expected = sample(
        apply(subject.model, schedule, on_report=reports.append), *pair(subject), **options
    )
    compiled = apply(subject.model, schedule, on_report=reports.append)
    set_torch_compile_wrapper(
        compiled,
        backend=counter,
        keys=compile_keys(subject.model, whole),
        options={"guard_filter_fn": keep},
    )
    for _ in range(2):
        latent = sample(compiled, *pair(subject), **options)
        torch.testing.assert_close(expected, latent, rtol=1e-4, atol=1e-5)
        graphs.append(counter.frame_count)
    assert 0 < graphs[0] == graphs[1]
    assert {reports[0].cells_reused} == {report.cells_reused for report in reports}
    assert reports[0].cells_reused > 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["pixart", "flux"])
def test_a_block_compiled_by_inductor(family, small_of, sample, schedule_of, apply):
    """T21: the backend people use, as far as it runs here."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("inductor needs a C++ compiler")
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    sizes = {"depth": 1} if family == "pixart" else {"depth": 1, "depth_single_blocks": 1}
    subject, reports = small_of(family, **sizes), []
    schedule, options = schedule_of(subject.model, steps=3), {"steps": 3, "shape": subject.shape}
    expected = sample(apply(subject.model, schedule), *pair(subject), **options)
    compiled = apply(subject.model, schedule, on_report=reports.append)
    keys = compile_keys(subject.model, False)
    set_torch_compile_wrapper(compiled, backend="inductor", keys=keys[:1])
    latent = sample(compiled, *pair(subject), **options)
    torch.testing.assert_close(expected, latent, rtol=1e-3, atol=1e-4)
    assert 0 == reports[0].cells_forced < reports[0].cells_reused


def test_a_full_graph_is_refused_by_the_compiler_in_words(small_of, sample, schedule_of, apply):
    """T21: with fullgraph nothing can be decided at run time, and the error says who decides."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    subject = small_of("flux", depth=1, depth_single_blocks=1)
    compiled = apply(subject.model, schedule_of(subject.model, steps=3))
    set_torch_compile_wrapper(
        compiled, backend="eager", fullgraph=True, keys=compile_keys(subject.model, False)[:1]
    )
    with pytest.raises(Exception, match="ECAD"):
        sample(compiled, *pair(subject), steps=3, shape=subject.shape)
    modules = subject.model.model.diffusion_model.modules()
    assert [] == [module for module in modules if "forward" in vars(module)]
