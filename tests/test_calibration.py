import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from ecad_search import prompt_files
from ecad_search.calibration import (
    BUILTIN_SETS,
    CalibrationPrompts,
    builtin_prompts,
    common_prompts,
)
from ecad_search.errors import PromptSetError
from ecad_search.prompt_files import load_prompts

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path("shared", "reference", "prompts")  # in the checkout, or beside it


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


# Samples


def test_samples_run_through_all_prompts_before_the_second_seed():
    samples = CalibrationPrompts(("a", "b", "c"), seeds_per_prompt=2, seed=10).samples
    assert ["a", "b", "c", "a", "b", "c"] == [sample.prompt for sample in samples]
    assert [0, 1, 2, 0, 1, 2] == [sample.prompt_index for sample in samples]
    assert [0, 1, 2, 3, 4, 5] == [sample.index for sample in samples]


def test_no_two_samples_share_a_seed():
    samples = CalibrationPrompts(("a", "b"), seeds_per_prompt=3, seed=2**64 - 2).samples
    assert 6 == len({sample.seed for sample in samples})
    assert all(0 <= sample.seed < 2**64 for sample in samples)


def test_drawn_prompts_depend_on_the_seed_alone():
    prompts = CalibrationPrompts(tuple("abcdefgh"), seeds_per_prompt=2, seed=5, source="x")
    drawn = prompts.drawn(4, seed=1)
    assert drawn == prompts.drawn(4, seed=1)
    assert drawn != prompts.drawn(4, seed=2)
    assert (4, 2, 5, "x") == (
        len(set(drawn.prompts)),
        drawn.seeds_per_prompt,
        drawn.seed,
        drawn.source,
    )


def test_the_first_of_the_drawn_prompts_come_from_all_over_the_file():
    """Files are sorted by subject, and a race begins with a few prompts."""
    prompts = CalibrationPrompts(tuple("abcdefghijklmnop"))
    firsts = {prompts.drawn(16, seed=seed).prompts[0] for seed in range(200)}
    assert set(prompts.prompts) == firsts


@pytest.mark.parametrize("count", [0, 3])
def test_drawing_more_than_there_are_is_refused(count):
    with pytest.raises(PromptSetError, match="ask for 1 to 2"):
        CalibrationPrompts(("a", "b")).drawn(count, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": ()}, "no prompts"),
        ({"prompts": ("a",), "seeds_per_prompt": 0}, "0 seeds per prompt"),
        ({"prompts": ("a",), "seed": -1}, "seed -1"),
        ({"prompts": ("a",), "seed": 2**64}, "seed"),
    ],
)
def test_impossible_calibration_is_refused(settings, message):
    with pytest.raises(PromptSetError, match=message):
        CalibrationPrompts(**settings)


# Files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "# a comment\n\na cat\n  a dog, running  \n"),
        ("p.txt", "\ufeffa cat\r\na dog, running\r\n"),
        ("p.json", '["a cat", "a dog, running"]'),
        ("p.json", '[{"prompt": "a cat"}, {"prompt": "a dog, running", "x": 1}]'),
        ("p.json", '[{"id": "1-2", "prompt": "a cat"}, {"id": "3", "prompt": "a dog, running"}]'),
        ("p.tsv", "Prompt\tCategory\na cat\tAnimals\na dog, running\tAnimals\n"),
        ("p.TSV", "Note\tPROMPT\n\ta cat\n\ta dog, running\n"),
        ("p.csv", 'id,prompt\n1,a cat\n2,"a dog, running"\n'),
        ("p.csv", "id;prompt\n1;a cat\n2;a dog, running\n"),
        ("p.csv", 'Prompts,Category\na cat,Colors\n"a dog, running",Counting\n'),
        ("p.txt", "Prompts\tCategory\na cat\tColors\na dog, running\tCounting\n"),
        ("p.dat", 'id,"Caption"\n1,a cat\n2,"a dog, running"\n'),
        ("p", "a cat\na dog, running\n"),
        ("p.txt", '[\n  {\n    "prompt": "a cat"}, {"prompt": "a dog, running"}\n]\n'),
        ("p.json", '{"prompts": ["a cat", "a dog, running"]}'),
        ("p.json", '{"a1": {"prompt": "a cat"}, "b2": {"prompt": "a dog, running"}}'),
        (
            "meta",
            '{"a1": {"category": "animals", "prompt": "a cat"},\n "b2": {"category": "x", '
            '"prompt": "a dog, running"}}',
        ),
    ],
)
def test_every_format_gives_the_same_prompts(write, name, content):
    assert ("a cat", "a dog, running") == load_prompts(write(name, content))


