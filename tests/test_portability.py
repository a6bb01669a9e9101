"""The same on Windows, macOS and Linux: encodings, names of files, line endings, whole files."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ecad_search.architectures import sized
from ecad_search.core import presets, schedule_json
from ecad_search.core.front import Front
from ecad_search.evolution.journal import Journal
from ecad_search.file_names import FORBIDDEN, RESERVED, confined
from ecad_search.prompt_files import load_prompts

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ecad_search", "nodes")
WRITING = {"w", "a", "x", "r+", "w+", "a+"}
BINARY = {".png", ".jpg", ".webp", ".safetensors"}
LONGEST_PATH = 120  # of the repository; Windows stops at 260, and ComfyUI's folder comes before it
OTHER_SCRIPTS = ("日本語 🎨", "Ünïcödé", "עברית", "ไทย", "русский")
TINY = sized("pixart", {"blocks": 2}, hidden=16)


def sources() -> list[Path]:
    files = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]
    return [ROOT / "__init__.py", *(f for f in files if "__pycache__" not in f.parts)]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def found_by(walk: Callable[[ast.AST], list[str]]) -> dict[str, list[str]]:
    """What a walk finds, by file."""
    trees = {named(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    return {name: found for name, tree in trees.items() if (found := walk(tree))}


def unnamed_encodings(tree: ast.AST) -> list[str]:
    """Reads and writes of text in whatever encoding the machine is set to."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner, _, name = ast.unparse(node.func).rpartition(".")
        keywords = {k.arg: k.value for k in node.keywords}
        if "encoding" in keywords:
            continue
        is_text = bool(owner) and name in ("read_text", "write_text", "TextIOWrapper")
        if name in ("open", "fdopen"):
            is_text = is_text_mode(node, keywords)
        if "text" in keywords or "universal_newlines" in keywords:
            is_text = name in ("run", "Popen", "check_output", "check_call", "call")
        if is_text:
            found.append(ast.unparse(node)[:80])
    return found


def is_text_mode(node: ast.Call, keywords: dict[str | None, ast.expr]) -> bool:
    """Of a call of something called open; those of other libraries take no mode."""
    owner = ast.unparse(node.func).rpartition(".")[0]
    if owner in ("Image", "os", "tarfile", "zipfile", "webbrowser", "self._opener", "Image.Image"):
        return False
    mode = keywords.get("mode")
    if mode is None:
        place = 1 if owner in ("", "io") else 0
        mode = node.args[place] if len(node.args) > place else None
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


def test_every_text_file_is_read_and_written_in_a_named_encoding():
    assert {} == found_by(unnamed_encodings)


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("path.open()", True),
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ("subprocess.run(command, text=True)", True),
        ("open(path, 'rb')", False),
        ("path.open('wb')", False),
        ("open(path, encoding='utf-8')", False),
        ("path.read_text(encoding='utf-8')", False),
        ("Image.open(path)", False),
    ],
)
def test_the_walk_sees_encodings(code, seen):
    assert seen == bool(unnamed_encodings(ast.parse(code)))


def machine_line_endings(tree: ast.AST) -> list[str]:
    """Writes of text whose lines end as the machine is used to."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).split(".")[-1]
            keywords = {k.arg: k.value for k in node.keywords}
            writes = name == "write_text" or (
                name == "open"
                and is_text_mode(node, keywords)
                and any(isinstance(a, ast.Constant) and a.value in WRITING for a in node.args)
            )
            if writes and "newline" not in keywords:
                found.append(ast.unparse(node)[:80])
    return found


def test_what_the_pack_writes_ends_its_lines_the_same_everywhere():
    assert {} == found_by(machine_line_endings)


def test_the_walk_sees_line_endings():
    seen = "path.write_text(text)", "open(path, 'w')", "path.open('a')"
    for code in seen:
        assert [code] == machine_line_endings(ast.parse(code))
    for code in ("path.write_text(text, newline='')", "open(path, 'wb')", "open(path)"):
        assert [] == machine_line_endings(ast.parse(code))


def renames(tree: ast.AST) -> list[str]:
    """os.rename, and Path.rename, fail on Windows where the name is taken."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return [ast.unparse(c) for c in calls if ast.unparse(c.func).endswith((".rename", ".renames"))]


def test_files_are_replaced_not_renamed():
    assert {} == found_by(renames)
    assert ["os.rename(a, b)"] == renames(ast.parse("os.rename(a, b)\nos.replace(a, b)"))


# --- the repository itself


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone: which files belong to the repository is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_file_can_be_on_windows(tracked):
    for name in tracked:
        assert name.isascii() and len(name) <= LONGEST_PATH, name
        for part in name.split("/"):
            assert not FORBIDDEN.search(part) and part == part.rstrip(" ."), name
            assert not RESERVED.fullmatch(part.split(".")[0]), name


def test_no_two_files_differ_by_case_alone(tracked):
    folders = {str(parent) for name in tracked for parent in Path(name).parents}
    names = [*tracked, *folders]
    assert len(names) == len({name.lower() for name in names})


def test_lines_end_as_everywhere(tracked):
    """A clone on Windows has them so as well: .gitattributes says so."""
    texts = [n for n in tracked if Path(n).suffix not in BINARY]
    assert [] == [name for name in texts if b"\r" in (ROOT / name).read_bytes()]
    attributes = (ROOT / ".gitattributes").read_text(encoding="utf-8")
    assert "* text=auto eol=lf" in attributes.splitlines()
    for suffix in BINARY:
        assert f"*{suffix} binary" in attributes.splitlines()


def test_no_file_has_a_byte_order_mark(tracked):
    assert [] == [n for n in tracked if (ROOT / n).read_bytes()[:3] == b"\xef\xbb\xbf"]


# --- what we write


@pytest.mark.parametrize("name", OTHER_SCRIPTS)
def test_files_have_names_in_any_script(tmp_path, name):
    folder = tmp_path / name
    schedule = presets.fora(TINY, 4, 2)
    path = confined(folder, f"{name}/{name}", "the folder", suffix=".json")
    schedule_json.save(schedule, path)
    assert schedule == schedule_json.load(path)
    Front().save(path.with_name(f"{name}.front.json"))
    assert Front() == Front.load(path.with_name(f"{name}.front.json"))
    with Journal(path.with_name(f"{name}.jsonl"), {"name": name}) as journal:
        journal.begin({"note": name})
        journal.append({"n": 1}, seconds=1.0)
    with Journal(path.with_name(f"{name}.jsonl"), {"name": name}) as journal:
        journal.begin({"note": name})
        assert 1.0 == journal.seconds
    found = {name, f"{name}.json", f"{name}.front.json", f"{name}.jsonl", f"{name}.jsonl.times"}
    assert found == {p.name for p in [folder / name, *(folder / name).iterdir()]}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_prompt_files_of_every_system_are_read(tmp_path, ending):
    path = tmp_path / "a.txt"
    path.write_bytes(ending.join(("a fox", "", "# note", "a dog", "")).encode("utf-8-sig"))
    assert ("a fox", "a dog") == load_prompts(path)
    path.write_bytes(ending.join(("prompt,x", "a fox,1", "a dog,2", "")).encode("utf-8-sig"))
    assert ("a fox", "a dog") == load_prompts(path, "csv")
