"""The comparison: every row on the same samples, picks at the cost of FORA, files that say it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

STEPS = 4


@pytest.fixture
def front(search):
    return search(images=24).args[0]


@pytest.fixture
def compare(pack, output, tiny_pixart, calibration, settings, tiny_vae, test_scorer):
    node = pack.module("nodes.compare_schedules").CompareSchedules

    def run(front, **changes):
        inputs = {
            "model": tiny_pixart(depth=2, flow=True),
            "vae": tiny_vae(),
            "held_out": calibration(seed=100),
            "sampler_settings": settings(),
            "scorer": test_scorer(),
            "front": front,
            "picks": 2,
            "rounds": 2,
            "save": True,
            "name": "mine/first",
        }
        with torch.inference_mode():
            return node.execute(**(inputs | changes))

    return run


def test_a_comparison_has_uncached_fora_and_the_picks(compare, front, output):
    text, summary, grid, measured = compare(front).args
    rows = json.loads(summary)["rows"]
    kinds = [row["kind"] for row in rows]
    assert ["uncached", "fora", "fora"] == kinds[:3]
    assert {"ecad"} == set(kinds[3:])
    assert 1.0 == rows[0]["speedup_measured"] == rows[0]["relative_macs"]
    assert 0.0 == rows[0]["quality_heldout"]
    assert all(row["quality_heldout"] < 0 for row in rows[1:])
    assert all(row["speedup_measured"] > 0 and 2 == row["timed_batches"] for row in rows)
    assert all(row["images"] == 2 for row in rows)
    assert len(rows) + 2 == len(text.splitlines())
    assert grid.shape[0] == 1 and grid.shape[3] == 3
    objectives = [
        {objective["name"] for objective in point.schedule.info.get("objectives", [])}
        for point in measured
    ]
    assert any("quality_heldout" in names for names in objectives)
    assert {"summary.json", "front.json", "grid.png"} == {
        file.name for file in (output / "ecad" / "mine" / "first").iterdir()
    }


@pytest.fixture
def pick(pack):
    """Costs of the picks among points of these (cost, quality)."""
    comparison = pack.module("nodes.host.comparison")
    schedules = pack.module("ecad_search.core.schedule")
    core = pack.module("ecad_search.core.front")
    presets = pack.module("ecad_search.core.presets")
    architecture = pack.module("ecad_search.architectures").EMOJI_PIXART
    workload = architecture.native_workload()
    fora = [
        comparison.Contender(f"FORA {n}", "fora", presets.fora(architecture, 60, n), n)
        for n in comparison.FORA_EVERY
    ]

    def point(cost, quality):
        compute = np.arange(60)[:, None].repeat(architecture.n_cells, 1) < 60 * cost
        schedule = schedules.Schedule(architecture, compute)
        share = comparison.relative_macs(schedule, workload)
        return core.FrontPoint(schedule, share, quality, quality_stderr=0.0, samples=1)

    def run(points, count):
        made = [point(*pair) for pair in points]
        asked = {p.schedule.key: cost for p, (cost, _) in zip(made, points, strict=True)}
        found = comparison.picked(core.Front(tuple(made)), fora, count, workload)
        return [asked[chosen.schedule.key] for chosen in found]

    return run


def test_a_pick_is_the_best_between_the_costs_of_two_fora_schedules(pick):
    points = [(0.1, -0.9), (0.22, -0.5), (0.3, -0.2), (0.4, -0.1), (0.45, -0.08), (0.7, 0.0)]
    assert [0.45, 0.3] == pick(points, 2)
    assert [0.45, 0.3, 0.22, 0.1] == pick(points, 4)


def test_where_no_point_is_between_them_the_knee_and_the_farthest_are_picked(pick):
    points = [(0.05, -0.9), (0.1, -0.2), (0.12, -0.19), (0.15, -0.18), (0.45, -0.17), (0.9, -0.1)]
    assert [0.45, 0.15] == pick(points, 2)
    assert [0.45, 0.15, 0.1] == pick(points, 3)  # the knee
    assert [0.9, 0.45, 0.15, 0.1] == pick(points, 4)
    assert [cost for cost, _ in reversed(points)] == pick(points, 9)
    assert [] == pick([], 3)


def test_scores_of_the_search_are_taken_over_when_the_scorer_is_the_same(
    compare, front, test_scorer
):
    rows = json.loads(compare(front).args[1])["rows"]
    assert all(row["score_calibration"] is not None for row in rows if row["kind"] == "ecad")
    other = test_scorer()
    other.name = "another"
    rows = json.loads(compare(front, scorer=other).args[1])["rows"]
    assert all(row["score_calibration"] is None for row in rows)


def test_unknown_calibration_scores_are_measured_when_the_prompts_are_given(
    compare, front, calibration, test_scorer
):
    known = json.loads(compare(front).args[1])["rows"]
    other = test_scorer()
    other.name = "another"
    rows = json.loads(compare(front, scorer=other, calibration=calibration()).args[1])["rows"]
    for before, after in zip(known, rows, strict=True):
        if before["score_calibration"] is not None:
            assert before["score_calibration"] == pytest.approx(
                after["score_calibration"], abs=1e-6
            )
        assert after["score_calibration"] is not None


def test_a_given_schedule_of_other_steps_is_resampled(compare, front, pack):
    architecture = front.points[0].schedule.architecture
    mine = pack.module("ecad_search.core.presets").fora(architecture, 8, 2)
    rows = json.loads(compare(front, schedule=mine).args[1])["rows"]
    assert [mine.resampled(STEPS).key] == [r["key"] for r in rows if r["kind"] == "given"]


def test_a_schedule_that_breaks_the_scorer_is_a_row_all_the_same(compare, front, test_scorer):
    summary = compare(front, scorer=test_scorer(after=2, failure=float("nan"))).args[1]
    rows = json.loads(summary)["rows"]
    assert rows[0]["score_heldout"] is not None
    assert all(row["score_heldout"] is None and row["problem"] for row in rows[1:])


def test_nothing_is_written_without_save(compare, front, output):
    compare(front, save=False)
    assert not (output / "ecad" / "mine").exists()


def test_a_name_that_leaves_the_folder_is_refused_before_sampling(pack, output):
    node = pack.module("nodes.compare_schedules").CompareSchedules
    assert "output/ecad" in str(node.validate_inputs(name="../x"))
