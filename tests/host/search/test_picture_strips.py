"""The small pictures that the search panel shows beside its points."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image


@pytest.fixture
def module(pack):
    return pack.module("nodes.host.picture_strips")


@pytest.fixture
def strips(module, tmp_path):
    return module.PictureStrips(tmp_path / "a.pictures")


def pictures(shade, count=4, width=96, height=48):
    return torch.full((count, height, width, 3), shade, dtype=torch.uint8)


def test_a_strip_has_the_first_three_pictures_in_small(module):
    strip = Image.open(io.BytesIO(module.strip_of(pictures(200))))
    assert (3 * 80, 40, "JPEG") == (*strip.size, strip.format)
    assert (200, 200, 200) == strip.getpixel((100, 20))


def test_only_what_is_asked_for_is_written_and_the_first_pictures_count(strips):
    strips.see("one", pictures(50, count=1))
    strips.see("two", pictures(50))
    strips.see("one", pictures(250))
    strips.write(["one", "never seen"])
    assert ["one.jpg"] == [file.name for file in strips.folder.iterdir()]
    with Image.open(strips.folder / "one.jpg") as strip:
        assert ((80, 40), (50, 50, 50)) == (strip.size, strip.getpixel((40, 20)))


def test_a_strip_that_is_there_is_left_alone(strips):
    strips.folder.mkdir()
    (strips.folder / "one.jpg").write_bytes(b"of an earlier run")
    strips.see("one", pictures(50))
    strips.write(["one"])
    assert b"of an earlier run" == (strips.folder / "one.jpg").read_bytes()


def test_a_disk_that_takes_none_ends_the_strips_and_not_the_search(strips, caplog):
    strips.folder.write_text("a file stands where the folder should be")
    for key in ("one", "two"):
        strips.see(key, pictures(50))
        strips.write([key])
    assert 1 == len(caplog.records) and "no pictures for the panel" in caplog.text


def test_the_newest_are_remembered(module, strips, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for key in "abc":
        strips.see(key, pictures(50, count=1))
    strips.write("abc")
    assert {"b.jpg", "c.jpg"} == {file.name for file in strips.folder.iterdir()}


def test_every_schedule_of_a_search_s_front_has_its_pictures(search, output):
    result = search(images=24)
    (told,) = result.ui["ecad_search"]
    folder = output / told["pictures"]
    assert f"ecad/{told['journal']}.pictures" == told["pictures"]
    front = [point for point in told["front"]["points"] if point["on_front"]]
    assert front and {point["key"] for point in front} <= {file.stem for file in folder.iterdir()}
