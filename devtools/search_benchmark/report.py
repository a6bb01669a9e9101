"""The benchmark as a page, its pictures, and the raw numbers as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecad_search.evolution.settings import usual_trial

from .arms import ARMS, ECAD, OFFICIAL, PAPER
from .heldout import share_dominated
from .plan import POPULATION, WORST_LOSS, Plan
from .plots import curves_plot, fronts_plot
from .verdict import (
    Duel,
    Estimate,
    Runs,
    Standing,
    curves,
    duels,
    images_needed,
    lead,
    mean_curve,
    standings,
    value_at,
)

NAME = "search-benchmark"
GOAL = 1 / 20  # of the official images


def write(
    folder: Path, plan: Plan, runs: Runs, machine: Mapping[str, Any], json_path: Path | None = None
) -> list[Path]:
    """The page, the pictures and the JSON; returns their paths, the page first."""
    name = NAME + ("-short" if plan.option == "--short" else "")
    page, pictures = folder / f"{name}.md", folder / "images"
    raw = json_path or folder / f"{name}.json"
    pictures.mkdir(parents=True, exist_ok=True)
    raw.parent.mkdir(parents=True, exist_ok=True)
    arms = [arm.name for arm in ARMS if runs.get(arm.name)]
    main = [arm.name for arm in ARMS if arm.name in arms and not arm.is_ablation]
    ablations = [name for name in arms if name not in main]
    paths = {
        "curves": pictures / f"{name}-curves.png",
        "fronts": pictures / f"{name}-fronts.png",
        "ablations": pictures / f"{name}-ablations.png",
    }
    curves_plot(runs, main, "Held-out hypervolume, mean over the seeds").save(paths["curves"])
    fronts_plot(runs, main, WORST_LOSS, "Schedules at the end, all seeds").save(paths["fronts"])
    if ablations:
        shown = [OFFICIAL, ECAD, *ablations]
        curves_plot(runs, shown, "ecad+ without one of its parts").save(paths["ablations"])
    else:
        del paths["ablations"]
    raw.write_text(json.dumps(document(plan, runs, machine), indent=1) + "\n", encoding="utf-8")
    shown = {name: path.relative_to(folder).as_posix() for name, path in paths.items()}
    page.write_text(
        text(plan, runs, machine, shown, os.path.relpath(raw, folder)), encoding="utf-8"
    )
    return [page, *paths.values(), raw]


def document(plan: Plan, runs: Runs, machine: Mapping[str, Any]) -> dict[str, Any]:
    """The raw numbers: settings, and for each arm what came of it and each seed's curve."""
    return {
        "format": "ecad-search-benchmark",
        "version": 1,
        "plan": {**asdict(plan), "budget": plan.budget, "population": POPULATION},
        "reference_point": {"cost": 1.0, "loss": WORST_LOSS},
        "machine": dict(machine),
        "arms": [
            {
                "arm": standing.arm,
                "images_ratio_to_official": standing.images_ratio_to_official,
                "images_ratio_of_each_seed": list(standing.ratio_of_each_seed),
                "is_ablation": standing.is_ablation,
                "hypervolume_heldout": standing.final.mean,
                "hypervolume_heldout_95": standing.final.half_width,
                "seeds": [
                    {key: value for key, value in run.items() if key not in ("arm", "sources")}
                    for run in runs[standing.arm]
                ],
            }
            for standing in standings(runs)
        ],
    }


# --- the page ------------------------------------------------------------------------------------


def text(
    plan: Plan,
    runs: Runs,
    machine: Mapping[str, Any],
    pictures: Mapping[str, str],
    raw: str,
) -> str:
    table = standings(runs)
    parts = [
        "# The search benchmark",
        f"Written by `python3 dev.py bench search{plan.option and f' {plan.option}'}`; the raw "
        f"numbers are in [{os.path.basename(raw)}]({raw}).",
        *verdict(plan, runs, table),
        f"![Hypervolume against images]({pictures['curves']})",
        arms_table(plan, runs, table),
        "The hypervolume is that of cost and held-out loss; ± is half a 95 % interval over the "
        "seeds. *Images needed* is the first checkpoint at which the mean over the seeds is what "
        "the official arm ends with, as a share of the official arm's images. *Each seed* is the "
        "same against the official run of the same seed.",
        "## At equal images",
        duel_table(plan, runs),
        "Differences are paired by seed: in a run all arms have the same calibration and held-out "
        "samples. An arm that has ended keeps its last front.",
    ]
    if "ablations" in pictures:
        parts += [
            "## Ablations",
            f"![ecad+ without one of its parts]({pictures['ablations']})",
            ablation_table(plan, runs),
        ]
    if runs.get(PAPER):
        parts += ["## Is our `mode: paper` pymoo's search?", paper_text(plan, runs)]
    parts += [
        "## The schedules that were found",
        f"![Held-out loss and cost]({pictures['fronts']})",
        "## With another yardstick",
        yardstick_table(runs),
        "The same schedules, chosen for the first column.",
        "## How it was measured",
        method(plan, machine),
        "### The arms",
        "\n".join(
            f"- **{arm.name}** ({plan.budget_of(arm.name):,} images at most): {arm.what}."
            for arm in ARMS
            if runs.get(arm.name)
        ),
    ]
    if earlier := [name for name, own in runs.items() if any(r.get("earlier") for r in own)]:
        parts.append(f"Taken from an earlier report: {', '.join(earlier)}.")
    if absent := [arm.name for arm in ARMS if not runs.get(arm.name)]:
        parts.append(f"Left out this time: {', '.join(absent)}.")
    return "\n\n".join(parts) + "\n"


