"""A benchmark that is killed goes on, and its report says what the runs say."""

from __future__ import annotations

import dataclasses
import json

import pytest

from devtools.problem import Problem
from devtools.search_benchmark import plots, report, runs, verdict
from devtools.search_benchmark.arms import ARMS, ECAD, OFFICIAL
from devtools.search_benchmark.earlier import earlier_runs
from devtools.search_benchmark.images import RememberedImages, read_images, read_profiles
from devtools.search_benchmark.plan import FULL, GPU, QUICK, SHORT
from ecad_search.core import presets


class Killed(Exception):
    pass


class Mortal:
    """Dies after so many images."""

    def __init__(self, inner, images):
        self.inner, self.left = inner, images

    def _spend(self, indices):
        self.left -= len(indices)
        if self.left < 0:
            raise Killed

    def scores(self, schedule, prompts, indices):
        self._spend(indices)
        return self.inner.scores(schedule, prompts, indices)

    def drifts(self, schedule, prompts, indices):
        self._spend(indices)
        return self.inner.drifts(schedule, prompts, indices)

    def profile(self, prompts, steps, samples, images):
        self._spend(range(samples))
        return self.inner.profile(prompts, steps, samples, images)


TIMES = ("rendered", "seconds")


def lasting(result):
    return {key: value for key, value in result.items() if key not in TIMES}


@pytest.mark.parametrize("arm", ["ecad+", "paper", "simulated-annealing"])
def test_a_killed_run_goes_on_to_the_same_result(arm, subject, plan, images, tmp_path):
    plan = dataclasses.replace(plan, shares={arm: 0.4})
    expected = runs.run(subject(images(noise=0.02)), plan, arm, 0, tmp_path / "whole")
    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        runs.run(subject(Mortal(images(noise=0.02), 70)), plan, arm, 0, killed)
    (kept,) = killed.glob("*.images.jsonl")
    with kept.open("ab") as file:
        file.write(b'{"schedule":"torn')
    before = len(read_images(kept))
    assert 20 < before <= 70
    source = images(noise=0.02)
    assert lasting(expected) == lasting(runs.run(subject(source), plan, arm, 0, killed))
    before += sum(4 + len(profile.measured) for profile in read_profiles(kept).values())
    assert expected["rendered"] - before == source.total


def test_a_finished_run_is_not_run_again_until_its_code_changes(
    subject, plan, images, tmp_path, monkeypatch
):
    first = runs.run(subject(), plan, "FORA", 0, tmp_path)
    idle = images()
    assert first == runs.run(subject(idle), plan, "FORA", 0, tmp_path)
    monkeypatch.setattr(runs, "source_hash", lambda: "other")
    again = runs.run(subject(idle), plan, "FORA", 0, tmp_path)
    assert ("other", 0, 0) == (again["sources"], again["rendered"], idle.total)


def test_an_image_of_another_run_is_copied_not_rendered(subject, plan, images, tmp_path):
    made, prompts = subject(), plan.calibration(0)
    schedule = presets.fora(made.architecture, plan.steps, 2)
    RememberedImages(images(), tmp_path / "a").scores(schedule, prompts, [0, 1])
    source = images()
    second = RememberedImages(source, tmp_path / "b", [tmp_path / "a"])
    values = second.scores(schedule, prompts, [0, 1, 2])
    assert (1, 1) == (source.total, second.rendered)
    assert pytest.approx(images().scores(schedule, prompts, [0, 1, 2]), rel=1e-5) == values
    assert 3 == len(read_images(tmp_path / "b"))


def test_captions_and_seeds_are_told_apart(subject, plan, images, tmp_path):
    made, source = subject(), images()
    kept = RememberedImages(source, tmp_path / "a")
    schedule = presets.fora(made.architecture, plan.steps, 2)
    kept.scores(schedule, plan.calibration(0), [0])
    kept.scores(schedule, plan.calibration(1), [0])
    kept.drifts(schedule, plan.calibration(0), [0])
    kept.scores(schedule, plan.calibration(0), [0])
    assert 3 == source.total


