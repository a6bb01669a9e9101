"""The search is a fold over its journal: it resumes anywhere, spends its budget, and finds."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_search.architectures import find, sized
from ecad_search.core import presets
from ecad_search.core.cost import relative_cost
from ecad_search.core.front import Front
from ecad_search.errors import JournalError, ModelMismatchError, ScorerError, SearchError
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import front_beside, recorded_front, recorded_search
from ecad_search.evolution.profile_notes import note_of_benefits, note_of_drift
from ecad_search.evolution.quick import Gap
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

TINY = sized("pixart", {"blocks": 3}, hidden=48)
MODES = ("ecad+", "paper", "random")
TRIED = "ecad+, tried on half of the samples, with caution"
WAYS = (*MODES, TRIED)


@functools.lru_cache
def problem(seed=0, n_samples=8, steps=6):
    return SearchProblem(TINY, steps, seed=seed, n_samples=n_samples)


def search_of(journal, made_of=None, **fields):
    made_of = made_of or problem()
    chosen = {"images": 120, "population": 8, **fields}
    if chosen.get("mode") == TRIED:
        chosen |= {"mode": "ecad+", "tried_on": made_of.n_samples // 2, "first_block": 2}
        chosen["caution"] = 0.5
    return Search(
        SearchSettings(**chosen),
        made_of.architecture,
        made_of.steps,
        made_of.workload,
        made_of.n_samples,
        journal,
    )


@functools.lru_cache
def whole_journal(mode, images=120, **fields):
    """The bytes of one undisturbed search, and its front."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.jsonl"
        with Journal(path, {"model": "tiny"}) as journal:
            search = problem().finish(search_of(journal, mode=mode, images=images, **fields))
            return path.read_bytes(), search.front.to_json()


# --- the journal is the state --------------------------------------------------------------------


@pytest.mark.parametrize("mode", WAYS)
@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_search_killed_anywhere_writes_the_same_bytes_and_front(mode, data, tmp_path_factory):
    whole, front = whole_journal(mode)
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.mktemp("killed") / "search.jsonl"
    path.write_bytes(whole[:cut])
    with Journal(path, {"model": "tiny"}) as journal:
        search = problem().finish(search_of(journal, mode=mode))
        assert whole == path.read_bytes()
        assert front == search.front.to_json()


@pytest.mark.parametrize("mode", WAYS)
def test_a_search_killed_again_and_again_writes_the_same_bytes(mode, tmp_path):
    path = tmp_path / "search.jsonl"
    for _ in range(2000):
        with Journal(path, {"model": "tiny"}) as journal:
            search = search_of(journal, mode=mode)
            job = search.ask()
            if job is None:
                break
            problem().answer(search, job)
        with open(path, "ab") as file:
            file.write(b'{"key":"half a li')
    assert whole_journal(mode)[0] == path.read_bytes()


@pytest.mark.parametrize("mode", MODES)
def test_a_raised_budget_goes_on_where_the_smaller_one_ended(mode, tmp_path):
    path = tmp_path / "search.jsonl"
    for images in (70, 120):
        with Journal(path, {"model": "tiny"}) as journal:
            problem().finish(search_of(journal, mode=mode, images=images, heat=1))
    assert whole_journal(mode, heat=1)[0] == path.read_bytes()


@pytest.mark.parametrize("mode", WAYS)
def test_a_budget_that_ended_in_a_heat_can_be_raised(mode, tmp_path):
    path = tmp_path / "search.jsonl"
    written = b""
    for images in (70, 75, 81, 120):
        with Journal(path, {"model": "tiny"}) as journal:
            search = problem().finish(search_of(journal, mode=mode, images=images))
        assert images - problem().n_samples < search.progress.images <= images
        assert path.read_bytes().startswith(written)
        written = path.read_bytes()


