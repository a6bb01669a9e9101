"""The node on which schedules are painted: what goes in and out, what the browser is told."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest

STEPS = 6
LARGEST_TABLE = 20_000  # bytes in every GET /object_info


@pytest.fixture
def editor(pack, schedule_folder):
    """The class as the executor hands it to execute."""
    prepare = pack.module("nodes.schedule_editor").ScheduleEditor.PREPARE_CLASS_CLONE
    hidden = {"UNIQUE_ID": "7"}
    wrapped = "v3_data" in inspect.signature(prepare).parameters  # since 0.4
    return prepare({"hidden_inputs": hidden} if wrapped else hidden)


@pytest.fixture
def editing(pack):
    return pack.module("nodes.host.schedule_editing")


@pytest.fixture
def schedule_json(pack):
    return pack.module("ecad_search.core.schedule_json")


@pytest.fixture
def architectures(pack):
    return pack.module("ecad_search.architectures")


@pytest.fixture
def scheduled(pack, architectures):
    """Factory of a schedule with random cells for an architecture, by its id."""

    def build(id="flux", steps=STEPS, seed=0, **fields):
        architecture = architectures.find(id)
        rows = np.random.default_rng(seed).random((steps, architecture.n_cells)) < 0.5
        rows[0] = True
        return pack.module("ecad_search.core.schedule").Schedule(architecture, rows, **fields)

    return build


def view_of(output):
    (view,) = output.ui["ecad_schedule"]
    return json.loads(json.dumps(view))


# --- what goes out -------------------------------------------------------------------------------


def test_a_new_node_gives_out_a_schedule_that_computes_everything(editor):
    schema = editor.define_schema()
    inputs = {slot.id: getattr(slot, "default", None) for slot in schema.inputs}
    (made,) = editor.execute(**inputs).result
    assert (20, 1.0) == (made.steps, made.computed_fraction)
    assert inputs["start"] == f"new/{made.architecture.id}"


def test_what_was_painted_goes_out_even_where_the_start_is_gone(editor, schedule_json, scheduled):
    painted = scheduled(name="mine")
    text = schedule_json.dumps(painted)
    (made,) = editor.execute("my/gone", 3, edited=text).result
    assert np.array_equal(painted.compute, made.compute)
    assert editor.validate_inputs(start="my/gone", edited=text) is True


def test_without_edits_the_start_goes_out_as_it_is(
    editor, schedule_json, scheduled, schedule_folder
):
    kept = scheduled(info={"objectives": [{"name": "quality", "value": 0.5}]})
    schedule_json.save(kept, schedule_folder / "kept.json")
    (made,) = editor.execute("my/kept").result
    assert kept == made
    assert dict(kept.info) == dict(made.info)
    (stretched,) = editor.execute("my/kept", 9).result
    assert np.array_equal(kept.resampled(9).compute, stretched.compute)


def test_a_wired_schedule_goes_before_the_start(editor, scheduled):
    wired = scheduled()
    (made,) = editor.execute("new/pixart", 0, schedule=wired).result
    assert wired == made


def test_a_wired_schedule_is_asked_for_only_without_edits(editor):
    assert ["schedule"] == editor.check_lazy_status(edited=" ", schedule=None, start="new/flux")
    assert [] == editor.check_lazy_status(edited="{}", schedule=None)
    assert [] == editor.check_lazy_status(edited="", start="new/flux")  # not wired


def test_every_start_of_the_list_can_be_edited(editor, editing):
    starts = next(slot for slot in editor.define_schema().inputs if slot.id == "start").options
    assert "new/emoji-pixart" in starts and "flux/fora-2-20-steps" in starts
    assert [] == [name for name in starts if name.startswith("any-model/")]
    for name in starts:
        view = editing.start_view(name, "0")
        assert name == view["start"]["start"]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("my/hal", "such as 'my/half'"),
        ("new/nothing", "'nothing' is not known"),
        ("any-model/fora-2-20-steps", "choose a schedule that is named after your model"),
        ("my/../../secret", "not installed"),
    ],
)
def test_a_start_that_is_none_is_one_sentence_with_advice(
    editor, pack, schedule_json, scheduled, schedule_folder, start, said
):
    schedule_json.save(scheduled(), schedule_folder / "half.json")
    with pytest.raises(pack.module("ecad_search.errors").EcadError, match=said):
        editor.execute(start)


def test_a_start_whose_file_was_changed_is_read_again(
    editor, schedule_json, scheduled, schedule_folder
):
    file = schedule_folder / "half.json"
    schedule_json.save(scheduled(), file)
    first = editor.fingerprint_inputs(start="my/half", edited="")
    edited = editor.fingerprint_inputs(start="my/half", edited="{}")
    file.write_text(file.read_text() + "\n")
    assert first != editor.fingerprint_inputs(start="my/half", edited="")
    assert edited == editor.fingerprint_inputs(start="my/half", edited="{}")


# --- what is refused -----------------------------------------------------------------------------


def broken(text, **fields):
    return json.dumps({**json.loads(text), **fields})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-9], "not JSON"),
        (lambda text: "[]", "expected an object"),
        (lambda text: broken(text, steps=5), "6 rows, expected 5"),
        (lambda text: broken(text, compute=["0" * 28] * 6), "the first step must compute"),
        (lambda text: broken(text, compute=["8" * 28] * 6), "expected 0 to 7"),
        (lambda text: broken(text, blocks={"blocks": 10**9}), "blocks is"),
        (lambda text: text + " " * 8 * 1024 * 1024, "at most"),
        (lambda text: broken(text, x=json.loads("[" * 90 + "]" * 90)), "deep"),
    ],
)
def test_a_broken_text_is_refused_before_anything_runs(
    editor, pack, schedule_json, scheduled, change, said
):
    text = change(schedule_json.dumps(scheduled("pixart")))
    answer = editor.validate_inputs(start="new/flux", edited=text)
    assert isinstance(answer, str) and "\n" not in answer
    assert answer.startswith("The edited schedule")
    with pytest.raises(pack.module("ecad_search.errors").ScheduleError, match=said):
        editor.execute("new/flux", edited=text)


# --- saving --------------------------------------------------------------------------------------


def test_a_name_saves_what_was_painted_for_the_cache_loader(
    editor, pack, schedule_json, scheduled, schedule_folder
):
    painted = scheduled()
    output = editor.execute("new/flux", name=" flux/mine ", edited=schedule_json.dumps(painted))
    loader = pack.module("nodes.cache_loader").CacheLoader.define_schema()
    names = next(slot for slot in loader.inputs if slot.id == "schedule").options
    assert "my/flux/mine" in names
    found = schedule_json.load(schedule_folder / "flux" / "mine.json")
    assert np.array_equal(painted.compute, found.compute)
    assert "my/flux/mine" == view_of(output)["saved"]
    assert ["mine.json"] == [file.name for file in (schedule_folder / "flux").iterdir()]


def test_another_schedule_of_that_name_is_replaced_only_when_allowed(
    editor, pack, schedule_json, scheduled, schedule_folder
):
    first, other = (schedule_json.dumps(scheduled(seed=seed)) for seed in (1, 2))
    for _ in range(2):  # the same again is no error
        editor.execute("new/flux", name="mine", edited=first)
    with pytest.raises(pack.module("ecad_search.errors").StorageError, match="exists already"):
        editor.execute("new/flux", name="mine", edited=other)
    editor.execute("new/flux", name="my/mine.json", overwrite=True, edited=other)
    assert scheduled(seed=2) == schedule_json.load(schedule_folder / "mine.json")


@pytest.mark.parametrize(
    "name", ["../mine", "a/../../b", "con", "/etc/mine", "C:\\mine", ".hidden"]
)
def test_names_that_lead_elsewhere_are_refused(editor, pack, schedule_folder, name):
    with pytest.raises(pack.module("ecad_search.errors").StorageError):
        editor.execute("new/flux", name=name)
    assert [] == list(schedule_folder.parent.glob("*.json")) + list(schedule_folder.iterdir())


def test_without_a_name_nothing_is_written(editor, schedule_json, scheduled, schedule_folder):
    output = editor.execute("new/flux", name="  ", edited=schedule_json.dumps(scheduled()))
    assert "saved" not in view_of(output)
    assert [] == list(schedule_folder.iterdir())


# --- what the browser is told --------------------------------------------------------------------


def test_the_text_to_edit_does_what_the_start_does(editor, schedule_json, scheduled):
    info = {
        "sampling": {"sampler": "euler", "width": 96, "height": 96},
        "objectives": [{"name": "quality", "value": 0.5}],
        "paper": {"metrics": {"fid": 9}, "config": {"a": 1}},
        "payload": {"attn": "taylor1"},
        "seed": 2**64 + 1,
    }
    wired = scheduled(name="found", info=info)
    view = view_of(editor.execute("new/flux", 0, schedule=wired))
    assert {"start": "new/flux", "steps": 0, "linked": True} == view["start"]
    edited = schedule_json.loads(view["document"])
    assert np.array_equal(wired.compute, edited.compute)
    assert wired.key == edited.key
    assert "found-edited" == edited.name
    assert info["sampling"] == edited.info["sampling"]
    assert info["seed"] == edited.info["seed"]
    assert {"config": {"a": 1}} == edited.info["paper"]
    assert "objectives" not in edited.info  # measured on the start


def test_an_edit_says_what_it_was_made_of(editing, schedule_json, scheduled):
    origin = {"source_file": "x.json", "licence_note": "none is stated"}
    wired = scheduled(name="official", info={"provenance": origin})
    once = schedule_json.loads(editing.document_of(wired))
    twice = schedule_json.loads(editing.document_of(once))
    for edited in (once, twice):
        told = edited.info["provenance"]
        assert origin == told["original"]
        assert "none is stated" == told["licence_note"]
    assert ["official", "official-edited"] == [
        edited.info["provenance"]["edited_from"] for edited in (once, twice)
    ]
    assert "official-edited" == twice.name


def test_a_name_of_full_length_can_still_be_edited(editing, schedule_json, scheduled):
    edited = schedule_json.loads(editing.document_of(scheduled(name="x" * 200)))
    assert (200, True) == (len(edited.name), edited.name.endswith("-edited"))


def test_edits_are_not_sent_back_as_a_start(editor, schedule_json, scheduled):
    view = view_of(editor.execute("new/flux", edited=schedule_json.dumps(scheduled())))
    assert view["start"] is None
    assert "document" not in view


def test_the_shares_add_up_to_the_cost_of_a_schedule(editing, pack, architectures, scheduled):
    cost = pack.module("ecad_search.core.cost").relative_cost
    for architecture in architectures.ALL:
        schedule = scheduled(architecture.id)
        told = editing.costs_of(architecture)
        shares = np.concatenate(
            [np.tile(told["shares"][i], group.count) for i, group in enumerate(architecture.groups)]
        )
        expected = cost(schedule, architecture.native_workload())
        found = told["base"] + (schedule.compute * shares).sum() / schedule.steps
        assert expected == pytest.approx(found, rel=1e-6), architecture.id


def test_the_browser_knows_every_listed_architecture(editor, pack, architectures, scheduled):
    text = next(slot for slot in editor.define_schema().inputs if slot.id == "edited")
    told = text.as_dict()["ecad_architectures"]
    assert [architecture.id for architecture in architectures.ALL] == list(told)
    assert len(json.dumps(told)) < LARGEST_TABLE
    layout = pack.module("nodes.host.schedule_view").layout_view
    for architecture in architectures.ALL:
        assert layout(architecture, 1)["groups"] == told[architecture.id]["groups"]


def test_an_unlisted_architecture_brings_its_costs_along(editor, pack, tiny_pixart):
    detect = pack.module("nodes.host.patching").detect_architecture
    presets = pack.module("ecad_search.core.presets")
    wired = replace(presets.fora(detect(tiny_pixart()), STEPS, 2), name="tiny")
    view = view_of(editor.execute("new/flux", 0, schedule=wired))
    assert wired.architecture.id == view["architecture"]
    assert 1 == pytest.approx(view["base"] + 3 * sum(view["shares"][0]), rel=1e-6)


# --- the route -----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", ["-1", "10001", "1e3", "٣", "", "9" * 5000])
def test_a_route_takes_only_a_number_of_steps(editing, pack, steps):
    with pytest.raises(pack.module("ecad_search.errors").ScheduleError, match="0 to 10000"):
        editing.start_view("new/flux", steps)


def test_a_start_that_cannot_be_read_tells_no_path(editing, pack, schedule_folder):
    (schedule_folder / "broken.json").write_text("{}")
    with pytest.raises(pack.module("ecad_search.errors").ScheduleError) as caught:
        editing.start_view("my/broken", "0")
    told = editing.without_path("my/broken", str(caught.value))
    assert str(schedule_folder) in str(caught.value)
    assert str(schedule_folder) not in told and "'my/broken'" in told
