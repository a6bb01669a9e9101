"""The nodes that load, apply, pick, save and draw schedules, on a real tiny PixArt."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from types import SimpleNamespace

import pytest
import torch

STEPS = 6


@pytest.fixture
def node(pack):
    """`node("cache_loader", "CacheLoader")`: the class as the executor hands it to execute."""

    def get(module, name):
        prepare = getattr(pack.module(f"nodes.{module}"), name).PREPARE_CLASS_CLONE
        hidden = {"UNIQUE_ID": "7"}
        wrapped = "v3_data" in inspect.signature(prepare).parameters  # since 0.4
        return prepare({"hidden_inputs": hidden} if wrapped else hidden)

    return get


@pytest.fixture
def said(monkeypatch):
    """What was shown on nodes: [(node id, text)]."""
    texts = []
    server = SimpleNamespace(
        client_id="me",
        send_progress_text=lambda text, node_id, sid=None: texts.append((node_id, text)),
        send_sync=lambda *_: None,
    )
    fake = SimpleNamespace(PromptServer=SimpleNamespace(instance=server))
    monkeypatch.setitem(sys.modules, "server", fake)  # pyright: ignore[reportArgumentType]
    return texts


@pytest.fixture
def told(monkeypatch):
    """What was sent to nodes: [event of ecad.run]."""
    events = []
    server = SimpleNamespace(
        client_id="me",
        last_prompt_id="prompt-1",
        send_progress_text=lambda *_: None,
        send_sync=lambda name, data, _: events.append(data) if name == "ecad.run" else None,
    )
    fake = SimpleNamespace(PromptServer=SimpleNamespace(instance=server))
    monkeypatch.setitem(sys.modules, "server", fake)  # pyright: ignore[reportArgumentType]
    return events


class PlainVae:
    """The first three channels of a latent as a picture."""

    def __init__(self):
        self.decoded = []

    def decode(self, latent):
        self.decoded.append(latent)
        return latent[:, :3].movedim(1, -1).sigmoid()


@pytest.fixture
def temp(comfy, tmp_path):
    """An empty temporary folder of the host."""
    paths, before = comfy.folder_paths, comfy.folder_paths.get_temp_directory()
    paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path / "temp"
    paths.set_temp_directory(before)


@pytest.fixture
def schedule(pack, tiny_pixart):
    """Factory of a FORA schedule for a tiny PixArt of `depth` blocks."""
    detect = pack.module("nodes.host.patching").detect_architecture
    presets = pack.module("ecad_search.core.presets")

    def build(every=2, steps=STEPS, depth=3):
        return presets.fora(detect(tiny_pixart(depth=depth)), steps, every)

    return build


@pytest.fixture
def saved(pack, schedule_folder, schedule):
    """A schedule in models/ecad_schedules, listed as 'my/half'."""
    half = schedule(2)
    pack.module("ecad_search.core.schedule_json").save(half, schedule_folder / "half.json")
    return half


@pytest.fixture
def front(pack, schedule):
    """Four schedules of falling cost and quality, and the uncached run."""
    module = pack.module("ecad_search.core.front")
    cost = pack.module("ecad_search.core.cost").relative_cost

    def point(every, quality):
        found = schedule(every)
        share = cost(found, found.architecture.native_workload())
        return module.FrontPoint(found, share, quality, 0.01, 16, is_reference=every == 1)

    return module.Front.of([point(1, 0.0), point(2, -0.02), point(3, -0.05), point(5, -0.5)])


def options_of(node_class, name):
    return next(slot for slot in node_class.define_schema().inputs if slot.id == name).options


# --- ECAD Cache Loader ---------------------------------------------------------------------------


def test_the_list_shows_built_in_schedules_first_and_a_new_file_after_r(
    node, saved, schedule_folder
):
    loader = node("cache_loader", "CacheLoader")
    names = options_of(loader, "schedule")
    assert "pixart/fora-2-20-steps" in names
    assert "my/half" == names[-1]
    (schedule_folder / "zz.json").write_text((schedule_folder / "half.json").read_text())
    assert ["my/half", "my/zz"] == options_of(loader, "schedule")[-2:]


def test_folders_that_cannot_be_read_leave_the_node_in_the_menu(node, pack, monkeypatch):
    loader = node("cache_loader", "CacheLoader")
    error = pack.module("ecad_search.errors").StorageError("gone")

    def broken():
        raise error

    monkeypatch.setattr(pack.module("nodes.cache_loader"), "schedule_library", broken)
    assert [] == options_of(loader, "schedule")


def test_the_loader_puts_the_schedule_on_a_clone(node, pack, saved, tiny_pixart):
    cached_schedule = pack.module("nodes.host.patching").cached_schedule
    model = tiny_pixart()
    patched, given = node("cache_loader", "CacheLoader").execute(model, "my/half").result
    assert saved == given
    assert saved == cached_schedule(patched)
    assert cached_schedule(model) is None


def test_fora_is_made_for_whatever_model_is_connected(node, pack, saved, tiny_pixart, schedule):
    loader = node("cache_loader", "CacheLoader")
    name = "any-model/fora-3-28-steps"
    names = options_of(loader, "schedule")
    assert names.index("pixart/fora-2-20-steps") < names.index(name) < names.index("my/half")
    assert loader.validate_inputs(schedule=name) is True
    patched, given = loader.execute(tiny_pixart(depth=2), name).result
    assert schedule(3, 28, depth=2) == given
    assert given == pack.module("nodes.host.patching").cached_schedule(patched)


def test_a_schedule_for_another_model_is_an_error_that_names_both(node, pack, saved, tiny_pixart):
    mismatch = pack.module("ecad_search.errors").ModelMismatchError
    with pytest.raises(mismatch, match=r"PixArt with 3 blocks.*PixArt with 2 blocks"):
        node("cache_loader", "CacheLoader").execute(tiny_pixart(depth=2), "my/half")


def test_an_unknown_schedule_is_one_sentence_with_advice(node, saved):
    answer = node("cache_loader", "CacheLoader").validate_inputs(schedule="my/hal")
    assert "'my/hal' is not installed" in answer
    assert "models/ecad_schedules" in answer
    assert "such as 'my/half'" in answer
    assert node("cache_loader", "CacheLoader").validate_inputs(schedule="my/half") is True
    assert node("cache_loader", "CacheLoader").validate_inputs(schedule=None) is True


@pytest.mark.parametrize("name", ["../secret", "my/../../etc", "", "my/", "C:\\x", "my/con"])
def test_names_that_lead_elsewhere_are_refused(node, schedule_folder, name):
    assert isinstance(node("cache_loader", "CacheLoader").validate_inputs(schedule=name), str)


def test_a_broken_file_is_refused_before_anything_runs(node, schedule_folder):
    (schedule_folder / "broken.json").write_text('{"format": "ecad-schedule", "version": 1}')
    answer = node("cache_loader", "CacheLoader").validate_inputs(schedule="my/broken")
    assert "broken.json" in answer


def test_an_edited_file_is_loaded_again(node, saved, schedule_folder):
    loader = node("cache_loader", "CacheLoader")
    first = loader.fingerprint_inputs(schedule="my/half", model=None)
    assert first == loader.fingerprint_inputs(schedule="my/half", model=None)
    file = schedule_folder / "half.json"
    file.write_text(file.read_text() + "\n")
    assert first != loader.fingerprint_inputs(schedule="my/half", model=None)
    assert "" == loader.fingerprint_inputs(schedule="my/gone")


def test_each_run_is_reported_on_the_loader(node, saved, tiny_pixart, conditioning, sample, told):
    output = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half")
    assert ["loaded"] == [event["state"] for event in told]
    assert "PixArt with 3 blocks" == told[0]["model"]
    sample(output.result[0], conditioning(1), conditioning(2), steps=STEPS, cfg=3.0)
    assert ["loaded", "running", "done"] == [event["state"] for event in told]
    assert {"7"} == {event["node_id"] for event in told}
    assert 0 < told[1]["planned_bytes"]
    (run,) = told[-1]["runs"]
    cells = STEPS * 3 * 3 / 2  # steps, blocks, components in one call for both prompts; half
    assert (run["computed"], run["reused"], run["forced"]) == (cells, cells, 0)
    assert "prompt-1" == run["prompt_id"]
    assert run["peak_bytes"] <= run["planned_bytes"]
    assert 1.5 < run["macs_speedup"] < 2.0
    assert run["uncached_seconds"] is None


def test_a_run_joins_the_output_that_the_history_keeps(
    node, saved, tiny_pixart, conditioning, sample, told
):
    output = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half")
    (stored,) = output.ui["ecad_run"]  # the host keeps this object when the node has executed
    assert [] == stored["runs"]
    for steps in (STEPS, 9):
        sample(output.result[0], conditioning(1), conditioning(2), steps=steps)
    assert [STEPS, 9] == [run["steps"] for run in json.loads(json.dumps(stored))["runs"]]
    for _ in range(9):
        sample(output.result[0], conditioning(1), conditioning(2), steps=2)
    assert 8 == len(stored["runs"])


def test_a_model_that_a_later_node_copies_still_reports(
    node, saved, tiny_pixart, conditioning, sample, told
):
    output = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half")
    sample(output.result[0].clone(), conditioning(1), conditioning(2), steps=STEPS)
    assert 1 == len(output.ui["ecad_run"][0]["runs"])


def test_a_model_that_the_schedule_does_not_fit_is_told_before_the_error(
    node, pack, saved, tiny_pixart, told
):
    mismatch = pack.module("ecad_search.errors").ModelMismatchError
    with pytest.raises(mismatch):
        node("cache_loader", "CacheLoader").execute(tiny_pixart(depth=2), "my/half")
    assert [("loaded", "PixArt with 2 blocks")] == [(e["state"], e["model"]) for e in told]


def test_two_nodes_of_the_same_settings_each_report_their_own_runs(comfy, pack, monkeypatch):
    """The host hands the output of one node to another of equal inputs, where it may."""
    caching = importlib.import_module("comfy_execution.caching")
    graph = importlib.import_module("comfy_execution.graph")
    table = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    for node_class in pack.module("nodes").MENU:
        monkeypatch.setitem(table, node_class.GET_SCHEMA().node_id, node_class)

    async def unchanged(_):
        return ""

    def keys(kind):
        settings = {"schedule": "any-model/fora-2-20-steps"}
        prompt = {name: {"class_type": kind, "inputs": settings} for name in ("1", "2")}
        files = SimpleNamespace(get=unchanged)
        found = caching.CacheKeySetInputSignature(graph.DynamicPrompt(prompt), [], files)
        asyncio.run(found.add_keys(["1", "2"]))
        return [found.get_data_key(name) for name in ("1", "2")]

    for kind in ("ECAD_CacheLoader", "ECAD_ApplySchedule"):
        first, second = keys(kind)
        assert first != second, kind
    assert 1 == len(set(keys("ECAD_SchedulePreview")))  # which may share


def test_a_model_of_no_known_family_is_called_so_on_the_node(pack, node, schedule, said):
    known, unknown = schedule(2), schedule(2)
    object.__setattr__(unknown.architecture, "fingerprint", "0" * 16)
    run_log = pack.module("nodes.host.run_report").RunLog
    for found in (known, unknown):
        run_log.of(node("cache_loader", "CacheLoader").hidden, found)
    ((where, text),) = said
    assert ("7", True) == (where, "Unknown model: 9 components found" in text)


def test_a_stopped_run_says_so(node, saved, tiny_pixart, conditioning, sample, told):
    output = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half")

    def cancel(step, *_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(output.result[0], conditioning(1), conditioning(2), steps=STEPS, callback=cancel)
    assert "stopped before its end" in told[-1]["runs"][-1]["messages"][-1]


def test_another_number_of_steps_is_in_the_report(
    node, saved, tiny_pixart, conditioning, sample, told
):
    patched, _ = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half").result
    sample(patched, conditioning(1), conditioning(2), steps=9)
    run = told[-1]["runs"][-1]
    assert (9, STEPS) == (run["steps"], run["schedule_steps"])


# --- compare -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m_sde"])
def test_the_compare_switch_gives_the_cached_picture_and_shows_the_uncached_one(
    node, saved, tiny_pixart, conditioning, sample, told, temp, sampler
):
    loader, vae = node("cache_loader", "CacheLoader"), PlainVae()
    model = tiny_pixart()
    settings = {"steps": STEPS, "cfg": 3.0, "sampler": sampler}
    plain = sample(model, conditioning(1), conditioning(2), **settings)
    alone = loader.execute(model, "my/half").result[0]
    cached = sample(alone, conditioning(1), conditioning(2), **settings)
    both = loader.execute(model, "my/half", compare=True, vae=vae).result[0]
    given = sample(both, conditioning(1), conditioning(2), **settings)
    assert torch.equal(cached, given)
    assert torch.equal(cached, vae.decoded[0])
    assert torch.equal(plain, vae.decoded[1])
    states = [event["state"] for event in told[-STEPS - 4 :]]
    assert "comparing" in states and "done" == states[-1]
    run = told[-1]["runs"][-1]
    assert run["speedup"] == run["uncached_seconds"] / run["seconds"]
    (pair,) = run["pairs"]
    assert 0 < pair["psnr"] < 80
    assert {"image", "reference"} < set(pair)
    files = {temp / pair[name]["filename"] for name in ("image", "reference")}
    assert set(temp.iterdir()) == files


def test_comparing_an_all_compute_schedule_finds_no_difference(
    node, pack, schedule_folder, schedule, tiny_pixart, conditioning, sample, told, temp
):
    pack.module("ecad_search.core.schedule_json").save(schedule(1), schedule_folder / "all.json")
    loader = node("cache_loader", "CacheLoader")
    both = loader.execute(tiny_pixart(), "my/all", compare=True, vae=PlainVae()).result[0]
    two = torch.ones(2, 4, 36, 36)
    sample(both, conditioning(1), conditioning(2), steps=STEPS, cfg=3.0, latent=two)
    pairs = told[-1]["runs"][-1]["pairs"]
    assert [0, 1] == [pair["index"] for pair in pairs]
    assert [80.0, 80.0] == pytest.approx([pair["psnr"] for pair in pairs])
    assert [1.0, 1.0] == pytest.approx([pair["ssim"] for pair in pairs])


def test_regional_prompts_and_masks_compare_alike(
    node, pack, schedule_folder, schedule, tiny_pixart, conditioning, sample, told, temp
):
    """What the first sampling makes of prompts and masks must not reach the second."""
    pack.module("ecad_search.core.schedule_json").save(schedule(1), schedule_folder / "all.json")
    loader, vae = node("cache_loader", "CacheLoader"), PlainVae()
    both = loader.execute(tiny_pixart(), "my/all", True, compare=True, vae=vae).result[0]
    area = [[c, {**d, "area": ("percentage", 0.5, 1.0, 0.0, 0.5)}] for c, d in conditioning(3)]
    mask = torch.zeros(1, 36, 36)
    mask[:, 10:20] = 1.0
    latent = torch.ones(1, 4, 36, 36)
    sample(both, [*conditioning(1), *area], conditioning(2), steps=STEPS, cfg=3.0, denoise=0.6,
           latent=latent, noise_mask=mask)  # fmt: skip
    assert torch.equal(*vae.decoded)


def test_comparing_without_a_vae_is_an_error_that_says_what_to_connect(
    node, pack, saved, schedule, tiny_pixart
):
    error = pack.module("ecad_search.errors").EcadError
    with pytest.raises(error, match=r"ECAD Cache Loader .*connect the VAE"):
        node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half", compare=True)
    with pytest.raises(error, match=r"Apply ECAD Schedule .*connect the VAE"):
        node("apply_schedule", "ApplySchedule").execute(tiny_pixart(), schedule(2), compare=True)


def test_a_vae_that_fails_leaves_the_picture_and_says_so(
    node, saved, tiny_pixart, conditioning, sample, told
):
    class Broken:
        def decode(self, latent):
            raise RuntimeError("size mismatch")

    loader = node("cache_loader", "CacheLoader")
    both = loader.execute(tiny_pixart(), "my/half", compare=True, vae=Broken()).result[0]
    assert torch.isfinite(sample(both, conditioning(1), conditioning(2), steps=STEPS)).all()
    run = told[-1]["runs"][-1]
    assert "could not be decoded (RuntimeError)" in run["messages"][-1]
    assert run["uncached_seconds"] is not None


def test_cancel_reaches_the_uncached_sampling(
    node, comfy, saved, tiny_pixart, conditioning, sample, told, monkeypatch
):
    loader, vae = node("cache_loader", "CacheLoader"), PlainVae()
    both = loader.execute(tiny_pixart(), "my/half", compare=True, vae=vae).result[0]
    management = comfy.model_management

    def cancel(step, *_):
        if step == STEPS - 1:  # the last step of the cached one
            management.interrupt_current_processing(True)

    with pytest.raises(management.InterruptProcessingException):
        sample(both, conditioning(1), conditioning(2), steps=STEPS, callback=cancel)
    management.interrupt_current_processing(False)
    assert [] == vae.decoded


# --- Compare Images ------------------------------------------------------------------------------


def test_two_pictures_are_compared_pixel_by_pixel(node, temp):
    reference = torch.full((2, 16, 24, 3), 0.5)
    images = reference.clone()
    images[1, :8] += 0.1
    compare = node("compare_images", "CompareImages")
    output = compare.execute(images, reference, gain=4.0)
    difference, summary = output.result
    assert 0.0 == float(difference[0].max())
    assert torch.allclose(torch.tensor(0.4), difference[1, :8])
    assert 0.0 == float(difference[1, 8:].max())
    assert ["Picture 1: PSNR 80.0 dB, SSIM 1.0000", "Picture 2: PSNR 23.0 dB"] == [
        line.removesuffix(line[23:]) if i else line for i, line in enumerate(summary.split("\n"))
    ]
    (shown,) = output.ui["ecad_pairs"]
    assert [0, 1] == [pair["index"] for pair in shown["pairs"]]
    assert 4 == len(list(temp.iterdir()))


def test_many_pictures_are_shown_evenly_spread(node, temp):
    images = torch.zeros(20, 4, 4, 3)
    output = node("compare_images", "CompareImages").execute(images, images)
    pairs = output.ui["ecad_pairs"][0]["pairs"]
    assert [0, 3, 5, 8, 11, 14, 16, 19] == [pair["index"] for pair in pairs]
    assert {None} == {pair["ssim"] for pair in pairs}  # too small for its window
    assert (20, 4, 4, 3) == tuple(output.result[0].shape)


def test_pictures_of_other_sizes_are_an_error_that_names_both(node, pack):
    error = pack.module("ecad_search.errors").EcadError
    compare = node("compare_images", "CompareImages")
    with pytest.raises(error, match=r"1 of 24 x 16 px .* 2 of 8 x 16 px"):
        compare.execute(torch.zeros(1, 16, 24, 3), torch.zeros(2, 16, 8, 3))


# --- The list ------------------------------------------------------------------------------------


@pytest.fixture
def listing(pack, saved):
    """Name -> entry of the list."""
    module, paths = pack.module("nodes.host.schedule_list"), pack.module("nodes.host.paths")
    schedules = module.ScheduleList()
    return lambda: {e["name"]: e for e in schedules.entries(paths.schedule_library())}


def test_every_name_of_the_combo_has_a_label_of_its_own(node, listing):
    names = options_of(node("cache_loader", "CacheLoader"), "schedule")
    entries = listing()
    assert names == list(entries)
    assert len(names) == len({entry["label"] for entry in entries.values()})
    assert [] == [e["error"] for e in entries.values() if "error" in e]


def test_labels_speak(listing):
    entries = listing()
    labels = {name: entry["label"] for name, entry in entries.items()}
    assert "PixArt-alpha / Sigma - FORA every 2 - 20 steps" == labels["pixart/fora-2-20-steps"]
    assert "Any model - FORA every 3 - 28 steps" == labels["any-model/fora-3-28-steps"]
    assert f"half - 1.8x - {STEPS} steps" == entries["my/half"]["words"]


def test_an_entry_fits_exactly_the_models_that_its_schedule_fits(listing, pack, tiny_pixart):
    fits_key = pack.module("nodes.host.schedule_view").fits_key
    detect = pack.module("nodes.host.patching").detect_architecture
    entry = listing()["my/half"]
    assert entry["fits"] == fits_key(detect(tiny_pixart(depth=3)))
    assert entry["fits"] != fits_key(detect(tiny_pixart(depth=2)))
    demo = pack.module("ecad_search.architectures").EMOJI_PIXART
    assert "pixart:blocks=10:" == fits_key(demo)  # web/js/connected_model.mjs knows it by this


def test_a_changed_file_is_read_again_and_a_broken_one_says_why(
    listing, schedule_folder, schedule, pack
):
    assert STEPS == listing()["my/half"]["steps"]
    save = pack.module("ecad_search.core.schedule_json").save
    save(schedule(2, steps=9), schedule_folder / "half.json")
    (schedule_folder / "broken.json").write_text('{"format": "ecad-schedule", "version": 1}')
    entries = listing()
    assert 9 == entries["my/half"]["steps"]
    assert "my/broken" in entries["my/broken"]["error"]
    assert str(schedule_folder) not in json.dumps(entries)
    (schedule_folder / "broken.json").unlink()
    assert "my/broken" not in listing()


def test_a_run_without_a_server_reports_nothing_and_works(
    node, saved, tiny_pixart, conditioning, sample, monkeypatch
):
    monkeypatch.delitem(sys.modules, "server", raising=False)
    patched, _ = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half").result
    latent = sample(patched, conditioning(1), conditioning(2), steps=STEPS)
    assert torch.isfinite(latent).all()


def test_both_ways_to_a_schedule_give_the_same_picture(
    node, saved, tiny_pixart, conditioning, sample
):
    model = tiny_pixart()
    loaded, given = node("cache_loader", "CacheLoader").execute(model, "my/half").result
    (applied,) = node("apply_schedule", "ApplySchedule").execute(model, given).result
    latents = [
        sample(m, conditioning(1), conditioning(2), steps=STEPS, cfg=3.0)
        for m in (loaded, applied, model)
    ]
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])


# --- Pick, save ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "value", "expected"),
    [("target speed-up", 1.6, 2), ("target speed-up", 2.5, 3), ("minimum quality", -0.06, 3)],
)
def test_a_front_is_picked_by_wish(node, front, schedule, by, value, expected):
    picked, facts = (
        node("pick_from_front", "PickFromFront")
        .execute(front, by, target_speedup=value, minimum_quality=value)
        .result
    )
    assert schedule(expected) == picked
    assert "fewer MACs" in facts and "16 samples" in facts


def test_the_knee_needs_no_number(node, front, said):
    picked, facts = node("pick_from_front", "PickFromFront").execute(front, "knee").result
    assert front.pick_knee().schedule == picked
    assert [("7", facts)] == said


def test_one_schedule_of_a_front_is_picked_by_its_key(node, front, schedule, pack):
    pick = node("pick_from_front", "PickFromFront")
    assert schedule(3) == pick.execute(front, "this schedule", key=schedule(3).key).result[0]
    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match=r"'0123'.*left the front"):
        pick.execute(front, "this schedule", key="0123")


def test_a_wish_that_cannot_be_met_says_what_can(node, pack, front):
    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match="best available"):
        node("pick_from_front", "PickFromFront").execute(front, "target speed-up", 50.0)


def test_a_saved_schedule_is_in_the_list(node, schedule_folder, schedule, said):
    shown = node("save_schedule", "SaveSchedule").execute(schedule(3), "tiny/third", False).ui
    assert "my/tiny/third" in shown["text"][0]
    assert (schedule_folder / "tiny" / "third.json").is_file()
    assert "my/tiny/third" == options_of(node("cache_loader", "CacheLoader"), "schedule")[-1]
    assert said and "7" == said[0][0]


def test_the_saved_file_carries_the_name_it_is_listed_by(node, schedule_folder, schedule):
    node("save_schedule", "SaveSchedule").execute(schedule(3), "my/third.json", False)
    assert "third" == json.loads((schedule_folder / "third.json").read_text())["name"]


def test_saving_twice_is_no_error_but_replacing_another_schedule_is(
    node, pack, schedule_folder, schedule
):
    save = node("save_schedule", "SaveSchedule").execute
    save(schedule(2), "mine", False)
    save(schedule(2), "mine", False)
    with pytest.raises(pack.module("ecad_search.errors").StorageError, match="exists already"):
        save(schedule(3), "mine", False)
    save(schedule(3), "mine", True)
    assert schedule(3) == pack.module("nodes.host.paths").schedule_library().load("my/mine")


@pytest.mark.parametrize("name", ["../out", "/tmp/x", "a/../../b", "con", "x" * 300, "a\\b"])
def test_a_schedule_is_never_saved_outside_its_folder(node, pack, schedule_folder, schedule, name):
    with pytest.raises(pack.module("ecad_search.errors").StorageError):
        node("save_schedule", "SaveSchedule").execute(schedule(2), name, True)
    assert [] == list(schedule_folder.iterdir())


def test_a_schedule_needs_a_name_to_be_saved(node):
    assert "no name" in node("save_schedule", "SaveSchedule").validate_inputs(name="  ")
    assert node("save_schedule", "SaveSchedule").validate_inputs(name="mine") is True


# --- Drawings, empty latent ----------------------------------------------------------------------


def test_drawings_are_images_and_shown_on_their_nodes(node, comfy, schedule, front):
    preview = node("schedule_preview", "SchedulePreview").execute(schedule(2), width=640)
    plot = node("front_plot", "FrontPlot").execute(front, 800, picked=schedule(3))
    assert (1, 600, 800, 3) == tuple(plot.result[0].shape)
    for output in (preview, plot):
        (image,) = output.result
        assert torch.float32 == image.dtype
        assert 0.0 <= float(image.min()) and float(image.max()) <= 1.0
        shown = (output.ui if isinstance(output.ui, dict) else output.ui.as_dict())["images"][0]
        assert "temp" == shown["type"]


@pytest.mark.parametrize(("channels", "scale"), [(1, 2), (4, 8), (16, 8)])
def test_an_empty_latent_has_the_shape_of_its_vae(node, channels, scale):
    vae = SimpleNamespace(latent_channels=channels, spacial_compression_encode=lambda: scale)
    (latent,) = node("empty_latent", "EmptyLatent").execute(vae, 96, 64, 3).result
    assert (3, channels, 64 // scale, 96 // scale) == tuple(latent["samples"].shape)
    assert 0 == float(latent["samples"].abs().sum())
