"""Components that are modules of their own: leaving out the call leaves out all the work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import torch

from .blocks import Block, Forward, Shim
from .compiled import python_only, uncompiled

if TYPE_CHECKING:
    from .run import Call, Run


def leaf_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    for cell, component, module in block.components():
        if cell in reused:
            yield Shim(module, partial(leaf_shim, run, cell, len(component.elements)))


def leaf_shim(run: Run, cell: int, parts: int, original: Forward) -> Forward:
    """Reuse what the module returns: a tensor, or a tuple of `parts` tensors."""

    def before(args: tuple, kwargs: dict) -> tuple[Call | None, Any]:
        call = run.current_call
        if call is None:
            return None, None
        if call.rehearsal is not None:
            inputs = first_tensors(args, kwargs, len(args) + len(kwargs))
            if call.rehearsal.playing:
                call.rehearsal.compare_given(cell, inputs)
                return call, packed(run, cell, [call.rehearsal.play(cell, i) for i in range(parts)])
            call.rehearsal.hear_given(cell, inputs)
        if not call.storing:
            return call, None
        call.offer(cell, first_tensors(args, kwargs, parts))
        if not call.available(cell, parts):
            return call, None
        return call, packed(run, cell, [call.take(cell, i) for i in range(parts)])

    def after(call: Call, output: Any) -> None:
        values = list(output) if isinstance(output, tuple | list) else [output]
        if len(values) != parts or not all(isinstance(value, torch.Tensor) for value in values):
            return
        run.containers[cell] = type(output) if isinstance(output, tuple | list) else None
        for part, value in enumerate(values):
            if call.rehearsal is not None:
                call.rehearsal.hear(cell, part, value)
            call.store(cell, value, part)

    before, after = python_only(before), python_only(after)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, value = before(args, kwargs)
        if value is None:
            value = original(*args, **kwargs)
            if call is not None:
                after(call, value)
        return value

    return uncompiled(forward)


def first_tensors(args: tuple, kwargs: dict, count: int) -> list[torch.Tensor]:
    """The first `count` token sequences of a call: what its outputs take their shapes from."""
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.ndim > 1 and value.is_floating_point():
            found.append(value)
            if len(found) == count:
                break
    return found


def packed(run: Run, cell: int, values: list[torch.Tensor]) -> Any:
    container = run.containers.get(cell)
    return values[0] if container is None else container(values)
