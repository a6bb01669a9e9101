"""A cheap model of quality: which of many proposed schedules is worth rendering?

Gaussian-process regression of the quality difference to the uncached run. Its kernel says what
caching is like: a loss is the sum of losses of single (step, cell) reuses, more for every further
step of age, and reuses of the same component, step or block cost alike. So a handful of schedules
already says something about all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .operators import Grid

Floats = npt.NDArray[np.float64]

MOST_OBSERVATIONS = 400  # the newest; keeps one fit well below a second
# Shares of the prior variance of one reuse: everything alike, by component, by step, by step and
# component, by block, by cell over all steps, by step and cell.
PRIORS = (
    (4.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5),
    (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    (0.5, 0.5, 1.0, 1.0, 0.5, 1.0, 4.0),
)
CURVATURES = (0.0, 0.5, 2.0)
AGES = (1, 2, 3, 5)  # steps; from each on a reused value costs something more, or less
SCALES = tuple(np.geomspace(0.1, 30.0, 8))


def staleness(compute: npt.NDArray[np.bool_]) -> Floats:
    """(n, steps, cells) -> how many steps old each used value is, 0 where it is computed."""
    age = np.zeros(compute.shape)
    for step in range(1, compute.shape[1]):
        age[:, step] = np.where(compute[:, step], 0.0, age[:, step - 1] + 1.0)
    return age


class Features:
    """What two schedules have in common: the reuses they share, by cell and by what cells share.

    A level is one way to count reuses: all alike, by component, and so on, in the order of a prior.
    It counts them from every one of `AGES` on, side by side, for what an older value costs beyond a
    younger one is not the same everywhere. Of all of one age, a level is about as long as any other
    level.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._components = np.eye(grid.n_components)[grid.components]  # (cells, components)
        self._blocks = np.eye(grid.n_blocks)[grid.blocks]  # (cells, blocks)

    def reuses(self, compute: npt.NDArray[np.bool_]) -> Floats:
        """(n, ages * steps * cells): 1 where a value of at least that age is used."""
        age = staleness(compute)
        found = np.stack([age >= least for least in AGES], axis=1)
        return found.reshape(len(compute), -1).astype(float)

    def levels(self, compute: npt.NDArray[np.bool_]) -> list[Floats]:
        """One (n, features) array per level; a dot product of two counts what they share."""
        age = staleness(compute)
        each = zip(*(self._levels_of((age >= least).astype(float)) for least in AGES), strict=True)
        return [np.concatenate(level, axis=1) for level in each]

    def _levels_of(self, reused: Floats) -> list[Floats]:
        n, steps, cells = reused.shape
        by_step_component = reused @ self._components
        raw = [
            reused.sum(axis=(1, 2))[:, None],
            by_step_component.sum(axis=1),
            reused.sum(axis=2),
            by_step_component.reshape(n, -1),
            reused.sum(axis=1) @ self._blocks,
            reused.sum(axis=1),
            reused.reshape(n, -1),
        ]
        return [level * np.sqrt(level.shape[1]) / (steps * cells) for level in raw]

    def shared(self, levels: Sequence[Floats], prior: Sequence[float]) -> Floats:
        """(n, ages * steps * cells): what reuses of other schedules share with these `levels`.

        Dot products with `reuses` are those of all levels, weighed by the prior, in one go.
        """
        components, blocks = self._grid.components, self._grid.blocks
        n, ages, cells = len(levels[0]), len(AGES), len(components)
        steps = levels[2].shape[1] // ages
        whole, component, step, step_component, block, cell, each = (
            (weight * np.sqrt(level.shape[1] / ages) / (steps * cells) * level).reshape(n, ages, -1)
            for weight, level in zip(prior, levels, strict=True)
        )
        by_cell = component[:, :, components] + block[:, :, blocks] + cell
        found = each.reshape(n, ages, steps, cells)
        found += step_component.reshape(n, ages, steps, -1)[..., components]
        found += (whole + step)[..., None] + by_cell[:, :, None, :]
        return found.reshape(n, -1)


class Surrogate:
    """Fitted once per generation to the schedules scored so far.

    compute: (n, steps, cells); quality: (n,) mean differences to uncached; variance: (n,) their
    squared standard errors. The uncached schedule needs no observation: the model has no constant.
    """

    def __init__(
        self,
        features: Features,
        compute: npt.NDArray[np.bool_],
        quality: Floats,
        variance: Floats,
    ) -> None:
        self._features = features
        compute = compute[-MOST_OBSERVATIONS:]
        quality, variance = quality[-MOST_OBSERVATIONS:], variance[-MOST_OBSERVATIONS:]
        self._unit = float(np.sqrt(np.mean(quality**2))) or 1.0
        levels = features.levels(compute)
        # In units of each observation's noise all scales share one eigendecomposition.
        self._precision = 1 / np.sqrt(variance / self._unit**2 + 1e-4)
        y = self._precision * quality / self._unit
        best, chosen = -np.inf, PRIORS[0]
        grams = [level @ level.T for level in levels]
        for prior in PRIORS:
            linear = sum(w * g for w, g in zip(prior, grams, strict=True))
            linear = np.asarray(linear)
            size = float(np.mean(np.diag(linear))) or 1.0
            for curvature in CURVATURES:
                shape = linear / size + curvature * (linear / size) ** 2
                shape *= self._precision[:, None] * self._precision
                values, vectors = np.linalg.eigh(shape)
                along = vectors.T @ y
                for scale in SCALES:
                    spread = 1 + scale * np.maximum(values, 0.0)
                    evidence = -float((along**2 / spread + np.log(spread)).sum()) / 2
                    if evidence > best:
                        best = evidence
                        chosen = prior
                        self._choice = (curvature, scale, size)
                        self._whitening = (vectors / np.sqrt(spread)).T
        self._white = self._whitening @ y
        self._shared = features.shared(levels, chosen)

    def predict(self, compute: npt.NDArray[np.bool_]) -> Floats:
        """The qualities, (n,), to expect of (n, steps, cells) schedules."""
        curvature, scale, size = self._choice
        linear = self._shared @ self._features.reuses(compute).T / size
        kernel = self._precision[:, None] * scale * (linear + curvature * linear**2)
        return (self._whitening @ kernel).T @ self._white * self._unit
