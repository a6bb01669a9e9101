"""Transformers of no other family: lists of equal blocks with attention and feed-forward networks.

Recognised by structure alone, after all others: a list of two or more blocks of one class whose
child modules are called like attention and like a feed-forward network. Each such child is a
component. U-Nets (SD 1.5, SDXL) are not accepted: their transformer blocks lie in many short lists
inside other lists, between convolutions, so there is no list of blocks to make a schedule for.

Whether a model of this family really computes its output from these components alone is proven when
it runs (`engine.self_check`). Its costs are estimates, since nothing tells before a run which
tokens a component sees: every weight is counted once for each image and text token, attention as
all tokens against all tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

from ..core.architecture import (
    LARGEST_COUNT,
    LARGEST_SIZE,
    Architecture,
    BlockGroup,
    Component,
    Dimensions,
    Family,
    MacFormula,
    is_whole,
    joint_elements,
    no_macs,
)
from ..errors import ModelMismatchError

MOST_GROUPS = 8
MOST_COMPONENTS = 16  # of one block
LARGEST_WEIGHTS = 2**40  # of one component, or of all that is not in a block
LONGEST_PATH = 200

PATH = r"[A-Za-z_]\w*(?:\.\w+)*"
GROUP = re.compile(rf"(?:@([1-9]\d*)\.)?({PATH})", re.ASCII)  # place of the first block, path
COMPONENT = re.compile(rf"(.+)/({PATH})", re.ASCII)  # group, module

FEED_FORWARD = {"mlp", "ff", "ffn", "feedforward", "moe"}
NOT_COMPONENTS = {"norm", "ln", "mod", "modulation", "adaln", "gate", "scale", "shift", "act"}


def words_of(name: str) -> list[str]:
    """The lower-case words of an attribute's name: "mlpX_norm1" is mlp, x, norm."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def is_attention(name: str) -> bool:
    words = words_of(name.rpartition(".")[2])
    return not _is_side_part(words) and any("attn" in w or "attention" in w for w in words)


def is_feed_forward(name: str) -> bool:
    words = words_of(name.rpartition(".")[2])
    named = FEED_FORWARD.intersection(words) or "feed forward" in " ".join(words)
    return bool(named) and not _is_side_part(words)


def _is_side_part(words: list[str]) -> bool:
    return any(word in NOT_COMPONENTS or "norm" in word for word in words)


@dataclass(frozen=True)
class GenericFamily(Family):
    """Its members have block groups and components of their own, so `build` is told all of them.

    A group is called by its path in the model, with "@n." before it where it starts at block n of
    the list there. `size` has, besides the numbers in `size_defaults`, for each component
    "group/module" its weights: multiply-accumulates for one token. So a schedule file says all that
    there is to know, and is loaded without the model.
    """

    def knows_size(self, name: str) -> bool:
        return name in self.size_defaults or COMPONENT.fullmatch(name) is not None

    def build(
        self,
        counts: Mapping[str, int],
        *,
        id: str | None = None,
        display_name: str | None = None,
        **size: int | float,
    ) -> Architecture:
        if not 1 <= len(counts) <= MOST_GROUPS:
            raise ModelMismatchError(
                f"An {self.display_name} has {len(counts)} block groups; "
                f"expected 1 to {MOST_GROUPS}."
            )
        for group, count in counts.items():
            if len(group) > LONGEST_PATH or GROUP.fullmatch(group) is None:
                raise ModelMismatchError(
                    f"An {self.display_name} has a block group called {reprlib.repr(group)}; "
                    "expected the path of a list in the model, such as 'blocks'."
                )
            _require(f"The number of {group}", count, 1, LARGEST_COUNT)
        components: dict[str, dict[str, int]] = {group: {} for group in counts}
        settings: dict[str, Any] = dict(self.size_defaults)
        for name, value in size.items():
            found = COMPONENT.fullmatch(name) if len(name) <= 2 * LONGEST_PATH else None
            if found is not None and found[1] in components:
                _require(f"The size {name}", value, 1, LARGEST_WEIGHTS)
                components[found[1]][found[2]] = int(value)
            elif name in settings:
                lowest, largest = (0, LARGEST_WEIGHTS) if name == "rest" else (1, LARGEST_SIZE)
                _require(f"The size {name}", value, lowest, largest)
                settings[name] = value
            else:
                raise ModelMismatchError(
                    f"An {self.display_name} has no size called {reprlib.repr(name)}; expected "
                    f"{', '.join(self.size_defaults)} or a component such as 'blocks/attn'."
                )
        for group, inside in components.items():
            if not 1 <= len(inside) <= MOST_COMPONENTS:
                raise ModelMismatchError(
                    f"The blocks {group} of an {self.display_name} have {len(inside)} components; "
                    f"expected 1 to {MOST_COMPONENTS}."
                )
        structure = [
            (group, counts[group], list(inside.items())) for group, inside in components.items()
        ]
        text = json.dumps([settings["hidden"], structure], separators=(",", ":"))
        fingerprint = hashlib.sha256(text.encode("ascii")).hexdigest()[:8]
        groups = tuple(_group(name, counts[name], inside) for name, inside in components.items())
        rest = settings["rest"]
        return Architecture(
            id=id or f"{self.name}-{fingerprint}",
            display_name=display_name or f"Unknown transformer {fingerprint} (costs estimated)",
            family=self.name,
            groups=groups,
            hidden=settings["hidden"],
            pixels_per_token=settings["pixels_per_token"],
            text_tokens=settings["text_tokens"],
            base_macs=no_macs if rest == 0 else weight_macs(rest),
            resolution=settings["resolution"],
            size=(
                *settings.items(),
                *(
                    (f"{group}/{module}", weights)
                    for group, inside in components.items()
                    for module, weights in inside.items()
                ),
            ),
            fingerprint=fingerprint,
        )


