"""`dev.py bench peers`: this pack's schedules beside other ways to sample a demo model faster.

First ECAD Search runs on calibration captions, as an artist would let it. Then its schedules, FORA,
fewer steps, and ComfyUI's own EasyCache and LazyCache sample the same held-out captions and noise,
in turns, in one process. Machines change their speed from second to second, so how long a sampling
takes is told in units of a short uncached one, which runs right before and right after it: the
median of several turns, each in another order. For each speed-up that was *measured* the table
names what each way keeps: of all its settings that are at least that fast, the one with the best
mean score. That favours ways with many settings; all have six to eight. Everything but those times
is kept as it comes, so a run that was stopped goes on. T-GATE takes part on PixArt, since FLUX has
no cross-attention; the caches of other node packs take part with `--pack`, on FLUX, which they are
for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecad_search.scorers.frechet import frechet_stderr
from ecad_search.text_table import text_table

from .bench_quick import Subject
from .console import StatusLine
from .loaded_pack import LoadedPack
from .marked_page import write_into
from .peer_packs import KNOWN, Applied, applied, tried
from .problem import Problem
from .tgate import Gate, with_tgate

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "bench_output" / "peers"
STEPS = 14  # at 20 the demo model loses next to nothing under FORA 4, so all look alike
SPEEDUPS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
BATCH = 8
CALIBRATION = 32
OURS = "ECAD"
MARKS = {"pixart": "peers", "flux": "peers on Emoji-FLUX"}  # on a page, by model


@dataclass(frozen=True)
class Peer:
    """A way to sample faster, and its settings, from nearly lossless to ruinous."""

    name: str
    settings: tuple[float, ...]


FEWER_STEPS = Peer("fewer steps", (12, 11, 10, 9, 8, 7, 6, 4))
HOST_CACHES = (
    Peer("EasyCache", (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 3.0)),
    Peer("LazyCache", (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 3.0)),
)
TGATE = "T-GATE"
# The shares of the steps before the gate, and how often self-attention computes there. Its authors
# gate PixArt at 15 of 25 steps with an interval of 3.
GATES = (*((0.8, 1), (0.7, 1), (0.6, 1), (0.6, 3)), *((0.5, 1), (0.4, 1), (0.4, 3), (0.25, 1)))
FORA, MORE_FORA = "FORA", (6, 7)  # beside the 2 to 5 of every benchmark
PICKS = 8  # schedules of the front
TURNS = 8  # in which everything is timed
UNCACHED_EACH_TURN = 4
YARDSTICK_STEPS = 2


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    pack = LoadedPack(Path(os.environ["COMFYUI_PATH"]).resolve())
    import torch

    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    importlib.import_module("folder_paths").set_output_directory(str(out))
    if options.pack and options.model != "flux":
        raise Problem("The caches of other packs are for FLUX; give --model flux with --pack.")
    subject = Subject(pack, options.images, options.model)
    with torch.inference_mode():
        peers, failures = running(subject, options.model, options.steps, options.pack)
        place = f"{options.model}-{options.steps}-steps"
        front = searched(pack, subject, options.steps, options.search, f"search-{place}")
        summary = measured(pack, subject, options.steps, front, peers, out / place)
    result = {
        "model": options.model,
        "failures": failures,
        "steps": options.steps,
        "images": options.images,
        "images_searched": options.search,
        "device": summary["device"],
        "torch": torch.__version__,
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "scorers": summary["scorers"],
        "rows": [{**row, "peer": peer_of(row["name"])} for row in summary["rows"]],
    }
    result["matched"] = list(matched(result["rows"], summary["scorers"][0]))
    path = options.json or out / f"{options.model}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = f"{every_row(result)}\n\n{matched_table(result)}"
    print(f"{text}\n\n{path}")
    if options.into is not None:
        write_into(options.into, MARKS[options.model], f"{setting(result)}\n\n```\n{text}\n```\n")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="dev.py bench peers", description=__doc__)
    made.add_argument("--model", choices=sorted(MARKS), default="pixart", help="which demo model")
    made.add_argument(
        *("--pack", "--packs"), type=Path, nargs="+", default=[], metavar="FOLDER",
        help="node packs whose caches take part, unmodified: "
        + ", ".join(node.peer for node in KNOWN),
    )  # fmt: skip
    made.add_argument("--steps", type=int, default=STEPS, metavar="N", help="of the uncached run")
    made.add_argument("--images", type=int, default=48, metavar="N", help="held-out ones")
    made.add_argument("--search", type=int, default=1600, metavar="N", help="images to search with")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the raw numbers go")
    made.add_argument("--out", type=Path, default=OUTPUT, metavar="DIR", help="where runs are kept")
    made.add_argument("--into", type=Path, metavar="FILE", help="a page to put the tables into")
    return made


def searched(pack: LoadedPack, subject: Subject, steps: int, images: int, journal: str) -> Any:
    """The front of ECAD Search on calibration captions."""
    calibration = pack.module("ecad_search.calibration")
    prompts = calibration.CalibrationPrompts(
        calibration.builtin_prompts("emoji-calibration"), 1, 0, "emoji-calibration"
    ).drawn(CALIBRATION, seed=0)
    renderer = subject.renderer(prompts, steps, BATCH)
    print(f"ECAD Search, {images} images at most", flush=True)
    node = pack.module("nodes.search").SearchNode
    return node.execute(
        model=subject.model,
        vae=subject.vae,
        calibration=renderer.calibration,
        sampler_settings=renderer.settings,
        scorer=subject.scorer,
        images=images,
        mode="ecad+",
        seed=0,
        journal=journal,
    ).args[0]


def measured(
    pack: LoadedPack,
    subject: Subject,
    steps: int,
    front: Any,
    peers: Sequence[Applied],
    folder: Path,
) -> dict[str, Any]:
    """The benchmark's summary, a row for each setting of each way."""
    benchmark = pack.module("nodes.host.benchmark")
    similarity = pack.module("ecad_search.scorers.reference_similarity").ReferenceSimilarity
    presets = pack.module("ecad_search.core.presets")
    renderer = subject.renderer(subject.heldout, steps, BATCH)
    columns = benchmark.columns_of(
        renderer,
        front=front,
        picks=PICKS,
        given=[
            presets.fora(renderer.architecture, steps, every)
            for every in MORE_FORA
            if every < steps
        ],
        models=[(peer.name, peer.model) for peer in peers],
    )
    columns += [
        benchmark.Column(
            facts=pack.module("ecad_search.benchmark.summary").ColumnFacts(
                name=f"{fewer:g} steps", kind="steps", relative_macs=fewer / steps
            ),
            model=subject.model,
            identity=f"{fewer:g} steps",
            renderer=subject.renderer(subject.heldout, int(fewer), BATCH),
        )
        for fewer in FEWER_STEPS.settings
        if fewer < steps
    ]
    status = StatusLine()
    run = benchmark.BenchmarkRun(
        renderer,
        columns,
        [subject.scorer, similarity("psnr"), similarity("ssim")],
        folder,
        lambda done, words: status.show(f"  {words}"),
    )
    run.measure()
    summary = pack.module("nodes.benchmark").summary_of(run, "peers")
    features_of = pack.module("ecad_search.benchmark.summary").features_of
    uncached = features_of(run.record.column("uncached"))
    lengths = paced(subject, run, status)
    status.clear()
    for row in summary["rows"]:
        row["speedup"] = lengths["uncached"] / lengths[row["name"]]
        row["frechet_stderr"] = None
        if row["frechet"] is not None:
            own = features_of(run.record.column(row["name"]))
            row["frechet_stderr"] = frechet_stderr(own, uncached)
    return summary


