"""The paper's noise levels in the host: each evaluation meets its own row of the schedule."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

STEPS = 20


@pytest.fixture
def node(pack):
    found = pack.module("nodes.paper_sigmas")
    return SimpleNamespace(
        sigmas=lambda *a, **k: found.PaperSigmas.execute(*a, **k).result[0],
        pixart=found.PIXART,
        flux=found.FLUX,
    )


@pytest.fixture
def custom(run_node):
    """The host's custom sampling nodes: `custom("KSamplerSelect", "euler")` -> outputs."""
    return partial(run_node, "nodes_custom_sampler")


@pytest.fixture
def sample_custom(custom, conditioning):
    """`sample_custom(model, sigmas, sampler="euler")` -> latent, by SamplerCustomAdvanced."""

    def run(model, sigmas, sampler="euler", latent=None, prompt=None):
        first = [
            custom("RandomNoise", 1)[0],
            custom("BasicGuider", model, prompt or conditioning(1))[0],
            custom("KSamplerSelect", sampler)[0],
        ]
        empty = torch.zeros(1, 4, 36, 36) if latent is None else latent
        with torch.inference_mode():
            return custom("SamplerCustomAdvanced", *first, sigmas, {"samples": empty})[0]["samples"]

    return run


@pytest.fixture
def computed():
    """`computed(model)`: a growing list, per evaluation the cells whose layers really ran."""

    def watch(model, components=("attn.qkv", "cross_attn.q_linear", "mlp.fc1")):
        network, evaluations = model.model.diffusion_model, []
        cells = [block.get_submodule(layer) for block in network.blocks for layer in components]
        network.x_embedder.register_forward_pre_hook(
            lambda *_: evaluations.append(np.zeros(len(cells), dtype=bool))
        )
        for index, layer in enumerate(cells):
            layer.register_forward_pre_hook(
                lambda *_, index=index: evaluations[-1].__setitem__(index, True)
            )
        return evaluations

    return watch


@pytest.mark.parametrize("flow", [False, True], ids=["PixArt", "flow"])
@pytest.mark.parametrize("steps", [STEPS, 12])
def test_every_evaluation_meets_its_own_row(
    flow, steps, node, tiny_pixart, random_schedule, apply, sample_custom, computed
):
    model, schedule = tiny_pixart(flow=flow), random_schedule(4, steps=steps)
    sigmas = node.sigmas(model, node.flux if flow else node.pixart, steps, 256, 256)
    evaluations = computed(model)
    sample_custom(apply(model, schedule), sigmas, "euler" if flow else "dpmpp_2m")
    assert np.array_equal(schedule.compute, np.array(evaluations))


def test_every_evaluation_of_flux_meets_its_own_row(
    node, pack, tiny_flux, flux_conditioning, apply, sample_custom
):
    """A real FLUX with the host's own shift, seen by the MLPs of its double blocks."""
    model = tiny_flux()
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    rows = np.random.default_rng(2).random((STEPS, architecture.n_cells)) < 0.5
    rows[0] = True
    schedule = pack.module("ecad_search.core.schedule").Schedule(architecture, rows)
    network, evaluations = model.model.diffusion_model, []
    network.img_in.register_forward_pre_hook(lambda *_: evaluations.append({}))
    columns = []
    for index, block in enumerate(network.double_blocks):
        for name in ("img_mlp", "txt_mlp"):
            cell = architecture.cell("double_blocks", index, name).index
            columns.append(cell)
            getattr(block, name)[0].register_forward_pre_hook(
                lambda *_, cell=cell: evaluations[-1].__setitem__(cell, True)
            )
    sigmas = node.sigmas(model, node.flux, STEPS, 256, 256)
    sample_custom(
        apply(model, schedule), sigmas, latent=torch.zeros(1, 16, 8, 8), prompt=flux_conditioning(1)
    )
    found = [[cell in seen for cell in columns] for seen in evaluations]
    assert rows[:, columns].tolist() == found


@pytest.mark.parametrize("split", [1, 7, STEPS - 1])
@pytest.mark.parametrize("kind", ["paper", "karras", "flow"])
def test_two_samplers_in_a_row_meet_the_rows_of_one(
    kind, split, node, custom, tiny_pixart, random_schedule, apply, sample_custom, computed
):
    """Where the schedule states its levels, a part of them is the same part of its rows."""
    model, schedule = tiny_pixart(flow=kind == "flow"), random_schedule(5, steps=STEPS)
    if kind == "karras":
        (sigmas,) = custom("BasicScheduler", model, "karras", STEPS, 1.0)
    else:
        sigmas = node.sigmas(model, node.flux if kind == "flow" else node.pixart, STEPS, 256, 256)
    sampling = {"sigmas": [float(f"{level:.7g}") for level in sigmas.tolist()]}
    patched = apply(model, replace(schedule, info={"sampling": sampling}))
    evaluations = computed(model)
    latent = sample_custom(patched, sigmas[: split + 1])
    sample_custom(patched, sigmas[split:], latent=latent)
    expected = schedule.compute.copy()
    expected[split] = True  # the second sampler starts from nothing
    assert np.array_equal(expected, np.array(evaluations))


