"""Putting the cache in front of a model's modules, and taking it away again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from .blocks import Block, Forward, Shim, blocks_of
from .flux_blocks import double_block_shims, single_block_shims
from .joint_blocks import joint_block_shims
from .leaf_shims import leaf_shims
from .pixart_blocks import pixart_block_shims
from .self_check import checked_shims

if TYPE_CHECKING:
    from .run import Run

# By `BlockGroup.kind`: the shims that a block needs, given all cells that are ever reused. None for
# a block without such cells, unless it has to go along with those beside it.
KINDS: dict[str, Callable[[Run, Block, set[int]], Iterator[Shim]]] = {
    "leaf": leaf_shims,
    "checked": checked_shims,
    "flux_double": double_block_shims,
    "flux_single": single_block_shims,
    "joint": joint_block_shims,
    "pixart": pixart_block_shims,
}


@contextmanager
def shimmed(run: Run, diffusion_model: Any) -> Iterator[None]:
    """Let `run` decide, inside the block, which components compute and which are reused.

    A shim is an attribute of the instance, so whatever stood there before (another pack's patch, or
    nothing) is called by it and put back afterwards.
    """
    reused = set(run.liveness.reused_cells)
    installed: list[tuple[nn.Module, Any, Forward]] = []
    try:
        for block in blocks_of(diffusion_model, run.architecture) if reused else ():
            for module, make in KINDS[block.group.kind](run, block, reused):
                before = module.__dict__.get("forward")
                shim = make(module.forward)
                module.forward = shim
                installed.append((module, before, shim))
        yield
    finally:
        for module, before, shim in reversed(installed):
            if module.__dict__.get("forward") is not shim:
                continue  # somebody else's by now; theirs to remove
            if before is None:
                del module.forward
            else:
                module.forward = before
