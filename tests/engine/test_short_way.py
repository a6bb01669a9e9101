"""The rehearsal of a short way: what passes it, and what does not."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecad_search.engine import short_way
from ecad_search.engine.short_way import begins_rehearsal, may_go, rehearse, residual, same_bits

CELL = 0


def stage() -> Any:
    run = SimpleNamespace(short_ways={}, messages=[])
    call = SimpleNamespace(due=torch.ones(1, dtype=torch.bool).numpy(), storing=True)
    call.rehearsal = None
    assert begins_rehearsal(run, call, "toy", [CELL])
    return run, call


def layer(call, x):
    """What a shimmed layer does in a rehearsal."""
    if call.rehearsal.playing:
        call.rehearsal.compare_given(CELL, [x])
        return call.rehearsal.play(CELL)
    call.rehearsal.hear_given(CELL, [x])
    output = torch.cos(x)
    call.rehearsal.hear(CELL, 0, output)
    return output


def test_the_same_code_passes():
    run, call = stage()
    x = torch.randn(3)
    result = rehearse(
        run, call, "toy", lambda: x + layer(call, x), lambda: x + layer(call, x.clone())
    )
    assert torch.equal(x + torch.cos(x), result)
    assert may_go(run, "toy") and [] == run.messages
    assert call.rehearsal is None and call.storing


@pytest.mark.parametrize(
    "short",
    [
        lambda call, x: 2 * x + layer(call, x),
        lambda call, x: x + layer(call, 2 * x),
        lambda call, x: x,
        lambda call, x: x.of_another_release,
        lambda call, x: x + call.rehearsal.play(CELL + 1),
    ],
    ids=["residual", "input of the layer", "no layer", "another name", "another layer"],
)
def test_other_code_does_not_pass(short):
    run, call = stage()
    x = torch.randn(3)
    result = rehearse(run, call, "toy", lambda: x + layer(call, x), lambda: short(call, x))
    assert torch.equal(x + torch.cos(x), result)
    assert not may_go(run, "toy")
    assert 1 == len(run.messages) and "toy blocks of this model do more" in run.messages[0]
    assert call.rehearsal is None and call.storing


def test_errors_of_the_blocks_own_code_are_its_own():
    run, call = stage()
    with pytest.raises(AttributeError, match="of_another_release"):
        rehearse(run, call, "toy", lambda: torch.ones(1).of_another_release, lambda: None)
    assert {} == run.short_ways and call.rehearsal is None


def test_what_a_layer_gave_is_kept_from_work_in_place():
    run, call = stage()
    x = torch.randn(3)

    def block():
        return layer(call, x).mul_(2)

    rehearse(run, call, "toy", block, block)
    assert may_go(run, "toy")


def test_a_rehearsal_waits_for_a_call_that_computes_the_whole_block():
    run = SimpleNamespace(short_ways={}, messages=[])
    call = SimpleNamespace(due=torch.tensor([True, False]).numpy(), rehearsal=None)
    assert not begins_rehearsal(run, call, "toy", [0, 1])
    assert begins_rehearsal(run, call, "toy", [0])


def test_nothing_equals_itself_where_both_are_nan():
    nan = torch.tensor([float("nan"), 1.0])
    assert same_bits([nan], (nan.clone(),))
    assert not same_bits(nan, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("piece", [1, 100, 2**18])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_residual_in_pieces_is_the_whole_one_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, piece: int, transposed: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(short_way, "PIECE", piece)
    generator = torch.Generator().manual_seed(0)

    def tokens() -> torch.Tensor:
        shape = (2, 24, 37) if transposed else (2, 37, 24)
        made = torch.randn(shape, generator=generator).to(dtype)
        return made.transpose(1, 2) if transposed else made

    x, attn, cross, mlp = (tokens() for _ in range(4))
    gate1, gate2 = (torch.randn(2, 1, 24, generator=generator).to(dtype) for _ in range(2))
    before = x.clone()
    expected = ((x + gate1 * attn) + cross) + gate2 * mlp
    with torch.inference_mode():
        result = residual(x, [(gate1, attn), (None, cross), (gate2, mlp)])
    assert same_bits(expected, result)
    assert expected.stride() == result.stride()
    assert same_bits(before, x)


def test_a_residual_of_what_broadcasts_or_is_of_another_type_is_the_plain_sum() -> None:
    x, value = torch.randn(2, 5, 4), torch.randn(1, 1, 4)
    with torch.inference_mode():
        assert same_bits(x + value, residual(x, [(None, value)]))
        wide = torch.randn(2, 5, 4, dtype=torch.float64)
        assert same_bits(x + wide, residual(x, [(None, wide)]))
