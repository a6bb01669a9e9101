"""What a run will hold: told before it starts, kept to, and made room for."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=["pixart", "flux", "flux2"])
def subject(request, tiny_pixart, tiny_flux, tiny_flux2, conditioning, flux_conditioning):
    """(model, conditioning, latent shape)"""
    return {
        "pixart": (tiny_pixart, conditioning, (1, 4, 36, 36)),
        "flux": (tiny_flux, flux_conditioning, (1, 16, 8, 8)),
        "flux2": (tiny_flux2, flux_conditioning, (1, 128, 4, 4)),
    }[request.param]


@pytest.fixture
def rows_for(pack):
    import numpy as np

    def build(model, steps=8, seed=3):
        architecture = pack.module("nodes.host.patching").detect_architecture(model)
        rows = np.random.default_rng(seed).random((steps, architecture.n_cells)) < 0.4
        rows[0] = True
        return pack.module("ecad_search.core.schedule").Schedule(architecture, rows).canonical()

    return build


@pytest.mark.parametrize(
    ("cfg", "tokens", "rows", "denoise", "sampler"),
    [
        (1.0, 6, 1, 1.0, "euler"),
        (3.0, 6, 1, 1.0, "euler"),
        (3.0, 9, 1, 1.0, "dpmpp_2m"),
        (3.0, 9, 2, 1.0, "euler"),
        (1.0, 6, 1, 0.5, "euler"),
    ],
    ids=["one stream", "batched", "split", "two pictures", "half the noise"],
)
def test_the_plan_told_before_a_run_is_what_the_run_holds(
    cfg, tokens, rows, denoise, sampler, subject, sample, apply, rows_for
):
    build, conditioning, shape = subject
    model, events = build(), []
    patched = apply(
        model,
        rows_for(model),
        on_plan=lambda planned: events.append(("plan", planned)),
        on_report=lambda report: events.append(("held", report.peak_bytes)),
    )
    sample(
        patched,
        conditioning(1),
        conditioning(2, tokens=tokens),
        cfg=cfg,
        denoise=denoise,
        sampler=sampler,
        shape=(rows, *shape[1:]),
        callback=lambda *_: events.append(("step", 0)),
    )
    (first, planned), (last, held) = events[0], events[-1]
    assert ("plan", "held") == (first, last)
    assert planned == held > 0
    assert 1 == [name for name, _ in events].count("plan")


def test_the_hosts_memory_manager_makes_room_for_the_plan(
    comfy, subject, sample, apply, rows_for, monkeypatch
):
    """T27: where free memory is less than model and stored values need, the host frees some."""
    build, conditioning, shape = subject
    model, plans, asked = build(), [], []
    management = comfy.model_management
    really_free = management.free_memory

    def watch(room, device, *args, **kwargs):
        asked.append(room)
        return really_free(room, device, *args, **kwargs)

    patched = apply(model, rows_for(model), on_plan=plans.append)
    monkeypatch.setattr(management, "free_memory", watch)
    arguments = conditioning(1), conditioning(2)
    plain = sample(patched, *arguments, cfg=3.0, shape=shape)
    at_least = plans[0] + model.memory_required([2 * shape[0], *shape[1:]])
    assert not any(room >= at_least for room in asked)  # this machine has more than that

    def too_little(device=None, torch_free_too=False):
        return (1.0, 0.0) if torch_free_too else 1.0

    monkeypatch.setattr(management, "get_free_memory", too_little)
    short = sample(patched, *arguments, cfg=3.0, shape=shape)
    assert any(room >= at_least for room in asked)
    # less memory, and so two calls for a guided prediction: another order of sums
    torch.testing.assert_close(plain, short, rtol=1e-3, atol=0.1)


def test_values_in_main_memory_give_the_same_picture(subject, sample, apply, rows_for, pack):
    build, conditioning, shape = subject
    model, reports = build(), []
    options = pack.module("nodes.host.patching").CacheOptions
    pictures = [
        sample(
            apply(
                model,
                rows_for(model),
                options=options(cache_device=device),
                on_report=reports.append,
            ),
            conditioning(1),
            conditioning(2, tokens=9),
            cfg=3.0,
            shape=shape,
        )
        for device in ("gpu", "cpu")
    ]
    assert torch.equal(*pictures)
    assert reports[0].peak_bytes == reports[1].peak_bytes > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_copies_that_run_alongside_arrive_whole(pack):
    place = pack.module("ecad_search.engine.cache_place").InMainMemory()
    device = torch.device("cuda")
    values = [torch.randn(512, 1024, device=device) for _ in range(32)]
    expected = [value.clone() for value in values]
    held = []
    for value in values:
        held.append(place.store(value))
        value.fill_(float("nan"))  # the place has its copy, or waits for it
    place.expect(iter(held), device)
    for kept, value in zip(held, expected, strict=True):
        assert kept.device.type == "cpu" and kept.is_pinned()
        assert torch.equal(value, place.load(kept, device))
