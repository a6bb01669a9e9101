"""The search node on real models of the real host: it runs, stops, resumes, and survives."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

STEPS = 4
SAMPLES = 2  # of the calibration


@pytest.fixture
def uninterrupted(comfy):
    """Whatever a test does to the host's Cancel flag, the next test starts without it."""
    yield
    comfy.model_management.interrupt_current_processing(False)


def journal_of(output, name=None):
    files = sorted((output / "ecad").glob("*.jsonl")) if name is None else [output / "ecad" / name]
    assert 1 == len(files)
    return files[0]


def test_a_search_finds_schedules_that_are_cheaper_than_the_uncached_run(search, output):
    front, path = search().args
    assert (output / path).is_file()
    assert [] == [point for point in front if not 0 < point.cost <= 1]
    assert min(point.cost for point in front.members) < 0.8
    assert 0.0 == max(front, key=lambda point: point.cost).quality
    found = front.members[0].schedule.info
    assert {
        "sampler": "euler",
        "scheduler": "simple",
        "cfg": 2.0,
        "width": 36,
        "height": 36,
        "sigmas": [1.0, 0.75, 0.5, 0.25, 0.0],
    } == found["sampling"]
    assert 16 == len(found["model"]["fingerprint"])
    assert "ssim" == found["objectives"][0]["scorer"]


def test_a_search_on_a_part_of_the_way_uses_every_row(
    pack, search, settings, tiny_pixart, conditioning, sample, apply, monkeypatch
):
    """Candidates count as made on the run's sigmas, or half of their rows would never be taken."""
    levels = (0.5, 0.375, 0.25, 0.125, 0.0)
    reports, rendering = [], pack.module("nodes.host.rendering")

    def reporting(model, schedule, *, options):
        def told(report):
            reports.append((int(schedule.compute.sum()), report))

        return apply(model, schedule, options=options, on_report=told)

    monkeypatch.setattr(rendering, "apply_schedule", reporting)
    front, _ = search(sampler_settings=settings(sigmas=levels, batch=1, cfg=1.0)).args
    assert len(reports) > 10
    assert [n for n, _ in reports] == [report.cells_computed for _, report in reports]
    fastest = min(front, key=lambda point: point.cost).schedule
    assert levels == fastest.noise_levels
    patched = apply(tiny_pixart(depth=2, flow=True), fastest, on_report=lambda r: reports.append(r))
    sample(patched, conditioning(1), conditioning(2), sigmas=torch.tensor(levels))
    assert int(fastest.compute.sum()) == reports[-1].cells_computed


def test_the_front_file_holds_the_front(search, output, pack):
    front, path = search().args
    loaded = pack.module("ecad_search.core.front").Front.load(output / path)
    assert [point.schedule.key for point in front] == [point.schedule.key for point in loaded]


def test_the_ui_output_has_the_points_so_that_history_shows_them(search):
    shown = search().ui
    payload = json.loads(json.dumps(shown["ecad_search"][0]))
    assert payload["finished"]
    assert payload["points"] and payload["references"]
    assert 24 >= payload["images"] > 20
    assert "front" in shown["text"][0]


def test_a_finished_search_returns_at_once(search, tiny_vae):
    first = search().args[0]
    vae = tiny_vae()
    second = search(vae=vae).args[0]
    assert 0 == vae.decoded
    assert [point.schedule.key for point in first] == [point.schedule.key for point in second]


def test_a_finished_search_goes_on_when_the_budget_is_raised(search, output, tiny_vae):
    search()
    vae = tiny_vae()
    search(vae=vae, images=30)
    journal_of(output)  # still one
    assert 0 < vae.decoded <= 6 + SAMPLES  # and the uncached pictures, which only memory held


