import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from ecad_search import calibration
from ecad_search.calibration import (
    BUILTIN_SETS,
    CalibrationPrompts,
    builtin_prompts,
    common_prompts,
    load_prompts,
)
from ecad_search.errors import PromptSetError

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
        ("p.json", '{"prompts": ["a"]}', "a JSON dict"),
        ("p.json", '["a", 7]', "Entry 1"),
        ("p.json", '[{"text": "a"}]', "Entry 0"),
        ("p.json", '[{"prompt": null}]', "Entry 0"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.tsv", "Text\tNote\na\tb\n", "columns 'Text', 'Note'"),
        ("p.csv", "text\na\n", "expected one called 'prompt'"),
        ("p.csv", "prompt\n" + "a" * 200_000, "is no table"),
        ("p.txt", b"caf\xe9\n", "byte 3 is 0xe9"),
        ("p.txt", "a\n".encode("utf-16"), "is not UTF-8"),
        ("p.xlsx", "a", "has the ending '.xlsx'"),
    ],
)
def test_unusable_file_is_one_sentence(write, name, content, message):
    with pytest.raises(PromptSetError) as error:
        load_prompts(write(name, content))
    assert message in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_absent_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "no.txt", tmp_path):
        with pytest.raises(PromptSetError, match="cannot be read"):
            load_prompts(path, "text")


def test_file_that_is_too_large_is_refused_unread(write, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_BYTES", 10)
    with pytest.raises(PromptSetError, match="MiB, expected at most"):
        load_prompts(write("p.txt", "a" * 11))
    with pytest.raises(PromptSetError, match="MiB, expected at most"):
        load_prompts("a" * 11)


def test_too_many_prompts_are_refused(monkeypatch):
    monkeypatch.setattr(calibration, "MOST_PROMPTS", 2)
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
    ("name", "count"), [("emoji-calibration", 64), ("emoji-heldout", 64), ("general", 100)]
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
