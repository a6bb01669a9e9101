"""How much faster a schedule really makes the host's models, against what its MACs promise.

Real classes of ComfyUI with random weights, in its own sampler stack. On a GPU the models have
their real sizes. On a CPU PixArt has all its blocks and fewer tokens, FLUX fewer blocks of half the
width, and both are smaller still with `--quick`; a schedule for all blocks then gives the rows of
those that are left. What the host does once an evaluation, whatever is reused, weighs the more the
fewer blocks there are.

A machine's speed can wander by a tenth within minutes. So each sampling stands between two short
uncached ones, and counts as if the machine had then been as fast as it usually is. Its time is the
sum of its evaluations, each the median of all that do the same, in whichever turn and under
whichever schedule; seconds for which a machine lent its processors to others do not count. What
happens before the first evaluation and after the last counts as well.

`realised_over_predicted` is what the engine itself may cost: 1 says that a MAC left out saved as
much time as a MAC takes on average. The models' parts differ in their seconds per MAC, so a
schedule can come out above 1.

What a schedule that computes all adds is far less than a machine's speed wanders. It does not
depend on what the model computes, so it is told apart on a narrow model of as many blocks and few
tokens, with and without the schedule in turn. In the real one its evaluations then count as the
uncached run's do, and `overhead` is what is added, as a share.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from .loaded_pack import LoadedPack

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20  # the paper's
FEW_STEPS = 5  # of the uncached samplings beside each other one
Turn = list[float]  # seconds of one sampling's parts: see `kinds_of`
OFFICIAL = {"pixart": "pixart-alpha-256-ours-fast.json", "flux": "flux-256-ours-fast.json"}


@dataclass(frozen=True)
class Size:
    """One model to be timed. `config` is what the host reads from a checkpoint."""

    name: str
    supported: str
    base: str
    config: dict[str, Any]
    latent: tuple[int, ...]
    text: tuple[int, int]  # tokens, channels
    cfg: float
    pooled: int = 0


@dataclass(frozen=True)
class Row:
    model: str
    schedule: str
    seconds_uncached: float
    seconds_cached: float
    predicted_speedup: float
    realised_speedup: float
    realised_over_predicted: float
    peak_bytes: int
    predicted_bytes: int
    overhead: float | None = None  # of a schedule that computes all: share of the uncached seconds
    messages: tuple[str, ...] = ()


def usual_seconds(samplings: Iterable[tuple[Sequence[Hashable], Turn]]) -> dict[Hashable, float]:
    """The median of all parts of a kind, in whichever sampling; `kinds_of` has the kinds."""
    found: dict[Hashable, list[float]] = {}
    for kinds, turn in samplings:
        for kind, seconds in zip(kinds, turn, strict=True):
            found.setdefault(kind, []).append(seconds)
    return {kind: statistics.median(seconds) for kind, seconds in found.items()}


def at_usual_speed(turns: Sequence[Turn], beside: Sequence[Turn]) -> list[Turn]:
    """`turns` as if the machine had always been as fast as in the median of `beside`.

    The latter are uncached samplings, one before each turn and one after the last.
    """
    usual = statistics.median(seconds for turn in beside for seconds in turn[1:-1])
    found = []
    for turn, (before, after) in zip(turns, pairwise(beside), strict=True):
        then = statistics.median([*before[1:-1], *after[1:-1]])
        found.append([seconds * usual / then for seconds in turn])
    return found


def kinds_of(compute: Any = None, steps: int = STEPS) -> list[Hashable]:
    """Of a sampling's parts, under (steps, cells) or none: the same rows do the same.

    That is if the next row is the same as well, for which values are stored or not. The first part
    has what is done before, and the last what is done after the evaluations.
    """
    if compute is None or compute.all():
        rows = ["all"] * steps
    else:
        rows = [row.tobytes() for row in compute]
    first, *others = pairwise([*rows, "end"])
    return [("first", first), *others, ("after", rows[0] == "all")]


def stolen() -> list[float]:
    """Seconds for which each processor had work but was lent to others, where the machine says."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
        return [int(line.split()[8]) / ticks for line in lines if re.match(r"cpu\d", line)]
    except (OSError, IndexError, ValueError):
        return []


