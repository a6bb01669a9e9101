"""PixArt's blocks. Every component is a module, so leaf shims are enough to save its work.

Before each of them the block normalises and modulates its input, which is done for nothing where
the component is reused, and which a GPU feels: PixArt is small. The short way leaves that out too.

The host's tokens lie in memory as the picture did, channel by channel, which makes every sum with
a component's output several times as long. The short way goes on with tokens that lie token by
token, from block to block; only cross-attention takes them as they come, so it gets what it would
have got. All else normalises first, which lays them out anew.
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
    """One for each block as soon as one reuses: the next block has to know how its tokens lie."""
    yield from leaf_shims(run, block, reused)
    reuses = not reused.isdisjoint(block.cells.values())
    yield Shim(block.module, partial(pixart_block_shim, run, block, reuses))


def lies_by_channel(tokens: torch.Tensor) -> bool:
    return not tokens.is_contiguous() and tokens.transpose(1, 2).is_contiguous()


def laid_by_channel(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.transpose(1, 2).contiguous().transpose(1, 2)


def pixart_block_shim(run: Run, block: Block, reuses: bool, original: Forward) -> Forward:
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
        if reuses and begins_rehearsal(run, call, "PixArt", cells):
            return call, arguments
        for cell in cells:
            call.offer(cell, tokens)
        some = by_channel(call, tokens[0]) or any(call.available(cell) for cell in cells)
        return call, arguments if some and may_go(run, "PixArt") else None

    @python_only
    def by_channel(call: Call, x: torch.Tensor) -> bool:
        """Whether these tokens lie by channel, or would if the block before were the host's."""
        return x is call.laid_by_token or lies_by_channel(x)

    @python_only
    def as_the_host_lays(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        call = run.current_call
        if call is None or call.laid_by_token is None:
            return args, kwargs

        def laid(value: Any) -> Any:
            return laid_by_channel(value) if value is call.laid_by_token else value

        return tuple(map(laid, args)), {name: laid(value) for name, value in kwargs.items()}

    @python_only
    def stored(call: Call, name: str) -> torch.Tensor | None:
        cell = block.cells[name]
        if call.rehearsal is not None or not call.available(cell):
            return None
        return call.take(cell, to_read=True)

    def value(call: Call, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        output = stored(call, name)
        return compute() if output is None else output

    def short(call: Call, arguments: Arguments, x: torch.Tensor, relaid: bool) -> torch.Tensor:
        y, t = arguments["y"], arguments["t"]
        x = x.contiguous()
        table = module.scale_shift_table[None].to(dtype=x.dtype, device=x.device)
        shift1, scale1, gate1, shift2, scale2, gate2 = (table + t.reshape(x.shape[0], 6, -1)).chunk(
            6, dim=1
        )

        def attn() -> torch.Tensor:
            return module.attn(modulate(module.norm1(x), shift1, scale1), HW=arguments["HW"])

        def cross_attn() -> torch.Tensor:
            return module.cross_attn(laid_by_channel(x) if relaid else x, y, arguments["mask"])

        def mlp() -> torch.Tensor:
            return module.mlp(modulate(module.norm2(x), shift2, scale2))

        x = added_in(gate1 * value(call, "attn", attn), x)
        x = added_to(x, value(call, "cross_attn", cross_attn))
        return added_to(x, gate2 * value(call, "mlp", mlp))

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, arguments = offered(args, kwargs)
        if call is None or arguments is None:
            args, kwargs = as_the_host_lays(args, kwargs)
            return original(*args, **kwargs)
        x = arguments["x"]
        relaid = by_channel(call, x)
        if call.rehearsal is None:
            output = short(call, arguments, x, relaid)
            call.laid_by_token = output if relaid else None
            return output
        x = x.clone()
        return rehearse(
            run,
            call,
            "PixArt",
            lambda: original(*args, **kwargs),
            lambda: short(call, arguments, x, relaid),
        )

    return uncompiled(forward)
