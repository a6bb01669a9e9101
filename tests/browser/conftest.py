"""A real ComfyUI server and a real browser: ComfyUI's own page, in both of its renderers.

Needs ComfyUI (COMFYUI_PATH), Playwright, and a Chromium that is on this machine; nothing is
downloaded, and without one of them every test here is skipped. Tests with the mark `newer_page` are
also run on a newer release of the page, which `dev.py test` fetches. `--screenshots DIR` keeps
pictures, `--frontend DIR` takes another release of the page (`static` of comfyui-frontend-package).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devtools.environment import NEWER_FRONTEND, Environment, newer_frontend
from devtools.server import Server, free_port, make_base

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WINDOW = {"width": 1200, "height": 900}
START_MS = 90_000
OURS = "/extensions/ComfyUI-ECAD/"
RENDERERS = {"classic": False, "nodes2": True}


def pytest_generate_tests(metafunc):
    """`page` in each renderer, and with the mark `newer_page` in each of a newer release."""
    if "page" not in metafunc.fixturenames:
        return
    pages = [(renderer, "") for renderer in RENDERERS]
    marked = metafunc.definition.get_closest_marker("newer_page") is not None
    if marked and metafunc.config.getoption("--frontend") is None:
        pages += [(renderer, NEWER_FRONTEND) for renderer in RENDERERS]
    ids = ["-".join(filter(None, page)) for page in pages]
    metafunc.parametrize("page", pages, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a Chromium on the PATH, under one of the names {', '.join(BROWSERS)}")
    return found


@pytest.fixture(scope="session")
def comfyui() -> Path:
    folder = Path(os.environ.get("COMFYUI_PATH", ""))
    if not (folder / "main.py").is_file():
        pytest.skip("needs ComfyUI: run `python dev.py test`, or set COMFYUI_PATH to its folder")
    return folder


@pytest.fixture(scope="session")
def servers(request, chromium, comfyui, tmp_path_factory) -> Iterator[Callable[[str], Server]]:
    """`servers(release)` is ComfyUI with this pack and that release of the page, started once.

    Without a release ("") it is the page that this ComfyUI asks for, or that of `--frontend`. Each
    has a base directory of its own.
    """
    environment = Environment(Path(sys.executable), comfyui, accelerated=False)
    running: dict[str, Server] = {}

    with contextlib.ExitStack() as stack:

        def server(release: str) -> Server:
            if release not in running:
                running[release] = start(release)
            return running[release]

        def start(release: str) -> Server:
            page = request.config.getoption("--frontend")
            if release:
                page = newer_frontend(ROOT)
                if not (page / "index.html").is_file():
                    pytest.skip(f"needs ComfyUI's page {release}, which dev.py test downloads")
            arguments = ["--disable-api-nodes"]
            if page is not None:
                arguments += ["--front-end-root", str(Path(page).resolve())]
            folder = tmp_path_factory.mktemp("browser")
            base = make_base(folder / "base", ROOT)
            with import_torchvision(folder / "site"):
                started = stack.enter_context(Server(environment, base, free_port(), *arguments))
            started.require_nodes({"ECAD_Search", "ECAD_CacheLoader"})
            return started

        yield server


@contextlib.contextmanager
def import_torchvision(folder: Path) -> Iterator[None]:
    """Children started meanwhile import torchvision beside a CPU torch, as dev.py's can."""
    folder.mkdir()
    source = ROOT / "devtools" / "torchvision_operators.py"
    shutil.copyfile(source, folder / "ecad_browser_operators.py")
    code = "import ecad_browser_operators\necad_browser_operators.install()\n"
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")  # Playwright's event loop must not run under other tests
def browser(chromium, servers) -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs the package playwright, see requirements-dev.txt"
    )
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--mute-audio"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page(request, browser, servers) -> Iterator[ComfyPage]:
    """ComfyUI's page in one of the renderers, without a workflow; see pytest_generate_tests."""
    renderer, release = request.param
    server = servers(release)
    vue = RENDERERS[renderer]
    server.post("/settings", {"Comfy.VueNodes.Enabled": vue, "Comfy.TutorialCompleted": True})
    tab = browser.new_page(viewport=WINDOW)
    folder = request.config.getoption("--screenshots")
    opened = ComfyPage(renderer, tab, server, folder and Path(folder), release=release)
    opened.open()
    shown = opened.run("() => window.__COMFYUI_FRONTEND_VERSION__")
    assert release in ("", shown)
    assert vue == bool(opened.run("() => LiteGraph.vueNodesMode"))
    yield opened
    tab.close()


@pytest.fixture(autouse=True)
def nothing_of_ours_fails(request) -> Iterator[None]:
    """No error in the browser's console that comes from our files."""
    yield
    if "page" in request.fixturenames:
        assert [] == request.getfixturevalue("page").problems