@pytest.mark.parametrize("mode", WAYS)
def test_a_search_that_finds_nothing_more_stops_and_goes_on_with_more_patience(mode, tmp_path):
    path = tmp_path / "search.jsonl"
    with Journal(path, {"model": "tiny"}) as journal:
        search = problem().finish(search_of(journal, mode=mode, images=4000, patience=60))
        assert search.finished
        stopped = search.progress.images
        assert 60 < stopped < 4000 - 2 * problem().n_samples
    written = path.read_bytes()
    with Journal(path, {"model": "tiny"}) as journal:
        assert search_of(journal, mode=mode, images=4000, patience=60).ask() is None
    with Journal(path, {"model": "tiny"}) as journal:
        more = problem().finish(search_of(journal, mode=mode, images=stopped + 100))
        assert more.progress.images > stopped
    assert path.read_bytes().startswith(written)


def test_a_finished_search_queued_again_has_nothing_to_do(tmp_path):
    path = tmp_path / "search.jsonl"
    path.write_bytes(whole_journal("ecad+")[0])
    with Journal(path, {"model": "tiny"}) as journal:
        search = search_of(journal)
        assert search.finished
        assert search.ask() is None
        assert search.front.members
        assert whole_journal("ecad+")[0] == path.read_bytes()


def test_other_settings_do_not_resume_a_journal(tmp_path):
    path = tmp_path / "search.jsonl"
    path.write_bytes(whole_journal("ecad+")[0])
    with Journal(path, {"model": "tiny"}) as journal:
        with pytest.raises(JournalError, match=r"settings.seed is 0 in the file and 7 here"):
            search_of(journal, seed=7)
        with pytest.raises(JournalError, match="steps is 6 in the file and 5 here"):
            search_of(journal, problem(steps=5))


def test_records_that_do_not_fit_each_other_are_named(tmp_path):
    path = tmp_path / "search.jsonl"
    lines = whole_journal("ecad+")[0].splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with Journal(path, {"model": "tiny"}) as journal:
        with pytest.raises(JournalError, match=r"Line \d+ of .* does not fit the lines before it"):
            search_of(journal)


@given(seed=st.integers(0, 10_000), mode=st.sampled_from(WAYS))
@settings(max_examples=12, deadline=None)
def test_no_search_renders_anything_twice_or_more_than_its_budget(seed, mode):
    made_of = problem(seed % 3)
    images = 60 + seed % 100
    search = search_of(Journal(None), made_of, seed=seed, mode=mode, images=images)
    rendered = set()
    while (job := search.ask()) is not None:
        for sample in job.samples:
            assert (job.candidate.schedule.key, sample) not in rendered
            rendered.add((job.candidate.schedule.key, sample))
        made_of.answer(search, job)
    assert len(rendered) == search.progress.images <= images
    assert search.finished


# --- one search, seen from outside ---------------------------------------------------------------


def test_the_uncached_run_comes_first_and_is_the_reference():
    search = search_of(Journal(None))
    uncached = presets.uncached(TINY, 6)
    job = search.ask()
    assert job is not None and uncached == job.candidate.schedule
    problem().finish(_told(search, job))
    reference = search.front.points[-1]
    assert uncached == reference.schedule
    assert (1.0, 0.0, 0.0, True) == (
        reference.cost,
        reference.quality,
        reference.quality_stderr,
        reference.is_reference,
    )


def _told(search, job):
    problem().answer(search, job)
    return search


def test_every_front_point_was_scored_on_all_samples():
    search = problem().finish(search_of(Journal(None)))
    assert {8} == {point.samples for point in search.front}
    for point in search.front:
        scores = problem().score(point.schedule, tuple(range(8)))
        uncached = problem().score(presets.uncached(TINY, 6), tuple(range(8)))
        differences = np.subtract(scores, uncached)
        assert differences.mean() == pytest.approx(point.quality)
        assert np.mean(scores) == pytest.approx(point.mean_score)
        assert relative_cost(point.schedule, problem().workload) == point.cost


@pytest.mark.parametrize("mode", WAYS)
def test_the_front_is_that_of_all_scored_candidates(mode):
    search = problem().finish(search_of(Journal(None), mode=mode, images=250))
    scored = [entry for entry in search._entries.values() if search._is_ranked(entry)]
    assert len(scored) > len(search.front) > 2
    whole = Front.of(map(search._point, scored), search.front.info)
    assert whole.to_json() == search.front.to_json()


