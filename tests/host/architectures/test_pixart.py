"""PixArt, the host's own class at small size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecad_search.testing.architecture_contract import ArchitectureContract, Output, Subject

COMPONENTS = ("attn", "cross_attn", "mlp")


def pixart(model, conditioning):
    blocks = model.model.diffusion_model.blocks
    return Subject(
        model,
        conditioning,
        shape=(1, 4, 36, 36),
        family="pixart",
        counts={"blocks": 3},
        sites=[(Output(getattr(block, name)),) for block in blocks for name in COMPONENTS],
    )


class TestPixart(ArchitectureContract):
    wider = 6

    @pytest.fixture
    def subject(self, tiny_pixart, conditioning):
        return pixart(tiny_pixart(), conditioning)


class TestPixartInHalfPrecision(TestPixart):
    @pytest.fixture
    def subject(self, tiny_pixart, conditioning):
        return pixart(tiny_pixart(dtype=torch.bfloat16), conditioning)


def test_a_reused_component_leaves_out_its_norm_as_well(
    tiny_pixart, conditioning, sample, apply, pack
):
    model, counts = tiny_pixart(), []
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    schedule = pack.module("ecad_search.core.presets").fora(architecture, 8, 4)
    for block in model.model.diffusion_model.blocks:
        block.norm1.register_forward_hook(lambda *_: counts.append("norm1"))
        block.norm2.register_forward_hook(lambda *_: counts.append("norm2"))
    sample(apply(model, schedule), conditioning(1), conditioning(2))
    # two of eight steps compute, three blocks; one block's norms run in the rehearsal as well
    assert 2 * 3 + 1 == counts.count("norm1") == counts.count("norm2")


def test_a_block_that_does_more_goes_the_long_way(
    tiny_pixart, conditioning, sample, apply, pack, monkeypatch
):
    """A host whose block the pack does not know: right all the same, and said once."""
    model, reports = tiny_pixart(), []
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    schedule = pack.module("ecad_search.core.presets").fora(architecture, 8, 4)
    kind = type(model.model.diffusion_model.blocks[0])
    known = kind.forward

    def newer(self, x, y, t, mask=None, HW=None, **kwargs):
        return known(self, x, y, t, mask, HW, **kwargs) * 1.001

    monkeypatch.setattr(kind, "forward", newer)
    plain = sample(model, conditioning(1), conditioning(2))
    cached = sample(
        apply(model, schedule, on_report=reports.append), conditioning(1), conditioning(2)
    )
    (message,) = reports[0].messages
    assert "PixArt blocks of this model do more" in message
    assert not torch.equal(plain, cached)

    monkeypatch.setattr(pack.module("ecad_search.engine.pixart_blocks"), "is_own_code", never)
    leaves = sample(apply(model, schedule), conditioning(1), conditioning(2))
    assert torch.equal(leaves, cached)


@pytest.mark.parametrize("foreign", [False, True], ids=["own code", "another pack's block"])
def test_cross_attention_gets_tokens_as_the_host_lays_them(
    foreign, tiny_pixart, conditioning, sample, apply, pack, monkeypatch
):
    """Its first layer multiplies otherwise where they lie otherwise, and rounds otherwise."""
    model, lay = tiny_pixart(), []
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    compute = np.ones((8, architecture.n_cells), dtype=bool)
    compute[[1, 2, 4], 0] = False  # self-attention of the first block
    compute[[2, 3, 6], 6:] = False  # the whole last one; the one between never reuses
    compute[5] = False
    compute[5, 3:6] = True
    schedule = pack.module("ecad_search.core.schedule").Schedule(architecture, compute)
    blocks = model.model.diffusion_model.blocks
    for block in blocks:
        block.cross_attn.register_forward_pre_hook(lambda _, args: lay.append(args[0].stride()))
    if foreign:
        before = blocks[1].forward
        blocks[1].forward = lambda *args, **kwargs: before(*args, **kwargs)
    plain, hosts = sample(model, conditioning(1), conditioning(2)), set(lay)
    (stride,) = hosts
    assert stride[1] < stride[2]  # by channel
    lay.clear()
    cached = sample(apply(model, schedule), conditioning(1), conditioning(2))
    assert hosts == set(lay)

    monkeypatch.setattr(pack.module("ecad_search.engine.pixart_blocks"), "is_own_code", never)
    leaves = sample(apply(model, schedule), conditioning(1), conditioning(2))
    assert torch.equal(leaves, cached) and not torch.equal(plain, cached)


def never(*_):
    return False
