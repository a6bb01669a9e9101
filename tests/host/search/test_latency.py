"""Timing the components of real models: what is timed, and that it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

STEPS = 4


@pytest.fixture
def timed(pack, tiny_vae, calibration, settings, tiny_pixart):
    """The latency of a model, and the images it counts as."""
    module = pack.module("nodes.host.latency")
    rendering = pack.module("nodes.host.rendering")

    def measure(model=None, prompts=None, **changes):
        renderer = rendering.Renderer(
            model or tiny_pixart(depth=2, flow=True),
            tiny_vae(),
            prompts or calibration(),
            settings(**changes),
        )
        with torch.inference_mode():
            found, images = module.measured_latency(renderer, lambda s: s, lambda images: None)
        return renderer, found, images

    return measure


def test_every_component_of_every_group_has_a_time(timed, pack):
    renderer, found, images = timed()
    architecture = renderer.architecture
    assert {g.name: {c.name for c in g.components} for g in architecture.groups} == {
        group: set(of) for group, of in found.components.items()
    }
    assert (2, 1.0, "cpu") == (found.pictures, found.evaluations, found.device)
    # one sampling and four rounds of some five evaluations, of two pictures
    assert 8 <= images <= 16
    cost = pack.module("ecad_search.core.latency").TimeCost(architecture, STEPS, found)
    assert cost.uncached_seconds > 0


def test_a_sampler_of_two_evaluations_a_step_counts_both(timed):
    found = timed(sampler="heun", batch=1)[1]
    assert (2 * STEPS - 1) / STEPS == found.evaluations
    assert 1 == found.pictures


def test_the_sampling_that_is_timed_gives_the_picture_that_it_would_have(
    timed, pack, tiny_pixart, monkeypatch
):
    rendering = pack.module("nodes.host.rendering")
    given, sample = [], rendering.Renderer.sample

    def kept(self, *args):
        for part in sample(self, *args):
            given.append(part.latents)
            yield part

    monkeypatch.setattr(rendering.Renderer, "sample", kept)
    renderer = timed()[0]
    with torch.inference_mode():
        plain = [part.latents for part in sample(renderer, renderer.model, (0, 1))]
    assert torch.equal(plain[0], given[0])


def test_what_is_timed_computes_what_it_should(timed, pack, tiny_pixart):
    """Nothing but the rows' own components runs in a timed evaluation."""
    latency = pack.module("ecad_search.core.latency")
    model = tiny_pixart(depth=2, flow=True)
    calls = []
    for block in model.model.diffusion_model.blocks:
        block.mlp.fc1.register_forward_hook(lambda *_: calls.append(1))
    renderer, _, _ = timed(model=model)
    rows = latency.timed_rows(renderer.architecture)
    rounds = pack.module("ecad_search.engine.latency").rounds_of(rows, STEPS) + 1
    mlp = np.array([c.component == "mlp" for c in renderer.architecture.cells])
    # as many again as the sampling's own evaluations make
    computed = rounds * sum(int(row[mlp].sum()) for row in rows)
    assert 2 * STEPS + computed == len(calls)


def test_a_model_that_reuses_nothing_cannot_be_timed(timed, pack, monkeypatch):
    run = pack.module("ecad_search.engine.run")
    monkeypatch.setattr(run.Call, "available", lambda *args, **settings: False)
    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match="Nothing of this model was reused"):
        timed()