def test_only_what_is_on_the_front_of_the_tried_gets_all_samples():
    made_of = problem(n_samples=16)
    journal = Journal(None)
    search = made_of.finish(
        search_of(journal, made_of, images=600, mode="ecad+", tried_on=8, largest_cache_mib=None)
    )
    confirmed = {key for r in journal.records for key in r.get("confirm", ())}
    scored = {r["key"] for r in journal.records if r.get("verdict") == "scored"}
    tried = {r["key"] for r in journal.records if r.get("verdict") == "tried"}
    assert 0 < len(confirmed) < len(tried)
    assert scored - {presets.uncached(TINY, 6).key} <= confirmed <= tried
    worst = search._useful_losses()[0]
    useful = [point for point in search.front.members if -point.quality <= worst]
    assert {16} == {point.samples for point in useful}


@pytest.mark.parametrize("images", [101, 122, 213, 311])
def test_what_no_image_was_left_to_confirm_is_not_on_the_front_of_a_finished_search(
    images, tmp_path
):
    """Who looked good on the first four samples, and only there, had all others tried in vain."""
    made_of = problem(n_samples=16)
    path = tmp_path / "lucky.jsonl"
    with Journal(path) as journal:
        search = search_of(journal, made_of, images=images, mode="ecad+", tried_on=4)
        while (job := search.ask()) is not None:
            key = int(job.candidate.schedule.key, 16)
            luck = 0.0 if job.candidate.origin == "uncached" else 0.02 * (key % 10)
            scores = made_of.score(job.candidate.schedule, job.samples)
            numbered = zip(job.samples, scores, strict=True)
            search.tell(job, [score + luck * (sample < 4) for sample, score in numbered])
    assert {4} == {entry.done for entry in search._waiting_on_front()}
    assert {16} == {point.samples for point in search.front.members}
    assert 1 < len(search.front.members)
    search.front.save(front_beside(path))
    assert search.front.content == recorded_front(path).content
    assert search.front.content != recorded_search(path).front.content


def test_a_search_whose_time_is_up_within_the_uncached_run_has_that_alone():
    made_of = problem(n_samples=48)
    search = search_of(Journal(None), made_of, images=200, mode="ecad+", tried_on=8, minutes=1.0)
    job = search.ask()
    search.tell(job, made_of.score(job.candidate.schedule, job.samples), seconds=61.0)
    assert search.finished
    assert [(1.0, len(job.samples))] == [(p.cost, p.samples) for p in search.front.points]
    assert () == search.confirmed_front.points


def test_who_was_beaten_by_luck_comes_back_when_the_luck_is_over():
    made_of = problem(n_samples=16)
    journal = Journal(None)
    search = search_of(
        journal, made_of, images=600, mode="ecad+", tried_on=8, generations=0, first_block=8
    )
    uncached = np.array(made_of.score(presets.uncached(TINY, 6), tuple(range(16))))
    while (job := search.ask()) is not None:
        scores = made_of.score(job.candidate.schedule, job.samples)
        if job.candidate.origin == "fora 3":  # as good as uncached, on the samples it is tried on
            luck = np.where(np.array(job.samples) < 8, 0.0, -9.0)
            scores = (uncached[list(job.samples)] + luck).tolist()
        search.tell(job, scores)
    lucky = next(e for e in search._entries.values() if e.candidate.origin == "fora 3")
    first, then, *_ = (
        [search._entries[key] for key in record["confirm"]]
        for record in journal.records
        if "confirm" in record
    )
    assert lucky is first[-1]  # nothing dearer was on the front
    assert all(entry.cost > lucky.cost for entry in then)
    assert {16} == {entry.done for entry in then if entry.is_scored}


