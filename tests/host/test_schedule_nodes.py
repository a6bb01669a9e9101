"""The nodes that load, apply, pick, save and draw schedules, on a real tiny PixArt."""

from __future__ import annotations

import inspect
import json
import sys
from types import SimpleNamespace

import pytest
import torch

STEPS = 6


@pytest.fixture
def folder(comfy, pack, tmp_path, monkeypatch):
    """An empty models/ecad_schedules."""
    paths = pack.module("nodes.host.paths")
    known = comfy.folder_paths.folder_names_and_paths
    monkeypatch.setitem(known, paths.SCHEDULES.name, ([str(tmp_path)], {".json"}))
    return tmp_path


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
def schedule(pack, tiny_pixart):
    """Factory of a FORA schedule for a tiny PixArt of `depth` blocks."""
    detect = pack.module("nodes.host.patching").detect_architecture
    presets = pack.module("ecad_search.core.presets")

    def build(every=2, steps=STEPS, depth=3):
        return presets.fora(detect(tiny_pixart(depth=depth)), steps, every)

    return build


@pytest.fixture
def saved(pack, folder, schedule):
    """A schedule in models/ecad_schedules, listed as 'my/half'."""
    half = schedule(2)
    pack.module("ecad_search.core.schedule_json").save(half, folder / "half.json")
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


def test_the_list_shows_built_in_schedules_first_and_a_new_file_after_r(node, saved, folder):
    loader = node("cache_loader", "CacheLoader")
    names = options_of(loader, "schedule")
    assert "pixart/fora-2-20-steps" in names
    assert "my/half" == names[-1]
    (folder / "zz.json").write_text((folder / "half.json").read_text())
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
def test_names_that_lead_elsewhere_are_refused(node, folder, name):
    assert isinstance(node("cache_loader", "CacheLoader").validate_inputs(schedule=name), str)


def test_a_broken_file_is_refused_before_anything_runs(node, folder):
    (folder / "broken.json").write_text('{"format": "ecad-schedule", "version": 1}')
    answer = node("cache_loader", "CacheLoader").validate_inputs(schedule="my/broken")
    assert "broken.json" in answer


def test_an_edited_file_is_loaded_again(node, saved, folder):
    loader = node("cache_loader", "CacheLoader")
    first = loader.fingerprint_inputs(schedule="my/half", model=None)
    assert first == loader.fingerprint_inputs(schedule="my/half", model=None)
    file = folder / "half.json"
    file.write_text(file.read_text() + "\n")
    assert first != loader.fingerprint_inputs(schedule="my/half", model=None)
    assert "" == loader.fingerprint_inputs(schedule="my/gone")


def test_each_run_is_reported_on_the_loader(node, saved, tiny_pixart, conditioning, sample, said):
    patched, _ = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half").result
    assert ["7"] == [where for where, _ in said]
    assert f"{STEPS} steps" in said[0][1]
    sample(patched, conditioning(1), conditioning(2), steps=STEPS, cfg=3.0)
    assert ("7", True) == (said[-1][0], "50% of the components reused" in said[-1][1])


def test_another_number_of_steps_is_said_in_the_report(
    node, saved, tiny_pixart, conditioning, sample, said
):
    patched, _ = node("cache_loader", "CacheLoader").execute(tiny_pixart(), "my/half").result
    sample(patched, conditioning(1), conditioning(2), steps=9)
    assert f"9 steps run on a schedule of {STEPS}" in said[-1][1]


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


def test_a_saved_schedule_is_in_the_list(node, folder, schedule, said):
    shown = node("save_schedule", "SaveSchedule").execute(schedule(3), "tiny/third", False).ui
    assert "my/tiny/third" in shown["text"][0]
    assert (folder / "tiny" / "third.json").is_file()
    assert "my/tiny/third" == options_of(node("cache_loader", "CacheLoader"), "schedule")[-1]
    assert said and "7" == said[0][0]


def test_the_saved_file_carries_the_name_it_is_listed_by(node, folder, schedule):
    node("save_schedule", "SaveSchedule").execute(schedule(3), "my/third.json", False)
    assert "third" == json.loads((folder / "third.json").read_text())["name"]


def test_saving_twice_is_no_error_but_replacing_another_schedule_is(node, pack, folder, schedule):
    save = node("save_schedule", "SaveSchedule").execute
    save(schedule(2), "mine", False)
    save(schedule(2), "mine", False)
    with pytest.raises(pack.module("ecad_search.errors").StorageError, match="exists already"):
        save(schedule(3), "mine", False)
    save(schedule(3), "mine", True)
    assert schedule(3) == pack.module("nodes.host.paths").schedule_library().load("my/mine")


@pytest.mark.parametrize("name", ["../out", "/tmp/x", "a/../../b", "con", "x" * 300, "a\\b"])
def test_a_schedule_is_never_saved_outside_its_folder(node, pack, folder, schedule, name):
    with pytest.raises(pack.module("ecad_search.errors").StorageError):
        node("save_schedule", "SaveSchedule").execute(schedule(2), name, True)
    assert [] == list(folder.iterdir())


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
