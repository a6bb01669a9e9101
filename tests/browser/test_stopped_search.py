"""A search that was cancelled is drawn again where its events were not seen: after a reload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEARCH = 7
PANEL = "[...ecad.living.values()].find((life) => life.panel).panel"


@pytest.fixture
def stopped(page):
    """The page after the search of the example was cancelled; each renderer has a seed."""
    path = ROOT / "example_workflows" / "emoji_search.json"
    page.load(json.loads(path.read_text(encoding="utf-8")))
    page.make_search_small(images=95, seed=100)
    page.queue()
    page.wait_for_panel("panel.state === 'running' && Number(panel.points) > 1")
    page.run("() => app.extensionManager.command.execute('Comfy.Interrupt')")
    page.wait_for_panel("panel.state === 'stopped'")
    page.wait_until_idle()
    return page


def test_a_cancelled_search_is_drawn_after_a_reload_as_far_as_it_came(stopped):
    seen, saved = stopped.panel(), stopped.saved()
    told = stopped.server.get("/ecad/searches", workflow=saved["id"])["searches"]
    assert [str(SEARCH)] == list(told)
    front = [point for point in told[str(SEARCH)]["front"]["points"] if point["on_front"]]
    stopped.open()
    stopped.load(saved)
    drawn = stopped.wait_for_panel("panel.state === 'stopped' && Number(panel.drawn) > 0")
    assert not told[str(SEARCH)]["finished"]
    assert str(len(front)) == drawn["points"]
    assert int(drawn["images"]) == told[str(SEARCH)]["images"] < 95
    assert seen["images"] == drawn["images"]  # none of the job that was cut off
    stopped.run(f"(key) => {PANEL}.select(key)", front[0]["key"])  # with its schedule
    assert front[0]["key"] == stopped.run(f"() => {PANEL}.box.data?.key")
    stopped.show(SEARCH)
    stopped.screenshot("stopped")
