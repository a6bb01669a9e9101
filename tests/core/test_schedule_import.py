"""Files of the official repository become schedules of ours that say where they are from."""

from __future__ import annotations

import hashlib
import json

import pytest

from ecad_search import __version__
from ecad_search.architectures import EMOJI_PIXART, FLUX, PIXART, sized
from ecad_search.core import presets, schedule_json
from ecad_search.core.schedule_import import imported
from ecad_search.errors import ModelMismatchError, ScheduleError


@pytest.fixture
def official(tmp_path):
    """A file of the official layout, made here, with figures and a field nobody knows."""
    document = json.loads(schedule_json.dumps_paper(presets.fora(PIXART, 20, 3)))
    document["config"] = {"height": 256, "width": 256}
    document["metrics"] = {"total_macs": 2019308470272, "latency": {"avg": 82.5, "gpu": "A6000"}}
    document["more"] = ["of it"]
    document["cache_schedule"]["name"] = ""
    path = tmp_path / "gen_358.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document).encode())
    return path


def test_the_origin_of_a_file_is_kept(official):
    provenance = imported(official).info["provenance"]
    note = provenance.pop("licence_note")
    assert "states no licence" in note and 1 == note.count(".")
    assert {
        "imported_from": "the paper's format",
        "project": "github.com/AniAggarwal/ecad",
        "paper": "arXiv:2506.15682",
        "source_file": "gen_358.json",
        "source_sha256": hashlib.sha256(official.read_bytes()).hexdigest(),
        "converted_by": f"ComfyUI-ECAD {__version__}",
    } == provenance


def test_figures_and_unknown_fields_survive_both_ways(official, tmp_path):
    schedule = imported(official)
    schedule_json.save(schedule, tmp_path / "own.json")
    paper = schedule_json.load(tmp_path / "own.json").info["paper"]
    assert 82.5 == paper["metrics"]["latency"]["avg"]
    assert ["of it"] == paper["more"]
    original = json.loads(official.read_text(encoding="utf-8-sig"))
    original["cache_schedule"]["name"] = "gen_358"
    assert original == json.loads(schedule_json.dumps_paper(schedule))


def test_a_file_of_ours_keeps_its_own_provenance(official, tmp_path):
    schedule_json.save(imported(official), tmp_path / "own.json")
    again = imported(tmp_path / "own.json")
    assert "gen_358.json" == again.info["provenance"]["source_file"]
    assert imported(official).info == again.info
    schedule_json.save(presets.fora(PIXART, 4, 2), tmp_path / "preset.json")
    assert "provenance" not in imported(tmp_path / "preset.json").info


def test_another_architecture_of_the_same_blocks_can_be_stated(tmp_path):
    ten = presets.fora(sized("pixart", {"blocks": 10}, hidden=48), 20, 2)
    (tmp_path / "a.json").write_text(schedule_json.dumps_paper(ten))
    assert EMOJI_PIXART == imported(tmp_path / "a.json", EMOJI_PIXART).architecture
    with pytest.raises(ModelMismatchError, match="'flux' is not"):
        imported(tmp_path / "a.json", FLUX)


def test_the_official_files_carry_their_measurements(reference):
    for path in sorted(reference.glob("*.json")):
        if "tgate" in path.name:
            with pytest.raises(ScheduleError, match="T-GATE"):
                imported(path)
            continue
        found = imported(path).info
        assert hashlib.sha256(path.read_bytes()).hexdigest() == found["provenance"]["source_sha256"]
        assert json.loads(path.read_text())["metrics"] == found["paper"]["metrics"]
