import copy
import json
import os
import random
import stat
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecad_search.architectures import EMOJI_PIXART, FLUX, GENERIC_FAMILY, PIXART, sized
from ecad_search.core import paper_sigmas, presets, schedule_json
from ecad_search.core.schedule import Schedule
from ecad_search.errors import EcadError, ScheduleError, StorageError

TINY = sized("pixart", {"blocks": 2}, hidden=16, text_tokens=7, mlp_ratio=2.5)
TINY_FLUX = sized("flux", {"double_blocks": 1, "single_blocks": 2}, hidden=16, id="my flux")

UNKNOWN = GENERIC_FAMILY.build(
    {"layers": 2, "@2.layers": 1},
    id=None,
    display_name=None,
    **{"hidden": 16, "layers/attn": 900, "layers/ff": 8000, "@2.layers/attn": 900},
)

names = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=20)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
unknown_fields = st.dictionaries(
    st.text(max_size=8).filter(
        lambda n: n not in schedule_json.ROW_FIELDS and n not in schedule_json.INFO_FIELDS
    ),
    values,
    max_size=4,
)


@st.composite
def schedules(draw, architectures=(TINY, TINY_FLUX, EMOJI_PIXART, UNKNOWN)):
    architecture = draw(st.sampled_from(architectures))
    steps = draw(st.integers(1, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    rows = np.random.default_rng(seed).random((steps, architecture.n_cells)) < 0.5
    rows[0] = True
    return Schedule(architecture, rows, name=draw(names), info=draw(unknown_fields))


def document(**changes) -> dict:
    """A valid file, with fields replaced; None takes a field away."""
    found = json.loads(schedule_json.dumps(presets.fora(TINY, 4, 2)))
    found |= changes
    return {name: value for name, value in found.items() if value is not None}


def message_of(text: str) -> str:
    with pytest.raises(ScheduleError) as error:
        schedule_json.loads(text, source="my.json")
    message = str(error.value)
    assert message.isprintable()
    assert "my.json" in message
    assert len(message) < 700
    return message


# --- round trips


@given(schedules())
def test_what_is_written_is_read_again(schedule):
    text = schedule_json.dumps(schedule)
    again = schedule_json.loads(text)
    assert np.array_equal(schedule.compute, again.compute)
    assert schedule.architecture == again.architecture
    assert schedule.name == again.name
    assert schedule.info == again.info
    assert text == schedule_json.dumps(again)


@given(schedules(architectures=(TINY, TINY_FLUX)))
def test_the_paper_s_format_keeps_the_rows(schedule):
    again = schedule_json.loads(schedule_json.dumps_paper(schedule))
    assert np.array_equal(schedule.compute, again.compute)
    assert schedule.architecture.fits(again.architecture)
    assert schedule == again


def test_a_row_is_one_digit_per_block():
    rows = np.ones((2, FLUX.n_cells), dtype=bool)
    rows[1] = False
    for cell in ("double_blocks.0.attn", "double_blocks.1.img_mlp", "single_blocks.0.proj_out"):
        rows[1, [str(c) for c in FLUX.cells].index(cell)] = True
    text = schedule_json.dumps(Schedule(FLUX, rows))
    assert f'"12{"0" * 17} 4{"0" * 37}"' in text
    assert 2 == sum(line.count(" 7") + line.count(" 4") for line in text.splitlines()[19:])


def test_unknown_fields_survive_and_known_ones_come_first():
    schedule = schedule_json.loads(
        json.dumps(document(zebra=[1], provenance={"tool": "x"}, sampling={"cfg": 3.5}))
    )
    assert {"zebra": [1], "provenance": {"tool": "x"}, "sampling": {"cfg": 3.5}} == schedule.info
    fields = list(json.loads(schedule_json.dumps(schedule)))
    assert ["compute", "sampling", "provenance", "zebra"] == fields[-4:]


def test_numbers_of_numpy_are_numbers():
    info = {"objectives": [{"value": np.float32(0.5), "n": np.int64(3)}]}
    text = schedule_json.dumps(Schedule(TINY, np.ones((1, 6), dtype=bool), info=info))
    assert [{"value": 0.5, "n": 3}] == schedule_json.loads(text).info["objectives"]


@pytest.mark.parametrize(
    "info",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": object()},
        {"x": {1: "a", "1": "b"}},
        {"steps": 3},
        {"x": 10**400},
        {3: "x"},
        {"x": "a" * (9 * 1024 * 1024)},
    ],
)
def test_what_cannot_be_read_again_is_not_written(info):
    schedule = Schedule(TINY, np.ones((1, 6), dtype=bool), info=info)
    with pytest.raises(ScheduleError):
        schedule_json.dumps(schedule)


@pytest.mark.parametrize("name", ["a\nb", "x" * 300, "\x1b[2Ja"])
def test_a_name_that_cannot_be_read_again_is_written_without_what_is_wrong(name):
    schedule = Schedule(TINY, np.ones((1, 6), dtype=bool), name=name)
    again = schedule_json.loads(schedule_json.dumps(schedule))
    assert "".join(c for c in name if c.isprintable())[:200] == again.name


def test_a_listed_id_means_the_listed_size():
    other = sized("pixart", {"blocks": 28}, hidden=48, id="pixart")
    with pytest.raises(ScheduleError, match="another id"):
        schedule_json.dumps(presets.uncached(other, 2))


def test_half_a_surrogate_pair_survives():
    schedule = Schedule(TINY, np.ones((1, 6), dtype=bool), info={"x": "\ud800", "y": "é"})
    text = schedule_json.dumps(schedule)
    assert text.encode("utf-8")
    assert schedule.info == schedule_json.loads(text).info


# --- broken files: one line that names file, field, found and expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": None}, "format is missing, expected 'ecad-schedule'"),
        ({"format": "x"}, "format is \"x\", expected 'ecad-schedule'"),
        ({"version": None}, "version is missing, expected 1"),
        ({"version": True}, "version is true, expected 1"),
        ({"version": 2}, "newer ComfyUI-ECAD, update this one"),
        ({"name": "a\nb"}, "name is"),
        ({"name": 3}, "name is 3"),
        ({"architecture": 3}, "architecture is 3"),
        ({"architecture": "flux"}, "family is \"pixart\", expected 'flux'"),
        ({"architecture": "emoji-pixart"}, 'expected {"blocks": 10}'),
        ({"family": "unet"}, "expected one of pixart, flux"),
        ({"family": []}, "family is an empty list"),
        ({"blocks": {"blocks": -1}}, "blocks of a PixArt model is -1"),
        ({"blocks": {"blocks": 10**12}}, "from 0 to 1024"),
        ({"blocks": {"layers": 2}}, "got ['layers']"),
        ({"blocks": [2]}, "blocks is a list"),
        ({"blocks": {"blocks": 3}}, "compute[0]"),
        ({"components": {"blocks": ["attn"]}}, "components is"),
        ({"components": None}, "components is missing"),
        ({"size": {"hidden": "wide"}}, "hidden"),
        ({"size": {"id": "x"}}, "size is an object"),
        ({"steps": 5}, "compute has 4 rows, expected 5"),
        ({"steps": 4.0}, "steps is 4.0, expected a whole number"),
        ({"steps": True}, "steps is true"),
        ({"steps": 10**9}, "from 1 to 10000"),
        ({"compute": "7777"}, 'compute is "7777"'),
        ({"compute": ["77", "00", "77", 0]}, "compute[3] is 0"),
        ({"compute": ["77", "00", "77", "0"]}, 'compute[3] is "0" (1 characters)'),
        ({"compute": ["77", "00", "77", "0x"]}, "compute[3]"),
        ({"compute": ["77", "00", "77", "08"]}, "compute[3] has 8 for blocks 1, expected 0 to 7"),
        ({"compute": ["77", "00", "77", "٣٣"]}, "compute[3]"),
        ({"compute": ["77", "00", "77", "0\n"]}, "compute[3]"),
        ({"compute": ["73", "00", "77", "00"]}, "reuses blocks.1.mlp in row 0"),
        ({"sampling": []}, "sampling is an empty list, expected an object"),
        ({"sampling": {"sigmas": "high"}}, "sampling.sigmas that are no noise levels"),
        ({"sampling": {"sigmas": [1.0]}}, "expected a list of 2 to 10001 falling numbers"),
        ({"sampling": {"sigmas": [1, 2, 0]}}, "sampling.sigmas"),
        ({"sampling": {"sigmas": [1, True, 0]}}, "sampling.sigmas"),
        ({"sampling": {"sigmas": [2, 1, -1]}}, "sampling.sigmas"),
        ({"sampling": {"sigmas": [1, 1]}}, "sampling.sigmas"),
        ({"objectives": {}}, "objectives is an empty object, expected a list"),
        ({"payload": {"attn": "magic"}}, "magic"),
    ],
)
def test_a_broken_field_is_named_with_what_was_found_and_expected(changes, expected):
    assert expected in message_of(json.dumps(document(**changes)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not JSON (line 1, column 1"),
        ("{", "is not JSON"),
        ('{"format": "ecad-schedule",\n "version": }', "line 2"),
        ("[]", "holds an empty list"),
        ("null", "holds null"),
        ("3", "holds 3"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "1e999"),
        ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
        ('{"a": 1, "a": 2}', 'the field "a" stands twice'),
        ('{"x": ' + "[" * 100 + "]" * 100 + "}", "nested too deeply"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        (" " * (8 * 1024 * 1024 + 1), "at most 8,388,608"),
        ("{}", "format is missing"),
    ],
)
def test_broken_json_is_one_sentence(text, expected):
    assert expected in message_of(text)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_mutated_text_ends_in_a_schedule_or_a_sentence(seed, paper):
    rng = random.Random(seed)
    schedule = presets.fora(rng.choice((TINY, TINY_FLUX)), 3, 2)
    text = schedule_json.dumps_paper(schedule) if paper else schedule_json.dumps(schedule)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        end = min(len(text), at + rng.choice((0, 1, 1, 2, 30)))
        new = rng.choice(
            ("", "7", "-", "]", "{}", "null", "true", '"', ",", "1e9", "\\u0000", "[[", ":")
        )
        text = text[:at] + new + text[end:]
    try:
        assert schedule_json.loads(text).steps >= 1
    except EcadError as error:
        assert str(error).isprintable()


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_a_file_with_any_field_replaced_ends_in_a_schedule_or_a_sentence(data, paper):
    schedule = presets.fora(TINY_FLUX, 2, 2)
    text = schedule_json.dumps_paper(schedule) if paper else schedule_json.dumps(schedule)
    node = root = json.loads(text)
    while True:
        places = list(node) if isinstance(node, dict) else list(range(len(node)))
        place = data.draw(st.sampled_from(places))
        below = node[place]
        if isinstance(below, (dict, list)) and below and data.draw(st.booleans()):
            node = below
            continue
        node[place] = data.draw(values)
        break
    try:
        assert schedule_json.loads(json.dumps(root)).steps >= 1
    except EcadError as error:
        assert str(error).isprintable()


# --- files


def test_a_file_is_read_again_and_lends_its_name(tmp_path):
    path = tmp_path / "ordner für 日本語 🎨" / "schnell é.json"
    schedule = Schedule(TINY, np.ones((2, 6), dtype=bool))
    schedule_json.save(schedule, path)
    again = schedule_json.load(path)
    assert schedule == again
    assert "schnell é" == again.name
    assert [path] == list(path.parent.iterdir())


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read(tmp_path):
    path = tmp_path / "a.json"
    text = schedule_json.dumps(presets.fora(TINY, 4, 2)).replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert presets.fora(TINY, 4, 2) == schedule_json.load(path)


@pytest.mark.parametrize("content", [b"\xff\xfe{\x00}\x00", b'{"name": "\xe9"}', bytes(range(256))])
def test_a_file_that_is_not_utf8_is_a_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ScheduleError, match=r"a\.json is not UTF-8 text"):
        schedule_json.load(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(50 * 1024**3)  # sparse: reading it would take minutes
    with pytest.raises(ScheduleError, match="53,687,091,200 bytes"):
        schedule_json.load(path)


def test_what_is_no_file_cannot_be_read(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        schedule_json.load(tmp_path / "none.json")
    with pytest.raises(StorageError, match="not a file"):
        schedule_json.load(tmp_path)
    with pytest.raises(StorageError):
        schedule_json.load("a\0b")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        with pytest.raises(StorageError, match="not a file"):
            schedule_json.load(tmp_path / "pipe.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    schedule_json.save(presets.fora(TINY, 4, 2), path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        schedule_json.save(presets.fora(TINY, 4, 3), path)
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    schedule_json.save(presets.fora(TINY, 4, 2), path)
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        schedule_json.save(presets.fora(TINY, 4, 3), path)
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_an_unwritable_place_is_a_storage_error(tmp_path):
    schedule = presets.fora(TINY, 4, 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        schedule_json.save(schedule, tmp_path / "file" / "a.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        schedule_json.save(schedule, tmp_path / "folder.json")
    with pytest.raises(StorageError, match="cannot be written"):
        schedule_json.save(schedule, tmp_path / ("x" * 300 + ".json"))
    with pytest.raises(StorageError, match="cannot be written"):
        schedule_json.save(schedule, str(tmp_path / "a\0.json"))
    assert {"file", "folder.json"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.skipif(
    sys.platform == "win32" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="needs a user to whom permissions apply",
)
def test_a_folder_without_permission_is_a_storage_error(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        schedule_json.save(presets.fora(TINY, 4, 2), folder / "a.json")


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a POSIX thing")
def test_a_saved_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    schedule_json.save(presets.fora(TINY, 4, 2), tmp_path / "a.json")
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert expected == stat.S_IMODE((tmp_path / "a.json").stat().st_mode)


# --- the paper's format


def paper_document() -> dict:
    """A file of the official layout, made here: two blocks, three steps, step 0 reuses one cell."""
    all_of_it = {"attn1": True, "attn2": True, "ff": True}
    return {
        "cache_schedule": {
            "num_blocks": 2,
            "num_inference_steps": 3,
            "name": "made_up",
            "attributes": {"gate_step": 10},
            "schedule": {
                "000": {"0": all_of_it, "1": {"attn1": True, "attn2": False, "ff": True}},
                "001": {"1": {"attn1": False, "attn2": False, "ff": True}, "0": dict(all_of_it)},
                "002": {
                    "0": {"ff": False, "attn2": True, "attn1": False},
                    "1": {"attn1": False, "attn2": False, "ff": False, "custom_compute_ff": None},
                },
            },
        },
        "config": {"height": 256, "width": 512, "guidance_scale": 4.5},
        "metrics": {"total_macs": 5},
        "more": "of it",
    }


def test_the_paper_s_file_is_read_with_step_0_completed():
    schedule = schedule_json.loads(json.dumps(paper_document()))
    expected = [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]]
    assert expected == schedule.compute.astype(int).tolist()
    assert {"blocks": 2} == schedule.architecture.counts
    assert "made_up" == schedule.name
    sampling = dict(schedule.info["sampling"])
    expected = paper_sigmas.pixart_levels(3).tolist()
    assert pytest.approx(expected, rel=1e-6) == sampling.pop("sigmas")
    assert {"width": 512, "height": 256, "guidance": 4.5} == sampling
    assert 1 == schedule.info["provenance"]["cells_set_in_step_0"]


def test_a_paper_s_file_of_flux_states_the_levels_of_its_size():
    def levels(**config):
        document = json.loads(schedule_json.dumps_paper(presets.fora(TINY_FLUX, 20, 2)))
        document["config"] = config
        return schedule_json.loads(json.dumps(document)).noise_levels

    assert pytest.approx(0.6224594) == levels()[10] == levels(width=256, height=256)[10]
    assert pytest.approx(0.7595109) == levels(width=1024, height=1024)[10]
    assert () == levels(width="wide") == levels(height=0) == levels(width=10**9)


def test_the_paper_s_file_is_written_as_it_was():
    original = paper_document()
    written = json.loads(schedule_json.dumps_paper(schedule_json.loads(json.dumps(original))))
    original["cache_schedule"]["schedule"]["000"]["1"]["attn2"] = True
    del original["cache_schedule"]["schedule"]["002"]["1"]["custom_compute_ff"]
    assert original == written


@pytest.mark.parametrize("field", ["custom_compute_attn", "custom_compute_ff"])
def test_a_custom_computation_is_refused(field):
    found = paper_document()
    custom = {"name": "compute_attn_tgate", "kwargs": {"gate_step": 10}}
    found["cache_schedule"]["schedule"]["001"]["1"][field] = custom
    message = message_of(json.dumps(found))
    assert f'cache_schedule.schedule.001.1.{field} is "compute_attn_tgate"' in message
    assert "T-GATE's averaged cross-attention" in message
    assert "cannot be run" in message


def broken_papers():
    def change(path, value):
        found = paper_document()
        node = found
        for part in path[:-1]:
            node = node[part]
        if value is None:
            del node[path[-1]]
        else:
            node[path[-1]] = value
        return found

    c, s = "cache_schedule", "schedule"
    block = {"attn1": True, "attn2": True, "ff": True}
    return [
        (change((c,), []), "cache_schedule is an empty list"),
        (change((c, s), None), "cache_schedule.schedule is missing"),
        (change((c, s), {}), "has 0 steps, expected 000 to 002"),
        (change((c, "num_inference_steps"), "3"), 'num_inference_steps is "3"'),
        (change((c, "num_inference_steps"), 4), "has 3 steps, expected 000 to 003"),
        (change((c, "num_blocks"), 3), "cache_schedule.num_blocks is 3, expected 2"),
        (change((c, "num_blocks"), True), "num_blocks is true"),
        (change((c, s, "001"), []), "schedule.001 is an empty list"),
        (change((c, s, "000"), {}), "schedule.000 is an empty object"),
        (change((c, s, "000"), {"0": {"q": 1}}), "expected the components of PixArt"),
        (change((c, s, "001", "1"), None), "001 has 1 blocks, expected the 2 of PixArt"),
        (change((c, s, "001", "7"), block), "001 has 3 blocks"),
        (change((c, s, "001", "1"), 3), "schedule.001.1 is 3"),
        (change((c, s, "001", "1", "ff"), 1), "schedule.001.1.ff is 1, expected true"),
        (change((c, s, "001", "1", "ff"), None), "schedule.001.1.ff is missing"),
        (change((c, s, "001", "1", "gg"), True), 'has "gg", expected only attn1, attn2, ff'),
        (change((c, s, "01"), {}), 'has the step "01"'),
        (change((c, s, "x"), {}), 'has the step "x"'),
    ]


@pytest.mark.parametrize(("found", "expected"), broken_papers())
def test_a_broken_paper_file_names_the_place(found, expected):
    assert expected in message_of(json.dumps(found))


def test_a_forecast_cannot_be_said_in_the_paper_s_format():
    schedule = Schedule(TINY, np.ones((2, 6), dtype=bool), info={"payload": {"attn": "taylor1"}})
    with pytest.raises(ScheduleError, match="forecasts attn"):
        schedule_json.dumps_paper(schedule)


def test_the_official_files_are_read_and_written_as_they_are(reference):
    for path in sorted(reference.glob("*.json")):
        original = json.loads(path.read_text())
        if "tgate" in path.name:
            with pytest.raises(ScheduleError, match="T-GATE's averaged cross-attention"):
                schedule_json.load(path)
            continue
        schedule = schedule_json.load(path)
        assert schedule.architecture in (PIXART, FLUX)
        assert 20 == schedule.steps
        written = json.loads(schedule_json.dumps_paper(schedule))
        expected = {"config": {}} | copy.deepcopy(original)
        rows = expected["cache_schedule"]["schedule"]
        rows["000"] = {block: dict.fromkeys(entry, True) for block, entry in rows["000"].items()}
        expected["cache_schedule"].setdefault("num_single_blocks", 38)
        written["cache_schedule"].setdefault("num_single_blocks", 38)
        assert expected == written
        assert schedule == schedule_json.loads(schedule_json.dumps(schedule))
