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
from .short_way import Arguments, Proof, defined_beside, gone, is_own_code, may_go

if TYPE_CHECKING:
    from .run import Call, Run

ARGUMENTS = frozenset("x y t mask HW".split())
COMPONENTS = ("attn", "cross_attn", "mlp")


def pixart_block_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    yield from leaf_shims(run, block, reused)
    yield Shim(block.module, partial(pixart_block_shim, run, block))


def pixart_block_shim(run: Run, block: Block, original: Forward) -> Forward:
    module: Any = block.module
    signature = inspect.signature(original)
    modulate: Any = defined_beside(module, "t2i_modulate")
    own = is_own_code(module, original) and defined_beside(module, "t2i_modulate") is not None

    @python_only
    def reusing(args: tuple, kwargs: dict) -> tuple[Call | None, Arguments | None]:
        """The arguments if anything of the block is to be reused."""
        call = run.current_call
        if not own or call is None or not call.storing or not may_go(run, "PixArt"):
            return None, None
        arguments = Arguments(signature, args, kwargs)
        tokens = arguments.tensors("x")
        if tokens is None or not arguments.only(ARGUMENTS):
            return None, None
        for name in COMPONENTS:
            call.offer(block.cells[name], tokens)
        some = any(call.available(block.cells[name]) for name in COMPONENTS)
        return call, arguments if some else None

    @python_only
    def stored(call: Call, name: str) -> torch.Tensor | None:
        cell = block.cells[name]
        return call.take(cell) if call.available(cell) else None

    def value(
        call: Call, name: str, compute: Callable[[], torch.Tensor], proof: Proof | None
    ) -> torch.Tensor:
        output = stored(call, name)
        if output is None:
            output = compute()
        if proof is not None:
            proof[block.cells[name], 0] = output.clone()
        return output

    def short(call: Call, arguments: Arguments, proof: Proof | None) -> torch.Tensor:
        x, y, t = (arguments[name] for name in ("x", "y", "t"))
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

        x = x + gate1 * value(call, "attn", attn, proof)
        x = x + value(call, "cross_attn", cross_attn, proof)
        return x + gate2 * value(call, "mlp", mlp, proof)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, arguments = reusing(args, kwargs)
        if call is None or arguments is None:
            return original(*args, **kwargs)
        return gone(
            run,
            call,
            "PixArt",
            lambda proof: short(call, arguments, proof),
            lambda: arguments.call(original, x=arguments["x"].clone()),
        )

    return uncompiled(forward)