@pytest.mark.usefixtures("uninterrupted")
def test_cancel_keeps_everything_and_the_same_graph_resumes(
    comfy, pack, search, output, test_scorer
):
    class Cancelling(test_scorer):
        def score(self, images, prompts, references=None):
            if self.scored >= 10:
                comfy.model_management.interrupt_current_processing()
            return super().score(images, prompts, references)

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        search(scorer=Cancelling())
    before = journal_of(output).read_bytes()
    assert len(before.splitlines()) > 4
    resumed = search().args[0]
    after = journal_of(output).read_bytes()
    assert after.startswith(before)
    shutil.rmtree(output / "ecad")
    whole = search().args[0]
    assert after == journal_of(output).read_bytes()
    assert whole.to_json() == resumed.to_json()


@pytest.mark.usefixtures("uninterrupted")
def test_cancel_stops_between_two_steps(comfy, search, output, tiny_pixart):
    model = tiny_pixart(depth=2, flow=True)
    evaluations = []

    def count(apply, arguments):
        evaluations.append(1)
        if len(evaluations) == 2:
            comfy.model_management.interrupt_current_processing()
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(count)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        search(model=model)
    assert len(evaluations) < 2 + 2  # the step it was pressed in, in one or two model calls


def records_of(output):
    return [json.loads(line) for line in journal_of(output).read_bytes().splitlines()]


def test_with_sixteen_samples_only_the_front_gets_all_of_them(search, output, calibration):
    front, _ = search(calibration=calibration(seeds_per_prompt=8), images=150).args
    header, *records = records_of(output)
    assert (8, 0.5) == (header["settings"]["tried_on"], header["settings"]["caution"])
    tried = {record["key"] for record in records if record.get("verdict") == "tried"}
    confirmed = {key for record in records for key in record.get("confirm", ())}
    assert confirmed and confirmed <= tried
    assert {16} == {p.samples for p in front.members if p.schedule.key in confirmed}


def test_a_journal_of_before_candidates_were_tried_goes_on_as_it_was(
    search, output, calibration, pack, monkeypatch
):
    given = {"calibration": calibration(seeds_per_prompt=8)}
    with monkeypatch.context() as before:
        settings = pack.module("ecad_search.evolution.settings").SearchSettings
        before.setattr(settings, "for_new", lambda settings, samples: settings)
        search(**given, images=80)
    begun = journal_of(output).read_bytes()
    search(**given, images=150)
    assert journal_of(output).read_bytes().startswith(begun)
    header, *records = records_of(output)
    assert not {"tried_on", "caution"} & header["settings"].keys()
    assert {"more", "dropped", "scored"} >= {r["verdict"] for r in records if "verdict" in r}


def test_changing_the_sampler_settings_starts_a_new_journal(search, output, settings):
    search()
    search(sampler_settings=settings(cfg=3.0))
    assert 2 == len(list((output / "ecad").glob("*.jsonl")))


def test_the_batch_size_does_not_start_a_new_journal(search, output, settings, tiny_vae):
    search()
    vae = tiny_vae()
    search(sampler_settings=settings(batch=1), vae=vae)
    assert 0 == vae.decoded


def test_a_journal_of_another_search_is_refused_in_one_sentence(search, pack, settings):
    search(journal="mine")
    error = pack.module("ecad_search.errors").JournalError
    with pytest.raises(error, match="belongs to another search"):
        search(journal="mine", sampler_settings=settings(cfg=3.0))


def test_two_searches_on_one_journal_are_refused(search, pack, output):
    errors = pack.module("ecad_search.errors")
    journal = pack.module("ecad_search.evolution.journal").Journal
    (output / "ecad").mkdir()
    with journal(output / "ecad" / "mine.jsonl"), pytest.raises(errors.JournalError):
        search(journal="mine")


@pytest.mark.parametrize("name", ["../outside", "/etc/x", "a/../../b", "..", "a\\..\\..\\b", "c:x"])
def test_a_journal_name_that_leaves_the_folder_is_refused_before_sampling(pack, output, name):
    node = pack.module("nodes.search").SearchNode
    assert "output/ecad" in str(node.validate_inputs(journal=name))


def test_a_journal_may_lie_in_a_sub_folder(pack, output):
    assert pack.module("nodes.search").SearchNode.validate_inputs(journal="flux/first") is True


