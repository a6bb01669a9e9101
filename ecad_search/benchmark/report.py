"""A benchmark as text: a table for the node, a page in Markdown, rows for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..text_table import text_table
from .record import Record

GIB = 2**30


def speed(row: Mapping[str, Any]) -> str:
    low, high = row["speedup_quartiles"]
    return f"{row['speedup']:.2f}x ({low:.2f} to {high:.2f})"


def score(row: Mapping[str, Any], scorer: str) -> str:
    """The mean with its interval."""
    found = row["scores"][scorer]
    if found["mean"] is None:
        return "-"
    if found["low"] is None:
        return f"{found['mean']:.4g}"
    return f"{found['mean']:.4g} ± {found['high'] - found['mean']:.2g}"


def difference(row: Mapping[str, Any], scorer: str) -> str:
    """To uncached, with its interval and how likely chance is."""
    found = row["scores"][scorer]
    if found["difference"] is None:
        return "-"
    text = f"{found['difference']:+.4g}"
    if found["difference_low"] is not None:
        text += f" ± {found['difference_high'] - found['difference']:.2g}"
    if found["p_adjusted"] is not None:
        p = found["p_adjusted"]
        text += f", p {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
    return text


def optional(value: float | None, show: Callable[[float], str]) -> str:
    return "-" if value is None else show(value)


def cells(summary: Mapping[str, Any]) -> list[list[str]]:
    """The table with its header line."""
    rows, scorers = summary["rows"], summary["scorers"]
    itself = summary["compares_itself"]  # the uncached pictures' own score is a constant there
    head = ["column", "s/image", "faster", "TMACs", "stored GiB", "peak GiB"]
    for scorer in scorers:
        head += [scorer, f"{scorer} to uncached"] if scorer not in itself else [scorer]
    distances = distances_of(summary)
    lines = [[*head, *distances]]
    for row in rows:
        line = [
            row["name"],
            f"{row['seconds']:.3g}",
            speed(row),
            optional(row["macs"], lambda macs: f"{macs / 1e12:.4g}"),
            optional(row["cache_bytes"], lambda n: f"{n / GIB:.3g}"),
            optional(row["peak_bytes"], lambda n: f"{n / GIB:.3g}"),
        ]
        for scorer in scorers:
            line.append(score(row, scorer))
            if scorer not in itself:
                line.append(difference(row, scorer))
        for key in distances.values():
            line.append(optional(row[key], lambda distance: f"{distance:.4g}"))
        lines.append(line)
    return lines


def distances_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """The heads of the columns of Frechet distances -> where a row has them."""
    if not summary["features"]:
        return {}
    found = {"Frechet": "frechet"}
    if summary["reference"]:
        found[f"to {summary['reference']['folder']}"] = "frechet_to_reference"
    return found


def summary_table(summary: Mapping[str, Any]) -> str:
    header, *rows = cells(summary)
    lines = [text_table(header, rows, ruled=True), *problems(summary)]
    if summary["latencies"]:
        header, *rows = latency_cells(summary)
        lines += ["", text_table(header, rows, ruled=True)]
    return "\n".join(lines)


def latency_cells(summary: Mapping[str, Any]) -> list[list[str]]:
    """Seconds a picture and the speed-up, by how many are sampled at once."""
    names = [row["name"] for row in summary["rows"]]
    sizes = [entry["batch"] for entry in summary["latencies"]]
    lines = [["column", *(f"{what} at {n}" for n in sizes for what in ("s/image", "faster"))]]
    for name in names:
        line = [name]
        for entry in summary["latencies"]:
            own, uncached = entry["seconds"][name], entry["seconds"][names[0]]
            line.append(optional(own, lambda seconds: f"{seconds:.3g}"))
            ratio = uncached / own if own and uncached else None
            line.append(optional(ratio, lambda times: f"{times:.2f}x"))
        lines.append(line)
    return lines


def problems(summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['name']}: {row['broken_images']} of {row['images']} pictures are broken, such as: "
        f"{row['problem']}"
        for row in summary["rows"]
        if row["broken_images"]
    ]


def markdown(summary: Mapping[str, Any], *, plot: bool, grid: bool) -> str:
    """The page; `plot` and `grid` say whether plot.png and grid.png lie beside it."""
    sampling, prompts = summary["sampling"], summary["prompts"]
    page = [
        f"# Benchmark {summary['name']}",
        "",
        f"{summary['model']} · {sampling['steps']} steps, {sampling['sampler']}, "
        f"{sampling['scheduler']}, cfg {sampling['cfg']:g}, "
        f"{sampling['width']} x {sampling['height']} px, batches of {sampling['batch']} · "
        f"{summary['device']}",
        "",
        f"{prompts['measured']} of {prompts['samples']} samples: {prompts['prompts']} prompts of "
        f"'{prompts['source']}', seeds per prompt: {prompts['seeds_per_prompt']}, first seed: "
        f"{prompts['seed']}.",
        "",
        *markdown_table(cells(summary)),
        "",
        *[f"**{escaped(line)}**\n" for line in problems(summary)],
        "## How to read it",
        "",
        "- s/image: median of the warm samplings, without decoding. faster: median of each "
        "sample's ratio to the uncached sampling of the same batch, with quartiles; the columns "
        "are sampled in turn.",
        "- TMACs of one picture's transformer, attention included; - where a model is not run by "
        "a schedule of this pack.",
        "- stored: what the schedule keeps at once for one picture, as predicted. peak: the most "
        "GPU memory the sampling of a batch took, model included; - without a CUDA device.",
        "- Scores: higher is better; the mean and its 95 % confidence interval over prompts. To "
        "uncached: the mean difference on the same prompts and seeds, its interval, and p of a "
        "paired sign-flip permutation test over prompts, corrected by Holm for the columns.",
    ]
    if summary["features"]:
        page.append(
            f"- Frechet: distance between the columns' and the uncached pictures' features of "
            f"{summary['features']}. Biased upwards for few pictures: compare within this table."
        )
    if summary["reference"]:
        folder, pictures = summary["reference"]["folder"], summary["reference"]["pictures"]
        page.append(
            f"- To {folder}: the same distance to the {pictures:,} pictures of the folder "
            f"'{folder}', each one's middle scaled to this benchmark's size."
        )
    if summary["latencies"]:
        page += [
            "",
            "## Several pictures at once",
            "",
            *markdown_table(latency_cells(summary)),
            "",
            "Medians of samplings of one sample, so many times at once; the columns took turns. "
            "- where they did not fit into memory at once.",
        ]
    if plot:
        page += ["", "## Quality against cost", "", "![Quality against cost](plot.png)"]
    if grid:
        page += ["", "## Worst and median samples", "", "![The pictures](grid.png)"]
    return "\n".join([*page, ""])


def markdown_table(lines: Sequence[Sequence[str]]) -> list[str]:
    header, *rows = [f"| {' | '.join(escaped(word) for word in line)} |" for line in lines]
    return [header, f"|{'---|' * len(lines[0])}", *rows]


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def sample_rows(
    record: Record, scorers: Sequence[str], prompts: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Every picture as a flat row; `prompts[i]` and `seeds[i]` belong to sample i."""
    return [
        {
            "sample": sample,
            "prompt": prompts[sample],
            "seed": seeds[sample],
            "column": name,
            "seconds": record.rows[sample][name].seconds,
            "peak_bytes": record.rows[sample][name].peak_bytes,
            "problem": record.rows[sample][name].problem,
        }
        | {scorer: record.rows[sample][name].scores.get(scorer) for scorer in scorers}
        for sample in record.samples()
        for name in record.columns
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()