def test_who_fails_while_it_is_confirmed_leaves_the_front():
    made_of = problem(n_samples=16)
    search = search_of(Journal(None), made_of, images=300, mode="ecad+", tried_on=8)
    failed = None
    while (job := search.ask()) is not None:
        is_confirmed = job.samples[0] >= 8 and job.candidate.origin != "uncached"
        if is_confirmed and failed in (None, job.candidate.key):
            assert job.candidate.key in {point.schedule.key for point in search.front}
            failed = job.candidate.key
            search.fail(job, "out of memory")
        else:
            made_of.answer(search, job)
    assert failed is not None
    assert failed not in {point.schedule.key for point in search.front}


def test_hopeless_candidates_are_dropped_early():
    journal = Journal(None)
    made_of = problem(n_samples=16)
    made_of.finish(search_of(journal, made_of, images=500))
    verdicts = [record.get("verdict") for record in journal.records]
    assert "dropped" in verdicts and "scored" in verdicts


@pytest.mark.parametrize("seed", [21, 27, 29])
def test_hardly_an_image_goes_to_schedules_worse_than_every_hand_made_one(seed):
    architecture = find("emoji-pixart")
    made_of = SearchProblem(architecture, 20, seed=seed, additive=False)
    worst = made_of.true_loss(presets.fora(architecture, 20, 6))
    search = search_of(Journal(None), made_of, seed=seed, images=400, population=None)
    made_of.finish(search)
    bred = [e for e in search._entries.values() if e.candidate.generation > 0 and e.done]
    images = {True: 0, False: 0}
    for entry in bred:
        images[made_of.true_loss(entry.candidate.schedule) > 1.5 * worst] += entry.done
    assert images[True] < 0.05 * images[False]


def test_a_loss_far_below_the_spread_of_the_scores_is_always_of_use():
    """Else, where every hand-made schedule is free, a search would look at nothing faster."""
    made_of = problem(n_samples=16)
    search = search_of(Journal(None), made_of, images=500)
    uncached = presets.uncached(made_of.architecture, made_of.steps)
    while (job := search.ask()) is not None:
        loss = 0.0 if job.candidate.key == uncached.key else 1e-6
        search.tell(job, [score - loss for score in made_of.score(uncached, job.samples)])
    spread = np.std(made_of.score(uncached, tuple(range(16))))
    assert [pytest.approx(0.1 * spread)] == search._useful_losses().tolist()


def test_a_lucky_first_block_does_not_reach_the_front():
    made_of = problem()
    search = search_of(Journal(None))
    lucky = None
    while (job := search.ask()) is not None:
        scores = made_of.score(job.candidate.schedule, job.samples)
        if lucky is None and job.candidate.origin == "fora 6":
            lucky = job.candidate.key
        if job.candidate.key == lucky and job.samples[0] == 0:
            scores = [score + 5 for score in scores]
            search.tell(job, scores)
            assert lucky not in [point.schedule.key for point in search.front]
            break
        search.tell(job, scores)
    assert lucky is not None


def test_searched_schedules_say_where_they_come_from():
    search = problem().finish(search_of(Journal(None)))
    point = next(p for p in search.front if p.schedule.info["provenance"]["generation"] > 0)
    assert f"searched-{point.schedule.key[:8]}" == point.schedule.name
    assert search.settings.hash == point.schedule.info["provenance"]["search"]
    assert point.quality == point.schedule.info["objectives"][0]["value"]
    assert search.front.to_json()  # and the file can hold it


def test_given_schedules_are_tried_first_and_resampled():
    given_one = presets.fora_attention(TINY, 12, 3)
    search = Search(
        SearchSettings(images=200),
        TINY,
        6,
        problem().workload,
        8,
        Journal(None),
        seeds=[given_one],
    )
    problem().answer(search, search.ask())
    job = search.ask()
    assert job is not None and "given" == job.candidate.origin
    assert given_one.resampled(6) == job.candidate.schedule
    with pytest.raises(ModelMismatchError):
        Search(
            SearchSettings(images=200),
            TINY,
            6,
            problem().workload,
            8,
            Journal(None),
            seeds=[presets.fora(find("flux"), 6, 2)],
        )