@dataclass
class ComfyPage:
    """A tab with ComfyUI's page; `run` evaluates a JavaScript function in it."""

    renderer: str
    tab: Any
    server: Server
    screenshots: Path | None
    release: str = ""  # of the page, where it is not the one that ComfyUI asks for
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        def on_console(message: Any) -> None:
            where = message.location.get("url", "")
            if message.type == "error" and OURS in f"{where} {message.text}":
                self.problems.append(f"{where}: {message.text}")

        def on_error(error: Any) -> None:
            if OURS in f"{getattr(error, 'stack', '')} {error}":
                self.problems.append(str(error))

        self.tab.set_default_timeout(15_000)
        self.tab.on("console", on_console)
        self.tab.on("pageerror", on_error)

    def open(self) -> None:
        self.tab.goto(self.server.url, timeout=START_MS)
        ready = "() => window.app?.graph && window.LiteGraph && window.app.vueAppReady"
        self.tab.wait_for_function(ready, timeout=START_MS)
        self.tab.wait_for_function("() => LiteGraph.registered_node_types.ECAD_Search")
        self.run(f"async () => {{ window.ecad = await import('{OURS}js/ecad.js'); }}")
        self.run(f"async () => {{ window.ecadTheme = await import('{OURS}js/theme.mjs'); }}")

    def run(self, function: str, argument: Any = None) -> Any:
        return self.tab.evaluate(function, argument)

    def wait(self, function: str, argument: Any = None, *, seconds: float = 60) -> None:
        """Until a JavaScript function returns something true."""
        self.tab.wait_for_function(function, arg=argument, timeout=1000 * seconds, polling=100)

    def load(self, workflow: dict[str, Any]) -> None:
        self.run("async (workflow) => { await app.loadGraphData(workflow); }", workflow)
        self.settle()

    def make_search_small(self, *, images: int, seed: int) -> None:
        """Of the loaded workflow; each renderer searches with a seed of its own, from `seed` on."""
        self.run(
            """([images, seed]) => {
              const set = (type, values) => {
                const node = app.graph.nodes.find((node) => node.type === type);
                for (const [name, value] of Object.entries(values))
                  node.widgets.find((widget) => widget.name === name).value = value;
              };
              set("ECAD_CalibrationPrompts", { prompts: 2 });
              set("ECAD_SamplerSettings", { steps: 4 });
              set("ECAD_Search", { images, seed, first_samples: 2 });
            }""",
            [images, seed + list(RENDERERS).index(self.renderer)],
        )

    def saved(self) -> dict[str, Any]:
        """The workflow as ComfyUI would write it into a file."""
        text = "() => JSON.stringify((app.rootGraph ?? app.graph).serialize())"
        return json.loads(self.run(text))

    def settle(self) -> None:
        """Until two frames have been drawn."""
        self.run("() => new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)))")

    def show(self, *ids: int) -> None:
        """Move the view so that these nodes fill it."""
        self.run(
            """(ids) => {
              const boxes = ids.map((id) => app.canvas.graph.getNodeById(id)).map((n) => [
                n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]]);
              const [l, t] = [0, 1].map((i) => Math.min(...boxes.map((b) => b[i])));
              const [r, b] = [2, 3].map((i) => Math.max(...boxes.map((x) => x[i])));
              const ds = app.canvas.ds;
              const { clientWidth, clientHeight } = app.canvas.canvas;
              ds.scale = Math.min((clientWidth - 160) / (r - l), (clientHeight - 220) / (b - t), 1);
              ds.offset[0] = 100 / ds.scale - l;
              ds.offset[1] = 120 / ds.scale - t;
              app.canvas.setDirty(true, true);
            }""",
            list(ids),
        )
        self.settle()
        time.sleep(0.3)  # Nodes 2.0 moves its layer a moment later

    def reveal(self, selector: str) -> None:
        """Move the view so that this element lies in its middle, at its own size."""
        self.run("() => { app.canvas.ds.scale = 1; app.canvas.setDirty(true, true); }")
        for _ in range(2):  # the change of scale moves it as well
            self.settle()
            time.sleep(0.2)
            self.run(
                """(selector) => {
                  const box = document.querySelector(selector).getBoundingClientRect();
                  const { ds } = app.canvas;
                  ds.offset[0] += (innerWidth / 2 - box.left - box.width / 2) / ds.scale;
                  ds.offset[1] += (innerHeight / 2 - box.top - box.height / 2) / ds.scale;
                  app.canvas.setDirty(true, true);
                }""",
                selector,
            )
        self.settle()
        time.sleep(0.3)

    def screenshot(self, name: str) -> None:
        if self.screenshots is not None:
            self.screenshots.mkdir(parents=True, exist_ok=True)
            parts = filter(None, (name, self.renderer, self.release))
            self.tab.screenshot(path=self.screenshots / f"{'-'.join(parts)}.png")

    def panel(self) -> dict[str, str]:
        """What the panel of the search says of itself."""
        return self.run(PANEL)

    def wait_for_panel(self, condition: str, *, seconds: float = 120) -> dict[str, str]:
        """Until `condition`, JavaScript on `panel`, holds."""
        self.wait(f"() => {{ const panel = ({PANEL})(); return {condition}; }}", seconds=seconds)
        return self.panel()

    def queue(self) -> None:
        self.run("() => app.queuePrompt(0, 1)")

    def wait_until_idle(self, *, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            queue = self.server.get("/queue")
            if not queue["queue_running"] and not queue["queue_pending"]:
                return
            time.sleep(0.2)
        raise AssertionError(f"the queue is not empty after {seconds:.0f} seconds")


PANEL = """() => {
  const found = [...ecad.living.values()].find((life) => life.panel);
  return found ? { ...found.panel.element.dataset } : {};
}"""
