"""The short way through a block whose costly part is reused, and the proof that it is the same.

A block that computes attention by function calls offers no module to leave out. Where its attention
is reused, the rest of the block (residuals, gates, norms) is done here, without any attention code.
The first time in a run that a block of a kind is computed, the short way is rehearsed: its layers
give what they gave to the block's own code, and the block has to come out the same to the last bit.
Where it does not, as a host of another release may do more, the run goes the long way: right, but
no faster.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .blocks import Forward

if TYPE_CHECKING:
    from .run import Call, Run


def is_own_code(module: nn.Module, forward: Forward) -> bool:
    """Whether `forward` is the class's: another pack's is to be called, never gone round."""
    return getattr(forward, "__func__", None) is type(module).forward


def defined_beside(module: nn.Module, name: str) -> Any:
    """A function of the file that defines the block's class, such as its `apply_mod`."""
    return getattr(sys.modules.get(type(module).__module__), name, None)


def class_signature(module: nn.Module) -> inspect.Signature:
    """How the host calls the block, also where another pack's forward takes anything."""
    return inspect.signature(type(module).forward.__get__(module))


class Arguments:
    """The arguments of one call of a block, by name; none of a call that does not fit."""

    def __init__(self, signature: inspect.Signature, args: tuple, kwargs: dict) -> None:
        self._given: Mapping[str, Any] = kwargs
        if args:  # else spared: binding takes as long as much else of a reused block
            try:
                self._given = signature.bind(*args, **kwargs).arguments
            except TypeError:  # between another pack and its own forward
                self._given = {}

    def __getitem__(self, name: str) -> Any:
        return self._given.get(name)

    def tensors(self, *names: str) -> list[torch.Tensor] | None:
        found = [self[name] for name in names]
        return found if all(isinstance(value, torch.Tensor) for value in found) else None

    def only(self, names: frozenset[str]) -> bool:
        """Whether nothing else was given."""
        return names.issuperset(self._given)


class Rehearsal:
    """What the layers of one block were given and gave, and then give again.

    `playing`: they do not run, but give what they gave. `alike`: they were given the same again.
    """

    def __init__(self) -> None:
        self.playing = False
        self.alike = True
        self._given: dict[int, list[torch.Tensor]] = {}
        self._lay: dict[int, list[tuple[int, ...]]] = {}  # strides, which the copies may not have
        self._gave: dict[tuple[int, int], torch.Tensor] = {}

    def hear_given(self, cell: int, inputs: Sequence[torch.Tensor]) -> None:
        self._given[cell] = [x.clone() for x in inputs]
        self._lay[cell] = [x.stride() for x in inputs]

    def hear(self, cell: int, part: int, output: torch.Tensor) -> None:
        self._gave[cell, part] = output.clone()

    def compare_given(self, cell: int, inputs: Sequence[torch.Tensor]) -> None:
        lie_alike = self._lay.get(cell) == [x.stride() for x in inputs]
        self.alike = self.alike and lie_alike and same_bits(self._given.get(cell), inputs)

    def play(self, cell: int, part: int = 0) -> torch.Tensor:
        """A copy, since blocks may work in place on what they get."""
        return self._gave[cell, part].clone()


def rehearse(
    run: Run, call: Call, kind: str, own: Callable[[], Any], short: Callable[[], Any]
) -> Any:
    """What the block's `own` code gives, and a verdict on the `short` way for the rest of the run.

    `short` gets inputs of its own, as blocks may work in place on theirs.
    """
    rehearsal = call.rehearsal
    assert rehearsal is not None
    try:
        expected = own()
        rehearsal.playing, call.storing = True, False
        run.short_ways[kind] = passes(rehearsal, expected, short)
    finally:
        call.rehearsal, call.storing = None, True
    if not run.short_ways[kind]:
        run.messages.append(
            f"The {kind} blocks of this model do more than this version knows, so their reused "
            "parts are computed and replaced: the picture is right, but little is saved; update "
            "this pack."
        )
    return expected


def passes(rehearsal: Rehearsal, expected: Any, short: Callable[[], Any]) -> bool:
    try:
        return same_bits(expected, short()) and rehearsal.alike
    except (AttributeError, LookupError, TypeError):  # layers of other names, or never called
        return False


def begins_rehearsal(run: Run, call: Call, kind: str, cells: Iterable[int]) -> bool:
    """Whether this call computes a whole block of a kind of which nothing is known yet."""
    if kind in run.short_ways or not call.due[list(cells)].all():
        return False
    call.rehearsal = Rehearsal()
    return True


def may_go(run: Run, kind: str) -> bool:
    return run.short_ways.get(kind, False)


def added_to(tokens: torch.Tensor, addend: torch.Tensor) -> torch.Tensor:
    """`tokens + addend`, made in the memory of `tokens`, which has to be the caller's own."""
    if addend.shape == tokens.shape and addend.dtype == tokens.dtype:
        return tokens.add_(addend)
    return tokens + addend


def added_in(addend: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """`tokens + addend`, made in the memory of `addend` where the sum would lie alike.

    `addend` has to be the caller's own, as a gate's product is. The tokens never are: the host may
    still need them. Fresh memory of that size takes a CPU longer than the sum itself.
    """
    if addend.stride() == tokens.stride():
        return added_to(addend, tokens)
    return tokens + addend


def same_bits(expected: Any, result: Any) -> bool:
    if isinstance(expected, tuple | list):
        return (
            isinstance(result, tuple | list)
            and len(expected) == len(result)
            and all(same_bits(a, b) for a, b in zip(expected, result, strict=True))
        )
    if not isinstance(expected, torch.Tensor) or not isinstance(result, torch.Tensor):
        return expected is None and result is None
    if expected.shape != result.shape or expected.dtype != result.dtype:
        return False
    if torch.equal(expected, result):
        return True
    empty = expected.isnan()  # which equals nothing, itself neither
    return torch.equal(empty, result.isnan()) and torch.equal(expected[~empty], result[~empty])