def paced(subject: Subject, run: Any, status: StatusLine) -> dict[str, float]:
    """By column how long a sampling of the first batch takes, in yardsticks: see the module."""
    batch, rng = range(BATCH), random.Random(0)
    yardstick = subject.renderer(subject.heldout, YARDSTICK_STEPS, BATCH)

    def seconds(renderer: Any, model: Any) -> float:
        return sum(part.seconds for part in renderer.sample(model, batch))

    turns: dict[str, list[float]] = {column.name: [] for column in run.columns}
    assert run.columns[0].name == "uncached"
    seconds(yardstick, subject.model)
    for turn in range(TURNS):
        before = seconds(yardstick, subject.model)
        # More often than the others: all speed-ups are told against it.
        columns = [*run.columns, *[run.columns[0]] * (UNCACHED_EACH_TURN - 1)]
        for column in rng.sample(columns, len(columns)):
            status.show(f"  timed, {turn + 1} of {TURNS}: {column.name}")
            took = seconds(column.renderer or run.renderer, column.model)
            after = seconds(yardstick, subject.model)
            turns[column.name].append(2 * took / (before + after))
            before = after
    return {name: statistics.median(lengths) for name, lengths in turns.items()}


def host_caches(model: Any) -> Iterator[Applied]:
    """The caches that ComfyUI has itself, as their nodes make them by default."""
    nodes = importlib.import_module("comfy_extras.nodes_easycache")
    for peer in HOST_CACHES:
        node = getattr(nodes, f"{peer.name}Node")
        for threshold in peer.settings:
            patched = node.execute(model, threshold, 0.15, 0.95, False).args[0]
            yield Applied(f"{peer.name} {threshold:g}", peer.name, patched)


def gates(model: Any, steps: int) -> Iterator[Applied]:
    """T-GATE on a model with cross-attention, named by its gate and by its interval."""
    # With few steps some of them are the same.
    for gate in dict.fromkeys(Gate(round(share * steps), interval) for share, interval in GATES):
        name = f"{TGATE} {gate.step} {gate.interval}"
        yield Applied(name, TGATE, with_tgate(model, gate))


