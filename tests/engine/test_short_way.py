"""The rehearsal of a short way: what passes it, and what does not."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecad_search.engine.short_way import (
    added_in,
    begins_rehearsal,
    may_go,
    rehearse,
    same_bits,
)

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


@pytest.mark.parametrize(
    ("addend", "in_place"),
    [
        (torch.randn(2, 5, 3), True),
        (torch.randn(2, 3, 5).transpose(1, 2), False),  # lies otherwise
        (torch.randn(2, 5, 3, dtype=torch.float64), False),
        (torch.randn(2, 5, 3, dtype=torch.bfloat16), False),
    ],
    ids=["alike", "transposed", "wider", "narrower"],
)
def test_a_sum_in_its_addend_is_what_adding_to_the_tokens_gives(addend, in_place):
    tokens = torch.randn(2, 5, 3)
    before, expected, memory = tokens.clone(), tokens + addend, addend.data_ptr()
    result = added_in(addend, tokens)
    assert same_bits(expected, result)
    assert expected.stride() == result.stride()
    assert torch.equal(before, tokens)
    assert in_place == (memory == result.data_ptr())