def test_progress_counts_images_and_estimates_the_time_left(tmp_path):
    with Journal(tmp_path / "search.jsonl") as journal:
        search = search_of(journal)
        assert None is search.progress.eta_seconds and 0 == search.progress.images
        job = search.ask()
        search.tell(job, problem().score(job.candidate.schedule, job.samples), seconds=16.0)
        progress = search.progress
        assert (8, 120, 0) == (progress.images, progress.images_budget, progress.candidates)
        assert (16.0, 224.0) == (progress.seconds, progress.eta_seconds)


def test_minutes_end_a_search_and_more_of_them_go_on(tmp_path):
    path = tmp_path / "search.jsonl"

    def run(minutes):
        with Journal(path) as journal:
            search = search_of(journal, minutes=minutes)
            while (job := search.ask()) is not None:
                search.tell(job, problem().score(job.candidate.schedule, job.samples), seconds=30.0)
            assert search.finished
            return search.progress.seconds

    assert 120.0 == run(2.0)
    assert 180.0 == run(3.0)


def test_generations_end_a_search():
    search = problem().finish(search_of(Journal(None), generations=2, images=100_000))
    assert 2 == search.progress.generation
    assert search.finished


def test_a_space_that_is_tried_out_ends_the_search():
    small = SearchProblem(sized("pixart", {"blocks": 1}, hidden=48), 2, seed=0, n_samples=2)
    for mode in MODES:
        search = small.finish(search_of(Journal(None), small, images=10_000, mode=mode))
        assert search.finished
        assert search.progress.candidates <= 7
    assert 7 == search.progress.candidates  # 2 ** 3 schedules, uncached apart


def worked_on(search, made_of, workers, rng):
    """Finish `search` with so many workers, who tell in any order; returns how many had work."""
    out, most = [], 0
    while not search.finished:
        job = search.ask() if len(out) < workers else None
        if job is not None:
            assert job.candidate.key not in [other.candidate.key for other in out]
            out.append(job)
            most = max(most, len(out))
            continue
        made_of.answer(search, out.pop(int(rng.integers(len(out)))))
    return most


