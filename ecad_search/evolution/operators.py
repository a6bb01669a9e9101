"""How new schedules are made from old ones: pure functions of (parents, rng).

Two kinds. The genome operators see a flat bit vector, as the paper's search does. The structured
ones see (steps, cells) and know which cells belong to one component or one block, because that is
how caching pays: a few coherent changes, not scattered bits. Row 0 always computes and stays so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.architecture import Architecture

Bits = npt.NDArray[np.bool_]
Compute = npt.NDArray[np.bool_]


# --- genome operators, after pymoo 0.6.1.3 -------------------------------------------------------


def n_point_crossover(
    first: Bits,
    second: Bits,
    rng: np.random.Generator,
    *,
    points: int = 4,
    probability: float = 0.9,
) -> tuple[Bits, Bits]:
    """Exchange every second piece between `points` distinct cuts; (matings, bits) each.

    A pair stays as it is with probability 1 - `probability`. The first piece is never exchanged; an
    odd number of cuts exchanges up to the end.
    """
    n_matings, n_bits = first.shape
    swap = np.zeros((n_matings, n_bits), dtype=bool)
    points = min(points, n_bits - 1)
    for row in np.flatnonzero(rng.random(n_matings) < probability):
        cuts = np.sort(rng.permutation(n_bits - 1)[:points] + 1)
        starts = np.zeros(n_bits, dtype=np.int64)
        starts[cuts] = 1
        swap[row] = np.cumsum(starts) % 2 == 1
    return np.where(swap, second, first), np.where(swap, first, second)


def flip_bits(
    genomes: Bits,
    rng: np.random.Generator,
    *,
    probability: float = 0.05,
    bit_probability: float | None = None,
) -> Bits:
    """Mutate each *individual* with `probability`; its bits flip with `bit_probability` each.

    pymoo's `BitflipMutation(prob=0.05)`, which the paper's code uses: `bit_probability` defaults to
    min(0.5, 1 / n_bits), so an offspring has 0.05 flipped bits on average, not 5% of its bits.
    """
    n, n_bits = genomes.shape
    per_bit = min(0.5, 1.0 / max(n_bits, 1)) if bit_probability is None else bit_probability
    flips = rng.random((n, n_bits)) < per_bit
    flips &= (rng.random(n) <= probability)[:, None]
    return genomes ^ flips


# --- structured operators ------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Which cells form a component and which a block, by column.

    `components` and `blocks` are (n_cells,) numbers counted over all groups, so a FLUX single
    block's attention is another component than a double block's.
    """

    components: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]

    @classmethod
    def of(cls, architecture: Architecture) -> Grid:
        components: dict[tuple[str, str], int] = {}
        blocks: dict[tuple[str, int], int] = {}
        columns = [
            (
                components.setdefault((cell.group, cell.component), len(components)),
                blocks.setdefault((cell.group, cell.block), len(blocks)),
            )
            for cell in architecture.cells
        ]
        table = np.asarray(columns, dtype=np.int64).reshape(-1, 2)
        return cls(components=table[:, 0], blocks=table[:, 1])

    @property
    def n_components(self) -> int:
        return int(self.components.max()) + 1

    @property
    def n_blocks(self) -> int:
        return int(self.blocks.max()) + 1


def _span(rng: np.random.Generator, low: int, high: int, mean_length: float) -> tuple[int, int]:
    """A random non-empty [start, stop) within [low, high), short ones more likely."""
    length = min(int(rng.geometric(1.0 / max(mean_length, 1.0))), high - low)
    start = int(rng.integers(low, high - length + 1))
    return start, start + length


def _fill(child: Compute, rows: slice, columns: Bits, rng: np.random.Generator) -> None:
    """Turn a region to the value most of it does not have; an even one more likely to reuse."""
    region = child[rows][:, columns]
    share = float(region.mean()) if region.size else 1.0
    child[rows, columns] = bool(rng.random() > 0.1 + 0.8 * share)


def toggle_row(parent: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """A whole step computes, or reuses, everything."""
    child = parent.copy()
    step = int(rng.integers(1, len(child)))
    _fill(child, slice(step, step + 1), np.ones(child.shape[1], dtype=bool), rng)
    return child


def toggle_component(parent: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """One component of all blocks, over a range of steps."""
    child = parent.copy()
    start, stop = _span(rng, 1, len(child), len(child) / 5)
    component = int(rng.integers(grid.n_components))
    _fill(child, slice(start, stop), grid.components == component, rng)
    return child


def toggle_block_run(parent: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """A run of neighbouring blocks over a few steps; all their components, or one kind."""
    child = parent.copy()
    start, stop = _span(rng, 1, len(child), 2.0)
    first, last = _span(rng, 0, grid.n_blocks, grid.n_blocks / 4)
    columns = (grid.blocks >= first) & (grid.blocks < last)
    if rng.random() < 0.5:
        inside = np.unique(grid.components[columns])
        columns &= grid.components == rng.choice(inside)
    _fill(child, slice(start, stop), columns, rng)
    return child


def shift_in_time(parent: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """Some columns (all, a component, or a run of blocks) happen one step earlier or later."""
    child = parent.copy()
    if len(child) < 3:
        return toggle_row(parent, grid, rng)
    kind = int(rng.integers(3))
    columns = np.ones(child.shape[1], dtype=bool)
    if kind == 1:
        columns = grid.components == int(rng.integers(grid.n_components))
    elif kind == 2:
        first, last = _span(rng, 0, grid.n_blocks, grid.n_blocks / 4)
        columns = (grid.blocks >= first) & (grid.blocks < last)
    start, stop = _span(rng, 1, len(child), len(child) / 2)
    if stop - start < 2:
        start, stop = (start, start + 2) if start + 2 <= len(child) else (start - 1, start + 1)
    child[start:stop, columns] = np.roll(
        child[start:stop, columns], 1 if rng.random() < 0.5 else -1, axis=0
    )
    return child


def copy_row(parent: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """One step does what another does."""
    child = parent.copy()
    child[int(rng.integers(1, len(child)))] = parent[int(rng.integers(1, len(child)))]
    return child


def flip_cells(parent: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """A handful of single cells."""
    child = parent.copy()
    for _ in range(int(rng.geometric(0.4))):
        step, cell = int(rng.integers(1, len(child))), int(rng.integers(child.shape[1]))
        child[step, cell] = not child[step, cell]
    return child


Mutation = Callable[[Compute, Grid, np.random.Generator], Compute]

MUTATIONS: tuple[tuple[str, Mutation], ...] = (
    ("row", toggle_row),
    ("component", toggle_component),
    ("blocks", toggle_block_run),
    ("shift", shift_in_time),
    ("copy", copy_row),
    ("cells", flip_cells),
)


def cross_steps(first: Compute, second: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """A range of steps of `second` in `first`."""
    child = first.copy()
    start, stop = _span(rng, 1, len(child), len(child) / 2)
    child[start:stop] = second[start:stop]
    return child


def cross_columns(first: Compute, second: Compute, grid: Grid, rng: np.random.Generator) -> Compute:
    """One component, or a run of blocks, of `second` in `first`."""
    child = first.copy()
    if rng.random() < 0.5:
        columns = grid.components == int(rng.integers(grid.n_components))
    else:
        start, stop = _span(rng, 0, grid.n_blocks, grid.n_blocks / 3)
        columns = (grid.blocks >= start) & (grid.blocks < stop)
    child[:, columns] = second[:, columns]
    return child


CROSSOVERS = (cross_steps, cross_columns)
