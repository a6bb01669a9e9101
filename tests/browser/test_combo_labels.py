"""ECAD Cache Loader's list as the page itself draws it: names that speak, in both renderers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADER = 4
COMBO = "[role=combobox][aria-label=schedule]"
STORED = "emoji-pixart/fora-2-20-steps"
SPOKEN = "Emoji PixArt (demo) - FORA every 2 - 20 steps"


@pytest.fixture
def loader(page):
    """The page with a loader alone, after a reload: the list is not known to it from before."""
    path = ROOT / "example_workflows" / "emoji_cached_generation.json"
    workflow = json.loads(path.read_text(encoding="utf-8"))
    node = next(node for node in workflow["nodes"] if node["id"] == LOADER)
    node["widgets_values"][0] = STORED
    for slot in node["inputs"]:
        slot["link"] = None
    for slot in node["outputs"]:
        slot["links"] = []
    workflow |= {"nodes": [node], "links": [], "groups": []}
    page.open()
    page.load(workflow)
    page.show(LOADER)
    return page


def stored(page):
    return page.saved()["nodes"][0]["widgets_values"][0]


@pytest.mark.newer_page
def test_the_chosen_schedule_speaks_and_the_workflow_keeps_its_name(loader):
    if loader.renderer == "classic":
        widget = "app.graph.nodes[0].widgets.find((widget) => widget.name === 'schedule')"
        shown = loader.run(f"() => {widget}._displayValue")
    else:
        shown = loader.tab.locator(COMBO).inner_text().strip()
    assert SPOKEN == shown
    assert STORED == stored(loader)


@pytest.mark.newer_page
def test_the_entries_of_the_page_s_own_list_speak_and_are_stored_by_name(loader):
    if loader.renderer == "classic":
        pytest.skip("the classic renderer opens the pack's list, see test_loader.py")
    loader.reveal(COMBO)
    loader.tab.locator(COMBO).click()
    entry = loader.tab.locator("[role=option]", has_text="Emoji PixArt (demo) - FORA every 3")
    entry.first.wait_for()
    shown = [text.strip() for text in loader.tab.locator("[role=option]").all_inner_texts()]
    loader.screenshot("combo")
    listed = loader.server.get("/ecad/schedules")["schedules"]
    assert set() == set(shown) - {entry["label"] for entry in listed}
    entry.first.click()
    loader.wait("() => app.graph.nodes[0].widgets[0].value.startsWith('emoji-pixart/fora-3-')")
    assert stored(loader).startswith("emoji-pixart/fora-3-")