def test_img2img_on_them_takes_the_rows_from_its_noise_on(
    node, tiny_pixart, random_schedule, apply, sample_custom, computed
):
    """The last 10 of 20 steps of FLUX at 256 px, on a model whose own shift is another."""
    model, schedule = tiny_pixart(flow=True), random_schedule(5, steps=STEPS)
    whole = node.sigmas(model, node.flux, STEPS, 256, 256)
    patched = apply(model, replace(schedule, info={"sampling": {"sigmas": whole.tolist()}}))
    evaluations = computed(model)
    sample_custom(patched, node.sigmas(model, node.flux, 10, 256, 256, 0.5))
    expected = schedule.compute[10:].copy()
    expected[0] = True
    assert np.array_equal(expected, np.array(evaluations))


def test_levels_of_another_kind_of_model_are_not_used(
    node, tiny_pixart, random_schedule, apply, sample_custom, computed
):
    model, schedule = tiny_pixart(flow=True), random_schedule(5, steps=STEPS)
    noise = node.sigmas(tiny_pixart(), node.pixart, STEPS)
    patched = apply(model, replace(schedule, info={"sampling": {"sigmas": noise.tolist()}}))
    evaluations = computed(model)
    sample_custom(patched, torch.linspace(1.0, 0.0, STEPS + 1)[10:])
    expected = schedule.compute[10:].copy()
    expected[0] = True
    assert np.array_equal(expected, np.array(evaluations))


@pytest.mark.parametrize("flow", [False, True], ids=["PixArt", "flow"])
def test_an_uncached_run_on_them_is_the_unpatched_model(
    flow, node, tiny_pixart, uncached, apply, sample_custom
):
    model = tiny_pixart(flow=flow)
    sigmas = node.sigmas(model, node.flux if flow else node.pixart, STEPS)
    expected = sample_custom(model, sigmas)
    assert torch.equal(expected, sample_custom(apply(model, uncached(STEPS)), sigmas))


def test_pixart_levels_lie_on_the_host_s_own_table(node, tiny_pixart):
    """The host's PixArt has the same betas, so each level is one of its 1000 and 999 is on top."""
    model = tiny_pixart()
    table = model.get_model_object("model_sampling").sigmas
    timesteps = torch.linspace(0, 999, STEPS + 1).round().long().flip(0)[:-1]
    sigmas = node.sigmas(model, node.pixart, STEPS)
    assert (torch.float32, STEPS + 1) == (sigmas.dtype, len(sigmas))
    torch.testing.assert_close(sigmas[:-1], table[timesteps], rtol=1e-5, atol=0)


def test_flux_levels_do_not_depend_on_the_shift_of_the_model(node, comfy, tiny_pixart):
    model = tiny_pixart(flow=True)
    shifted = model.clone()
    sampling = comfy.model_sampling

    class Flux(sampling.ModelSamplingFlux, sampling.CONST):
        pass

    flux = Flux()
    flux.set_parameters(shift=3.0)
    shifted.add_object_patch("model_sampling", flux)
    levels = [node.sigmas(m, node.flux, STEPS, 256, 256) for m in (model, shifted)]
    assert torch.equal(levels[0], levels[1])
    assert pytest.approx(0.622459352016449) == float(levels[0][10])


def test_the_size_of_the_picture_shifts_flux_alone(node, tiny_pixart):
    flow, noise = tiny_pixart(flow=True), tiny_pixart()
    small, large = (node.sigmas(flow, node.flux, STEPS, s, s) for s in (256, 1024))
    assert (large[1:-1] > small[1:-1]).all()
    small, large = (node.sigmas(noise, node.pixart, STEPS, s, s) for s in (256, 1024))
    assert torch.equal(small, large)


def test_denoise_takes_the_last_steps_of_more(node, tiny_pixart):
    model = tiny_pixart()
    whole = node.sigmas(model, node.pixart, 2 * STEPS)
    part = node.sigmas(model, node.pixart, STEPS, denoise=0.5)
    assert torch.equal(whole[-(STEPS + 1) :], part)


@pytest.mark.parametrize("flow", [False, True], ids=["PixArt", "flow"])
def test_the_grid_of_another_kind_of_model_is_refused(flow, node, pack, tiny_pixart):
    wrong, right = (node.pixart, node.flux) if flow else (node.flux, node.pixart)
    error = pack.module("ecad_search.errors").ModelMismatchError
    with pytest.raises(error, match="does not fit") as caught:
        node.sigmas(tiny_pixart(flow=flow), wrong, STEPS)
    assert str(caught.value).endswith(f"choose the grid '{right}'.")