class Moment(NamedTuple):
    time: float
    stolen: list[float]

    def until(self, later: Moment) -> float:
        """Seconds, less those for which threads that work in step waited for a lent processor."""
        lost = [b - a for a, b in zip(self.stolen, later.stolen, strict=True)]
        return later.time - self.time - max(lost, default=0.0)


PIXART = {
    "image_model": "pixart_alpha",
    "depth": 28,
    "hidden_size": 1152,
    "num_heads": 16,
    "patch_size": 2,
    "in_channels": 4,
    "mlp_ratio": 4.0,
    "caption_channels": 4096,
    "model_max_length": 120,
    "input_size": 128,
    "pe_interpolation": 2,
    "micro_condition": False,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
NARROW_SIDE = 36  # latent cells; PixArt takes no fewer than 33
OVERHEAD_TURNS = 30


def sizes(accelerated: bool, quick: bool) -> list[Size]:
    if accelerated:
        return [
            Size("PixArt-alpha, 1024 px", "PixArtAlpha", "PixArt", PIXART, (1, 4, 128, 128),
                 (120, 4096), 4.5),
            Size("FLUX.1-dev, 1024 px", "Flux", "Flux", FLUX, (1, 16, 128, 128), (512, 4096), 1.0,
                 768),
        ]  # fmt: skip
    depth, side = (4, 48) if quick else (28, 64)  # latent cells
    # With few tokens the layers that make FLUX's gates weigh too much.
    double, flux_side = (1, 48) if quick else (2, 128)
    few = PIXART | {"depth": depth, "input_size": 64, "pe_interpolation": 1}
    small = FLUX | {
        "depth": double,
        "depth_single_blocks": 2 * double,
        "hidden_size": 1536,
        "num_heads": 12,
    }
    return [
        Size(f"PixArt-alpha, {depth} of 28 blocks, {8 * side} px", "PixArtAlpha", "PixArt", few,
             (1, 4, side, side), (120, 4096), 1.0),
        Size(f"FLUX.1 at half width, {double} + {2 * double} of 19 + 38 blocks, {8 * flux_side} px",
             "Flux", "Flux", small, (1, 16, flux_side, flux_side), (128, 4096), 1.0, 768),
    ]  # fmt: skip


def narrowed(size: Size, heads: int) -> Size:
    """As many blocks, but so narrow and with so few tokens that a sampling takes seconds."""
    head = {"PixArt": 64, "Flux": 128}[size.base]
    return replace(
        size,
        name=f"{size.name}, narrow, at {8 * NARROW_SIDE} px",
        config=size.config | {"hidden_size": heads * head, "num_heads": heads},
        latent=(*size.latent[:2], NARROW_SIDE, NARROW_SIDE),
    )


class Bench:
    def __init__(self, comfyui: Path, turns: int, only: str | None = None) -> None:
        self.only = only
        self.pack = LoadedPack(comfyui)
        self.torch = importlib.import_module("torch")
        self.management = importlib.import_module("comfy.model_management")
        self.device = self.management.get_torch_device()
        self.accelerated = self.pack.accelerated
        self.turns = turns

    def model(self, size: Size) -> Any:
        """A ModelPatcher round a model of that size with random weights."""
        torch = self.torch
        dtype = torch.bfloat16 if self.accelerated else torch.float32
        config = dict(size.config)
        params = importlib.import_module("comfy.ldm.flux.model").FluxParams
        if size.base == "Flux" and "txt_ids_dims" in params.__dataclass_fields__:
            config["txt_ids_dims"] = []
        supported = importlib.import_module("comfy.supported_models")
        model_config = getattr(supported, size.supported)(config)
        model_config.set_inference_dtype(dtype, None)
        model_config.unet_config["dtype"] = dtype
        base = importlib.import_module("comfy.model_base")
        model = getattr(base, size.base)(model_config, device=self.device)
        generator = torch.Generator(self.device).manual_seed(1)
        with torch.no_grad():
            for parameter in model.diffusion_model.parameters():
                parameter.normal_(std=0.02, generator=generator)
        model.eval().requires_grad_(False)
        offload = torch.device("cpu") if not self.accelerated else self.device
        patcher = importlib.import_module("comfy.model_patcher").ModelPatcher
        return patcher(model, self.device, offload)

    def sample(
        self,
        model: Any,
        size: Size,
        callback: Callable[..., None] | None = None,
        steps: int = STEPS,
    ) -> None:
        torch = self.torch
        generator = torch.Generator().manual_seed(2)
        tokens, channels = size.text
        text = torch.randn(1, tokens, channels, generator=generator)
        options = {"pooled_output": torch.randn(1, size.pooled)} if size.pooled else {}
        noise = torch.randn(size.latent, generator=generator)
        prompts = [[text, options]], [[text * 0.5, options]]
        importlib.import_module("comfy.sample").sample(
            model, noise, steps, size.cfg, "euler", "simple", *prompts,
            torch.zeros(size.latent), disable_pbar=True, seed=3, callback=callback,
        )  # fmt: skip

    def timed(self, model: Any, size: Size, steps: int = STEPS) -> Turn:
        """One sampling: what is before its evaluations, each of them, and what is after."""
        ended: list[Moment] = []
        with self.torch.inference_mode():
            ended.append(self.now())
            self.sample(model, size, lambda *_: ended.append(self.now()), steps)
            ended.append(self.now())
        return [begin.until(end) for begin, end in pairwise(ended)]

    def seconds(
        self, models: Sequence[Any], kinds: Sequence[Sequence[Hashable]], size: Size
    ) -> list[float]:
        """Of a sampling of each model, which take turns; the first of them is uncached."""
        whole, few = kinds_of(), kinds_of(steps=FEW_STEPS)
        cached = [index for index, own in enumerate(kinds) if own != whole]
        order = [i for turn in range(self.turns) for i in cached[:: -1 if turn % 2 else 1]]
        beside, turns = [self.timed(models[0], size, FEW_STEPS)], []
        for index in order:
            turns.append(self.timed(models[index], size))
            beside.append(self.timed(models[0], size, FEW_STEPS))
        of_each = [few for _ in beside] + [kinds[index] for index in order]
        samplings = [*beside, *at_usual_speed(turns, beside)]
        usual = usual_seconds(zip(of_each, samplings, strict=True))
        return [sum(usual[kind] for kind in own) for own in kinds]

    def overhead(self, size: Size) -> float:
        """Seconds that a schedule that computes all adds to a sampling, whatever the model's width.

        The median of the differences between samplings that follow each other.
        """
        size = narrowed(size, 1)
        model = self.model(size)
        patching = self.pack.module("nodes.host.patching")
        presets = self.pack.module("ecad_search.core.presets")
        schedule = presets.uncached(patching.detect_architecture(model), STEPS)
        quiet = patching.CacheOptions(quiet=True)
        models = model, patching.apply_schedule(model, schedule, options=quiet)
        added = []
        with self.torch.inference_mode():
            for one in models:
                self.sample(one, size)  # loads the weights, warms every cache
            for turn in range(OVERHEAD_TURNS):
                times = [0.0, 0.0]
                for index in (0, 1) if turn % 2 else (1, 0):
                    began = self.now()
                    self.sample(models[index], size)
                    times[index] = began.until(self.now())
                added.append(times[1] - times[0])
        return statistics.median(added)

    def now(self) -> Moment:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
            return Moment(time.perf_counter(), [])
        return Moment(time.perf_counter(), stolen())

    def schedules(self, architecture: Any) -> Iterator[Any]:
        presets = self.pack.module("ecad_search.core.presets")
        yield presets.uncached(architecture, STEPS)
        if self.only != "official":
            for n in range(2, 6):
                yield presets.fora(architecture, STEPS, n)
        if self.only == "fora":
            return
        official = ROOT.parent / "shared/reference/ecad-schedules" / OFFICIAL[architecture.family]
        given = os.environ.get("ECAD_OFFICIAL_SCHEDULES")
        if given:
            official = Path(given) / OFFICIAL[architecture.family]
        if official.is_file():
            load = self.pack.module("ecad_search.core.schedule_json").load
            yield fitted(self.pack, load(official), architecture)
        else:
            print(f"(no {official.name}: set ECAD_OFFICIAL_SCHEDULES to its folder)")

    def rows(self, size: Size) -> Iterator[Row]:
        model = self.model(size)
        patching = self.pack.module("nodes.host.patching")
        architecture = patching.detect_architecture(model)
        schedules, reports = list(self.schedules(architecture)), {}
        models = [model]
        for index, schedule in enumerate(schedules):
            models.append(
                patching.apply_schedule(
                    model,
                    schedule,
                    options=patching.CacheOptions(quiet=True),
                    on_report=partial(reports.__setitem__, index),
                )
            )
        self.timed(models[1], size, FEW_STEPS)  # computes all; loads the weights, for its report
        added = self.overhead(size)
        kinds = [kinds_of(), *(kinds_of(s.compute) for s in schedules)]
        plain, *fast = self.seconds(models, kinds, size)
        for index, (schedule, seconds) in enumerate(zip(schedules, fast, strict=True)):
            computes_all = schedule.compute.all()
            seconds += added if computes_all else 0.0
            report, realised = reports[index], plain / seconds
            yield Row(
                size.name,
                schedule.name or "official",
                plain,
                seconds,
                report.predicted_speedup,
                realised,
                realised / report.predicted_speedup,
                report.peak_bytes,
                report.predicted_bytes,
                added / plain if computes_all else None,
                tuple(m for m in report.messages if not computes_all),
            )
        del model
        gc.collect()
        self.management.unload_all_models()
        self.management.soft_empty_cache()


def fitted(pack: Any, schedule: Any, architecture: Any) -> Any:
    """The schedule's rows for a model with fewer blocks: those of evenly spaced ones."""
    import numpy as np

    whole = schedule.architecture
    if whole.counts == architecture.counts:
        return schedule
    columns = []
    for cell in architecture.cells:
        had, has = whole.counts[cell.group], architecture.counts[cell.group]
        block = cell.block * had // has
        columns.append(whole.cell(cell.group, block, cell.component).index)
    rows = schedule.compute[:, np.array(columns)]
    kind = pack.module("ecad_search.core.schedule").Schedule
    return kind(architecture, rows, name=f"{schedule.name} (some blocks)")


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| model | schedule | uncached, s | cached, s | predicted | realised | realised / "
        "predicted | held, MiB | predicted, MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.model} | {row.schedule} | {row.seconds_uncached:.2f} | "
            f"{row.seconds_cached:.2f} | {row.predicted_speedup:.2f}x | "
            f"{row.realised_speedup:.2f}x | {row.realised_over_predicted:.3f} | "
            f"{row.peak_bytes / 2**20:.1f} | {row.predicted_bytes / 2**20:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="dev.py bench engine", description=summary)
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--model", choices=sorted(OFFICIAL), help="this one alone")
    parser.add_argument("--turns", type=int, metavar="N", help="runs of each kind, default 3 or 2")
    parser.add_argument("--only", choices=("fora", "official"), help="these schedules alone")
    options = parser.parse_args(arguments)
    turns = options.turns or (2 if options.quick else 3)
    bench = Bench(Path(os.environ["COMFYUI_PATH"]), turns, options.only)
    machine = (
        bench.torch.cuda.get_device_name() if bench.device.type == "cuda" else platform.machine()
    )
    print(f"{machine}, PyTorch {bench.torch.__version__}, {STEPS} steps, {turns} turns", flush=True)
    rows: list[Row] = []
    for size in sizes(bench.accelerated, options.quick):
        if options.model is not None and size.config["image_model"].split("_")[0] != options.model:
            continue
        for row in bench.rows(size):
            rows.append(row)
            print(table([row]).splitlines()[-1], flush=True)
    print(f"\n{table(rows)}")
    for row in rows:
        if row.overhead is not None:
            print(f"{row.model}: a schedule that computes all adds {row.overhead:.4%}")
        for message in row.messages:
            print(f"{row.model}, {row.schedule}: {message}")
    if options.json is not None:
        options.json.write_text(
            json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