def ratio_text(ratio: float | None) -> str:
    return "never" if ratio is None else f"{ratio:.3f} (1/{1 / ratio:.3g})"


def verdict(plan: Plan, runs: Runs, table: Sequence[Standing]) -> list[str]:
    """The goals and whether they were met, in sentences."""
    ours = next((row for row in table if row.arm == ECAD), None)
    if ours is None:
        return []
    ratio = ours.images_ratio_to_official
    seeds = [ratio for ratio in ours.ratio_of_each_seed if ratio is not None]
    met = ratio is not None and ratio <= GOAL * 1.001
    if ratio is None:
        first = (
            "ecad+ never reaches the hypervolume that the official settings end with; the goal is "
            f"1/{1 / GOAL:g} of their images: **not met**."
        )
    else:
        first = (
            f"ecad+ reaches the held-out hypervolume that the official settings end with after "
            f"{ratio:.3f} of their images (1/{1 / ratio:.3g}); the goal is 1/{1 / GOAL:g}: "
            f"{'**met**' if met else '**not met**'}."
        )
    each = f"{len(seeds)} of {len(ours.ratio_of_each_seed)} seeds reach their own official run"
    if seeds:
        each += f", with {min(seeds):.3f} to {max(seeds):.3f} of its images"
    found = duels(runs, plan.images_at())
    lost = [duel for duel in found if duel.is_lost]
    if not lost:
        second = "At equal images it is behind no other arm at any checkpoint: **met**."
    else:
        listed = "; ".join(
            f"{duel.rival} at {duel.images:,} images ({duel.worst.mean:+.4f}{certainty(duel)})"
            for duel in lost
        )
        second = f"At equal images it should lose to no arm, but is behind {listed}: **not met**."
    lines = [f"{first} {each}.", *highest_point(runs), second]
    return ["## Verdict", "\n".join(f"- {line}" for line in lines)]


def highest_point(runs: Runs) -> list[str]:
    """Where the official arm does not end at its best: when it was, and when ecad+ is there."""
    course = mean_curve(curves(runs[OFFICIAL]))
    images, best = max(course, key=lambda point: point[1])
    if best <= course[-1][1]:
        return []
    needed = images_needed(curves(runs[ECAD]), best)
    ours = "never" if needed is None else f"after {needed:,} (1/{course[-1][0] / needed:.3g})"
    return [
        f"On held-out samples the official arm is best after {images:,} images ({best:.3f}) and "
        f"falls to {course[-1][1]:.3f}; ecad+ has that best value {ours}."
    ]


def certainty(duel: Duel) -> str:
    if duel.worst.half_width is None:
        return ""
    return ", beyond chance" if duel.is_surely_lost else ", within chance"


def arms_table(plan: Plan, runs: Runs, table: Sequence[Standing]) -> str:
    early = [images for images in plan.images_at() if images < plan.budget]
    after = [f"after {images:,} (1/{plan.budget / images:.3g})" for images in early]
    head = ["arm", "images", *after, "at its end"]
    rows = [[*head, "images needed", "each seed"]]
    for row in table:
        if row.is_ablation:
            continue
        means = [
            Estimate.of([value_at(run["curve"], images) for run in runs[row.arm]]).mean
            for images in early
        ]
        each = ", ".join("never" if r is None else f"{r:.3g}" for r in row.ratio_of_each_seed)
        rows.append(
            [
                f"**{row.arm}**" if row.arm == ECAD else row.arm,
                f"{row.images:,.0f}",
                *[f"{value:.3f}" for value in means],
                row.final.text(".4f"),
                ratio_text(row.images_ratio_to_official),
                each,
            ]
        )
    return markdown_table(rows)


def duel_table(plan: Plan, runs: Runs) -> str:
    rows = [["ecad+ less", *[f"{images:,}" for images in plan.images_at()]]]
    for duel in duels(runs, plan.images_at()):
        cells = []
        for images in plan.images_at():
            cells.append(lead(runs, ECAD, duel.rival, images).text("+.3f"))
        rows.append([duel.rival, *cells])
    return markdown_table(rows)


