"""The T-GATE of the benchmark of peers does what its paper says, on the demo model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from devtools.tgate import Gate, with_tgate

STEPS = 6


@pytest.fixture(scope="module")
def subject(pack):
    from devtools.bench_quick import Subject

    return Subject(pack, 2)


@pytest.fixture(scope="module")
def renderer(subject):
    return subject.renderer(subject.heldout, STEPS, 2)


def latents(renderer, model):
    with torch.inference_mode():
        (part,) = renderer.sample(model, (0, 1))
    return part.latents


@pytest.fixture
def meter(subject):
    """Counts what a model's first block computes, and for how many pictures."""
    block = subject.model.model.diffusion_model.blocks[0]
    counted = SimpleNamespace(cross_attn=0, attn=0, mlp=0)

    def counting(name):
        def count(_module, inputs, _output):
            setattr(counted, name, getattr(counted, name) + len(inputs[0]))

        return count

    watched = {"cross_attn": block.cross_attn.proj, "attn": block.attn.proj, "mlp": block.mlp}
    hooks = [part.register_forward_hook(counting(name)) for name, part in watched.items()]
    yield counted
    for hook in hooks:
        hook.remove()


def test_a_gate_after_the_last_step_changes_nothing(renderer, subject):
    expected = latents(renderer, subject.model)
    assert torch.equal(expected, latents(renderer, with_tgate(subject.model, Gate(STEPS))))
    assert torch.equal(expected, latents(renderer, subject.model))


def test_from_the_gate_on_there_is_one_prediction_and_no_cross_attention(renderer, subject, meter):
    latents(renderer, with_tgate(subject.model, Gate(4)))
    pictures, predictions = 2, 2
    whole = 4 * pictures * predictions
    gated = 2 * pictures
    assert (whole, whole + gated, whole + gated) == (meter.cross_attn, meter.attn, meter.mlp)


def test_between_warm_up_and_gate_self_attention_computes_at_intervals(renderer, subject, meter):
    latents(renderer, with_tgate(subject.model, Gate(5, interval=2, warmup=1)))
    pictures, predictions = 2, 2
    # 0; 1 and 3 of 1 to 4; 5, past the gate, of one prediction
    assert 3 * pictures * predictions + pictures == meter.attn


def test_after_the_gate_both_predictions_cross_attention_is_averaged(renderer, subject):
    model = with_tgate(subject.model, Gate(3))
    seen = []

    def spy(name):
        def keep(_module, _inputs, output):
            seen.append((name, output))

        return keep

    block = subject.model.model.diffusion_model.blocks[0]
    hooks = [
        block.cross_attn.proj.register_forward_hook(spy("computed")),
        block.cross_attn.register_forward_hook(spy("given")),
    ]
    try:
        latents(renderer, model)
    finally:
        for hook in hooks:
            hook.remove()
    computed = [output for name, output in seen if name == "computed"]
    given = [output for name, output in seen if name == "given"]
    rows = torch.cat(computed)[-4:].chunk(2)  # of the last step before the gate
    assert not torch.equal(rows[0], rows[1])
    assert all(torch.equal((rows[0] + rows[1]) / 2, output) for output in given[-3:])