def test_pasted_lines_are_prompts():
    assert ("a cat", "a dog") == load_prompts("a cat\n# no\n\na dog\n")


def test_pasted_json_list_is_recognised():
    assert ("a cat", "a dog") == load_prompts(' ["a cat", "a dog"] ')


def test_pasted_prompt_may_begin_with_a_bracket():
    assert ("[oil painting] a cat", "a dog") == load_prompts("[oil painting] a cat\na dog")


def test_quotation_marks_in_a_tsv_belong_to_the_prompt(write):
    content = 'Prompt\tNote\nthe word "HI"\tx\n"Hello"\tx\n"He said ""no"""\tx\n'
    expected = ('the word "HI"', "Hello", 'He said "no"')
    assert expected == load_prompts(write("p.tsv", content))


def test_line_break_inside_a_csv_cell_becomes_a_space(write):
    assert ("a cat on a mat",) == load_prompts(write("p.csv", 'prompt\n"a cat\non a mat"\n'))


def coco(*annotations) -> str:
    rows = [{"image_id": i, "id": n, "caption": c} for n, (i, c) in enumerate(annotations)]
    return json.dumps({"info": {}, "images": [{"id": 7}], "licenses": [], "annotations": rows})


def test_each_picture_of_coco_gives_its_first_caption(write):
    content = coco((7, "a cat\n"), (3, "a dog"), (7, "one cat sitting"), (3, "dog"), (9, "a dog"))
    assert ("a cat", "a dog", "a dog") == load_prompts(write("captions_val.json", content))


def test_instances_of_coco_are_no_captions(write):
    content = '{"annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1]}]}'
    with pytest.raises(PromptSetError, match="not of instances"):
        load_prompts(write("instances.json", content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "Prompt,Revised\na cat,a black cat\n"),
        ("p.tsv", "Prompt\trevised\na cat\ta black cat\n"),
        ("p.json", '[{"prompt": "a cat", "Revised": "a black cat"}]'),
        ("p.json", '{"1": {"prompt": "a cat", "revised": "a black cat"}}'),
    ],
)
def test_a_named_column_is_read_instead_of_the_prompt(write, name, content):
    assert ("a cat",) == load_prompts(write(name, content))
    assert ("a black cat",) == load_prompts(write(name, content), column=" revised")


def test_the_column_must_be_there(write):
    with pytest.raises(PromptSetError, match="columns 'prompt', 'note', expected one called 'x'"):
        load_prompts(write("p.csv", "prompt,note\na,b\n"), column="X")
    with pytest.raises(PromptSetError, match="is plain text, but its column 'x'"):
        load_prompts(write("p.txt", "a cat\n"), column="x")


def test_prompt_with_a_comma_in_the_first_line_is_plain_text(write):
    for lines in (("poster, text, red", "a cat"), ("prompt, art", "a, b, c"), ("# a, text", "x")):
        content = "\n".join(lines) + "\n"
        prompts = tuple(line for line in lines if not line.startswith("#"))
        assert prompts == load_prompts(write("p.txt", content))


def test_repeated_prompts_stay(write):
    assert ("a", "a") == load_prompts(write("p.txt", "a\na\n"))


def test_format_can_be_named(write):
    assert ("a cat",) == load_prompts(write("prompts.dat", '["a cat"]'), "json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "", "holds no prompts"),
        ("p.txt", "# only this\n\n", "holds no prompts"),
        ("p.json", "[]", "holds no prompts"),
        ("p.tsv", "", "holds no prompts"),
        ("p.csv", "prompt\n\n", "holds no prompts"),
        ("p.json", "", "is not JSON"),
        ("p.json", '{"images": ["a"]}', "a JSON dict with 'images'"),
        ("p.json", "7", "a JSON int"),
        ("p.json", '{"a": {"title": "x"}}', "Entry 'a'"),
        ("p.json", "{}", "holds no prompts"),
        ("p.json", '["a", 7]', "Entry 1"),
        ("p.json", '[{"words": "a"}]', "Entry 0"),
        ("p.json", '[{"prompt": null}]', "Entry 0"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.tsv", "Words\tNote\na\tb\n", "columns 'Words', 'Note'"),
        ("p.csv", "note\na\n", "expected one called 'prompt'"),
        ("p.csv", "prompt\n" + "a" * 200_000, "is no table"),
        ("p.txt", b"caf\xe9\n", "byte 3 is 0xe9"),
        ("p.txt", "a\n".encode("utf-16"), "is not UTF-8"),
        ("p.xlsx", b"PK\x03\x04\x00\x00", "is no text (byte 4 is zero)"),
    ],
)
def test_unusable_file_is_one_sentence(write, name, content, message):
    with pytest.raises(PromptSetError) as error:
        load_prompts(write(name, content))
    assert message in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ['["a", "\\ud800b"]', '[{"prompt": "\\udfff"}]'])
