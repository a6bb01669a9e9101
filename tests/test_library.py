import json
import os
import sys
from dataclasses import replace

import pytest

from ecad_search.architectures import EMOJI_PIXART
from ecad_search.builtin_schedules import builtin_schedules
from ecad_search.core import presets, schedule_json
from ecad_search.errors import ScheduleError, StorageError
from ecad_search.library import ScheduleLibrary, spoken_name

SCHEDULE = presets.fora(EMOJI_PIXART, 4, 2)
OTHER = presets.fora(EMOJI_PIXART, 4, 3)


@pytest.fixture
def library(tmp_path):
    schedule_json.save(SCHEDULE, tmp_path / "builtin" / "emoji-pixart" / "fora.json")
    return ScheduleLibrary(tmp_path / "builtin", tmp_path / "user")


def test_names_come_from_folders_built_in_first(library):
    library.save(SCHEDULE, "b")
    library.save(SCHEDULE, "my/a")
    library.save(SCHEDULE, "flux/ä 🎨")
    expected = ["emoji-pixart/fora", "my/a", "my/b", "my/flux/ä 🎨"]
    assert expected == library.names()
    for name in expected:
        assert SCHEDULE == library.load(name)


def test_missing_folders_are_empty(tmp_path):
    assert [] == ScheduleLibrary(tmp_path / "none", [tmp_path / "nor this"]).names()
    assert [] == ScheduleLibrary(tmp_path / "none").names()


def test_a_broken_file_is_listed_and_fails_only_when_loaded(library):
    library.save(SCHEDULE, "good")
    (library.user[0] / "broken.json").write_bytes(b"\xff{")
    (library.user[0] / "readme.txt").write_text("no schedule")
    (library.user[0] / ".ecad-half.json").write_text("{")
    (library.user[0] / "folder.json").mkdir()
    assert ["emoji-pixart/fora", "my/broken", "my/good"] == library.names()
    with pytest.raises(ScheduleError, match=r"broken\.json is not UTF-8"):
        library.load("my/broken")


def test_the_first_user_folder_wins(tmp_path):
    library = ScheduleLibrary(tmp_path / "builtin", [tmp_path / "one", tmp_path / "two"])
    library.save(OTHER, "a", tmp_path / "two")
    assert OTHER == library.load("my/a")
    library.save(SCHEDULE, "a")
    assert SCHEDULE == library.load("my/a")
    assert ["my/a"] == library.names()
    assert tmp_path / "one" / "a.json" == library.path("my/a")


def test_saving_never_overwrites_unasked(library):
    path = library.save(SCHEDULE, "a")
    with pytest.raises(StorageError, match="exists already"):
        library.save(OTHER, "a")
    assert SCHEDULE == library.load("my/a")
    assert path == library.save(OTHER, "a", overwrite=True)
    assert OTHER == library.load("my/a")


def test_a_file_on_disk_is_complete_json(library):
    path = library.save(SCHEDULE, "a.json")
    assert "a.json" == path.name
    assert "ecad-schedule" == json.loads(path.read_text(encoding="utf-8"))["format"]


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "..", "../a", "a/../../b", "a/..", "./a", "/etc/passwd", "a//b", "a/",
        "C:/a", "C:a", "a\\b", "\\\\server\\a", "a:b", "a*", "a?", 'a"', "<a>", "a|b",
        "a\0", "a\n", "\u202ea", " a", "a ", "a.", ".hidden", "con", "CON", "nul.txt", "Com1",
        "LPT9.x.y", "aux/a", "com²", "x" * 121, "🎨" * 100, "\ud800",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(library, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError) as error:
        library.save(SCHEDULE, name)
    assert str(error.value).isprintable()
    for prefix in ("", "my/"):
        with pytest.raises(StorageError):
            library.load(prefix + name)
    assert before == sorted(tmp_path.rglob("*"))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_does_not_lead_out_of_the_folder(library, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    library.user[0].mkdir()
    os.symlink(outside, library.user[0] / "link")
    with pytest.raises(StorageError, match="leads out"):
        library.save(SCHEDULE, "link/a")
    assert [] == list(outside.iterdir())
    os.symlink(library.user[0] / "loop.json", library.user[0] / "loop.json")
    with pytest.raises(StorageError):
        library.load("my/loop")


def test_an_unknown_name_is_a_sentence(library):
    with pytest.raises(StorageError, match="no schedule 'flux/fast'"):
        library.load("flux/fast")


def test_without_a_user_folder_saving_needs_one(tmp_path):
    library = ScheduleLibrary(tmp_path)
    with pytest.raises(StorageError, match="no user folder"):
        library.save(SCHEDULE, "a")
    assert tmp_path / "x" / "a.json" == library.save(SCHEDULE, "a", tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "schedule", "expected"),
    [
        ("flux/fora-2-20-steps", None, "FLUX.1 - FORA every 2 - 20 steps"),
        (
            "pixart/fora-attention-2-20-steps",
            None,
            "PixArt-alpha / Sigma - FORA every 2, attention only - 20 steps",
        ),
        ("pixart/tgate-10-20-steps", None, "PixArt-alpha / Sigma - T-GATE from step 10 - 20 steps"),
        (
            "emoji-pixart/ecad-2.0x-20-steps",
            replace(SCHEDULE, info={"provenance": {"search": "0f", "mode": "ecad+"}}),
            "Emoji PixArt (demo) - ECAD 2.0x - 4 steps",
        ),
        ("emoji-pixart/other", SCHEDULE, "Emoji PixArt (demo) - other - 4 steps"),
        ("my/emoji/best", SCHEDULE, "Emoji PixArt (demo) - emoji/best - 2.0x - 4 steps"),
        (
            "emoji-pixart/odd",
            replace(SCHEDULE, info={"provenance": ["not", "an", "object"]}),
            "Emoji PixArt (demo) - odd - 4 steps",
        ),
    ],
)
def test_a_name_speaks(name, schedule, expected):
    assert expected == str(spoken_name(name, schedule or builtin_schedules()[name]))