def ablation_table(plan: Plan, runs: Runs) -> str:
    names = [arm.name for arm in ARMS if arm.is_ablation and runs.get(arm.name)]
    reach = max(plan.budget_of(name) for name in names)
    checkpoints = [images for images in plan.images_at() if images <= reach]
    rows = [["whole ecad+ less", *[f"{images:,} images" for images in checkpoints]]]
    for name in names:
        rows.append([name, *[lead(runs, ECAD, name, n).text("+.3f") for n in checkpoints]])
    return markdown_table(rows)


def paper_text(plan: Plan, runs: Runs) -> str:
    rows = [["images", "mode: paper less pymoo"]]
    agree = True
    for images in plan.images_at():
        estimate = lead(runs, PAPER, OFFICIAL, images)
        agree &= estimate.half_width is None or estimate.lowest <= 0 <= estimate.highest
        rows.append([f"{images:,}", estimate.text("+.4f")])
    if plan.seeds < 2:
        said = "One run says nothing about chance."
    elif agree:
        said = "Zero lies within every interval: they coincide as far as these runs can tell."
    else:
        said = "Zero lies outside of an interval: the two differ here."
    return f"{markdown_table(rows)}\n\n{said}"


def yardstick_table(runs: Runs) -> str:
    """Final hypervolumes for other reference points, from the same re-scored schedules."""
    yardsticks = [
        (f"worst loss {WORST_LOSS:g}", WORST_LOSS, False),
        (f"worst loss {WORST_LOSS / 2:g}", WORST_LOSS / 2, False),
        ("a gain counts as no loss", WORST_LOSS, True),
    ]
    rows = [["arm", *[name for name, _, _ in yardsticks], "on calibration samples"]]
    for arm in ARMS:
        own = runs.get(arm.name)
        if not own:
            continue
        cells = []
        for _, worst, clipped in yardsticks:
            values = []
            for run in own:
                picks = run["checkpoints"][-1]["picks"]
                points = [
                    (pick["cost"], max(pick["loss"], 0.0) if clipped else pick["loss"])
                    for pick in picks
                ]
                values.append(share_dominated(points, worst))
            cells.append(f"{Estimate.of(values).mean:.3f}")
        seen = [run["checkpoints"][-1]["hypervolume_calibration"] for run in own]
        rows.append([arm.name, *cells, f"{Estimate.of(seen).mean:.3f}"])
    return markdown_table(rows)


def method(plan: Plan, machine: Mapping[str, Any]) -> str:
    settings = machine.get("settings", {})
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    return "\n".join(
        [
            f"- Size: {plan.name}. Model: the demo model, {plan.steps} steps"
            f"{', ' + shown if shown else ''}. Scorer: Emoji-Reward.",
            f"- Machine: {machine.get('device', '?')}, torch {machine.get('torch', '?')}, "
            f"pymoo {machine.get('pymoo', '?')}.",
            f"- Seeds: {plan.seeds}. Each has {plan.samples} calibration images per candidate (the "
            "paper: 1,000), prompts and noise of its own, the same for every arm. "
            + trial_text(plan),
            f"- The official arm has {plan.generations} generations of {POPULATION}: "
            f"{plan.budget:,} images, the uncached ones included (the paper: 250 to 550 "
            "generations).",
            "- Every image that an arm asks for counts, also where another arm has rendered the "
            "same one before. The held-out images do not count.",
            "- At a checkpoint an arm's front is that of all schedules it has scored on every "
            f"calibration sample so far (ecad+: tried). At most {plan.picks} of them are taken, "
            "one after the other that adds most to the hypervolume by calibration scores, and "
            f"scored on {plan.heldout * plan.heldout_seeds} held-out samples ({plan.heldout} "
            f"captions that neither a search nor the model's training saw, noise seeds for each: "
            f"{plan.heldout_seeds}), the same for all arms and seeds.",
            "- Loss is the mean difference of the scores to the uncached run's of the same prompt "
            "and noise; cost is MACs, attention included, as a share of the uncached run's. The "
            f"reference point is cost 1 and loss {WORST_LOSS:g} (a clean picture scores about 1); "
            "the hypervolume is given as a share of the rectangle between it and (0, 0).",
        ]
    )


def trial_text(plan: Plan) -> str:
    times, samples = plan.seeds_to_confirm, plan.seeds_to_confirm * plan.samples
    more = (
        f"{times} noise seeds of each prompt, {samples} samples" if times > 1 else "the same ones"
    )
    return (
        f"ecad+ has {more}: it tries candidates on {usual_trial(samples) or samples} of them and "
        "confirms on all what is on its front."
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *["| " + " | ".join(row) + " |" for row in body]])
