"""What detection reads of a model: its lists of blocks and its layers' sizes, attributes only."""

from __future__ import annotations

from typing import Any, NamedTuple


class LinearSize(NamedTuple):
    inputs: int
    outputs: int


def at(root: Any, path: str) -> Any:
    """What is at a dotted path, such as "mlp.0"; None where there is nothing."""
    found: Any = root
    for name in path.split("."):
        try:
            found = found[int(name)] if name.isdigit() else getattr(found, name, None)
        except (TypeError, IndexError, KeyError):
            return None
    return found


def block_list(model: Any, name: str, *parts: str) -> list[Any] | None:
    """The blocks at `name`, if there are any and each of them has all the `parts`."""
    try:
        blocks = list(getattr(model, name, ()))
    except TypeError:
        return None
    if not all(at(block, part) is not None for block in blocks for part in parts):
        return None
    return blocks or None


def linear_size(root: Any, path: str) -> LinearSize | None:
    """Inputs and outputs of the linear layer at a dotted path, if there is one."""
    inputs, outputs = at(root, f"{path}.in_features"), at(root, f"{path}.out_features")
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        return None
    return LinearSize(inputs, outputs)


def whole(root: Any, **names: str) -> dict[str, int]:
    """The attributes that are whole numbers, each under the name it is asked for by."""
    found = {name: at(root, path) for name, path in names.items()}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