def running(
    subject: Subject, kind: str, steps: int, packs: Sequence[Path]
) -> tuple[list[Applied], dict[str, str]]:
    """The peers that sample a picture on this host, and what those say that do not."""
    candidates, failures = [*host_caches(subject.model)], {}
    if kind == "pixart":
        candidates += gates(subject.model, steps)
    else:
        failures[TGATE] = "this model has no cross-attention"
    for pack in packs:
        # A model of its own: what a pack changes on the model itself would stay for all others.
        model = subject.module("nodes.host.demo_model").load_demo_model(kind)[0]
        try:
            candidates += applied(pack, model)
        except ImportError as error:
            failures[pack.name] = str(error)
    renderer = subject.renderer(subject.heldout, steps, BATCH)
    batch = renderer.batches(subject.indices)[0]
    found, failed = tried(candidates, lambda model: list(renderer.sample(model, batch)))
    failures |= failed
    for name, failure in failures.items():
        print(f"{name} does not run here: {failure}", flush=True)
    return found, failures


def peer_of(name: str) -> str:
    others = (*(peer.name for peer in HOST_CACHES), *(node.peer for node in KNOWN))
    known = (OURS, FORA, TGATE, *others)
    return next(
        (peer for peer in known if name.casefold().startswith(peer.casefold())),
        FEWER_STEPS.name if name.endswith(" steps") else "",
    )


def matched(rows: Sequence[Mapping[str, Any]], scorer: str) -> Iterator[dict[str, Any]]:
    """For each speed-up and each way the row that is at least so fast and scores best."""
    peers = list(dict.fromkeys(row["peer"] for row in rows if row["peer"]))
    for speedup in SPEEDUPS:
        for peer in peers:
            fast = [
                row
                for row in rows
                if row["peer"] == peer and row["speedup"] >= speedup and not row["broken_images"]
            ]
            best = max(fast, key=lambda row: row["scores"][scorer]["mean"], default=None)
            yield {"speedup": speedup, "peer": peer, "row": best and best["name"]}


def setting(result: Mapping[str, Any]) -> str:
    failures = "".join(
        f" {peer} does not run here: {failure}." for peer, failure in result["failures"].items()
    )
    return (
        f"{result['steps']} steps, {result['images']} held-out images of as many captions, "
        f"{result['images_searched']:,} images to search with; {result['device']}, PyTorch "
        f"{result['torch']}, ComfyUI {result['comfyui']}. Speed-ups are measured (medians of "
        f"{TURNS} turns, {BATCH} pictures at once). 95 % intervals; "
        f"those of Frechet distances by the jackknife.{failures}"
    )


def every_row(result: Mapping[str, Any]) -> str:
    first, *others = result["scorers"]
    header = ["", "measured", "MACs left", first, "to uncached", "Frechet", *others]
    rows = []
    for row in result["rows"]:
        macs = row["relative_macs"]
        rows.append(
            [
                row["name"],
                f"{row['speedup']:.2f}x",
                "" if macs is None else f"{macs:.0%}",
                f"{row['scores'][first]['mean']:.3f}",
                difference(row["scores"][first]),
                frechet(row),
                *(level(row["scores"][name]) for name in others),
            ]
        )
    return text_table(header, rows, ruled=True)


def matched_table(result: Mapping[str, Any]) -> str:
    """A line for each speed-up, a column for each way; what it keeps, with its 95 % interval."""
    scorer = result["scorers"][0]
    by_name = {row["name"]: row for row in result["rows"]}
    peers = list(dict.fromkeys(entry["peer"] for entry in result["matched"]))
    rows = []
    for speedup in SPEEDUPS:
        found = {e["peer"]: e["row"] for e in result["matched"] if e["speedup"] == speedup}
        rows.append(
            [
                f"{speedup:g}x",
                *(
                    f"{difference(by_name[found[peer]]['scores'][scorer])} ({found[peer]})"
                    if found[peer]
                    else "never so fast"
                    for peer in peers
                ),
            ]
        )
    return text_table(["at least", *peers], rows, left=range(1 + len(peers)), ruled=True)


def frechet(row: Mapping[str, Any]) -> str:
    if row["frechet"] is None:
        return ""
    return f"{row['frechet']:.2g} ±{1.96 * row['frechet_stderr']:.1g}"


def level(score: Mapping[str, Any]) -> str:
    if score["low"] is None or score["low"] == score["high"]:
        return f"{score['mean']:.4g}"
    return f"{score['mean']:.4g} ±{(score['high'] - score['low']) / 2:.2g}"


def difference(score: Mapping[str, Any]) -> str:
    if score["difference"] is None:
        return ""
    low, high = score["difference_low"], score["difference_high"]
    return f"{score['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
