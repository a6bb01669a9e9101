"""The slow reference for guiders with more calls than one, and for streams that come and go.

It knows what docs/decisions/0005 decides, and nothing of how the engine does it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .architecture_contract import SlowReference

if TYPE_CHECKING:
    import torch


class Name(NamedTuple):
    """A conditioning in one prediction, or one context window of it."""

    uuid: Any
    prediction: int
    part: tuple | None


class StreamReference(SlowReference):
    """For samplers of one evaluation a step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.beside = 0
        self.forced = 0
        self._sigma = -1.0
        self._names: list[Name] = []
        self._due = np.ones(0, dtype=np.bool_)
        self._is_beside = False
        self._misfits: set[int] = set()  # cells of this call whose stored value has another shape
        self._round = 0
        self._met: dict[tuple, int] = {}  # in which round a conditioning was met first
        self._last_steps: dict[Name, int] = {}
        self._networks: dict[Name, Any] = {}
        kind = importlib.import_module("comfy.patcher_extension").WrappersMP.CALC_COND_BATCH
        self.model.add_wrapper_with_key(kind, "reference", self._begin_round)

    def _begin_round(self, executor: Any, *args: Any) -> Any:
        self._round += 1
        return executor(*args)

    def _call_model(self, apply_model: Any, arguments: dict) -> Any:
        options = arguments["c"]["transformer_options"]
        sigma = float(arguments["timestep"].flatten()[0])
        if sigma != self._sigma:
            for name in list(self._last_steps):
                if name.part is not None and (name.uuid, name.part) not in self._met:
                    self._forget(name)  # the window moved on
            self._sigma, self._met = sigma, {}
            self._step = int(np.argmin(np.abs(self._sigmas - sigma)))
        window = options.get("context_window")
        part = None if window is None else tuple(window.index_list)
        predictions = arguments["cond_or_uncond"]
        pairs = zip(options["uuids"], predictions, strict=True)
        self._names = [Name(uuid, prediction, part) for uuid, prediction in pairs]
        rounds = [self._met.setdefault((n.uuid, n.part), self._round) for n in self._names]
        self._is_beside = any(met < self._round for met in rounds)
        if self._is_beside:
            self.beside += 1
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        self._misfits = set()
        network = sorted(
            (kind, str(place))
            for kind, places in options.get("patches_replace", {}).items()
            for place in places
        )
        for name in self._names:
            if self._networks.setdefault(name, network) != network:
                self._forget(name)
            self._networks[name] = network
        self._due = np.logical_or.reduce([self._due_for(name) for name in self._names])
        result = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        computed = self._due.copy()
        computed[sorted(self._misfits)] = True
        self.counts["computed"] += int(computed.sum())
        self.counts["reused"] += int((~computed).sum())
        self.forced += int((computed & ~self._compute[self._step]).sum())
        for name in self._names:
            self._last_steps[name] = self._step
        return result

    def _due_for(self, name: Name) -> np.ndarray:
        last = self._last_steps.get(name)
        if last is None:
            return np.ones_like(self._compute[0])
        return np.logical_or.reduce(self._compute[last + 1 : self._step + 1], axis=0)

    def _forget(self, name: Name) -> None:
        self._last_steps.pop(name, None)
        for key in [key for key in self._stored if key[0] == name]:
            del self._stored[key]

    def _exchange(self, place: tuple, cell: int, value: torch.Tensor) -> torch.Tensor:
        import torch

        if self._is_beside:
            return value
        keys = [(name, *place) for name in self._names]
        chunks = value.chunk(len(keys))
        stored = [self._stored.get(key) for key in keys]
        fit = all(
            old is not None and old.shape == new.shape
            for old, new in zip(stored, chunks, strict=True)
        )
        if not fit:
            self._misfits.add(cell)
        if self._due[cell] or cell in self._misfits:
            self._stored.update((key, rows.clone()) for key, rows in zip(keys, chunks, strict=True))
            return value
        return torch.cat([self._stored[key] for key in keys])
