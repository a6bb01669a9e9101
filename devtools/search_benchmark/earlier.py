"""Arms of a report that was written before, to stand beside those that were run now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..problem import Problem
from .plan import Plan

MACHINE = ("device", "torch", "model", "scorer", "settings")  # what numbers of images depend on


def earlier_runs(
    path: Path, plan: Plan, machine: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """By arm the runs of the report's JSON, each marked as earlier; its arms without enough seeds
    or of another budget are left out.

    Problem if it is of another size, model or machine, so that its numbers mean something else.
    """
    ours = json.loads(json.dumps(plan.course))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        theirs = {name: document["plan"][name] for name in ours}
        theirs |= {name: document["machine"][name] for name in MACHINE}
        arms = {
            arm["arm"]: [{**run, "arm": arm["arm"], "earlier": True} for run in arm["seeds"]]
            for arm in document["arms"]
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Problem(
            f"{path} is no report of this benchmark ({type(error).__name__}: {error}); give the "
            "JSON that it wrote."
        ) from error
    ours |= {name: machine[name] for name in MACHINE}
    differing = [f"{n} {theirs[n]}, now {ours[n]}" for n in ours if theirs[n] != ours[n]]
    if differing:
        raise Problem(
            f"The arms in {path} cannot stand beside those of now: {'; '.join(differing)}. Run all "
            "arms again."
        )
    return {
        arm: runs[: plan.seeds]
        for arm, runs in arms.items()
        if [run["seed"] for run in runs[: plan.seeds]] == list(range(plan.seeds))
        and all(run["budget"] == plan.budget_of(arm) for run in runs)
    }