@pytest.mark.parametrize("mode", WAYS)
@given(workers=st.integers(1, 6), seed=st.integers(0, 2**32 - 1), images=st.integers(60, 120))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_number_of_workers_changes_no_byte(mode, workers, seed, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("workers") / "search.jsonl"
    with Journal(path, {"model": "tiny"}) as journal:
        search = search_of(journal, mode=mode, images=images)
        worked_on(search, problem(), workers, np.random.default_rng(seed))
        assert whole_journal(mode, images)[1] == search.front.to_json()
    assert whole_journal(mode, images)[0] == path.read_bytes()


def test_as_many_workers_as_a_heat_has_candidates_all_have_work():
    for workers in (2, 4):
        search = search_of(Journal(None))
        assert workers == worked_on(search, problem(), workers, np.random.default_rng(0))


def test_what_is_told_out_of_order_is_written_in_the_order_of_asking():
    journal = Journal(None)
    search = search_of(journal)
    problem().answer(search, search.ask())
    first, second, third = search.ask(), search.ask(), search.ask()
    before = list(journal.records)
    problem().answer(search, third)
    search.fail(second, "out of memory")
    assert before == journal.records
    with pytest.raises(SearchError, match="was told already"):
        problem().answer(search, third)
    problem().answer(search, first)
    told = [record["key"] for record in journal.records[len(before) :]]
    assert [first.candidate.key, second.candidate.key, third.candidate.key] == told


# --- what goes wrong -----------------------------------------------------------------------------


def test_nan_is_refused_naming_the_sample_and_the_job_can_be_failed():
    journal = Journal(None)
    search = search_of(journal)
    problem().answer(search, search.ask())
    job = search.ask()
    before = list(journal.records)
    with pytest.raises(ScorerError, match="score of sample 2 is nan"):
        search.tell(job, [0.1, 0.2, float("nan"), 0.4])
    with pytest.raises(ScorerError, match="gave 1 scores for 4 pictures"):
        search.tell(job, [0.1])
    assert before == journal.records
    search.fail(job, "black pictures")
    assert "black pictures" == journal.records[-1]["failed"]
    following = search.ask()
    assert following is not None and following.candidate.key != job.candidate.key


def test_a_failed_candidate_is_not_on_the_front_and_the_search_goes_on():
    search = search_of(Journal(None))
    failed = set()
    count = 0
    while (job := search.ask()) is not None:
        count += 1
        if count % 5 == 0:
            search.fail(job, "out of memory")
            failed.add(job.candidate.key)
        else:
            problem().answer(search, job)
    assert failed and search.finished
    assert not failed & {point.schedule.key for point in search.front}


def test_a_search_whose_candidates_all_fail_says_why():
    search = search_of(Journal(None), images=10_000)
    problem().answer(search, search.ask())
    with pytest.raises(SearchError, match=r"All \d+ candidates .* because: out of memory"):
        while (job := search.ask()) is not None:
            search.fail(job, "out of memory")


def test_a_failing_uncached_run_is_told_at_once_and_can_be_tried_again():
    journal = Journal(None)
    search = search_of(journal)
    job = search.ask()
    with pytest.raises(SearchError, match=r"uncached run failed \(no picture\)"):
        search.fail(job, "no picture")
    assert [] == journal.records
    assert job == search.ask()


def test_a_job_is_told_once():
    search = search_of(Journal(None))
    job = search.ask()
    problem().answer(search, job)
    with pytest.raises(SearchError, match="told already"):
        problem().answer(search, job)


def test_a_budget_too_small_for_one_comparison_is_refused():
    with pytest.raises(SearchError, match="Allow at least 16 images"):
        search_of(Journal(None), images=15)


def test_one_sample_or_one_step_is_refused():
    with pytest.raises(SearchError, match="at least 2"):
        Search(SearchSettings(), TINY, 6, problem().workload, 1, Journal(None))
    with pytest.raises(SearchError, match="leaves nothing to reuse"):
        Search(SearchSettings(), TINY, 1, problem().workload, 8, Journal(None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "fast"),
        ("seed", -1),
        ("images", 0),
        ("population", 3),
        ("minutes", float("nan")),
        ("confidence", 1.5),
        ("guided", "yes"),
        ("generations", True),
    ],
)
def test_an_impossible_setting_is_named(field, value):
    with pytest.raises(SearchError, match=field):
        SearchSettings(**{field: value})


@pytest.mark.parametrize("mode", ["paper", "random"])
@pytest.mark.parametrize("chosen", [{"tried_on": 8}, {"caution": 0.5}])
def test_only_ecad_plus_tries_candidates_and_is_cautious(mode, chosen):
    with pytest.raises(SearchError, match=f"'{mode}' scores every candidate.*Choose mode ecad\\+"):
        SearchSettings(mode=mode, **chosen)


def test_settings_survive_json_and_only_their_course_is_hashed():
    chosen = SearchSettings(mode="paper", seed=3, minutes=2.5)
    assert chosen == SearchSettings.from_json(json.loads(json.dumps(chosen.to_json())))
    assert chosen.hash == replace(chosen, images=5, minutes=None, generations=9).hash
    assert chosen.hash != replace(chosen, seed=4).hash
    with pytest.raises(SearchError, match="no setting pupulation"):
        SearchSettings.from_json({"pupulation": 3})


# --- does it find anything? ----------------------------------------------------------------------


def test_ecad_plus_beats_paper_mode_and_random_search_at_equal_images():
    """Noise-free hypervolume (share of the rectangle below FORA 6) over five problems."""
    architecture = find("emoji-pixart")
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    for seed in range(5):
        made_of = SearchProblem(architecture, 20, seed=seed, additive=seed % 2 == 0)
        worst = made_of.true_loss(presets.fora(architecture, 20, 6))
        for mode in MODES:
            search = Search(
                SearchSettings(mode=mode, seed=seed, images=400),
                architecture,
                20,
                made_of.workload,
                made_of.n_samples,
                Journal(None),
            )
            schedules = [p.schedule for p in made_of.finish(search).front.members]
            found[mode].append(made_of.true_hypervolume(schedules, worst))
    lead_over_paper = np.subtract(found["ecad+"], found["paper"])
    lead_over_random = np.subtract(found["ecad+"], found["random"])
    assert lead_over_paper.mean() > 0.05 and (lead_over_paper > 0).all()
    assert lead_over_random.mean() > 0.05 and (lead_over_random > 0).all()