@pytest.mark.parametrize("failure", [float("nan"), torch.OutOfMemoryError("no memory")])
def test_a_candidate_that_fails_leaves_the_race_and_the_search_goes_on(
    search, pack, output, failure, test_scorer
):
    class FailsOnce(test_scorer):
        def score(self, images, prompts, references=None):
            try:
                return super().score(images, prompts, references)
            finally:
                if self.scored > self.after and not torch.equal(images, references):
                    self.failure = None

    front = search(scorer=FailsOnce(after=SAMPLES, failure=failure)).args[0]
    records = [json.loads(line) for line in journal_of(output).read_text().splitlines()]
    assert 1 == len([record for record in records if "failed" in record])
    assert len(front.members) > 1


def test_a_scorer_that_gives_no_number_for_the_uncached_run_is_an_error(search, pack, test_scorer):
    class Broken(test_scorer):
        def score(self, images, prompts, references=None):
            return [float("nan")] * len(images)

    error = pack.module("ecad_search.errors").ScorerError
    with pytest.raises(error, match="uncached picture of sample 0"):
        search(scorer=Broken())


def test_pictures_that_are_not_numbers_are_an_error_of_the_uncached_run(search, pack, tiny_vae):
    class Black(tiny_vae):
        def decode(self, latents):
            return super().decode(latents) * float("nan")

    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match="uncached run failed"):
        search(vae=Black())


def test_a_model_that_carries_a_schedule_is_refused(search, pack, tiny_pixart):
    patching = pack.module("nodes.host.patching")
    model = tiny_pixart(depth=2, flow=True)
    presets = pack.module("ecad_search.core.presets")
    schedule = presets.fora(patching.detect_architecture(model), STEPS, 2)
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="already carries"):
        search(model=patching.apply_schedule(model, schedule))


def test_a_sampler_that_follows_no_schedule_is_refused(search, pack, settings):
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="dpm_adaptive"):
        search(sampler_settings=settings(sampler="dpm_adaptive"))


def test_a_search_can_begin_with_a_schedule_of_the_user(search, pack, tiny_pixart, output):
    presets = pack.module("ecad_search.core.presets")
    architecture = pack.module("nodes.host.patching").detect_architecture(
        tiny_pixart(depth=2, flow=True)
    )
    mine = presets.fora(architecture, STEPS, 4)
    search(start_from=mine)
    records = [json.loads(line) for line in journal_of(output).read_text().splitlines()]
    assert mine.key in {c["key"] for r in records for c in r.get("candidates", [])}


def test_a_search_with_images_to_spare_begins_with_a_profile(search, output):
    search(images=100)
    start = [line for line in map(json.loads, journal_of(output).open()) if "start" in line]
    assert 1 == len(start)
    assert 13 == start[0]["images"]
    assert start[0]["start"]


@pytest.mark.parametrize(("minutes", "spent"), [(0.01, 13), (10_000.0, 40), (0.0, 40)])
def test_a_profile_takes_no_more_than_a_tenth_of_the_images_and_of_the_time(
    search, output, minutes, spent
):
    search(images=400, generations=0, minutes=minutes)
    records = [json.loads(line) for line in journal_of(output).open()]
    assert [spent] == [record["images"] for record in records if "start" in record]


@pytest.mark.parametrize("changes", [{"images": 77}, {"profile_first": False}, {"mode": "paper"}])
def test_a_search_begins_without_a_profile(search, output, changes):
    search(**({"images": 100, "generations": 1} | changes))
    assert [] == [line for line in journal_of(output).open() if '"start"' in line]


def test_a_profile_is_part_of_the_default_journal_name(search, output):
    for profile_first in (True, False):
        search(images=100, generations=1, profile_first=profile_first)
    assert 2 == len(list((output / "ecad").glob("*.jsonl")))


def test_a_search_too_small_for_a_profile_goes_on_when_it_is_given_more(search, output):
    for images in (24, 100):
        search(images=images)
        assert [] == [line for line in journal_of(output).open() if '"start"' in line]


