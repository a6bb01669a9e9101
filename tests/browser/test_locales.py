"""The page in other languages shows the nodes' names, inputs and tooltips in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADER = "ECAD_CacheLoader"
SETTING = "Comfy.Locale"
KEEPS_TRANSLATIONS = (1, 36)  # ComfyUI's page; older ones load their own over those of every pack


@pytest.fixture(params=["zh", "ja"])
def translated(request, page):
    """The page in this language, and its texts."""
    version = page.run("() => window.__COMFYUI_FRONTEND_VERSION__")
    if tuple(map(int, version.split(".")[:2])) < KEEPS_TRANSLATIONS:
        pytest.skip(f"ComfyUI's page {version} forgets the translations of packs (its issue 6748)")
    texts = ROOT / "locales" / request.param / "nodeDefs.json"
    page.server.post("/settings", {SETTING: request.param})
    page.open()
    yield json.loads(texts.read_text(encoding="utf-8")), request.param
    page.server.post("/settings", {SETTING: "en"})
    page.open()


@pytest.mark.newer_page
def test_nodes_are_shown_in_the_language_of_the_page(page, translated):
    texts, language = translated
    path = ROOT / "example_workflows" / "emoji_cached_generation.json"
    page.load(json.loads(path.read_text(encoding="utf-8")))
    shown = page.run(
        """(type) => {
          const node = app.graph.nodes.find((node) => node.type === type);
          const widgets = node.widgets.filter((widget) => !widget.name.startsWith("ecad_"));
          return {
            title: node.title,
            inputs: Object.fromEntries([
              ...node.inputs.filter((i) => !i.widget).map((i) => [i.name, i.localized_name]),
              ...widgets.map((widget) => [widget.name, widget.label]),
            ]),
            outputs: node.outputs.map((output) => output.localized_name),
          };
        }""",
        LOADER,
    )
    expected = texts[LOADER]
    assert expected["display_name"] == shown["title"]
    assert {n: slot["name"] for n, slot in expected["inputs"].items()} == shown["inputs"]
    assert expected["outputs"]["1"]["name"] == shown["outputs"][1]
    titles = page.run(
        "(names) => names.map((name) => LiteGraph.registered_node_types[name].title)", list(texts)
    )
    assert [text["display_name"] for text in texts.values()] == titles
    ids = page.run("() => app.graph.nodes.filter((n) => n.pos[0] < 800).map((node) => node.id)")
    page.show(*ids)
    page.screenshot(f"locale-{language}")
