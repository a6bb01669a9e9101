"""Weights from a local file into a network, with every tensor accounted for.

`load_state_dict(strict=False)`, which many packages use, lets a wrong file pass: the network keeps
random weights and scores noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ScorerError

if TYPE_CHECKING:
    import torch
    from torch import nn


def read_tensors(path: Path, *, network: str, expected: str) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or torch file by name; those of its "state_dict" if it has one.

    Nothing but tensors is unpickled. A prefix "module." that training on several devices leaves on
    every name is taken off.
    """
    if not path.is_file():
        raise ScorerError(
            f"The weights of {network} were not found at '{path}', expected a local {expected}; "
            "download it and give its path."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
            state = state["state_dict"]
        if not isinstance(state, Mapping) or not all(hasattr(v, "shape") for v in state.values()):
            raise TypeError(f"it holds a {type(state).__name__}, no tensors by name")
    except Exception as error:  # torch.load and safetensors raise a dozen kinds for a broken file
        raise ScorerError(
            f"'{path}' cannot be read as {network} weights ({one_line(error)}), expected "
            f"{expected}; download it again."
        ) from error
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return dict(state)


def load_exactly(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    path: Path,
    *,
    network: str,
    expected: str,
    ignored: Callable[[str], bool] = lambda name: False,
    assign: bool = False,
) -> None:
    """Load; ScorerError unless the file has each tensor of the model, in shape, and no other.

    `ignored` names what may be absent or left over. `assign` takes the tensors over instead of
    copying them, for a model that was built on the meta device.
    """
    state = {name: value for name, value in state.items() if not ignored(name)}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=assign)
    except RuntimeError as error:
        raise ScorerError(
            f"'{path}' does not fit {network}'s network ({one_line(error)}), expected tensors of "
            f"other shapes; use {expected}."
        ) from error
    missing = [name for name in missing if not ignored(name)]
    if missing or unexpected:
        examples = ", ".join([*missing[:2], *unexpected[:2]])
        raise ScorerError(
            f"'{path}' is not a checkpoint of {network}: {len(missing)} tensors are missing, "
            f"{len(unexpected)} are unknown (such as {examples}), expected none; use {expected}."
        )


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