def test_half_a_character_is_no_prompt(content):
    with pytest.raises(PromptSetError, match="half a character") as error:
        load_prompts(content)
    assert str(error.value).isprintable()


def test_deep_and_long_entries_are_one_short_sentence():
    deep = "[" * 700 + "]" * 700
    for content in (f'["a", {deep}]', json.dumps(["a", ["x" * 10**6]]), '{"\\u001b[2J": 3}'):
        with pytest.raises(PromptSetError) as error:
            load_prompts(content, "json")
        assert len(str(error.value)) < 400 and str(error.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(PromptSetError, match="is not a file"):
        load_prompts(tmp_path / "a.txt")


def test_absent_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "no.txt", tmp_path):
        with pytest.raises(PromptSetError, match="cannot be read"):
            load_prompts(path, "text")


def test_file_that_is_too_large_is_refused_unread(write, monkeypatch):
    monkeypatch.setattr(prompt_files, "MOST_BYTES", 10)
    with pytest.raises(PromptSetError, match="MiB, expected at most"):
        load_prompts(write("p.txt", "a" * 11))
    with pytest.raises(PromptSetError, match="MiB, expected at most"):
        load_prompts("a" * 11)


def test_too_many_prompts_are_refused(monkeypatch):
    monkeypatch.setattr(prompt_files, "MOST_PROMPTS", 2)
    with pytest.raises(PromptSetError, match="3 prompts, expected at most 2"):
        load_prompts("a\nb\nc")


def test_unknown_format_is_refused():
    with pytest.raises(PromptSetError, match="'yaml' is no prompt format"):
        load_prompts("a", "yaml")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "count"),
    [("DrawBench200.txt", 200), ("ImageRewardPrompts.json", 100), ("PartiPrompts.tsv", 1632)],
)
def test_published_prompt_files_are_read(name, count):
    paths = [folder / REFERENCE / name for folder in (ROOT, ROOT.parent)]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        pytest.skip(f"{name} is not ours to share: put it into {REFERENCE.as_posix()}/")
    prompts = load_prompts(path)
    assert count == len(prompts)
    assert all(prompt == prompt.strip() and prompt for prompt in prompts)


# Built-in sets


@pytest.mark.parametrize(
    ("name", "count"),
    [(name, 64 if name.startswith("emoji") else 100) for name in BUILTIN_SETS],
)
def test_built_in_sets_hold_distinct_prompts(name, count):
    prompts = builtin_prompts(name)
    assert count == len(prompts) == len(set(prompts))


def test_no_built_in_set_shares_a_prompt_with_another():
    for i, name in enumerate(BUILTIN_SETS):
        for other in BUILTIN_SETS[i + 1 :]:
            assert set() == common_prompts(builtin_prompts(name), builtin_prompts(other))


def test_unknown_built_in_set_is_refused():
    with pytest.raises(PromptSetError, match="emoji-calibration, emoji-heldout, general"):
        builtin_prompts("../secrets")


@pytest.fixture(scope="module")
def demo_pictures():
    spec = spec_from_file_location("demo_pictures", ROOT / "demo" / "train" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["demo_pictures"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_emoji_sets_keep_to_their_side_of_the_hold_out(demo_pictures):
    labels = [" ".join(label.split()).lower() for label in demo_pictures.LABELS.split(";")]
    trained, held_out = set(), set()
    for i, label in enumerate(labels):
        held_out.add(demo_pictures.caption(label, demo_pictures.held_out_colour(i)))
        trained.update(demo_pictures.caption(label, c) for c in demo_pictures.training_colours(i))
    assert set(builtin_prompts("emoji-calibration")) <= trained
    assert set(builtin_prompts("emoji-heldout")) <= held_out


def test_prompts_survive_json_as_they_are():
    prompts = builtin_prompts("general")
    assert prompts == load_prompts(json.dumps(prompts))
