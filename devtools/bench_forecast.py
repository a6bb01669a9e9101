"""`dev.py bench forecast`: would reused values do better if they were forecast?

What a component gave is reused as it was; a forecast of first order (TaylorSeer, arXiv:2503.06923)
carries on the change between its last two computed values. FORA on the demo model with either, for
each kind of component and for all of them: how far the latents drift from the uncached run's, and
what the scorer says. Held-out captions; nothing is chosen by them. FORA begins after some computed
steps, as TaylorSeer does: at the first ones values change too much to be forecast.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .bench_quick import Subject, drifts, keep, mean, spoken
from .loaded_pack import LoadedPack

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "bench_output" / "forecast"


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    pack = LoadedPack(Path(os.environ["COMFYUI_PATH"]).resolve())
    subject = Subject(pack, options.images, options.model)
    rows = []
    for steps in options.steps:
        rows += measured(subject, steps, options.every, options.first)
        print(table(rows, steps, options.images), flush=True)
    keep(rows, options.json or OUTPUT / "forecast.json")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="dev.py bench forecast", description=__doc__)
    made.add_argument("--model", choices=["pixart", "flux"], default="pixart", help="demo model")
    made.add_argument("--steps", type=int, nargs="+", default=[14, 20, 28, 50], metavar="N")
    made.add_argument("--every", type=int, nargs="+", default=[2, 3, 4, 5], metavar="N")
    made.add_argument("--first", type=int, nargs="+", default=[1, 3], metavar="N", help="computed")
    made.add_argument("--images", type=int, default=24, metavar="N", help="held-out ones")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the raw numbers go")
    return made


# --- forecasts ------------------------------------------------------------------------------------


def forecasting(run: type, store: type, cells: frozenset[int]) -> type:
    """A kind of `run` that gives forecasts of these cells where it would give stored values.

    `run` and `store` are the engine's Run and CacheStore, of whichever copy of the pack is loaded.
    Before a value was computed twice it is reused as it is.
    """
    kept = forecasting_store(store, cells)

    class ForecastingRun(run):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            known = {name: settings[name] for name in ("keep", "place") if name in settings}
            self.store = kept(**known)
            self.store.row = lambda: self._row

    return ForecastingRun


def forecasting_store(store: type, cells: frozenset[int]) -> type:
    class ForecastingStore(store):
        row: Callable[[], int]  # the step that is being evaluated

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self._history: dict[tuple[Hashable, int, int], list[tuple[int, Any]]] = {}

        def put(self, streams: Any, cell: int, part: int, *given: Any, **settings: Any) -> None:
            super().put(streams, cell, part, *given, **settings)
            if cell in cells:
                for stream in streams:
                    past = self._history.setdefault((stream, cell, part), [])
                    past.append((self.row(), self.get(stream, cell, part).value.clone()))
                    del past[:-2]

        def pieces(self, streams: Any, cell: int, part: int) -> list[Any]:
            pasts = [self._history.get((stream, cell, part), []) for stream in streams]
            if any(len(past) < 2 for past in pasts):  # and so for every cell that is not forecast
                return super().pieces(streams, cell, part)
            return [
                self.get(stream, cell, part)._replace(value=extrapolated(past, self.row()))
                for stream, past in zip(streams, pasts, strict=True)
            ]

        def clear(self) -> None:
            super().clear()
            self._history.clear()

    return ForecastingStore


def extrapolated(past: Sequence[tuple[int, Any]], row: int) -> Any:
    """The line through two (step, value) at the step `row`."""
    (first, before), (last, value) = past
    return value + (value - before) * ((row - last) / (last - first))


# --- the table ------------------------------------------------------------------------------------


def measured(
    subject: Subject, steps: int, every: Sequence[int], first: Sequence[int]
) -> list[dict[str, Any]]:
    judge = subject.renderer(subject.heldout, steps, len(subject.indices))
    names = [component.name for component in judge.architecture.cell_components]
    payloads = {"reuse": frozenset[int]()}
    for name in dict.fromkeys(names):
        payloads[name] = frozenset(i for i, one in enumerate(names) if one == name)
    payloads["all"] = frozenset(range(len(names)))
    uncached, scores = subject.judged(judge, None)
    rows = []
    for n, computed in itertools.product(every, first):
        schedule = fora_after(subject, judge.architecture, steps, n, computed)
        for payload, cells in payloads.items():
            latents, own = subject.judged(judge, schedule, run_of(subject, cells))
            drift, gain = mean(drifts(latents, uncached)), mean(own - scores)
            row = {"steps": steps, "every": n, "first": computed, "forecast": payload}
            rows.append({**row, "drift": drift, "gain": gain})
    return rows


def fora_after(subject: Subject, architecture: Any, steps: int, every: int, first: int) -> Any:
    """FORA that begins with the last of the `first` steps, all of which compute."""
    fora = subject.module("ecad_search.core.presets").fora(architecture, steps - first + 1, every)
    before = np.ones((first - 1, architecture.n_cells), dtype=np.bool_)
    kind = subject.module("ecad_search.core.schedule").Schedule
    return kind(architecture, np.vstack([before, fora.compute]))


def run_of(subject: Subject, cells: frozenset[int]) -> type:
    run = subject.module("ecad_search.engine.run").Run
    store = subject.module("ecad_search.engine.cache_store").CacheStore
    return forecasting(run, store, cells) if cells else run


def table(rows: Sequence[dict[str, Any]], steps: int, images: int) -> str:
    lines = [
        f"\n{steps} steps, {images} held-out images",
        "FORA  after  forecast         drift, percent         score, to uncached",
    ]
    for row in rows:
        if row["steps"] == steps:
            begin = f"{row['every']:4}  {row['first']:5}  {row['forecast']:15}"
            lines.append(f"{begin}  {spoken(row['drift'], 100):21}  {spoken(row['gain'])}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