def test_cancel_in_the_profile_begins_it_again_when_the_graph_is_queued_again(
    comfy, search, output, tiny_pixart, uninterrupted
):
    def cancel(*_):
        comfy.model_management.interrupt_current_processing()

    model = tiny_pixart(depth=2, flow=True)
    handle = model.model.diffusion_model.register_forward_hook(cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        search(model=model, images=100)
    handle.remove()
    search(model=tiny_pixart(depth=2, flow=True), images=100, generations=1)
    assert 1 == sum('"start"' in line for line in journal_of(output).open())


def test_a_profile_that_was_cancelled_goes_on_where_it_was(
    comfy, search, output, tiny_pixart, uninterrupted
):
    """Its schedules are those of one that was left alone, and nothing is measured twice."""
    calls = 0

    def cancel(*_):
        nonlocal calls
        calls += 1
        if calls in (120, 200):
            comfy.model_management.interrupt_current_processing()

    inputs = {"images": 100, "generations": 0, "mode": "ecad+"}
    search(model=tiny_pixart(depth=2, flow=True), journal="alone", **inputs)
    model = tiny_pixart(depth=2, flow=True)
    handle = model.model.diffusion_model.register_forward_hook(cancel)
    for _ in range(2):
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            search(model=model, journal="cancelled", **inputs)
    handle.remove()
    search(model=model, journal="cancelled", **inputs)
    (alone, start), (cancelled, start_again) = (
        (
            [record["profile"] for record in records if "profile" in record],
            next(record["start"] for record in records if "start" in record),
        )
        for name in ("alone", "cancelled")
        for records in [[json.loads(line) for line in (output / f"ecad/{name}.jsonl").open()]]
    )
    assert len(alone) > 5
    assert alone == cancelled
    assert start == start_again


def test_no_candidate_holds_more_than_the_limit_and_the_front_says_what_each_holds(
    pack, search, settings, apply, monkeypatch, tiny_pixart, output
):
    """As the runs themselves report it; FORA schedules are rendered for comparison only."""
    held, rendering = {}, pack.module("nodes.host.rendering")

    def reporting(model, schedule, *, options):
        def told(report):
            held[schedule.key] = report.peak_bytes

        return apply(model, schedule, options=options, on_report=told)

    monkeypatch.setattr(rendering, "apply_schedule", reporting)
    mib, side = 1, 192  # 0.4 MiB for each component
    front, _ = search(
        sampler_settings=settings(width=side, height=side, batch=1), largest_cache_mib=mib
    ).args
    assert max(held.values()) > mib * 2**20  # FORA
    members = [point for point in front.members if point.cost < 1]
    assert len(members) > 2
    for point in front:
        measured = held.get(point.schedule.key, 0)
        assert measured == point.cache_bytes
        assert point.within_limits == (measured <= mib * 2**20)
    assert all(point.within_limits for point in front.members)
    with open(journal_of(output)) as file:
        header = json.loads(file.readline())
    assert mib == header["settings"]["largest_cache_mib"]
    assert 2 == header["cache"]["streams"]
    references = {point.schedule.key for point in front if point.is_reference}
    assert {key for key, n in held.items() if n > mib * 2**20} <= references


def test_a_limit_that_nothing_can_keep_is_refused(search, pack, settings):
    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match="limit of 1 MiB for stored values leaves nothing to reuse"):
        search(sampler_settings=settings(width=384, height=384), largest_cache_mib=1)