def test_no_found_schedule_beats_the_known_best_front():
    made_of = problem(1)
    best = made_of.best_front()
    search = made_of.finish(search_of(Journal(None), made_of, images=250))
    for point in search.front.members:
        # The nearest corner of the true front that costs more: nothing cheaper can lose less.
        before = best[best[:, 0] >= point.cost - 1e-12]
        assert made_of.true_loss(point.schedule) >= before[:, 1].max() - 1e-12


# --- a start from a profile ----------------------------------------------------------------------


def profiled(journal, **fields):
    """A search that begins with two schedules which no built-in start has.

    They come from a profile of three measurements, those among them that are not known yet.
    """
    search = search_of(journal, **fields)
    if search.awaits_start:
        notes = search.profile_notes
        if notes.benefits is None:
            search.note_profile(note_of_benefits([0.1, 0.2]))
        for sample in range(3):
            if ((Gap(1, 2, 0),), sample) not in notes.drifts:
                search.note_profile(note_of_drift([Gap(1, 2, 0)], sample, 0.1 / 3))
        rows = np.ones((6, TINY.n_cells), dtype=bool)
        rows[2:4] = False
        other = rows.copy()
        other[4] = False
        start = [
            presets.Schedule(TINY, rows, name="first"),
            presets.Schedule(TINY, other, name="second"),
        ]
        search.start_from(start, images=10)
    return search


def test_a_search_begins_with_the_schedules_of_a_profile_and_the_references(tmp_path):
    with Journal(tmp_path / "search.jsonl") as journal:
        search = problem().finish(profiled(journal))
        first = next(record for record in journal.records if record.get("generation") == 0)
    origins = [candidate["origin"] for candidate in first["candidates"]]
    assert ["profile", "profile"] == origins[:2]
    assert all(origin.startswith("fora ") for origin in origins[2:]) and len(origins) > 3
    assert search.finished and 100 < search.progress.images <= 120


def test_a_search_knows_what_its_profile_has_measured_when_it_goes_on(tmp_path):
    path = tmp_path / "search.jsonl"
    with Journal(path) as journal:
        search = search_of(journal)
        search.note_profile(note_of_benefits([0.1, 0.2]))
        search.note_profile(note_of_drift([Gap(1, 2, 0)], 1, 0.1 / 3))
    with Journal(path) as journal:
        search = search_of(journal)
    assert search.awaits_start
    assert [0.1, 0.2] == search.profile_notes.benefits
    assert {((Gap(1, 2, 0),), 1): 0.1 / 3} == search.profile_notes.drifts


def test_the_images_of_a_profile_are_of_the_budget():
    search = profiled(Journal(None))
    assert 10 == search.progress.images
    spent = problem().finish(search).progress.images
    rendered = sum(len(record.get("scores", ())) for record in search.journal.records)
    assert spent == rendered + 10


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_profiled_search_killed_anywhere_writes_the_same_bytes(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    with Journal(folder / "whole.jsonl") as journal:
        problem().finish(profiled(journal))
    whole = (folder / "whole.jsonl").read_bytes()
    path = folder / "search.jsonl"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with Journal(path) as journal:
        problem().finish(profiled(journal))
    assert whole == path.read_bytes()


@pytest.mark.parametrize("mode", ["paper", "random"])
def test_only_ecad_plus_starts_from_a_profile(mode):
    search = search_of(Journal(None), mode=mode)
    assert not search.awaits_start
    with pytest.raises(SearchError, match=f"mode {mode}.*only ecad"):
        search.start_from([], images=0)
    with pytest.raises(SearchError, match=f"mode {mode}.*only ecad"):
        search.note_profile(note_of_benefits([0.5]))


def test_a_search_that_has_begun_takes_no_profile():
    search = search_of(Journal(None))
    job = search.ask()
    problem().answer(search, job)
    search.ask()
    assert not search.awaits_start
