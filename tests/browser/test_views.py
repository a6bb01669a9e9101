"""The live panel of a search and the schedules on nodes, in the real page, in both renderers.

The tests of a renderer are one story on one page, in this order: each goes on where the last ended.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEARCH, PICK, PREVIEW = 7, 8, 11
USED = {2, 3, 4, 6, SEARCH, PICK, PREVIEW}  # nodes of the example
IMAGES = 12
PANEL = "[data-ecad=search]"
CHART, MAP = f"{PANEL} .ecad-chart canvas", f"{PANEL} .ecad-map canvas"


def small_search():
    """The example workflow up to its schedule preview, with as little to render as makes sense."""
    path = ROOT / "example_workflows" / "emoji_search.json"
    workflow = json.loads(path.read_text(encoding="utf-8"))
    workflow["groups"] = []
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] in USED]
    workflow["links"] = [li for li in workflow["links"] if li[1] in USED and li[3] in USED]
    links = {link[0] for link in workflow["links"]}
    for node in workflow["nodes"]:
        if node["id"] in (PICK, PREVIEW):
            node["pos"] = [node["pos"][0] + 400, node["pos"][1] + 400]  # Nodes 2.0 has more height
        for slot in node["inputs"]:
            slot["link"] = slot["link"] if slot["link"] in links else None
        for slot in node["outputs"]:
            slot["links"] = [link for link in slot["links"] or [] if link in links]
    return workflow


@pytest.fixture(scope="module")
def story(page):
    """The page with the small search loaded; each renderer searches with a seed of its own."""
    page.load(small_search())
    page.make_search_small(images=IMAGES, seed=0)
    return page


def point_on_screen(page, index):
    """Where the point of this index is drawn, in pixels of the window."""
    return page.run(
        """(index) => {
          const { panel } = [...ecad.living.values()].find((life) => life.panel);
          const { x, y, point } = panel.marks[index];
          const box = panel.canvas.getBoundingClientRect();
          const zoom = box.width / panel.canvas.clientWidth;
          return { x: box.left + x * zoom, y: box.top + y * zoom, key: point.key };
        }""",
        index,
    )


@pytest.mark.newer_page
def test_a_search_is_drawn_while_it_runs_and_when_it_has_ended(story):
    assert "empty" == story.panel()["state"]
    story.show(SEARCH, PREVIEW)
    story.queue()
    live = story.wait_for_panel("panel.state === 'running' && Number(panel.drawn) > 0")
    assert 0 < int(live["images"]) <= IMAGES
    ended = story.wait_for_panel("panel.state === 'finished' && panel.drawn !== '0'")
    assert int(ended["images"]) <= IMAGES
    assert 2 <= int(ended["points"])
    assert 1 <= int(ended["references"])
    story.wait_until_idle()
    story.screenshot("search")


def test_pointing_at_a_point_names_it_and_a_click_shows_its_schedule(story):
    story.reveal(CHART)
    place = point_on_screen(story, 0)
    story.tab.mouse.move(place["x"], place["y"])
    story.wait_for_panel(f"panel.hover === '{place['key']}'", seconds=10)
    story.wait_for_panel(f"panel.pictured === '{place['key']}'", seconds=10)
    story.screenshot("pictures")
    story.tab.mouse.click(place["x"], place["y"])
    story.wait_for_panel(f"panel.selected === '{place['key']}'", seconds=10)
    story.wait(
        "(key) => document.querySelector('[data-ecad=search] .ecad-schedule[data-key]')"
        "?.dataset.drawn === key",
        place["key"],
    )
    story.reveal(PANEL)
    story.screenshot("point")
    first, second = (
        story.run("() => [...ecad.living.values()].find((life) => life.panel).panel.selected"),
        story.run(
            """() => {
              const { panel } = [...ecad.living.values()].find((life) => life.panel);
              return panel.box.bits.computes(0, 0, 0, 0) && panel.box.data.key;
            }"""
        ),
    )
    assert place["key"] == first == second  # and the first step computes


def test_a_cell_under_the_pointer_is_told(story):
    story.reveal(MAP)
    canvas = story.tab.locator(MAP)
    box = canvas.bounding_box()
    story.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    story.wait("() => document.querySelector('[data-ecad=search] [data-hover*=\" \"]')")
    step, group, block, component = story.run(
        "() => document.querySelector('[data-ecad=search] [data-hover*=\" \"]').dataset.hover"
    ).split()
    assert 0 <= int(step) < 4 and 0 <= int(block) < 10
    assert ("0", "1") == (group, component)  # the middle of three panels


def test_the_colours_follow_the_palette(story):
    accent = f"() => document.querySelector('{PANEL}').style.getPropertyValue('--ecad-accent')"
    palette = "(name) => app.extensionManager.setting.set('Comfy.ColorPalette', name)"
    dark = story.run(accent)
    story.run(palette, "light")
    story.wait(f"(dark) => ({accent})() !== dark", dark, seconds=10)
    story.screenshot("light")
    story.run(palette, "dark")
    story.wait(f"(dark) => ({accent})() === dark", dark, seconds=10)


def test_nodes_that_hold_a_schedule_show_it(story):
    story.wait("() => document.querySelectorAll('[data-ecad=schedule]').length === 2")
    shown = story.run(
        """() => [...ecad.living].filter(([, life]) => life.view?.schedule)
          .map(([node, life]) => [node.type, life.view.schedule.key])"""
    )
    keys = {key for _, key in shown}
    assert {"ECAD_PickFromFront", "ECAD_SchedulePreview"} == {kind for kind, _ in shown}
    assert 1 == len(keys)
    story.show(PICK)
    story.reveal("[data-ecad=schedule] button.ecad-head")
    closed = "[data-ecad=schedule] .ecad-schedule[data-open=false]"
    story.tab.locator("[data-ecad=schedule] button.ecad-head").first.click()
    story.wait(f"() => document.querySelectorAll('{closed}').length === 2")
    story.tab.locator("[data-ecad=schedule] button.ecad-head").first.click()
    story.wait(f"() => document.querySelectorAll('{closed}').length === 1")
    story.show(PICK, PREVIEW)
    story.screenshot("schedule")


def test_a_point_becomes_nodes_that_apply_and_save_it(story):
    story.show(SEARCH)
    story.reveal(f"{PANEL} .ecad-buttons")
    selected = story.panel()["selected"]
    before = set(story.run("() => app.graph.nodes.map((node) => String(node.id))"))
    for words in ("Add Apply node", "Add Save node"):
        story.tab.locator("[data-ecad=search] button", has_text=words).click()
    prompt = story.run("async () => (await app.graphToPrompt()).output")
    added = {key: node for key, node in prompt.items() if key not in before}
    kinds = sorted(node["class_type"] for node in added.values())
    picks = [key for key, node in added.items() if node["class_type"] == "ECAD_PickFromFront"]
    assert ["ECAD_PickFromFront", "ECAD_PickFromFront", "ECAD_SaveSchedule"] == [
        kind for kind in kinds if kind != "ECAD_ApplySchedule"
    ]
    for key in picks:
        inputs = added[key]["inputs"]
        assert [str(SEARCH), 0] == inputs["front"]
        assert ("this schedule", selected) == (inputs["by"], inputs["key"])
    apply = next(n["inputs"] for n in added.values() if n["class_type"] == "ECAD_ApplySchedule")
    assert prompt[str(SEARCH)]["inputs"]["model"] == apply["model"]
    story.show(*(int(key) for key in added))
    story.screenshot("added")
    story.run(
        "(ids) => ids.forEach((id) => app.graph.remove(app.graph.getNodeById(id)))",
        [int(key) for key in added],
    )


@pytest.mark.newer_page
def test_the_workflow_has_no_trace_of_the_views(story):
    declared = {node["id"]: node["widgets_values"] for node in small_search()["nodes"]}
    for node in story.saved()["nodes"]:
        node["id"] = int(node["id"])  # newer pages have names of digits
        names = story.run(
            "(id) => app.graph.getNodeById(id).widgets?.map((w) => [w.name, w.serialize]) ?? []",
            node["id"],
        )
        count = len(declared[node["id"]])
        ours = [(i, kept) for i, (name, kept) in enumerate(names) if name.startswith("ecad_")]
        assert all(i >= count and kept is False for i, kept in ours), node["type"]
        assert None not in node.get("widgets_values", [])[:count]
    prompt = story.run("async () => (await app.graphToPrompt()).output")
    assert not any(name.startswith("ecad_") for node in prompt.values() for name in node["inputs"])


@pytest.mark.newer_page
def test_a_reloaded_page_draws_what_the_history_has(story):
    saved, before = story.saved(), story.panel()
    story.open()
    story.load(saved)
    after = story.wait_for_panel("panel.state === 'finished' && Number(panel.drawn) > 0")
    assert before["points"] == after["points"]
    story.wait("() => document.querySelectorAll('[data-ecad=schedule]').length === 2")


def test_the_panel_draws_the_front_as_either_of_two_scorers_sees_it(story):
    chosen = f"{PANEL} select.ecad-scorers"
    assert not story.tab.locator(chosen).is_visible()
    story.run(
        """(id) => {
          const scorer = LiteGraph.createNode("ECAD_ReferenceSimilarity");
          app.graph.add(scorer);
          scorer.pos = [0, -300];
          const search = app.graph.getNodeById(id);
          scorer.connect(0, search, search.findInputSlot("second_scorer"));
        }""",
        SEARCH,
    )
    story.queue()
    story.wait(f"() => document.querySelectorAll('{chosen} option').length === 2")
    story.wait_for_panel("panel.state === 'finished' && Number(panel.drawn) > 0")
    story.wait_until_idle()
    story.show(SEARCH)
    story.reveal(chosen)
    drawn = """() => {
      const { panel } = [...ecad.living.values()].find((life) => life.panel);
      return panel.points.map((point) => [point.key, point.quality, point.more_qualities[0][0]]);
    }"""
    first = story.run(drawn)
    story.tab.locator(chosen).select_option(index=1)
    second = story.run(drawn)
    assert [[key, more] for key, _, more in first] == [[key, shown] for key, shown, _ in second]
    assert first != second
    story.screenshot("scorers")
    story.run(
        """() => app.graph.nodes.filter((n) => n.type === "ECAD_ReferenceSimilarity")
          .forEach((node) => app.graph.remove(node))"""
    )


def test_a_search_goes_on_in_a_subgraph_and_cancel_leaves_it_stopped(story):
    before = story.panel()
    story.run(
        """() => {
          const graph = app.graph;
          graph.convertToSubgraph(new Set([graph.getNodeById(7)]));
        }"""
    )
    moved = story.wait_for_panel("panel.state === 'finished'", seconds=10)
    assert before["points"] == moved["points"]
    assert 1 == story.run("() => [...ecad.living.values()].filter((life) => life.panel).length")
    story.run(
        """() => {
          const [node] = [...ecad.living].find(([, life]) => life.panel);
          node.widgets.find((widget) => widget.name === "images").value = 95;
          app.canvas.openSubgraph?.(node.graph, app.graph.nodes.find((n) => n.subgraph));
        }"""
    )
    story.queue()
    story.wait_for_panel(f"panel.state === 'running' && Number(panel.images) > {IMAGES}")
    story.run("() => app.extensionManager.command.execute('Comfy.Interrupt')")
    stopped = story.wait_for_panel("panel.state === 'stopped'")
    assert 2 <= int(stopped["points"])
    story.wait_until_idle()
    story.show(SEARCH)
    story.reveal(PANEL)
    story.screenshot("subgraph")


def test_a_removed_node_leaves_no_listener_and_no_element(story):
    before = story.run("() => [ecad.living.size, ecadTheme.themeListeners()]")
    story.run(
        """() => {
          const [node] = [...ecad.living].find(([, life]) => life.panel);
          node.graph.remove(node);
        }"""
    )
    after = story.run("() => [ecad.living.size, ecadTheme.themeListeners()]")
    assert [count - 1 for count in before] == after
    story.wait("() => document.querySelectorAll('[data-ecad=search]').length === 0")
    story.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    assert [0, 0] == story.run("() => [ecad.living.size, ecadTheme.themeListeners()]")
    story.wait("() => document.querySelectorAll('[data-ecad]').length === 0")