def test_a_search_can_count_cost_in_seconds_measured_once(search, output, tiny_vae, pack):
    front, path = search(cost="seconds", images=40).args
    lines = [json.loads(line) for line in journal_of(output).open()]
    assert ["latency", "images"] == list(lines[1])
    assert 1 == sum("latency" in line for line in lines)
    latency = lines[1]["latency"]
    assert {"blocks": {"attn", "cross_attn", "mlp"}} == {
        group: set(of) for group, of in latency["components"].items()
    }
    assert (2, 1.0, "cpu") == (latency["pictures"], latency["evaluations"], latency["device"])
    assert 0 < lines[1]["images"] < 40
    uncached = front.points[-1]
    assert (1.0, 1.0) == (uncached.cost, uncached.relative_macs)
    for point in front:
        assert point.seconds == pytest.approx(point.cost * uncached.seconds)
        assert 0 < point.cost <= 1 and 0 < point.relative_macs <= 1
    vae = tiny_vae()
    again = search(cost="seconds", images=40, vae=vae).args[0]
    assert 0 == vae.decoded
    assert front.to_json() == again.to_json()  # the same numbers, not measured anew
    loaded = pack.module("ecad_search.core.front").Front.load(output / path)
    assert front.to_json() == loaded.to_json()


def test_a_search_in_seconds_is_another_search_than_one_in_macs(search, output):
    for cost in ("seconds", "macs"):
        search(cost=cost, images=40, generations=1)
    assert 2 == len(list((output / "ecad").glob("*.jsonl")))


def test_a_cancelled_measurement_is_made_again(comfy, search, output, tiny_pixart, uninterrupted):
    def cancel(*_):
        comfy.model_management.interrupt_current_processing()

    model = tiny_pixart(depth=2, flow=True)
    handle = model.model.diffusion_model.register_forward_hook(cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        search(model=model, cost="seconds", images=40)
    assert 1 == len(journal_of(output).read_text().splitlines())
    handle.remove()
    search(model=tiny_pixart(depth=2, flow=True), cost="seconds", images=40, generations=1)
    assert 1 == sum('"latency"' in line for line in journal_of(output).open())


class Brightness:
    """The mean of a picture, which no schedule was asked to keep."""

    name, needs_reference = "brightness", False

    def score(self, images, prompts, references=None):
        return images.mean((1, 2, 3)).tolist()

    def unload(self):
        self.unloaded = True


def test_two_scorers_are_two_objectives_on_the_same_pictures(search, output, pack, tiny_vae):
    vae, second = tiny_vae(), Brightness()
    result = search(vae=vae, second_scorer=second, images=30)
    front, path = result.args
    header, *records = [json.loads(line) for line in journal_of(output).open()]
    assert 2 == header["scorers"]
    assert (["brightness"], "ssim") == (
        header["identity"]["more_scorers"],
        header["identity"]["scorer"],
    )
    scored = [record for record in records if "scores" in record]
    assert [len(record["scores"]) for record in scored] == [len(r["more"][0]) for r in scored]
    assert sum(len(record["scores"]) for record in scored) == vae.decoded  # rendered once
    assert second.unloaded
    loaded = pack.module("ecad_search.core.front").Front.load(output / path)
    assert front == loaded
    objectives = loaded.members[0].schedule.info["objectives"]
    told = [objective["scorer"] for objective in objectives if objective["name"] == "quality"]
    assert ["ssim", "brightness"] == told
    payload = result.ui["ecad_search"][0]
    assert ["ssim", "brightness"] == payload["scorers"]
    assert {1} == {len(point["more_qualities"]) for point in payload["front"]["points"]}
    plot = pack.module("nodes.front_plot").FrontPlot
    assert (2, 480, 640, 3) == tuple(plot.execute(front, 640).args[0].shape)


def test_a_search_with_two_scorers_goes_on_where_it_stopped(search, output, tiny_vae):
    search(second_scorer=Brightness(), images=40)
    whole = journal_of(output).read_bytes()
    journal_of(output).write_bytes(whole[: len(whole) * 2 // 3])
    search(second_scorer=Brightness(), images=40)
    again = journal_of(output).read_bytes()
    vae = tiny_vae()
    search(vae=vae, second_scorer=Brightness(), images=40)
    assert 0 == vae.decoded
    keys = [[json.loads(line).get("key") for line in text.splitlines()] for text in (whole, again)]
    assert keys[0] == keys[1]
