"""Where a search starts: the paper's hand-made population, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from ..core import presets
from ..core.architecture import Architecture
from ..core.schedule import Schedule
from .memory import CacheLimit
from .operators import Grid

PAPER_FORA = (2, 3, 4, 5, 7, 10, 20)
PAPER_FORA_ATTENTION = (2, 4, 5, 7, 10, 20)
PAPER_FORA_FLUX = (2, 3, 4, 5, 6, 7)
PAPER_TGATES = 13
# How many evenly spaced schedules of each component the released population holds.
PAPER_EVENLY = {"attn": 20, "mlp": 18, "cross_attn": 7}


class Seed(NamedTuple):
    """A first candidate and where it comes from; a reference is shown beside the front."""

    schedule: Schedule
    origin: str
    is_reference: bool = False


def paper_population(
    architecture: Architecture, steps: int, size: int, rng: np.random.Generator
) -> list[Seed]:
    """`size` distinct seeds like the released initial populations, the uncached schedule first.

    PixArt: uncached, FORA, FORA of the attentions, T-GATE without averaging, evenly spaced
    components. FLUX: uncached, FORA, and FORA with runs of blocks toggled.
    """
    made = (
        _paper_flux(architecture, steps, rng)
        if architecture.family == "flux"
        else (_paper_pixart(architecture, steps, rng))
    )
    return _distinct(made, size)


def _distinct(made: Iterator[Seed], size: int) -> list[Seed]:
    """The first `size` different ones; gives up when nothing new has come for long."""
    found: dict[str, Seed] = {}
    repeats = 0
    for seed in made:
        if seed.schedule.key in found:
            repeats += 1
        else:
            found[seed.schedule.key] = seed
            repeats = 0
        if len(found) == size or repeats > 200:
            break
    return list(found.values())


def _uncached(architecture: Architecture, steps: int) -> Seed:
    return Seed(presets.uncached(architecture, steps), "uncached", True)


def _fora(architecture: Architecture, steps: int, every: int) -> Seed:
    return Seed(presets.fora(architecture, steps, every), f"fora {every}", True)


def _paper_pixart(
    architecture: Architecture, steps: int, rng: np.random.Generator
) -> Iterator[Seed]:
    yield _uncached(architecture, steps)
    for every in PAPER_FORA:
        yield _fora(architecture, steps, every)
    for every in PAPER_FORA_ATTENTION:
        yield Seed(presets.fora_attention(architecture, steps, every), f"fora of attention {every}")
    if "cross_attn" in architecture.component_names:
        for gate in np.unique(np.rint(np.linspace(0.15, 0.75, PAPER_TGATES) * steps)).astype(int):
            if 1 <= gate < steps:
                yield Seed(presets.tgate(architecture, steps, int(gate)), f"t-gate {gate}")
    # First the released numbers of each component, then whatever is missing to the size asked for.
    columns = [
        _evenly(architecture, steps, name, PAPER_EVENLY.get(name, 0))
        for name in architecture.component_names
    ]
    yield from (seed for row in zip_longest(*columns) for seed in row if seed is not None)
    for name in architecture.component_names:
        yield from _evenly(architecture, steps, name, steps - 1)
    yield from _random_bits(architecture, steps, rng)


def _evenly(architecture: Architecture, steps: int, name: str, count: int) -> list[Seed]:
    """Up to `count` schedules that reuse one component at ever fewer, evenly spaced steps."""
    if count < 1 or steps < 2:
        return []
    reuses = {round(value) for value in np.linspace(1, steps - 1, count)}
    return [
        Seed(presets.evenly_spaced(architecture, steps, name, n), f"evenly {name} {n}")
        for n in sorted(reuses, reverse=True)
    ]


def _paper_flux(architecture: Architecture, steps: int, rng: np.random.Generator) -> Iterator[Seed]:
    yield _uncached(architecture, steps)
    for every in PAPER_FORA_FLUX:
        yield _fora(architecture, steps, every)
    blocks = Grid.of(architecture).blocks
    n_blocks = int(blocks.max()) + 1
    for _ in range(100_000):
        if steps < 2:
            return
        every = int(rng.choice(PAPER_FORA_FLUX))
        compute = presets.fora(architecture, steps, every).compute.copy()
        for _ in range(int(rng.integers(1, steps))):
            first, last = np.sort(rng.integers(0, n_blocks + 1, 2))
            step = int(rng.integers(1, steps))
            columns = (blocks >= first) & (blocks < last)
            compute[step, columns] ^= True
        yield Seed(Schedule(architecture, compute), f"fora {every}, runs toggled")


def _random_bits(
    architecture: Architecture, steps: int, rng: np.random.Generator
) -> Iterator[Seed]:
    """Uniform bits, the paper's population when no seeds are supplied."""
    for _ in range(100_000):
        compute = rng.random((steps, architecture.n_cells)) < 0.5
        compute[0] = True
        yield Seed(Schedule(architecture, compute), "random")