def _require(what: str, value: Any, lowest: int, largest: int) -> None:
    if not is_whole(value) or not lowest <= value <= largest:
        raise ModelMismatchError(
            f"{what} of an unknown transformer is {reprlib.repr(value)}; "
            f"expected a whole number from {lowest} to {largest}."
        )


def weight_macs(weights: int) -> MacFormula:
    """As if every token went through all of them."""
    return lambda d: weights * (d.image_tokens + d.text_tokens) * d.batch


def attention_products(d: Dimensions) -> int:
    """As if every token looked at all of them."""
    return 2 * (d.image_tokens + d.text_tokens) ** 2 * d.hidden * d.batch


def _group(name: str, count: int, components: Mapping[str, int]) -> BlockGroup:
    place = GROUP.fullmatch(name)
    assert place is not None
    return BlockGroup(
        name,
        place[2],
        count,
        tuple(
            Component(
                module,
                module,
                module,
                weight_macs(weights),
                attention_products if is_attention(module) else no_macs,
                elements=(joint_elements,),
            )
            for module, weights in components.items()
        ),
        first=int(place[1] or 0),
        kind="checked",
    )


GENERIC_FAMILY = GenericFamily(
    name="generic",
    display_name="unknown transformer",
    group_names=(),
    size_defaults={
        "hidden": 1024,
        "pixels_per_token": 16,
        "text_tokens": 256,
        "resolution": 1024,
        "rest": 0,
    },
    make=Architecture,
)


# --- detection ----------------------------------------------------------------------------------


class Stretch(NamedTuple):
    """Neighbours in a list of blocks that have the same components."""

    first: int
    count: int
    weights: dict[str, int]


def detect(model: Any) -> Mapping[str, Any] | None:
    """Counts and sizes of a transformer whose blocks lie in lists, or None.

    The lists are taken in the order of the module tree, which is usually that of their use.
    """
    if not callable(getattr(model, "named_modules", None)):
        return None
    if hasattr(model, "init_kv_caches"):
        return None  # keeps values of its own from call to call, which a proof would spoil
    counts: dict[str, int] = {}
    size: dict[str, Any] = {}
    rest, widths = linear_weights(model), Counter()
    for path, module in model.named_modules():
        blocks = blocks_in(module)
        stretches = list(stretches_of(blocks))
        if not any(stretch.count > 1 for stretch in stretches):
            continue
        if GROUP.fullmatch(path) is None or any(part.isdigit() for part in path.split(".")):
            return None  # a list inside a list: a U-Net, or something stranger
        rest -= sum(linear_weights(block) for block in blocks)
        for first, count, weights in stretches:
            group = f"@{first}.{path}" if first else path
            counts[group] = count
            size.update({f"{group}/{name}": number for name, number in weights.items()})
            for name in weights:
                widths.update(dict.fromkeys(widths_of(child(blocks[first], name)), count))
    if not counts or len(counts) > MOST_GROUPS:
        return None
    size["hidden"] = widths.most_common(1)[0][0] if widths else 1024
    size["rest"] = max(rest, 0)
    patch = getattr(model, "patch_size", None)
    if isinstance(patch, int) and 1 <= patch <= 64:
        size["pixels_per_token"] = 8 * patch  # the usual VAE
    return {"counts": counts, "size": size}


def blocks_in(module: Any) -> list[Any]:
    """What a list of modules holds, if that is two or more of one class."""
    if not hasattr(type(module), "__iter__") or not hasattr(type(module), "__len__"):
        return []
    blocks = list(module)
    alike = len(blocks) > 1 and len({type(block) for block in blocks}) == 1
    return blocks if alike and hasattr(blocks[0], "named_children") else []


def stretches_of(blocks: list[Any]) -> Iterator[Stretch]:
    """Blocks without both attention and a feed-forward network are passed over."""
    first = 0
    weights = [components_of(block) for block in blocks]
    for names, same in groupby(weights, key=list):
        count = len(list(same))
        complete = any(map(is_attention, names)) and any(map(is_feed_forward, names))
        if complete and len(names) <= MOST_COMPONENTS:
            yield Stretch(first, count, weights[first])
        first += count


def components_of(block: Any, prefix: str = "") -> dict[str, int]:
    """Module path -> weights of the children that are components."""
    children = list(block.named_children())
    if len(children) == 1 and not prefix:  # a wrapper round the block proper
        ((name, inner),) = children
        return components_of(inner, f"{name}.")
    found = {}
    for name, module in children:
        if is_attention(name) or is_feed_forward(name):
            weights = linear_weights(module)
            if weights:
                found[prefix + name] = weights
    return found


def child(block: Any, path: str) -> Any:
    for name in path.split("."):
        block = getattr(block, name)
    return block


def linear_weights(module: Any) -> int:
    """Weights of its linear layers and convolutions, told from their sizes.

    Not from the weights themselves, which quantised layers store in other shapes.
    """
    return sum(map(_weights, module.modules()))


def _weights(layer: Any) -> int:
    width_in, width_out = (getattr(layer, f"{side}_features", None) for side in ("in", "out"))
    if isinstance(width_in, int) and isinstance(width_out, int):
        return width_in * width_out
    kernel, parts = getattr(layer, "kernel_size", None), getattr(layer, "groups", None)
    if isinstance(kernel, tuple) and isinstance(parts, int):
        return prod((layer.in_channels, layer.out_channels, *kernel)) // parts
    return 0


def widths_of(module: Any) -> set[int]:
    """How wide what goes into its linear layers and out of them is."""
    sides = ("in_features", "out_features")
    found = [getattr(layer, side, None) for layer in module.modules() for side in sides]
    return {width for width in found if isinstance(width, int)}
