"""Putting the cache in front of a module's forward, and taking it away again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any

from torch import nn

from ..core.architecture import Architecture
from ..errors import ModelMismatchError

if TYPE_CHECKING:
    from .run import Call, Run


def cell_modules(diffusion_model: Any, architecture: Architecture) -> list[nn.Module]:
    """The module whose output is each cell's value, in cell order."""
    modules = []
    for group in architecture.groups:
        blocks = reduce(getattr, group.path.split("."), diffusion_model)
        for block in blocks:
            for component in group.components:
                module = reduce(getattr, component.module.split("."), block)
                if not isinstance(module, nn.Module):
                    raise ModelMismatchError(
                        f"{group.name} of this model has a {component.module} that is "
                        f"{type(module).__name__}, expected a torch module whose output can be "
                        "reused; load the model without the node that replaced it."
                    )
                modules.append(module)
    return modules


@contextmanager
def shimmed(run: Run, cells: Sequence[int], modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let `run` decide, inside the block, whether `modules[cell]` computes or its value is reused.

    The shim is an attribute of the instance, so whatever stood there before (another pack's patch,
    or nothing) is called by it and put back afterwards.
    """
    installed: list[tuple[nn.Module, Any, Callable]] = []
    try:
        for cell in cells:
            module = modules[cell]
            shim = _shim(run, cell, module.forward)
            installed.append((module, module.__dict__.get("forward"), shim))
            module.forward = shim
        yield
    finally:
        for module, before, shim in reversed(installed):
            if module.__dict__.get("forward") is not shim:
                continue  # somebody else's by now; theirs to remove
            if before is None:
                del module.forward
            else:
                module.forward = before


def _shim(run: Run, cell: int, original: Callable) -> Callable:
    def before(args: tuple, kwargs: dict) -> tuple[Call | None, Any, Any]:
        call = run.current_call
        x = args[0] if args else next(iter(kwargs.values()))
        return call, x, None if call is None else call.reuse(cell, x)

    def after(call: Call, x: Any, value: Any) -> None:
        call.computed(cell, x, value)

    # Inside a compiled model the decision must stay Python: a graph would freeze one step's.
    # A process that has not imported dynamo compiles nothing, and importing it takes seconds.
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        before, after = dynamo.disable(before), dynamo.disable(after)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, x, value = before(args, kwargs)
        if value is None:
            value = original(*args, **kwargs)
            if call is not None:
                after(call, x, value)
        return value

    return forward if dynamo is None else dynamo.disable(forward, recursive=False)
