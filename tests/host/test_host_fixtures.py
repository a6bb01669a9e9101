"""The fixtures themselves: a tiny real PixArt samples in the real host."""

from __future__ import annotations

import torch


def test_a_tiny_pixart_samples_the_same_latent_twice(tiny_pixart, conditioning, sample):
    model = tiny_pixart()
    first = sample(model, conditioning(1), conditioning(2), steps=3, cfg=3.0)
    second = sample(model, conditioning(1), conditioning(2), steps=3, cfg=3.0)
    assert (1, 4, 36, 36) == tuple(first.shape)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


def test_the_pack_is_loaded_under_a_name_without_dots(pack):
    assert "." not in pack.name
    assert pack.module("ecad_search.errors").EcadError.__module__.startswith(pack.name)
