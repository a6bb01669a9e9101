"""The benchmark of the paper's claims: its searches on a made-up problem, and what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from devtools import bench_claims, claims_report
from devtools.bench_claims import EVERY, MODEL, OTHERS, Judgement, Trial, outcome
from ecad_search.calibration import builtin_prompts

STEPS = 6  # of the made-up problem
CAPTIONS = builtin_prompts("emoji-calibration")
IMAGES = 400


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(bench_claims, "STEPS", STEPS)


@pytest.fixture
def found(subject):
    """A document as `main` writes it, of two runs on one problem under three names."""
    asked = subject()

    def result(job):
        facts = {"side": 96, "machine": dict.fromkeys(("device", "torch", "model", "scorer"), "x")}
        return facts | outcome(asked, job, asked.source, CAPTIONS)

    trials = [
        Trial(name, 8, 1, run, IMAGES, by_generation=name == MODEL)
        for run in range(2)
        for name in (MODEL, *OTHERS)
    ]
    searches = {trial: result(trial) for trial in trials}
    judgements = [Judgement(name) for name in (MODEL, *OTHERS)]
    judgements += [
        Judgement(
            other,
            trial.run,
            tuple(tuple(p["rows"]) for p in bench_claims.last_points(searches[trial])),
        )
        for other in OTHERS
        for trial in trials
        if trial.by_generation
    ]
    return {
        "model": "made up",
        "steps": STEPS,
        "images": IMAGES,
        "runs": 2,
        "heldout": 64,
        "worst_loss": 0.1,
        "machine": result(judgements[0])["machine"],
        "sides": dict(zip((MODEL, *OTHERS), (96, 120, 96), strict=True)),
        "judged": [{"subject": job.subject, "run": job.run, **result(job)} for job in judgements],
        "searches": [{**dataclasses.asdict(t), **searches[t]} for t in trials],
    }


def test_the_document_becomes_a_page(found):
    text = claims_report.report(found)
    assert "Carried over to another resolution (120 px instead of 96)" in text
    assert "Carried over to a variant**" in text
    # One problem under three names: what is carried over is what a search there finds.
    assert 2 == text.count("100% of that search's gain")
    assert any(line.lstrip().startswith("all, ") for line in text.splitlines())


def test_every_search_keeps_to_its_images(found):
    assert all(search["spent"] <= IMAGES for search in found["searches"])
    for search in found["searches"]:
        numbers = [front["generations"] for front in search["fronts"]]
        assert [1 << i for i in range(len(numbers) - 1)] == numbers[:-1]
        assert (search["subject"] == MODEL) == (len(numbers) > 1)


def test_fora_is_judged_at_every_n_there_are_steps_for(found):
    names = [point["name"] for point in claims_report.judged(found, MODEL, None)["points"]]
    assert [f"fora-{n}-{STEPS}-steps" for n in EVERY if n < STEPS] == names


def point(cost, calibration_loss, losses=(0.0, 0.0)):
    return {"cost": cost, "calibration_loss": calibration_loss, "losses": list(losses)}


def test_what_is_set_against_fora_is_chosen_by_calibration():
    front = [point(0.2, 0.05, (0.0, 0.0)), point(0.4, 0.01, (0.9, 0.9)), point(0.6, 0.0)]
    assert front[1] is claims_report.best_at(front, 0.5)
    assert front[1] is claims_report.best_at(front, 0.4)
    assert claims_report.best_at(front, 0.1) is None


def table_of(fora, front):
    document = {
        "worst_loss": 0.1,
        "judged": [{"subject": "m", "run": None, "points": fora, "uncached_score": 0.9}],
    }
    return "\n".join(claims_report.dominance(document, "m", "Title", [front]))


def test_gains_beyond_chance_are_counted():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 64)
    fora = [
        {"name": "fora-2", "cost": 0.5, "losses": noise},
        {"name": "fora-3", "cost": 0.4, "losses": noise + 0.1},
        {"name": "fora-4", "cost": 0.1, "losses": noise},
    ]
    text = table_of(fora, [point(0.4, 0.0, noise + 0.05)])
    assert "no more than FORA of no less cost at 1 of 2 costs" in text
    assert "less beyond chance at 1, more beyond chance at 1" in text
    assert "none below 0.1" in text.splitlines()[-2]
    assert "+0.0500 [+0.0500, +0.0500]" in text
