"""Every example opens in the real page, in both renderers, and is saved as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))
WIDGETS = {  # one to change in each example: type of the node, widget, value
    "checkpoint_search": ("ECAD_Search", "images", 321),
    "emoji_benchmark": ("ECAD_Benchmark", "grid_rows", 2),
    "emoji_cached_generation": ("ECAD_CacheLoader", "cache_device", "cpu"),
    "emoji_search": ("ECAD_Search", "images", 321),
    "flux_cached": ("ECAD_CacheLoader", "fix_small_latents", True),
    "pixart_cached": ("ECAD_SchedulePreview", "width", 640),
}


def kept(workflow):
    """What a file has to keep: nodes, values and links; renderers measure heights themselves."""
    nodes = {
        node["id"]: (node["type"], node["pos"], node["size"][0], node.get("widgets_values"))
        for node in workflow["nodes"]
    }
    return nodes, sorted(map(json.dumps, workflow["links"]))


@pytest.mark.newer_page
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_opens_and_is_saved_as_it_was_loaded(page, path):
    example = json.loads(path.read_text(encoding="utf-8"))
    page.load(example)
    saved = page.saved()
    values = {node["id"]: node.get("widgets_values", []) for node in saved["nodes"]}
    assert {n["id"]: n["widgets_values"] for n in example["nodes"]} == values
    kind, name, value = WIDGETS[path.stem]
    page.run(
        """([kind, name, value]) => {
          const node = app.graph.nodes.find((node) => node.type === kind);
          const widget = node.widgets.find((widget) => widget.name === name);
          widget.value = value;
          widget.callback?.(value);
        }""",
        [kind, name, value],
    )
    changed = page.saved()
    assert kept(saved) != kept(changed)
    page.load(changed)
    assert kept(changed) == kept(page.saved())
    if path.stem == "emoji_search":
        page.show(*(node["id"] for node in example["nodes"]))
    page.screenshot(path.stem)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_node_of_an_example_grows_over_another(page, path):
    if page.renderer != "classic":
        pytest.skip("Nodes 2.0 has taller widgets than the classic renderer: nodes grow")
    example = json.loads(path.read_text(encoding="utf-8"))
    page.load(example)
    heights = {node["id"]: node["size"][1] for node in example["nodes"]}
    ours = {n["id"]: n["size"][1] for n in page.saved()["nodes"] if n["type"].startswith("ECAD_")}
    assert {id: heights[id] for id in ours} == ours


def test_the_template_browser_has_a_card_for_every_example(page):
    page.run("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.tab.get_by_text("Extensions", exact=True).first.wait_for(timeout=60_000)
    page.tab.locator("[role=dialog] [role=button]", has_text="ComfyUI-ECAD").last.click()
    page.wait(
        """(count) => {
          const pictures = [...document.querySelectorAll("[role=dialog] img")];
          return count === pictures.filter((picture) => picture.naturalWidth === 480).length;
        }""",
        len(EXAMPLES),
    )
    titles = page.run(
        "() => [...document.querySelectorAll('[role=dialog] h3')].map((e) => e.innerText)"
    )
    assert set() == {path.stem for path in EXAMPLES} - set(titles)
    page.screenshot("templates")
    page.tab.keyboard.press("Escape")
