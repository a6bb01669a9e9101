"""Do predicted seconds rank schedules as the clock does? Against MACs, on the host's own models.

The components of a model with random weights are timed as ECAD Search times them with `cost` set to
seconds. Then schedules of all sorts are sampled in turn, timed as `bench engine` does, and their
seconds are compared with what was predicted, and with MACs.

`rank` is Spearman's correlation with the measured seconds over all schedules, `pairs` the share of
pairs that stand in the right order among those whose times differ by more than two percent, `off`
the median and the largest error of the relative cost (predicted minus measured share of uncached).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from .bench_engine import FEW_STEPS, STEPS, Bench, Size, kinds_of, narrowed, sizes

HEADS = {"PixArt": 4, "Flux": 3}  # a few seconds for a sampling on two cores
SAME_TIME = 0.02  # schedules whose times differ by less have no right order


@dataclass(frozen=True)
class Timed:
    """One schedule: shares of the uncached run, measured and predicted."""

    schedule: str
    measured: float
    by_seconds: float
    by_macs: float


@dataclass(frozen=True)
class Agreement:
    rank: float
    pairs: float
    median_off: float
    largest_off: float

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Agreement:
        off = [abs(p - m) for p, m in zip(predicted, measured, strict=True)]
        told_apart = [
            (predicted[a] < predicted[b]) == (measured[a] < measured[b])
            for a, b in combinations(range(len(measured)), 2)
            if abs(measured[a] / measured[b] - 1) > SAME_TIME
        ]
        ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
        return cls(
            float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
            statistics.mean(told_apart),
            statistics.median(off),
            max(off),
        )


class LatencyBench(Bench):
    def renderer(self, model: Any, size: Size) -> Any:
        """As much of the Search node's inputs as timing needs."""
        torch = self.torch
        rendering = self.pack.module("nodes.host.rendering")
        tokens, channels = size.text
        options = {"pooled_output": torch.randn(1, size.pooled)} if size.pooled else {}
        prompt = [[torch.randn(1, tokens, channels), options]]
        prompts = self.pack.module("ecad_search.calibration").CalibrationPrompts(
            ("a prompt",), 1, 0, "benchmark"
        )
        calibration = rendering.EncodedCalibration(prompts, (prompt,), prompt, "", 0.0, "")
        settings = rendering.SamplerSettings(
            steps=STEPS, cfg=size.cfg, width=8 * size.latent[3], height=8 * size.latent[2]
        )
        vae = SimpleNamespace(spacial_compression_encode=lambda: 8)
        return rendering.Renderer(model, vae, calibration, settings)

    def kinds(self, architecture: Any, count: int) -> Iterator[Any]:
        """FORA, single components that reuse alone, what a search begins with, and random ones."""
        presets = self.pack.module("ecad_search.core.presets")
        seeding = self.pack.module("ecad_search.evolution.seeding")
        kind = self.pack.module("ecad_search.core.schedule").Schedule
        yield presets.uncached(architecture, STEPS)
        for every in (2, 3, 5):
            yield presets.fora(architecture, STEPS, every)
        for name in architecture.component_names:  # this one alone reuses
            column = np.array([c.component == name for c in architecture.cells])
            for every in (2, 4):
                rows = np.ones((STEPS, architecture.n_cells), dtype=bool)
                rows[:, column] = (np.arange(STEPS) % every == 0)[:, None]
                yield kind(architecture, rows, name=f"{name} alone, {every}")
        begun = seeding.ecad_population(architecture, STEPS)
        yield from (s.schedule for s in begun if not s.is_reference)
        rng = np.random.default_rng(0)
        made = seeding.random_population(architecture, STEPS, count, rng)
        yield from (seed.schedule.canonical() for seed in made)

    def compared(self, size: Size, count: int) -> tuple[list[Timed], float]:
        """The schedules with their times, and for how many uncached samplings the timing took."""
        model = self.model(size)
        renderer = self.renderer(model, size)
        architecture = renderer.architecture
        self.timed(model, size, FEW_STEPS)  # loads the weights, warms every cache
        node = self.pack.module("nodes.search")
        measure = self.pack.module("nodes.host.latency").measured_latency
        patching = self.pack.module("nodes.host.patching")
        started = time.perf_counter()
        latency, _ = measure(
            renderer, lambda schedule: node.made_on(renderer.sigmas, schedule), lambda images: None
        )
        seconds = time.perf_counter() - started
        print(json.dumps(latency.to_json()), flush=True)
        times = self.pack.module("ecad_search.core.latency").TimeCost(architecture, STEPS, latency)
        relative = self.pack.module("ecad_search.core.cost").relative_cost
        schedules = list(self.kinds(architecture, count))
        options = patching.CacheOptions(quiet=True)
        models = [patching.apply_schedule(model, s, options=options) for s in schedules]
        taken = self.seconds(models, [kinds_of(s.compute) for s in schedules], size)
        rows = [
            Timed(
                schedule.name or schedule.key,
                own / taken[0],
                float(times.shares(schedule.compute)),
                relative(schedule, renderer.workload),
            )
            for schedule, own in zip(schedules, taken, strict=True)
        ]
        return rows, seconds / taken[0]


def main(arguments: Sequence[str]) -> int:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="dev.py bench latency", description=summary)
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer schedules")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--model", choices=("pixart", "flux"), help="this one alone")
    parser.add_argument("--turns", type=int, metavar="N", help="runs of each, default 3 or 2")
    options = parser.parse_args(arguments)
    turns = options.turns or (2 if options.quick else 3)
    bench = LatencyBench(Path(os.environ["COMFYUI_PATH"]), turns)
    torch = importlib.import_module("torch")
    machine = torch.cuda.get_device_name() if bench.device.type == "cuda" else platform.machine()
    print(f"{machine}, PyTorch {torch.__version__}, {STEPS} steps, {turns} turns", flush=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for size in sizes(bench.accelerated, options.quick):
        if options.quick and not bench.accelerated:
            size = narrowed(size, HEADS[size.base])
        if options.model is not None and size.config["image_model"].split("_")[0] != options.model:
            continue
        rows, images = bench.compared(size, 4 if options.quick else 16)
        found[size.name] = [asdict(row) for row in rows]
        print(f"\n{size.name}: timed in {images:.1f} uncached samplings; {len(rows)} schedules\n")
        print("| schedule | measured | by seconds | by MACs |\n|---|---|---|---|")
        for row in rows:
            print(
                f"| {row.schedule} | {row.measured:.3f} | {row.by_seconds:.3f} | "
                f"{row.by_macs:.3f} |"
            )
        print("\n| predicted by | rank | pairs | median off | largest off |\n|---|---|---|---|---|")
        measured = [row.measured for row in rows]
        for name, predicted in (
            ("seconds", [row.by_seconds for row in rows]),
            ("MACs", [row.by_macs for row in rows]),
        ):
            a = Agreement.of(predicted, measured)
            print(
                f"| {name} | {a.rank:.3f} | {a.pairs:.1%} | {a.median_off:.3f} | "
                f"{a.largest_off:.3f} |",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
