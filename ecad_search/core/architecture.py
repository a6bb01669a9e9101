"""Which components of a transformer a schedule can switch, in which order, and what each costs."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import ModelMismatchError, ScheduleError

LARGEST_SIDE = 65_536  # px; keeps every MAC count of one step inside int64
LARGEST_BATCH = 1_024
LARGEST_TEXT = 65_536
LARGEST_FRAMES = 65_536
LARGEST_COUNT = 1_024  # blocks in one group; a broken file must not allocate the machine away
LARGEST_SIZE = 65_536  # hidden width, channels


def is_whole(value: object) -> bool:
    """Whether it is an integer of Python or numpy, which True and 2.0 are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class Workload:
    """One model call: `batch` rows (a CFG pair is 2) of `width` x `height` px pictures.

    `text_tokens=None` means the architecture's usual number. A film has `frames` pictures.
    """

    batch: int = 1
    width: int = 1024
    height: int = 1024
    text_tokens: int | None = None
    frames: int = 1

    def __post_init__(self) -> None:
        for name, largest in (
            ("batch", LARGEST_BATCH),
            ("width", LARGEST_SIDE),
            ("height", LARGEST_SIDE),
            ("text_tokens", LARGEST_TEXT),
            ("frames", LARGEST_FRAMES),
        ):
            value = getattr(self, name)
            if name == "text_tokens" and value is None:
                continue
            if not is_whole(value) or not 1 <= value <= largest:
                raise ScheduleError(
                    f"The workload's {name} is {value!r}; "
                    f"expected a whole number from 1 to {largest}."
                )
            # Python integers do not overflow
            object.__setattr__(self, name, int(value))


@dataclass(frozen=True)
class Dimensions:
    """What a MAC formula sees. Tokens are per row of the batch.

    `side_tokens` are those of the text tokens that come from each of the `CallInputs.texts`.
    """

    hidden: int
    batch: int
    image_tokens: int
    text_tokens: int
    side_tokens: tuple[int, ...] = ()


MacFormula = Callable[[Dimensions], int]
ElementFormula = Callable[[Dimensions], int]


def no_macs(_: Dimensions) -> int:
    return 0


def image_elements(d: Dimensions) -> int:
    """Of a value that has one row for each image token."""
    return d.batch * d.image_tokens * d.hidden


def text_elements(d: Dimensions) -> int:
    return d.batch * d.text_tokens * d.hidden


def joint_elements(d: Dimensions) -> int:
    return image_elements(d) + text_elements(d)


@dataclass(frozen=True)
class Component:
    """A part of a block whose output can be stored and reused.

    `module` is the attribute path inside the block whose output is the component's (or is nearest
    to it, see the architecture's file). `macs` counts linear layers, `attention_macs` the score and
    value products. `reads` names components of the same block whose stored values alone determine
    this component's output: recomputing it without recomputing one of them gives the same value.
    `elements` tells the size of each tensor that is stored for it.
    """

    name: str
    module: str
    paper_name: str
    macs: MacFormula = field(compare=False, repr=False)
    attention_macs: MacFormula = field(default=no_macs, compare=False, repr=False)
    reads: tuple[str, ...] = ()
    elements: tuple[ElementFormula, ...] = field(
        default=(image_elements,), compare=False, repr=False
    )

    @property
    def is_attention(self) -> bool:
        return self.attention_macs(Dimensions(hidden=1, batch=1, image_tokens=1, text_tokens=1)) > 0


@dataclass(frozen=True)
class BlockGroup:
    """`count` equal blocks at `path` of the model; `paper_prefix` is the paper's mark of them.

    `first` is the place of the first of them in the list at `path`. `kind` says how the engine
    reaches the components (see `engine.shims`): "leaf" where each is a module of its own.
    `stores` is the order in which a block stores its values, as (component, tensor), where that is
    not the components' order.
    """

    name: str
    path: str
    count: int
    components: tuple[Component, ...]
    paper_prefix: str = ""
    first: int = 0
    kind: str = "leaf"
    stores: tuple[tuple[str, int], ...] = ()

    @property
    def store_order(self) -> tuple[tuple[str, int], ...]:
        return self.stores or tuple(
            (component.name, part)
            for component in self.components
            for part in range(len(component.elements))
        )


@dataclass(frozen=True)
class StoredPart:
    """One tensor of a cell's stored value: number `part` of them."""

    cell: int
    part: int
    elements: ElementFormula = field(compare=False, repr=False)