def test_what_other_code_has_profiled_is_profiled_again(plan, images, tmp_path):
    rendered = []
    for code in ("a", "a", "b"):
        kept = RememberedImages(images(), tmp_path / "kept", code=code)
        kept.profile(plan.calibration(0), plan.steps, 4, 13.0)
        rendered.append(kept.rendered)
    assert [rendered[0], 0, rendered[0]] == rendered
    assert rendered[0] > 4
    assert 2 == len(read_profiles(tmp_path / "kept"))


# --- the verdict ---------------------------------------------------------------------------------


def made_up(arm, *curves):
    return [
        {"seed": seed, "arm": arm, "curve": curve, "images": curve[-1][0]}
        for seed, curve in enumerate(curves)
    ]


@pytest.mark.parametrize("ablations", [False, True])
def test_no_two_arms_of_a_plot_have_one_colour(ablations):
    shown = [arm.name for arm in ARMS if arm.is_ablation == ablations]
    shown += [OFFICIAL, ECAD] if ablations else []
    assert len(shown) == len({plots.colour_of(arm) for arm in shown})


def test_a_mean_begins_where_every_seed_has_been_and_has_one_end():
    found = [[[100, 0.2], [300, 0.4], [310, 0.4]], [[200, 0.6], [300, 0.6], [305, 0.8]]]
    assert [(300, 0.5), (310, pytest.approx(0.6))] == verdict.mean_curve(found)


def test_the_images_needed_are_those_of_the_first_checkpoint_that_is_as_good():
    found = {
        "official": made_up("official", [[100, 0.2], [1000, 0.5]], [[100, 0.2], [1000, 0.7]]),
        "ecad+": made_up("ecad+", [[50, 0.4], [100, 0.7]], [[50, 0.6], [100, 0.6]]),
        "FORA": made_up("FORA", [[60, 0.4]], [[60, 0.4]]),
    }
    by_name = {row.arm: row for row in verdict.standings(found)}
    assert 0.1 == by_name["ecad+"].images_ratio_to_official
    assert (0.1, None) == by_name["ecad+"].ratio_of_each_seed
    assert 1.0 == by_name["official"].images_ratio_to_official
    assert by_name["FORA"].images_ratio_to_official is None


def test_an_arm_that_has_ended_keeps_its_front_and_has_none_before_its_first():
    curve = [[50, 0.4], [100, 0.7]]
    assert [0.0, 0.4, 0.7, 0.7] == [verdict.value_at(curve, n) for n in (49, 99, 100, 9000)]


def test_a_duel_is_lost_where_the_mean_over_the_seeds_is_behind():
    found = {
        "official": made_up("official", [[10, 0.3], [20, 0.5]], [[10, 0.3], [20, 0.5]]),
        "ecad+": made_up("ecad+", [[10, 0.5], [20, 0.6]], [[10, 0.5], [20, 0.6]]),
        "random": made_up("random", [[10, 0.5], [20, 0.7]], [[10, 0.5], [20, 0.7]]),
    }
    by_name = {duel.rival: duel for duel in verdict.duels(found, [10, 20])}
    assert (False, False) == (by_name["official"].is_lost, by_name["official"].is_surely_lost)
    assert (True, True) == (by_name["random"].is_lost, by_name["random"].is_surely_lost)
    assert 20 == by_name["random"].images


def test_an_official_arm_that_overfits_is_told_of_and_measured_at_its_best():
    runs = {
        "official": made_up("official", [[100, 0.5], [200, 0.8], [400, 0.6]]),
        "ecad+": made_up("ecad+", [[20, 0.7], [50, 0.85]]),
    }
    told = report.highest_point(runs)
    assert 1 == len(told)
    assert "best after 200 images (0.800) and falls to 0.600" in told[0]
    assert "after 50 (1/8)" in told[0]
    runs["official"] = made_up("official", [[100, 0.5], [400, 0.6]])
    assert [] == report.highest_point(runs)


def test_an_interval_is_student_s():
    estimate = verdict.Estimate.of([1.0, 2.0, 3.0])
    assert (2.0, pytest.approx(4.3027 / 3**0.5, abs=1e-3)) == (estimate.mean, estimate.half_width)
    assert verdict.Estimate.of([1.0]).half_width is None