def random_population(
    architecture: Architecture, steps: int, size: int, rng: np.random.Generator
) -> list[Seed]:
    """`size` random schedules for the control: a random share computes, in steps or in cells.

    Half draw every cell alone, half whole steps first, so that the control is not beaten merely
    because uniform bits all cost the same.
    """

    def made() -> Iterator[Seed]:
        for _ in range(100_000):
            share = rng.random()
            compute = rng.random((steps, architecture.n_cells)) < share
            if rng.random() < 0.5:
                compute &= (rng.random(steps) < rng.random())[:, None]
            compute[0] = True
            yield Seed(Schedule(architecture, compute), "random")

    return _distinct(made(), size)


def ecad_population(architecture: Architecture, steps: int) -> list[Seed]:
    """Our first generation: few, cheap to place on a front, and different enough to learn from.

    FORA at four speeds (the references); FORA with the first or the last third computed; FORA in
    which one component computes twice as often as the rest; FORA with the first or the second half
    of the blocks computing twice as often.
    """
    grid = Grid.of(architecture)

    def combined(base: int, region: Callable[[np.ndarray], None], origin: str) -> Seed:
        compute = presets.fora(architecture, steps, base).compute.copy()
        region(compute)
        return Seed(Schedule(architecture, compute), origin)

    def computes(rows: slice) -> Callable[[np.ndarray], None]:
        def region(compute: np.ndarray) -> None:
            compute[rows] = True

        return region

    def twice_as_often(columns: np.ndarray) -> Callable[[np.ndarray], None]:
        def region(compute: np.ndarray) -> None:
            compute[np.ix_(np.arange(0, steps, 2), np.flatnonzero(columns))] = True

        return region

    def made() -> Iterator[Seed]:
        for every in presets.COMPARED_FORA:
            yield _fora(architecture, steps, every)
        third = max(1, steps // 3)
        yield combined(5, computes(slice(0, third)), "fora 5, early steps computed")
        yield combined(5, computes(slice(steps - third, steps)), "fora 5, late steps computed")
        for component in range(grid.n_components):
            columns = grid.components == component
            yield combined(4, twice_as_often(columns), f"fora 4, component {component} twice")
        half = grid.n_blocks // 2
        yield combined(4, twice_as_often(grid.blocks < half), "fora 4, first blocks twice")
        yield combined(4, twice_as_often(grid.blocks >= half), "fora 4, last blocks twice")

    uncached = presets.uncached(architecture, steps).key
    return [s for s in _distinct(made(), 64) if s.schedule.key != uncached]


def fitting_population(limit: CacheLimit) -> list[Seed]:
    """Where memory is limited: FORA of as many components as fit, of the best for their bytes.

    Beside these, FORA of the first blocks and of the last.
    """

    def made() -> Iterator[Seed]:
        for order, speeds, which in zip(
            limit.orders,
            (presets.COMPARED_FORA, (3,), (3,)),
            ("most saving", "first", "last"),
            strict=True,
        ):
            for every in speeds:
                whole = presets.fora(limit.architecture, limit.steps, every).compute
                compute = limit.fitted(whole[np.newaxis], order[np.newaxis])[0]
                yield Seed(
                    Schedule(limit.architecture, compute), f"fora {every} of the {which} that fit"
                )

    return _distinct(made(), 64)
