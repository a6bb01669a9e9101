"""FLUX's blocks, which the paper cuts into six components (section 3.2 of Aggarwal et al. 2025).

Double block: the attention of both streams is one component, whose value are the outputs of the two
output projections; the two MLPs are modules of their own. Single block: one layer in makes queries,
keys, values and the MLP's input, one layer out takes both; `attn` and `proj_mlp` are the two halves
of what goes into the last layer, `proj_out` is what comes out of it.

Attention is either the block's own or left out. No weight is touched, so quantised, patched and
offloaded layers are as good as others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import torch

from .blocks import Block, Forward, Shim
from .compiled import python_only, uncompiled
from .leaf_shims import leaf_shim
from .short_way import (
    Arguments,
    added_in,
    added_to,
    begins_rehearsal,
    class_signature,
    defined_beside,
    is_own_code,
    may_go,
    rehearse,
)

if TYPE_CHECKING:
    from .run import Call, Run

DOUBLE_ARGUMENTS = frozenset(
    "img txt vec pe attn_mask modulation_dims_img modulation_dims_txt transformer_options".split()
)
SINGLE_ARGUMENTS = frozenset("x vec pe attn_mask modulation_dims transformer_options".split())


def double_block_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    module: Any = block.module
    for name in ("img_mlp", "txt_mlp"):
        if block.cells[name] in reused:
            yield Shim(getattr(module, name), partial(leaf_shim, run, block.cells[name], 1))
    attn = block.cells["attn"]
    if attn in reused:
        yield Shim(module.img_attn.proj, partial(projection_shim, run, attn, 0))
        yield Shim(module.txt_attn.proj, partial(projection_shim, run, attn, 1))
        yield Shim(module, partial(double_block_shim, run, block))


def projection_shim(run: Run, cell: int, part: int, original: Forward) -> Forward:
    """Keep what an output projection gives; the block's shim says when it is to be replaced."""

    @python_only
    def handed() -> tuple[Call | None, torch.Tensor | None]:
        call = run.current_call
        if call is None:
            return None, None
        if call.rehearsal is not None and call.rehearsal.playing:
            return call, call.rehearsal.play(cell, part)
        return call, call.handed.get((cell, part))

    @python_only
    def store(call: Call, output: torch.Tensor) -> None:
        if call.rehearsal is not None:
            call.rehearsal.hear(cell, part, output)
        call.store(cell, output, part)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, value = handed()
        if value is not None:
            return value
        output = original(*args, **kwargs)
        if call is not None:
            store(call, output)
        return output

    return uncompiled(forward)


def double_block_shim(run: Run, block: Block, original: Forward) -> Forward:
    module: Any = block.module
    attn = block.cells["attn"]
    signature = class_signature(module)
    apply_mod: Any = defined_beside(module, "apply_mod")
    own = is_own_code(module, original) and defined_beside(module, "apply_mod") is not None

    @python_only
    def offered(args: tuple, kwargs: dict) -> tuple[Call | None, Arguments | None, bool]:
        """The arguments if attention is to be reused or the short way rehearsed; is there one?"""
        call = run.current_call
        if call is None or not call.storing:
            return None, None, False
        arguments = Arguments(signature, args, kwargs)
        tokens = arguments.tensors("img", "txt")
        if tokens is None:
            return None, None, False
        call.offer(attn, tokens)
        usual = own and arguments.only(DOUBLE_ARGUMENTS)
        if usual and begins_rehearsal(run, call, "double", block.cells.values()):
            return call, arguments, True
        if not call.available(attn, 2):
            return None, None, False
        return call, arguments, usual and may_go(run, "double")

    @python_only
    def take(call: Call, name: str, part: int, dims: Any) -> torch.Tensor:
        if call.rehearsal is not None:
            return call.rehearsal.play(block.cells[name], part)
        # Where modulation is told by ranges of tokens, apply_mod writes on what it gets.
        return call.take(block.cells[name], part, to_read=dims is None)

    @python_only
    def mlp_available(call: Call, name: str, tokens: torch.Tensor) -> bool:
        if call.rehearsal is not None:
            return False
        call.offer(block.cells[name], [tokens])
        return call.available(block.cells[name])

    def mlp(call: Call, stream: str, tokens: Any, mod: Any, dims: Any) -> Any:
        name = f"{stream}_mlp"
        if mlp_available(call, name, tokens):
            return take(call, name, 0, dims)
        normed = getattr(module, f"{stream}_norm2")(tokens)
        return getattr(module, name)(apply_mod(normed, 1 + mod.scale, mod.shift, dims))

    def short(call: Call, arguments: Arguments, given: dict[str, torch.Tensor]) -> Any:
        vec = arguments["vec"]
        owns_modulation = getattr(module, "img_mod", None) is not None
        mods = (module.img_mod(vec), module.txt_mod(vec)) if owns_modulation else vec
        streams = []
        for part, (stream, (mod1, mod2)) in enumerate(zip(("img", "txt"), mods, strict=True)):
            tokens, dims = given[stream], arguments[f"modulation_dims_{stream}"]
            output = take(call, "attn", part, dims)
            tokens = added_in(apply_mod(output, mod1.gate, None, dims), tokens)
            output = mlp(call, stream, tokens, mod2, dims)
            streams.append(added_to(tokens, apply_mod(output, mod2.gate, None, dims)))
        img, txt = streams
        if txt.dtype == torch.float16:
            txt = torch.nan_to_num(txt, nan=0.0, posinf=65504, neginf=-65504)
        return img, txt

    def long(call: Call, args: tuple, kwargs: dict) -> Any:
        for part in range(2):
            call.handed[attn, part] = call.take(attn, part)
        call.executed[attn] = True
        try:
            return original(*args, **kwargs)
        finally:
            for part in range(2):
                call.handed.pop((attn, part), None)

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, arguments, has_short_way = offered(args, kwargs)
        if call is None or arguments is None:
            return original(*args, **kwargs)
        if not has_short_way:
            return long(call, args, kwargs)
        given = {name: arguments[name] for name in ("img", "txt")}
        if call.rehearsal is None:
            return short(call, arguments, given)
        given = {name: tokens.clone() for name, tokens in given.items()}
        return rehearse(
            run,
            call,
            "double",
            lambda: original(*args, **kwargs),
            lambda: short(call, arguments, given),
        )

    return uncompiled(forward)


