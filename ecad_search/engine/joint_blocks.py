"""Blocks that attend jointly by function calls: those of SD3, a context block beside an x block.

The value of `attn` are the outputs of the output projections, in the block's order: the context's,
unless nothing after the block reads the context, the image's, and the image's second one where it
also attends to itself alone. The MLPs are modules.

Where attention is reused, each half does what comes after attention by its own `post_attention`,
with the modulation from its own layer. Queries, keys and values are not made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from .blocks import Block, Forward, Shim
from .compiled import python_only, uncompiled
from .flux_blocks import projection_shim
from .leaf_shims import first_tensors, leaf_shim
from .short_way import begins_rehearsal, is_own_code, may_go, rehearse

if TYPE_CHECKING:
    from .run import Call, Run

Place = tuple[int, int]  # cell and part
ARGUMENTS = frozenset("c use_checkpoint transformer_options".split())


class Half(NamedTuple):
    """The context block (stream 0) or the x block (1), and whose values its layers give."""

    stream: int
    module: Any
    projections: dict[Place, nn.Module]
    mlp: dict[Place, nn.Module]

    def after_attention(self, tokens: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """What becomes of the half's tokens, (N, tokens, width), when its projections are handed.

        The class's order of the modulation: shift, scale, gate of attention and of the MLP, and
        those of the image's second attention.
        """
        twice = self.module.x_block_self_attn
        chunks = self.module.adaLN_modulation(c).chunk(9 if twice else 6, dim=1)
        # Attention's results go into the projections alone, so anything of their shape will do.
        if twice:
            return self.module.post_attention_x(tokens, tokens, tokens, *chunks[2:6], chunks[8])
        return self.module.post_attention(tokens, tokens, *chunks[2:6])


def halves_of(block: Block) -> tuple[Half, ...]:
    """In the order in which the block's own code comes to them."""
    module: Any = block.module
    attn, part = block.cells["attn"], 0
    halves = []
    for stream, (half, mlp) in enumerate(
        ((module.context_block, "txt_mlp"), (module.x_block, "img_mlp"))
    ):
        if half.pre_only:
            continue
        projections = {(attn, part): half.attn.proj}
        if half.x_block_self_attn:
            projections[attn, part + 1] = half.attn2.proj
        part += len(projections)
        halves.append(Half(stream, half, projections, {(block.cells[mlp], 0): half.mlp}))
    return tuple(halves)


def joint_block_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    halves = halves_of(block)
    for half in halves:
        for (cell, _), module in half.mlp.items():
            if cell in reused:
                yield Shim(module, partial(leaf_shim, run, cell, 1))
    if block.cells["attn"] in reused:
        for half in halves:
            for (cell, part), module in half.projections.items():
                yield Shim(module, partial(projection_shim, run, cell, part))
        yield Shim(block.module, partial(joint_block_shim, run, block, halves))


def joint_block_shim(
    run: Run, block: Block, halves: tuple[Half, ...], original: Forward
) -> Forward:
    attn = block.cells["attn"]
    places = [place for half in halves for place in half.projections]
    kind = block.group.name.removesuffix("_blocks")
    own = is_own_code(block.module, original) and not any(
        half.module.scale_mod_only for half in halves
    )

    @python_only
    def offered(args: tuple, kwargs: dict) -> tuple[Call | None, bool]:
        """The call if attention is to be reused or rehearsed, and whether there is a short way."""
        call = run.current_call
        if call is None or not call.storing:
            return None, False
        call.offer(attn, first_tensors(args, kwargs, 2))
        usual = own and len(args) == 2 and "c" in kwargs and ARGUMENTS.issuperset(kwargs)
        if usual and begins_rehearsal(run, call, kind, block.cells.values()):
            return call, True
        if not call.available(attn, len(places)):
            return None, False
        return call, usual and may_go(run, kind)

    @python_only
    def hand(call: Call, places: Iterable[Place]) -> None:
        for place in places:
            call.handed[place] = call.take(*place)

    @python_only
    def let_go(call: Call) -> None:
        for place in places:
            call.handed.pop(place, None)

    def short(call: Call, tokens: tuple, c: torch.Tensor) -> Any:
        outputs: list[torch.Tensor | None] = [None, None]
        try:
            for half in halves:
                if call.rehearsal is None:
                    hand(call, half.projections)
                outputs[half.stream] = half.after_attention(tokens[half.stream], c)
        finally:
            let_go(call)
        return tuple(outputs)

    def long(call: Call, args: tuple, kwargs: dict) -> Any:
        hand(call, places)
        call.executed[attn] = True
        try:
            return original(*args, **kwargs)
        finally:
            let_go(call)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, has_short_way = offered(args, kwargs)
        if call is None:
            return original(*args, **kwargs)
        if not has_short_way:
            return long(call, args, kwargs)
        if call.rehearsal is None:
            return short(call, args, kwargs["c"])
        tokens = tuple(tokens.clone() for tokens in args)
        return rehearse(
            run,
            call,
            kind,
            lambda: original(*args, **kwargs),
            lambda: short(call, tokens, kwargs["c"]),
        )

    return uncompiled(forward)