def test_the_page_the_pictures_and_the_json_come_of_the_runs(subject, plan, tmp_path):
    pytest.importorskip("pymoo", reason="pymoo (development only) is not installed")
    plan = dataclasses.replace(plan, shares={"ecad+": 0.3, "ecad+ without racing": 0.3})
    arms = ("official", "paper", "ecad+", "FORA", "ecad+ without racing")
    found = {
        arm: [runs.run(subject(), plan, arm, seed, tmp_path) for seed in range(2)] for arm in arms
    }
    written = report.write(tmp_path, plan, found, {"device": "none"})
    assert all(path.stat().st_size > 500 for path in written)
    page = written[0].read_text(encoding="utf-8")
    assert all(arm in page for arm in arms)
    assert "Left out this time: random, " in page
    document = json.loads(written[-1].read_text(encoding="utf-8"))
    by_name = {arm["arm"]: arm for arm in document["arms"]}
    assert set(arms) == set(by_name)
    assert found["ecad+"][1]["curve"] == by_name["ecad+"]["seeds"][1]["curve"]
    ratio = verdict.standings(found)[0].images_ratio_to_official
    assert ratio == by_name["official"]["images_ratio_to_official"]


MACHINE = {"device": "none", "torch": "2", "model": "a", "scorer": "b", "settings": {"cfg": 3.0}}


@pytest.fixture
def found(subject, plan, tmp_path):
    """Two arms' runs; those of FORA stand for the two arms that a report needs as well."""
    made = {
        arm: [runs.run(subject(), plan, arm, seed, tmp_path) for seed in range(2)]
        for arm in ("FORA", "fewer-steps")
    }
    for name in ("official", "ecad+"):
        made[name] = [{**run, "arm": name} for run in made["FORA"]]
    return made


def test_arms_of_an_earlier_report_stand_beside_those_of_now(found, plan, tmp_path):
    raw = report.write(tmp_path, plan, found, MACHINE)[-1]
    earlier = earlier_runs(raw, plan, MACHINE)
    assert set(found) == set(earlier)
    assert [run["curve"] for run in found["FORA"]] == [run["curve"] for run in earlier["FORA"]]
    both = {**earlier, "FORA": found["FORA"]}
    page = report.write(tmp_path, plan, both, MACHINE)[0].read_text(encoding="utf-8")
    assert "Taken from an earlier report: official, ecad+, fewer-steps." in page
    assert {"official", "ecad+", "FORA"} == set(
        earlier_runs(raw, dataclasses.replace(plan, shares={"fewer-steps": 0.5}), MACHINE)
    )
    assert {} == earlier_runs(raw, dataclasses.replace(plan, seeds=3), MACHINE)


def test_an_earlier_report_of_something_else_is_a_problem(found, plan, tmp_path):
    raw = report.write(tmp_path, plan, found, MACHINE)[-1]
    with pytest.raises(Problem, match="torch 2, now 3"):
        earlier_runs(raw, plan, MACHINE | {"torch": "3"})
    with pytest.raises(Problem, match="samples 4, now 5"):
        earlier_runs(raw, dataclasses.replace(plan, samples=5), MACHINE)
    raw.write_text("{}", encoding="utf-8")
    with pytest.raises(Problem, match="no report of this benchmark"):
        earlier_runs(raw, plan, MACHINE)


@pytest.mark.parametrize("plan", [QUICK, SHORT, FULL, GPU], ids=lambda plan: plan.name)
def test_every_size_is_one_that_can_be_run(plan):
    assert plan.samples == len(plan.calibration(0).samples)
    assert plan.heldout * plan.heldout_seeds == len(plan.heldout_samples().samples)
    assert plan.images_at()[-1] == plan.budget
    # A front of the checkpoint called a twentieth costs a twentieth at most.
    shares = zip(plan.images_at(), plan.checkpoints, strict=True)
    assert all(images / plan.budget <= share for images, share in shares)
    assert plan.hash != dataclasses.replace(plan, samples=plan.samples + 1).hash
