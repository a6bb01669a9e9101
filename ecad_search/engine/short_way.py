"""The short way through a block whose costly part is reused, and the proof that it is the same.

A block that computes attention by function calls offers no module to leave out. Where its attention
is reused, the rest of the block (residuals, gates, norms) is done here, without any attention code.
The first time in a run that a kind of block goes the short way, the block's own code runs as well
with the same values put in, and has to give the same to the last bit. Where it does not, as a host
of another release may do more, the run goes the long way: right, but no faster.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .blocks import Forward

if TYPE_CHECKING:
    from .run import Call, Run

Proof = dict[tuple[int, int], torch.Tensor]  # (cell, part) -> what the layer is to give


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
        try:
            self._bound = signature.bind(*args, **kwargs)
        except TypeError:  # between another pack and its own forward
            self._bound = signature.bind_partial()

    def __getitem__(self, name: str) -> Any:
        return self._bound.arguments.get(name)

    def tensors(self, *names: str) -> list[torch.Tensor] | None:
        found = [self[name] for name in names]
        return found if all(isinstance(value, torch.Tensor) for value in found) else None

    def only(self, names: frozenset[str]) -> bool:
        """Whether nothing else was given."""
        return names.issuperset(self._bound.arguments)

    def call(self, function: Forward, **changed: Any) -> Any:
        arguments = {**self._bound.arguments, **changed}
        bound = inspect.BoundArguments(self._bound.signature, arguments)  # pyright: ignore[reportArgumentType]
        return function(*bound.args, **bound.kwargs)


@contextmanager
def replaying(call: Call, proof: Proof) -> Iterator[None]:
    """Inside, layers give what `proof` says, and nothing is stored or counted."""
    handed, storing = call.handed, call.storing
    call.handed, call.storing = proof, False
    try:
        yield
    finally:
        call.handed, call.storing = handed, storing


def gone(
    run: Run,
    call: Call,
    kind: str,
    short: Callable[[Proof | None], Any],
    own: Callable[[], Any],
) -> Any:
    """The result of the short way, proven against the block's `own` code once in a run."""
    if not needs_proof(run, kind):
        return short(None)
    proof: Proof = {}
    result = short(proof)
    with replaying(call, proof):
        expected = own()
    run.short_ways[kind] = same_bits(expected, result)
    if run.short_ways[kind]:
        return result
    run.messages.append(
        f"The {kind} blocks of this model do more than this version knows, so their reused parts "
        "are computed and replaced: the picture is right, but little is saved; update this pack."
    )
    return expected


def needs_proof(run: Run, kind: str) -> bool:
    return kind not in run.short_ways


def may_go(run: Run, kind: str) -> bool:
    return run.short_ways.get(kind, True)


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
