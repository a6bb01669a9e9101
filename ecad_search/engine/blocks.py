"""The blocks of a loaded model, as its architecture describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

from torch import nn

from ..core.architecture import Architecture, BlockGroup, Component
from ..errors import ModelMismatchError

Forward = Callable[..., Any]


class Block(NamedTuple):
    """One block of the model. `cells` are the indices of its components, by name."""

    module: nn.Module
    group: BlockGroup
    cells: Mapping[str, int]

    def components(self) -> Iterator[tuple[int, Component, nn.Module]]:
        """Each component with its cell and the module whose output is the component's."""
        for component in self.group.components:
            module = component_module(self.module, self.group, component)
            yield self.cells[component.name], component, module


class Shim(NamedTuple):
    """What is to stand in front of a module: `make` gets the forward that was there before."""

    module: nn.Module
    make: Callable[[Forward], Forward]


def blocks_of(diffusion_model: Any, architecture: Architecture) -> Iterator[Block]:
    """Every block, in cell order."""
    first_cell = 0
    for group in architecture.groups:
        blocks = reduce(getattr, group.path.split("."), diffusion_model)
        names = [component.name for component in group.components]
        for block in list(blocks)[group.first : group.first + group.count]:
            yield Block(block, group, {name: first_cell + i for i, name in enumerate(names)})
            first_cell += len(names)


def component_module(block: nn.Module, group: BlockGroup, component: Component) -> nn.Module:
    """ModelMismatchError where a component is not a module."""
    module = reduce(getattr, component.module.split("."), block)
    if not isinstance(module, nn.Module):
        raise ModelMismatchError(
            f"{group.name} of this model has a {component.module} that is "
            f"{type(module).__name__}, expected a torch module whose output can be "
            "reused; load the model without the node that replaced it."
        )
    return module
