"""The newer release of ComfyUI's page that the browser tests take as well: how it is fetched."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from devtools.console import StatusLine
from devtools.environment import NEWER_FRONTEND, SetUp, newer_frontend
from devtools.problem import Problem

WHEEL = {
    "comfyui_frontend_package/__init__.py": "",
    "comfyui_frontend_package/static/index.html": "<html>",
    "comfyui_frontend_package/static/assets/index.js": "go()",
}


class Fetching(SetUp):
    """`asked` lists what pip was asked for; it answers with `WHEEL`, or not at all."""

    def __init__(self, root: Path, *, online: bool = True):
        self.said = io.StringIO()
        self.asked: list[object] = []
        self.online = online
        super().__init__(root, StatusLine(self.said))

    def _pip(self, title: str, *arguments: object) -> None:
        self.asked.append(arguments[-1])
        if not self.online:
            raise Problem(f"{title} could not be downloaded, there is no network.")
        folder = arguments[arguments.index("-d") + 1]
        with zipfile.ZipFile(Path(str(folder)) / "page-py3-none-any.whl", "w") as archive:
            for name, text in WHEEL.items():
                archive.writestr(name, text)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_fetched_once_into_a_folder_of_its_own(tmp_path):
    for asked in ([f"comfyui-frontend-package=={NEWER_FRONTEND}"], []):
        fetching = Fetching(tmp_path)
        fetching._download_frontend()
        assert asked == fetching.asked
    assert {"index.html", "assets/index.js"} == files(newer_frontend(tmp_path))
    assert {"stamps/frontend"} == {name for name in files(tmp_path / ".host") if "/1." not in name}


def test_a_page_that_was_deleted_is_fetched_again(tmp_path):
    Fetching(tmp_path)._download_frontend()
    (newer_frontend(tmp_path) / "index.html").unlink()
    Fetching(tmp_path)._download_frontend()
    assert {"index.html", "assets/index.js"} == files(newer_frontend(tmp_path))


def test_without_a_network_the_set_up_goes_on_and_says_what_is_skipped(tmp_path):
    for fetching in (Fetching(tmp_path, online=False), Fetching(tmp_path, online=False)):
        fetching._download_frontend()
        assert 1 == len(fetching.asked)  # and the next run tries again
        said = fetching.said.getvalue()
        assert f"ComfyUI's page {NEWER_FRONTEND} could not be downloaded" in said
        assert "the browser tests on it are skipped" in said
    assert not newer_frontend(tmp_path).exists()
