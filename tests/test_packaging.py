"""What the registry, the installer and the reader are told agrees with itself."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import ecad_search

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def pyproject():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_registry_takes_the_name(pyproject):
    assert "comfyui" not in pyproject["project"]["name"].lower()


def test_nothing_is_installed_with_the_pack(pyproject):
    assert [] == pyproject["project"]["dependencies"]
    assert not (ROOT / "requirements.txt").exists()
    assert not (ROOT / "install.py").exists()


def test_the_version_is_the_newest_of_the_changelog(pyproject):
    newest = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", read("CHANGELOG.md"), re.MULTILINE)[0]
    assert newest == pyproject["project"]["version"] == ecad_search.__version__


def test_the_readme_names_the_lowest_comfyui_that_the_registry_is_told(pyproject):
    lowest = pyproject["tool"]["comfy"]["requires-comfyui"].removeprefix(">=")
    assert f"ComfyUI {lowest} or newer" in read("README.md")


@pytest.fixture(scope="module")
def listed():
    """`git ls-files` with these options."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git, and a clone of the repository")

    def run(*options):
        command = ["git", "ls-files", "-z", *options]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        return set(printed.decode().rstrip("\0").split("\0"))

    return run


@pytest.fixture(scope="module")
def shipped(listed):
    """The files of the archive: what git has without what .comfyignore names, by git's rules."""
    return listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore")


def test_the_archive_has_what_users_need_and_nothing_else(shipped):
    expected = (
        ".comfyignore CHANGELOG.md LICENSE NOTICE README.md __init__.py demo ecad_search "
        "example_workflows locales nodes pyproject.toml schedules web"
    )
    assert set(expected.split()) == {name.partition("/")[0] for name in shipped}
    left_out = [name for name in shipped if name.startswith(("demo/train", "ecad_search/testing"))]
    assert [] == left_out


@pytest.mark.parametrize("folder", ["web", "locales", "example_workflows", "schedules", "nodes"])
def test_folders_ship_whole(listed, shipped, folder):
    """Lines of .comfyignore without a slash in front count at any depth: docs/ in web/, too."""
    files = listed(f"{folder}/")
    assert files and files <= shipped


def test_nothing_that_ships_imports_what_is_left_out():
    """Contract tests (ecad_search/testing) start processes, which a scanner would ask about."""
    assert "/ecad_search/testing/" in read(".comfyignore").splitlines()
    for folder in ("ecad_search", "nodes", "demo"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "testing" in file.parts or "train" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert "testing" not in (node.module or "").split("."), file
                    assert "testing" not in {alias.name for alias in node.names}, file


@pytest.mark.parametrize(
    ("key", "file", "ratio", "largest"),
    [("Icon", "icon.png", 1, 400), ("Banner", "banner.png", 21 / 9, 1600)],
)
def test_the_registry_s_pictures_have_its_sizes(pyproject, key, file, ratio, largest):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    with image.open(ROOT / "docs" / "images" / file) as picture:
        assert picture.width <= largest
        assert picture.width == round(picture.height * ratio)
    address = pyproject["tool"]["comfy"][key]
    assert address == "" or address.endswith(f"/docs/images/{file}")


def test_every_picture_of_the_help_pages_is_there_and_used():
    pages = ROOT / "web" / "docs"
    shown = {
        link
        for page in pages.glob("*.md")
        for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == {f"images/{path.name}" for path in (pages / "images").iterdir()}


def test_every_example_has_a_picture_for_the_template_browser():
    examples = {path.stem for path in (ROOT / "example_workflows").glob("*.json")}
    assert examples == {path.stem for path in (ROOT / "example_workflows").glob("*.jpg")}


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "demo/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(page))
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert [] == missing


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_command_of_a_page_exists(page):
    commands = set(re.findall(r"dev\.py (\w+)", read(page)))
    known = set(re.findall(r'add_parser\(\s*"(\w+)"', read("dev.py")))
    assert set() == commands - known


def test_dev_host_opens_an_example_that_is_there():
    name = re.findall(r'EXAMPLE = ROOT / "example_workflows" / "(.+?)"', read("dev.py"))[0]
    assert (ROOT / "example_workflows" / name).is_file()


def test_every_decision_has_its_number():
    numbers = [path.name[:4] for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert [f"{i:04}" for i in range(1, len(numbers) + 1)] == numbers
