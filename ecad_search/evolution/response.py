"""What a schedule does to a sample's final latent, told from a few samplings without the model.

Near the uncached sampling everything is nearly linear. What the sampler is given at each call, and
the final latent, are sums of the predictions before, with numbers that follow from the sampler
alone. A step that computes everything answers a deviation of its input in a way that is learnt from
the deviations of samplings made under other schedules. One that reuses shows what it stored, which
differs from what it would have said by nearly as much as what the two said uncached; what is left
was measured too. A ring of components that computes is so much of a step that computes everything,
but for an error. Put together this makes the deviation of every call under every schedule, one
after the other.

What a deviation has in it that no sampling has shown is answered in a way nobody knows. It is
carried on as a deviation in a direction of its own, so that a schedule that leads where nothing was
measured is told to drift farther.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

MOST_DIRECTIONS = 64  # that deviations of one sample are told by
SMALLEST_SHARE = 1e-7  # of the largest; a direction with less of all deviations is left out
NOISE = 0.03  # of a deviation of length 1 and its answer
NEIGHBOURS = (1.0, 0.5)  # what answers of this call count, and those of the one before or after
SURPRISE = 0.3  # of what is unknown about an answer, by leaving out one sampling at a time
SURPRISE_SCALE = 1.0  # calls over which that halves
PRIOR_COUNT = 0.05  # samplings that what is expected of the rings counts for
SMALLEST = 1e-12


class Trial(NamedTuple):
    """One sampling of a sample, less the uncached one of the same sample.

    `path`, (steps,), says which ring computes at each step. `inputs` and `predictions`, (calls, d),
    are what the sampler gave the guided model, and what it got.
    """

    path: tuple[int, ...]
    inputs: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sampler:
    """How a sampling is made of predictions.

    `weights`, (calls + 1, calls), say how much of each prediction is in the input of each call and,
    last, in the final latent. `steps`, (calls,), says of which step a call is, `sigmas`, (calls,),
    at what noise level. A sampler with stages calls more than once a step.
    """

    weights: Floats
    steps: Ints
    sigmas: Floats

    @classmethod
    def of(
        cls, inputs: Floats, predictions: Floats, final: Floats, steps: Ints, sigmas: Floats
    ) -> Sampler:
        """From what a sampling with random predictions was less another one of the same noise.

        `inputs` and `predictions` are (calls, d), `final` is (d,).
        """
        calls = len(predictions)
        weights = np.zeros((calls + 1, calls))
        for call in range(1, calls + 1):
            known, got = predictions[:call], inputs[call] if call < calls else final
            weights[call, :call] = np.linalg.lstsq(known.T, got, rcond=None)[0]
        return cls(weights, np.asarray(steps), np.asarray(sigmas, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Response:
    """How one sample answers; `trials` are what was measured of it, at least one.

    `shares`, (rings,), are what is expected of how much of a whole step each ring is, from 0 to 1.
    `velocities`, (calls, d), are what the model said uncached: the way from its prediction to its
    input, per sigma. Deviations are told in the directions that matter most, the columns of
    `basis`, (d, r).
    """

    sampler: Sampler
    trials: tuple[Trial, ...]
    shares: Floats
    velocities: npt.NDArray[np.float32]

    @property
    def whole(self) -> int:
        """The last ring, that of all components."""
        return len(self.shares) - 1

    @cached_property
    def basis(self) -> Floats:
        turns = np.diff(self.velocities, axis=0) * self.sampler.sigmas[1:, np.newaxis]
        parts = [part for one in self.trials for part in one[1:]]
        rows = np.concatenate([turns.astype(np.float32), *parts])
        lengths = np.linalg.norm(rows, axis=1)
        rows = rows[lengths > SMALLEST]
        # By the root of their lengths, or small deviations, which faithful schedules are about,
        # would not count beside large ones.
        rows /= np.sqrt(lengths[lengths > SMALLEST])[:, np.newaxis]
        values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
        kept = values > SMALLEST_SHARE * values.max(initial=SMALLEST)
        values, vectors = values[kept][-MOST_DIRECTIONS:], vectors[:, kept][:, -MOST_DIRECTIONS:]
        return rows.T @ vectors / np.sqrt(values)

    @cached_property
    def known(self) -> list[tuple[Ints, Floats, Floats]]:
        """Of each trial the ring of each call, its inputs and its predictions, (calls, r) each."""
        return [
            (
                np.array(one.path)[self.sampler.steps],
                one.inputs @ self.basis,
                one.predictions @ self.basis,
            )
            for one in self.trials
        ]

    @cached_property
    def pairs(self) -> list[tuple[Floats, Floats]]:
        """Of each call what its inputs and predictions deviated in trials, (n, r) both."""
        made = []
        for call in range(len(self.sampler.steps)):
            rows = [
                (inputs[call], predictions[call])
                for rings, inputs, predictions in self.known
                if rings[call] == self.whole and np.linalg.norm(inputs[call]) > SMALLEST
            ]
            both = np.array(rows).reshape(-1, 2, self.basis.shape[1])
            made.append((both[:, 0], both[:, 1]))
        return made

    @cached_property
    def slopes(self) -> Floats:
        """(calls,): what a prediction deviates by for its input, whatever the direction."""
        squares = np.array([(inputs**2).sum() for inputs, _ in self.pairs])
        products = np.array([(inputs * predictions).sum() for inputs, predictions in self.pairs])
        told = np.flatnonzero(squares)
        if not len(told):
            return np.zeros(len(squares))
        return np.interp(np.arange(len(squares)), told, products[told] / squares[told])

    @cached_property
    def answers(self) -> Answers:
        calls, r = len(self.sampler.steps), self.basis.shape[1]
        matrices = self.slopes[:, np.newaxis, np.newaxis] * np.eye(r)
        unknown = np.tile(np.eye(r), (calls, 1, 1))
        errors, chances = np.zeros(calls), np.zeros(calls)
        reach = len(NEIGHBOURS) - 1
        for call in range(calls):
            near = range(max(call - reach, 0), min(call + reach + 1, calls))
            inputs = np.concatenate([self.pairs[other][0] for other in near])
            if not len(inputs):
                continue
            counts = np.concatenate(
                [np.full(len(self.pairs[o][0]), NEIGHBOURS[abs(o - call)]) for o in near]
            )
            lengths = np.linalg.norm(inputs, axis=1)[:, np.newaxis]
            inputs = inputs / lengths
            rest = np.concatenate([self.pairs[other][1] for other in near]) / lengths
            rest -= self.slopes[call] * inputs
            noise = NOISE / counts**2
            inverse = np.linalg.inv(inputs @ inputs.T + np.diag(noise))
            matrices[call] += (inverse @ inputs).T @ rest
            unknown[call] -= inputs.T @ inverse @ inputs
            # What each would have come as, had it not been known.
            own, diagonal = counts == 1.0, np.diagonal(inverse)
            off = (inverse @ rest) / diagonal[:, np.newaxis]
            errors[call] = (off[own] ** 2).sum()
            chances[call] = np.maximum(1 / diagonal - noise, 0.0)[own].sum()
        distance = np.abs(np.subtract.outer(np.arange(calls), np.arange(calls)))
        halved = 0.5 ** (distance / SURPRISE_SCALE)
        surprise = SURPRISE * (halved @ errors) / np.maximum(halved @ chances, SMALLEST)
        return Answers(matrices, unknown, surprise)

    def velocity(self, call: int, inputs: Floats, predictions: Floats) -> Floats:
        """What the model itself said, less what it said uncached."""
        return (inputs - predictions) / self.sampler.sigmas[call]

    @cached_property
    def stale(self) -> Floats:
        """(calls, calls, r): what the second call misses that reuses what the first one stored.

        A difference of velocities, on the uncached way. Were what a call shows just what was
        stored, it would be that of `velocities`; the rest is that of the nearest pair of calls that
        was measured, of several trials that of the least deviation.
        """
        calls = len(self.sampler.steps)
        found: dict[tuple[int, int], tuple[float, Floats]] = {}
        for rings, inputs, predictions in self.known:
            stored, only = 0, True
            for call in range(1, calls):
                if rings[call] == self.whole:
                    stored, only = call, True
                elif rings[call]:
                    only = False
                elif only:
                    then = self.velocity(stored, inputs[stored], predictions[stored])
                    missed = self.velocity(call, inputs[call], predictions[call]) - then
                    deviation = float(np.linalg.norm(inputs[stored]))
                    if (stored, call) not in found or deviation < found[stored, call][0]:
                        found[stored, call] = deviation, missed
        velocities = self.velocities @ self.basis
        stale = velocities[:, np.newaxis] - velocities
        if found:
            starts, ends = np.array(list(found)).T
            rests = np.array([missed for _, missed in found.values()]) - stale[starts, ends]
            for stored in range(calls):
                for call in range(stored + 1, calls):
                    nearest = (abs(starts - stored) + abs(ends - call)).argmin()
                    stale[stored, call] += rests[nearest]
        return stale

    @cached_property
    def rings(self) -> Rings:
        expected = np.diff(self.shares)[:-1]
        products = PRIOR_COUNT * np.eye(len(expected))
        towards = np.zeros(len(expected))
        seen: list[tuple[Floats, Floats]] = []  # what the rings could move, and what they moved
        for rings, inputs, predictions in self.known:
            last = np.zeros(len(expected) + 1, dtype=np.intp)
            stored = np.zeros_like(inputs)
            for call, ring in enumerate(rings):
                stored[call] = got = self.velocity(call, inputs[call], predictions[call])
                if ring == self.whole:
                    last[:] = call
                    continue
                if ring:
                    answer = inputs[call] @ self.answers.matrices[call]
                    stored[call] = self.velocity(call, inputs[call], answer)
                    last[:ring] = call
                shown = self.stale[last, call] + stored[last]
                moves = shown[:-1] - shown[-1]
                length = np.linalg.norm(moves)
                if length**2 > SMALLEST:
                    moves, moved = moves / length, (got - shown[-1]) / length
                    products += moves @ moves.T
                    towards += moves @ (moved - expected @ moves)
                    seen.append((moves, moved))
        layers = np.clip(expected + np.linalg.solve(products, towards), 0.0, 1.0)
        errors = [((moved - layers @ moves) ** 2).sum() for moves, moved in seen]
        last = max(1.0 - layers.sum(), 0.0)
        return Rings(np.append(layers, last), float(np.mean(errors)) if errors else 0.0)

    def squares(self, paths: Ints) -> Floats:
        """(n,): the squared length of the final latent's deviation under each of (n, steps)."""
        sampler, answers, stale = self.sampler, self.answers, self.stale
        layers, error = self.rings
        rings = np.asarray(paths)[:, sampler.steps]
        n, calls = rings.shape
        r = self.basis.shape[1]
        every = np.arange(n)
        # In r directions that are known, and one of its own for what each call adds unknown.
        predictions = np.zeros((calls, n, r + calls))
        stored = np.zeros_like(predictions)
        last = np.zeros((len(layers), n), dtype=np.intp)
        wrong = np.zeros((n, r + calls))  # in what rings show, until a whole step
        for call in range(calls):
            inputs = np.tensordot(sampler.weights[call, :call], predictions[:call], 1)
            told, untold = inputs[:, :r], inputs[:, r:]
            answer = self.slopes[call] * inputs
            answer[:, :r] = told @ answers.matrices[call]
            unknown = np.einsum("ni,ni->n", told @ answers.unknown[call], told)
            unknown = np.maximum(unknown, 0.0) + (untold**2).sum(1)
            answer[:, r + call] += np.sqrt(answers.surprise[call] * unknown)
            stored[call] = self.velocity(call, inputs, answer)
            ring = rings[:, call]
            last = np.where(ring > np.arange(len(layers))[:, np.newaxis], call, last)
            parts = stored[last, every]
            parts[..., :r] += stale[last, call]
            moved = ((parts[:-1] - parts[-1]) ** 2).sum((0, 2))
            wrong[ring > 0] = 0.0
            wrong[ring > 0, r + call] = np.sqrt(error * moved[ring > 0])
            shown = np.tensordot(layers, parts, 1) + wrong
            shown[ring == self.whole] = stored[call, ring == self.whole]
            predictions[call] = inputs - sampler.sigmas[call] * shown
        final = np.tensordot(sampler.weights[calls], predictions, 1)
        return (final**2).sum(1)


class Answers(NamedTuple):
    """What predictions deviate by, of each call: `matrices`, (calls, r, r), from the right.

    `unknown`, (calls, r, r), are quadratic forms: how much of a squared deviation no trial has
    shown. `surprise`, (calls,), is what becomes of each square of that.
    """

    matrices: Floats
    unknown: Floats
    surprise: Floats


class Rings(NamedTuple):
    """How much of a whole step is what each ring adds to the one before it, (rings - 1,).

    `error` is how much of the square of what they could move is told wrongly.
    """

    layers: Floats
    error: float