@dataclass(frozen=True)
class Cell:
    """One component of one block: a column of a schedule."""

    index: int
    group: str
    block: int
    component: str

    def __str__(self) -> str:
        return f"{self.group}.{self.block}.{self.component}"


@dataclass(frozen=True)
class Architecture:
    """A transformer as a table of cells. Equal families with equal counts share their schedules.

    `size` holds what `Family.build` was given, so that a file can name a transformer that is not
    listed. `resolution` is the side in px the model is usually sampled at, `frames` how many
    pictures long; one token stands for `frames_per_token` of them, the first for one alone.
    `text_tokens` and `side_tokens` are the usual numbers, see `Dimensions`.
    `fingerprint` tells members of a family apart whose groups and components are their own; the
    costs of such a transformer are estimates.
    """

    id: str
    display_name: str = field(compare=False)
    family: str
    groups: tuple[BlockGroup, ...]
    hidden: int
    pixels_per_token: int
    text_tokens: int
    base_macs: MacFormula = field(compare=False, repr=False)
    resolution: int = 1024
    frames: int = 1
    frames_per_token: int = 1
    side_tokens: tuple[int, ...] = ()
    size: tuple[tuple[str, int | float], ...] = ()
    fingerprint: str = ""

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Canonical order: group, block, component. Everything that flattens a schedule uses it."""
        places = (
            (group.name, block, component.name)
            for group in self.groups
            for block in range(group.count)
            for component in group.components
        )
        return tuple(Cell(index, *place) for index, place in enumerate(places))

    @cached_property
    def n_cells(self) -> int:
        return sum(group.count * len(group.components) for group in self.groups)

    @cached_property
    def counts(self) -> dict[str, int]:
        return {group.name: group.count for group in self.groups}

    @cached_property
    def cell_components(self) -> tuple[Component, ...]:
        """The component of each cell, in cell order."""
        return tuple(
            component
            for group in self.groups
            for _ in range(group.count)
            for component in group.components
        )

    @cached_property
    def readers(self) -> tuple[int, ...]:
        """For each cell the cell whose computation reads its stored value; itself: the block."""
        readers = list(range(self.n_cells))
        for group in self.groups:
            for component in group.components:
                for name in component.reads:
                    for block in range(group.count):
                        read = self.cell(group.name, block, name).index
                        readers[read] = self.cell(group.name, block, component.name).index
        return tuple(readers)

    @cached_property
    def stored_parts(self) -> tuple[StoredPart, ...]:
        """Every tensor that can be stored, in the order in which a model call comes to them."""
        parts = []
        for group in self.groups:
            elements = {component.name: component.elements for component in group.components}
            for block in range(group.count):
                for name, part in group.store_order:
                    cell = self.cell(group.name, block, name).index
                    parts.append(StoredPart(cell, part, elements[name][part]))
        return tuple(parts)

    @cached_property
    def component_names(self) -> tuple[str, ...]:
        """Each component name once, in order of first appearance."""
        return tuple(dict.fromkeys(c.name for group in self.groups for c in group.components))

    def cell(self, group: str, block: int, component: str) -> Cell:
        """The cell at a place; KeyError if there is none (the caller's bug, not the user's)."""
        return self._cell_at[group, block, component]

    @cached_property
    def _cell_at(self) -> dict[tuple[str, int, str], Cell]:
        return {(cell.group, cell.block, cell.component): cell for cell in self.cells}

    def fits(self, other: Architecture) -> bool:
        """Whether a schedule of one can run on the other."""
        return (self.family, self.counts, self.fingerprint) == (
            other.family,
            other.counts,
            other.fingerprint,
        )

    def describe(self) -> str:
        """For error messages: "PixArt with 28 blocks"."""
        parts = [
            f"{group.count} {group.name.replace('_', ' ').removesuffix('s')}"
            + ("" if group.count == 1 else "s")
            for group in self.groups
        ]
        return f"{family_of(self).display_name} with {' and '.join(parts)}"

    def dimensions(self, workload: Workload) -> Dimensions:
        """Token counts of a workload; a partial patch counts as a whole one, as the host pads."""
        columns = -(-workload.width // self.pixels_per_token)
        rows = -(-workload.height // self.pixels_per_token)
        layers = 1 + (workload.frames - 1) // self.frames_per_token
        text = self.text_tokens if workload.text_tokens is None else workload.text_tokens
        return Dimensions(
            self.hidden,
            workload.batch,
            layers * columns * rows,
            text + sum(self.side_tokens),
            self.side_tokens,
        )

    def native_workload(self, batch: int = 1) -> Workload:
        side = self.resolution
        return Workload(batch=batch, width=side, height=side, frames=self.frames)


@dataclass(frozen=True)
class CallInputs:
    """Arguments of a model call that become tokens of its blocks, beside `x` and `c_crossattn`.

    `latents` join the picture: (N, C, rows, columns), (N, C, frames, rows, columns) or a list of
    them. `texts` join the text: (N, ..., tokens, C), of a second encoder; "" stands for one that
    the family knows and this model does not take.
    """

    latents: tuple[str, ...] = ("ref_latents",)  # of FLUX Kontext and its like
    texts: tuple[str, ...] = ()


def usual_inputs(_: object) -> CallInputs:
    return CallInputs()


@dataclass(frozen=True)
class Family:
    """Transformers that differ only in size; `build(counts, **size)` makes one.

    `inputs` tells a loaded model's further inputs. The sizes in `optional` may be 0: some members
    lack what they measure. Without `group_names` each member has groups of its own.
    """

    name: str
    display_name: str
    group_names: tuple[str, ...]
    size_defaults: Mapping[str, int | float]
    make: Callable[..., Architecture] = field(repr=False)
    inputs: Callable[[Any], CallInputs] = field(default=usual_inputs, repr=False)
    optional: frozenset[str] = frozenset()

    def knows_size(self, name: str) -> bool:
        """Whether `build` takes a size of that name."""
        return name in self.size_defaults

    def build(
        self,
        counts: Mapping[str, int],
        *,
        id: str | None = None,
        display_name: str | None = None,
        **size: int | float,
    ) -> Architecture:
        """An architecture of this family; sizes left out are those of its best known member."""
        if set(counts) != set(self.group_names):
            raise ModelMismatchError(
                f"{self.display_name} has the block groups {', '.join(self.group_names)}; "
                f"got {reprlib.repr(list(counts))}."
            )
        for name, value in {**counts, **size}.items():
            if name in counts:
                lowest, largest, known = 0, LARGEST_COUNT, True
            else:
                lowest, largest = 0 if name in self.optional else 1, LARGEST_SIZE
                known = self.knows_size(name)
            if not known:
                raise ModelMismatchError(
                    f"{self.display_name} has no size called {name!r}; "
                    f"expected one of {', '.join(self.size_defaults)}."
                )
            # only a ratio may be a fraction; everything else counts something
            number = (int, float) if isinstance(self.size_defaults.get(name), float) else int
            if (
                isinstance(value, bool)
                or not isinstance(value, number)
                or not lowest <= value <= largest
            ):
                raise ModelMismatchError(
                    f"{name} of a {self.display_name} model is {reprlib.repr(value)}; "
                    f"expected a number from {lowest} to {largest}."
                )
        if not sum(counts.values()):
            raise ModelMismatchError(
                f"A {self.display_name} model needs at least one block; got none."
            )
        counts = {name: counts[name] for name in self.group_names}
        settings = {**self.size_defaults, **size}
        hidden = settings["hidden"]
        shown = "+".join(map(str, counts.values()))
        return self.make(
            counts=counts,
            settings=settings,
            id=id or f"{self.name}-{shown}x{hidden}",
            display_name=display_name or f"{self.display_name} {shown} x {hidden}",
            size=tuple((name, settings[name]) for name in self.size_defaults),
        )


# The list of transformers lives in `architectures`, which depends on this package; it is handed in
# here once, so that a schedule file can name its architecture without core knowing any.
_families: dict[str, Family] = {}
_listed: dict[str, Architecture] = {}


def install(families: tuple[Family, ...], listed: tuple[Architecture, ...]) -> None:
    """Make the known families and architectures known to core. Called by `architectures` only."""
    _families.update((family.name, family) for family in families)
    _listed.update((architecture.id, architecture) for architecture in listed)


def listed_architectures() -> tuple[Architecture, ...]:
    return tuple(_listed.values())


def known_families() -> tuple[Family, ...]:
    return tuple(_families.values())


def family_of(architecture: Architecture) -> Family:
    return family_named(architecture.family)


def family_named(name: str) -> Family:
    if name not in _families:
        raise ModelMismatchError(
            f"The model family {name!r} is not known; expected one of {', '.join(_families)}."
        )
    return _families[name]
