"""Rendering: a picture depends on its prompt, its seed and the schedule, on nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

STEPS = 4


@pytest.fixture
def renderer(pack, tiny_pixart, calibration, settings, tiny_vae):
    def build(*, model=None, lengths=(6, 6), seeds_per_prompt=2, **changes):
        return pack.module("nodes.host.rendering").Renderer(
            model or tiny_pixart(depth=2, flow=True),
            tiny_vae(),
            calibration(lengths, seeds_per_prompt),
            settings(**changes),
        )

    return build


def test_a_picture_does_not_depend_on_the_batch_it_is_in(renderer):
    alone = renderer(batch=1).render(None, range(4))
    together = renderer(batch=4).render(None, range(4))
    assert (4, 36, 36, 3) == tuple(together.shape)
    assert torch.allclose(alone, together, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_a_noisy_sampler_gives_the_same_picture_in_any_company(renderer):
    four = renderer(batch=4, sampler="euler_ancestral").render(None, range(4))
    one = renderer(batch=4, sampler="euler_ancestral").render(None, [2])
    assert torch.equal(four[2], one[0])


def test_pictures_come_in_the_order_that_was_asked_for(renderer):
    render = renderer(batch=4).render
    assert torch.allclose(render(None, [3, 0]), render(None, [0, 3]).flip(0), atol=1e-5)


def test_a_picture_is_the_one_the_ksampler_makes(renderer, sample, pack):
    made = renderer(batch=1, sampler="dpmpp_2m")
    first = made.calibration.prompts.samples[0]
    latent = sample(
        made.model,
        made.calibration.positives[0],
        made.calibration.negative,
        steps=STEPS,
        cfg=2.0,
        sampler="dpmpp_2m",
        seed=first.seed,
    )
    assert torch.equal(made.vae.decode(latent), made.render(None, [0]))


def test_prompts_of_one_length_share_a_batch_and_others_do_not(renderer):
    assert [(0, 1, 2, 3)] == renderer(batch=4).batches(range(4))
    assert [(0, 1), (2, 3)] == renderer(batch=2).batches(range(4))
    assert [(0, 2), (1, 3)] == renderer(batch=4, lengths=(6, 7)).batches(range(4))


def test_prompts_of_different_lengths_render_as_they_do_alone(renderer):
    mixed = renderer(batch=4, lengths=(6, 7))
    together = mixed.render(None, range(4))
    alone = torch.cat([mixed.render(None, [i]) for i in range(4)])
    assert torch.allclose(alone, together, atol=1e-5)


def test_options_of_a_conditioning_are_stacked_only_when_that_is_safe(pack):
    shape = pack.module("nodes.host.rendering").stackable_shape
    stacked = pack.module("nodes.host.rendering").stacked

    def conditioning(value, **options):
        return [[torch.full((1, 2, 3), value), options]]

    a = conditioning(1.0, pooled_output=torch.zeros(1, 4), guidance=3.5)
    b = conditioning(2.0, pooled_output=torch.ones(1, 4), guidance=3.5)
    assert shape(a) == shape(b) is not None
    both = stacked([a, b, a])
    assert (3, 2, 3) == tuple(both[0][0].shape)
    assert [0.0, 1.0, 0.0] == both[0][1]["pooled_output"][:, 0].tolist()
    assert shape(a) != shape(conditioning(1.0, pooled_output=torch.zeros(1, 4), guidance=3.0))
    assert shape(conditioning(1.0, control=object())) is None
    assert shape(conditioning(1.0, mask=torch.zeros(1, 4, 4))) is None


def test_an_all_compute_schedule_renders_the_very_same_pictures(renderer, pack):
    made = renderer()
    uncached = pack.module("ecad_search.core.presets").uncached(made.architecture, STEPS)
    assert torch.equal(made.render(None, [0, 1]), made.render(uncached, [0, 1]))


def test_a_schedule_changes_the_pictures_but_not_those_without_it(renderer, pack):
    made = renderer()
    before = made.render(None, [0, 1])
    fora = pack.module("ecad_search.core.presets").fora(made.architecture, STEPS, 2)
    assert not torch.equal(before, made.render(fora, [0, 1]))
    assert torch.equal(before, made.render(None, [0, 1]))


def test_a_batch_that_does_not_fit_is_halved(renderer, tiny_pixart):
    model = tiny_pixart(depth=2, flow=True)

    def small_memory(apply, arguments):
        if arguments["input"].shape[0] > 2:  # rows: a sample and its CFG partner
            raise torch.OutOfMemoryError("no memory")
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(small_memory)
    assert torch.allclose(
        renderer().render(None, range(4)),
        renderer(model=model, batch=4).render(None, range(4)),
        atol=1e-5,
    )


def test_steps_are_told_as_a_growing_share_of_the_images(renderer):
    heard = []
    renderer(batch=2).render(None, range(4), heard.append)
    assert sorted(heard) == heard
    assert 4.0 == heard[-1]


def test_own_sigmas_replace_steps_and_scheduler(renderer):
    made = renderer(sigmas=(1.0, 0.7, 0.3, 0.0))
    assert 3 == made.steps
    assert (1, 36, 36, 3) == tuple(made.render(None, [0]).shape)


def test_one_step_leaves_nothing_to_reuse(renderer, pack):
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="at least 2"):
        renderer(sigmas=(1.0, 0.0))


def test_a_fingerprint_tells_models_and_patches_apart(pack, tiny_pixart):
    fingerprint = pack.module("nodes.host.fingerprint").model_fingerprint
    model = tiny_pixart(depth=2)
    key = "diffusion_model.blocks.0.mlp.fc1.weight"
    shape = dict(model.model.named_parameters())[key].shape
    patched, stronger = model.clone(), model.clone()
    patched.add_patches({key: (torch.ones(shape),)}, 0.5)
    stronger.add_patches({key: (torch.ones(shape),)}, 0.6)
    found = [fingerprint(m) for m in (model, patched, stronger, tiny_pixart(depth=2, seed=2))]
    assert 4 == len(set(found))
    assert found[0] == fingerprint(model.clone()) == fingerprint(tiny_pixart(depth=2))


def test_a_fingerprint_is_the_same_while_a_patch_is_merged_into_the_weights(pack, tiny_pixart):
    fingerprint = pack.module("nodes.host.fingerprint").model_fingerprint
    model = tiny_pixart(depth=2)
    key = "diffusion_model.blocks.0.mlp.fc1.weight"
    model.add_patches({key: (torch.ones(dict(model.model.named_parameters())[key].shape),)}, 0.5)
    before = fingerprint(model)
    model.patch_model()
    assert before == fingerprint(model)
    model.unpatch_model()
    assert before == fingerprint(model)


def test_progress_reaches_a_client_and_is_throttled(pack, monkeypatch):
    progress = pack.module("nodes.host.progress")
    sent, said = [], []
    server = SimpleNamespace(
        client_id="me",
        send_sync=lambda event, data, client: sent.append((event, data, client)),
        send_progress_text=lambda text, node: said.append((text, node)),
    )
    monkeypatch.setattr(progress, "prompt_server", lambda: server)
    node = progress.NodeProgress("7", 10)
    for i in range(50):
        node.event("ecad.search", {"images": i})
        node.text(f"{i} images")
    node.event("ecad.search", {"images": 50}, force=True)
    assert [0, 50] == [data["images"] for _, data, _ in sent]
    assert ("ecad.search", "7", "me") == (sent[0][0], sent[0][1]["node_id"], sent[0][2])
    assert [("0 images", "7")] == said