def single_block_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    if reused.isdisjoint(block.cells.values()):
        return
    module: Any = block.module
    yield Shim(module.linear2, partial(last_layer_shim, run, block))
    yield Shim(module, partial(single_block_shim, run, block))


def last_layer_shim(run: Run, block: Block, original: Forward) -> Forward:
    """In front of `linear2`, where all three components of a single block can be had."""
    attn, mlp, out = (block.cells[name] for name in ("attn", "proj_mlp", "proj_out"))

    @python_only
    def before(x: torch.Tensor) -> tuple[Call | None, torch.Tensor, torch.Tensor | None]:
        """What goes into the layer, and its output if that is reused."""
        call = run.current_call
        if call is None:
            return None, x, None
        if call.rehearsal is not None and call.rehearsal.playing:
            return call, x, call.rehearsal.play(out)
        if not call.storing or out not in call.given:  # somebody else's block calls the layer
            return None, x, None
        if call.reused[attn] and call.reused[mlp]:  # the short way: x is made of stored values
            return call, x, None
        width = call.given[out][0].shape[-1]
        halves = [x[..., :width], x[..., width:]]
        if call.available(out):
            for cell, half in zip((attn, mlp), halves, strict=True):
                if call.wants(cell):
                    call.store(cell, half)
                else:
                    call.pass_over(cell)
                    call.executed[cell] = True
            return call, x, call.take(out)
        replaced = False
        for index, cell in enumerate((attn, mlp)):
            if call.available(cell):
                halves[index] = call.take(cell)
                call.executed[cell] = replaced = True
            else:
                call.store(cell, halves[index])
        return call, torch.cat(halves, dim=-1) if replaced else x, None

    @python_only
    def store(call: Call, output: torch.Tensor) -> None:
        if call.rehearsal is not None:
            call.rehearsal.hear(out, 0, output)
        call.store(out, output)

    @wraps(original)
    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        call, x, value = before(x)
        if value is not None:
            return value
        output = original(x, *args, **kwargs)
        if call is not None:
            store(call, output)
        return output

    return uncompiled(forward)


def single_block_shim(run: Run, block: Block, original: Forward) -> Forward:
    module: Any = block.module
    attn, mlp, out = (block.cells[name] for name in ("attn", "proj_mlp", "proj_out"))
    signature = class_signature(module)
    apply_mod: Any = defined_beside(module, "apply_mod")
    own = is_own_code(module, original) and defined_beside(module, "apply_mod") is not None

    @python_only
    def reused(args: tuple, kwargs: dict) -> tuple[Call | None, Arguments | None, bool]:
        """The arguments if there is a short way or a rehearsal, and whether `out` is left out."""
        call = run.current_call
        if call is None or not call.storing:
            return None, None, False
        arguments = Arguments(signature, args, kwargs)
        tokens = arguments.tensors("x")
        if tokens is None:
            return None, None, False
        for cell in (attn, mlp, out):
            call.offer(cell, tokens)
        if not (own and arguments.only(SINGLE_ARGUMENTS)):
            return call, None, False
        if begins_rehearsal(run, call, "single", (attn, mlp, out)):
            return call, arguments, True
        if not may_go(run, "single"):
            return call, None, False
        if call.available(out):
            wanted = call.wants(attn) or call.wants(mlp)
            return call, None if wanted else arguments, True
        both = call.available(attn) and call.available(mlp)
        return call, arguments if both else None, False

    @python_only
    def take(call: Call, whole: bool, dims: Any) -> torch.Tensor:
        if call.rehearsal is not None:
            return call.rehearsal.play(out)
        if whole:
            call.pass_over(attn)
            call.pass_over(mlp)
            return call.take(out, to_read=dims is None)
        return torch.cat([call.take(cell, to_read=True) for cell in (attn, mlp)], dim=-1)

    def short(call: Call, arguments: Arguments, x: torch.Tensor, whole: bool) -> Any:
        vec, dims = arguments["vec"], arguments["modulation_dims"]
        mod = module.modulation(vec)[0] if getattr(module, "modulation", None) else vec
        value = take(call, whole, dims)
        output = value if whole else module.linear2(value)
        x = added_in(apply_mod(output, mod.gate, None, dims), x)
        if x.dtype == torch.float16:
            x = torch.nan_to_num(x, nan=0.0, posinf=65504, neginf=-65504)
        return x

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call, arguments, whole = reused(args, kwargs)
        if call is None or arguments is None:
            return original(*args, **kwargs)
        x = arguments["x"]
        if call.rehearsal is None:
            return short(call, arguments, x, whole)
        x = x.clone()
        return rehearse(
            run,
            call,
            "single",
            lambda: original(*args, **kwargs),
            lambda: short(call, arguments, x, whole),
        )

    return uncompiled(forward)
