"""PixArt's blocks. Every component is a module, so leaf shims are enough to save its work.

Before each of them the block normalises and modulates its input, which is done for nothing where
the component is reused, and which a GPU feels: PixArt is small. The short way leaves that out too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import torch

from .blocks import Block, Forward, Shim
from .compiled import python_only, uncompiled
from .leaf_shims import leaf_shims
from .short_way import (
    Arguments,
    added_in,
    added_to,
    begins_rehearsal,
    defined_beside,
    is_own_code,
    may_go,
    rehearse,
)

if TYPE_CHECKING:
    from .run import Call, Run

ARGUMENTS = frozenset("x y t mask HW".split())
COMPONENTS = ("attn", "cross_attn", "mlp")


def pixart_block_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    yield from leaf_shims(run, block, reused)
    yield Shim(block.module, partial(pixart_block_shim, run, block))


def lies_transposed(tokens: torch.Tensor) -> bool:
    """Whether tokens made of a picture still lie in memory as the picture did.

    Adding a value that lies otherwise takes several times as long, and in a reused component
    nothing else is done.
    """
    return not tokens.is_contiguous() and tokens.transpose(1, 2).is_contiguous()


def pixart_block_shim(run: Run, block: Block, original: Forward) -> Forward:
    module: Any = block.module
    signature = inspect.signature(original)
    cells = [block.cells[name] for name in COMPONENTS]
    modulate: Any = defined_beside(module, "t2i_modulate")
    own = is_own_code(module, original) and defined_beside(module, "t2i_modulate") is not None

    @python_only
    def offered(args: tuple, kwargs: dict) -> tuple[Call | None, Arguments | None]:
        """The arguments if there is a short way, or it is to be rehearsed."""
        call = run.current_call
        if not own or call is None or not call.storing:
            return None, None
        arguments = Arguments(signature, args, kwargs)
        tokens = arguments.tensors("x")
        if tokens is None or not arguments.only(ARGUMENTS):
            return None, None
        if lies_transposed(tokens[0]):
            call.transposed.update(cells)
        if begins_rehearsal(run, call, "PixArt", cells):
            return call, arguments
        for cell in cells:
            call.offer(cell, tokens)
        some = may_go(run, "PixArt") and any(call.available(cell) for cell in cells)
        return call, arguments if some else None

    @python_only
    def stored(call: Call, name: str) -> torch.Tensor | None:
        cell = block.cells[name]
        if call.rehearsal is not None or not call.available(cell):
            return None
        return call.take(cell, to_read=True)

    def value(call: Call, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        output = stored(call, name)
        return compute() if output is None else output

    def short(call: Call, arguments: Arguments, x: torch.Tensor) -> torch.Tensor:
        y, t = arguments["y"], arguments["t"]
        table = module.scale_shift_table[None].to(dtype=x.dtype, device=x.device)
        shift1, scale1, gate1, shift2, scale2, gate2 = (table + t.reshape(x.shape[0], 6, -1)).chunk(
            6, dim=1
        )

        def attn() -> torch.Tensor:
            return module.attn(modulate(module.norm1(x), shift1, scale1), HW=arguments["HW"])

        def cross_attn() -> torch.Tensor:
            return module.cross_attn(x, y, arguments["mask"])

        def mlp() -> torch.Tensor:
            return module.mlp(modulate(module.norm2(x), shift2, scale2))

        x = added_in(gate1 * value(call, "attn", attn), x)
        x = added_to(x, value(call, "cross_attn", cross_attn))
        return added_to(x, gate2 * value(call, "mlp", mlp))

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, arguments = offered(args, kwargs)
        if call is None or arguments is None:
            return original(*args, **kwargs)
        x = arguments["x"]
        if call.rehearsal is None:
            return short(call, arguments, x)
        x = x.clone()
        return rehearse(
            run,
            call,
            "PixArt",
            lambda: original(*args, **kwargs),
            lambda: short(call, arguments, x),
        )

    return uncompiled(forward)
