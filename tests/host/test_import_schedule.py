"""The node that takes schedule files over from the input folder."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

NAME = "ours_fast.json"


@pytest.fixture
def inputs(comfy, tmp_path, monkeypatch):
    """An input folder of its own."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(comfy.folder_paths, "get_input_directory", lambda: str(folder))
    return folder


@pytest.fixture
def fora(pack, tiny_pixart):
    """A schedule for the tiny PixArt."""
    detect = pack.module("nodes.host.patching").detect_architecture
    return pack.module("ecad_search.core.presets").fora(detect(tiny_pixart()), 8, 2)


@pytest.fixture
def official(pack, inputs, fora):
    """A file of the official layout in the input folder."""
    document = json.loads(pack.module("ecad_search.core.schedule_json").dumps_paper(fora))
    document["metrics"] = {"total_macs_T": 2.1}
    document["cache_schedule"]["name"] = "gen_358_cand_014"
    (inputs / NAME).write_text(json.dumps(document))
    return document


@pytest.fixture
def node(pack):
    prepare = pack.module("nodes.import_schedule").ImportSchedule.PREPARE_CLASS_CLONE
    hidden = {"UNIQUE_ID": "7"}
    wrapped = "v3_data" in inspect.signature(prepare).parameters  # since 0.4
    return prepare({"hidden_inputs": hidden} if wrapped else hidden)


def test_files_of_the_input_folder_are_listed(node, official, inputs):
    (inputs / "a" / "b").mkdir(parents=True)
    (inputs / "a" / "b" / "deep.JSON").write_text("{}")
    (inputs / "picture.png").write_text("")
    (file,) = [slot for slot in node.define_schema().inputs if slot.id == "file"]
    assert ["a/b/deep.JSON", NAME] == list(file.options)


def test_an_empty_input_folder_leaves_the_node_in_the_menu(node, inputs):
    assert json.dumps(node.GET_NODE_INFO_V1())
    assert "No file is chosen" in node.validate_inputs(file="")


def test_an_official_file_becomes_a_schedule_that_runs(
    node, official, fora, tiny_pixart, conditioning, sample, apply
):
    schedule, summary = node.execute(NAME).result
    assert fora == schedule
    assert "gen_358_cand_014" == schedule.name
    assert {"total_macs_T": 2.1} == schedule.info["paper"]["metrics"]
    assert NAME == schedule.info["provenance"]["source_file"]
    assert "8 steps" in summary and NAME in summary and "arXiv:2506.15682" in summary
    reports = []
    patched = apply(tiny_pixart(), schedule, on_report=reports.append)
    sample(patched, conditioning(1), conditioning(2), steps=8)
    assert int(fora.compute.sum()) == reports[0].cells_computed


def test_a_saved_import_is_in_the_list_with_its_origin(node, pack, official, schedule_folder):
    _, summary = node.execute(NAME, name="tiny/fast", save=True).result
    assert "models/ecad_schedules/tiny/fast.json\n" in summary and "my/tiny/fast" in summary
    again = pack.module("nodes.host.paths").schedule_library().load("my/tiny/fast")
    assert ("tiny/fast", NAME) == (again.name, again.info["provenance"]["source_file"])
    assert "states no licence" in again.info["provenance"]["licence_note"]
    node.execute(NAME, name="tiny/fast", save=True)  # the same again is no error


def test_without_save_nothing_is_written(node, official, schedule_folder):
    node.execute(NAME)
    assert [] == list(schedule_folder.iterdir())


def test_another_schedule_is_replaced_on_request_only(
    node, pack, official, inputs, schedule_folder, fora
):
    module = pack.module("ecad_search.core.schedule_json")
    module.save(fora.resampled(4), inputs / "other.json")
    node.execute(NAME, name="mine", save=True)
    with pytest.raises(pack.module("ecad_search.errors").StorageError, match="exists already"):
        node.execute("other.json", name="mine", save=True)
    node.execute("other.json", name="mine", save=True, overwrite=True)
    assert 4 == module.load(schedule_folder / "mine.json").steps


def test_the_architecture_can_be_stated_where_it_fits(node, pack, official, inputs):
    with pytest.raises(pack.module("ecad_search.errors").ModelMismatchError, match="is not"):
        node.execute(NAME, architecture="emoji-pixart")
    sized = pack.module("ecad_search.architectures").sized
    ten = pack.module("ecad_search.core.presets").fora(sized("pixart", {"blocks": 10}), 8, 2)
    text = pack.module("ecad_search.core.schedule_json").dumps_paper(ten)
    (inputs / "ten.json").write_text(text)
    schedule, _ = node.execute("ten.json", architecture="emoji-pixart").result
    assert "emoji-pixart" == schedule.architecture.id


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a/../../x.json", "C:\\x.json"])
def test_names_that_lead_out_of_the_input_folder_are_refused(node, pack, inputs, name):
    (inputs.parent / "secret.json").write_text("{}")
    assert "expected a relative name inside" in node.validate_inputs(file=name)
    with pytest.raises(pack.module("ecad_search.errors").StorageError):
        node.execute(name)
    assert "" == node.fingerprint_inputs(file=name)


def test_what_cannot_be_imported_is_said_before_anything_runs(node, official, inputs):
    assert "no file 'none.json'" in node.validate_inputs(file="none.json")
    entry = official["cache_schedule"]["schedule"]["000"]["0"]
    entry["custom_compute_attn"] = {"name": "compute_attn_tgate"}
    (inputs / "tgate.json").write_text(json.dumps(official))
    assert "T-GATE" in node.validate_inputs(file="tgate.json")
    assert node.validate_inputs(file=NAME) is True
    assert node.validate_inputs(file=None) is True


def test_an_edited_file_is_read_again(node, official, inputs):
    first = node.fingerprint_inputs(file=NAME, name="x")
    assert first == node.fingerprint_inputs(file=NAME, name="x")
    Path(inputs / NAME).write_text(json.dumps(official) + "\n")
    assert first != node.fingerprint_inputs(file=NAME, name="x")
