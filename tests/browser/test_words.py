"""The page in another language: panel, editor, list and report in it, and nothing breaks.

The tests of a renderer are one story on one page, in this order. Each has a language of its own:
that every text is there in all of them is shown without a browser, in tests/test_page_words.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devtools import locales

ROOT = Path(__file__).resolve().parents[2]
SETTING = "Comfy.Locale"
LANGUAGES = dict(zip(("classic", "nodes2"), locales.LANGUAGES, strict=True))
SEARCH, LOADER = 7, 4
NAMES = {"knee"}  # values of combos, which the classic renderer draws on a canvas as well
PANEL = "[...ecad.living.values()].find((life) => life.panel).panel"
SEEN = """() => {
  // every text of ours that a reader sees or may see: on the page, in tooltips, for screen readers
  const found = [];
  for (const view of document.querySelectorAll(".ecad-view, .ecad-picker")) {
    const walk = document.createTreeWalker(view, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) found.push(walk.currentNode.textContent.trim());
    for (const part of view.querySelectorAll("*"))
      for (const name of ["title", "aria-label", "placeholder"])
        if (part.getAttribute(name)) found.push(part.getAttribute(name));
  }
  return found;
}"""
DRAWN = """() => {
  // and what is drawn from now on
  window.drawnTexts = [];
  const { fillText } = CanvasRenderingContext2D.prototype;
  if (fillText.ours) return;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    window.drawnTexts.push(text);
    return fillText.call(this, text, ...place);
  };
  CanvasRenderingContext2D.prototype.fillText.ours = true;
}"""


@pytest.fixture(scope="module")
def story(page):
    """The page in a language, which is `.language`."""
    page.language = LANGUAGES[page.renderer]
    page.server.post("/settings", {SETTING: page.language})
    page.open()
    yield page
    page.server.post("/settings", {SETTING: "en"})
    page.open()


@pytest.fixture
def table(story):
    return locales.table_of(story.language)


def example(name):
    path = ROOT / "example_workflows" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def assert_no_english(shown):
    """None of our texts stands there in English, as a whole or as one of several facts."""
    english = {text for text in locales.page_texts() if "{" not in text} - NAMES
    parts = {part.strip() for text in shown for part in text.split(" · ")}
    assert set() == parts & english


def assert_nothing_is_wider_than_its_place(page):
    """Buttons show all of their words, and no view is wider than its node."""
    cut = """() => [...document.querySelectorAll(".ecad-view button:not(.ecad-head), .ecad-top *")]
      .filter((part) => part.offsetParent && part.scrollWidth > part.clientWidth + 1)
      .map((part) => part.textContent)"""
    assert [] == page.run(cut)
    wide = """() => [...document.querySelectorAll(".ecad-view")]
      .filter((view) => view.offsetParent && view.scrollWidth > view.clientWidth + 1)
      .map((view) => view.dataset.ecad)"""
    assert [] == page.run(wide)


def test_the_panel_of_a_search_speaks_the_language(story, table):
    story.load(example("emoji_search"))
    status = f"() => {PANEL}.status.textContent"
    assert table["No search has run yet. Queue the workflow."] == story.run(status)
    story.run(DRAWN)
    story.make_search_small(images=12, seed=200)
    story.run(
        """() => {
          for (const { id } of app.graph.nodes)
            if (![2, 3, 4, 6, 7, 8, 11].includes(Number(id))) app.graph.getNodeById(id).mode = 2;
        }"""
    )
    story.show(SEARCH)
    story.queue()
    story.wait_for_panel("panel.state === 'finished' && Number(panel.drawn) > 0")
    story.wait_until_idle()
    story.run(f"() => {PANEL}.select({PANEL}.points.find((point) => point.on_front).key)")
    story.run(f"() => {PANEL}.setHover({PANEL}.selected)")
    story.settle()
    said = story.run(status)
    assert said.startswith(f"{table['Finished']} · ")
    assert table["{n} of {budget} images"].format(n=12, budget=12) in said
    drawn = story.run("() => window.drawnTexts")
    assert {table["quality"], table["times fewer MACs"], table["step"]} <= set(drawn)
    assert_no_english([*story.run(SEEN), *drawn])
    assert_nothing_is_wider_than_its_place(story)
    story.reveal("[data-ecad=search]")
    story.screenshot(f"words-search-{story.language}")


def test_the_nodes_that_the_panel_adds_are_announced_in_the_language(story, table):
    story.tab.locator("[data-ecad=search] button", has_text=table["Add Save node"]).evaluate(
        "(button) => button.click()"
    )
    summary = table["Save ECAD Schedule was added for {schedule}."].split("{schedule}")[1]
    story.tab.get_by_text(summary.strip()).first.wait_for()
    assert story.tab.get_by_text(table["Queue the workflow to write the file."]).count()


def test_the_schedule_editor_speaks_the_language(story, table):
    story.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    story.run(
        """() => {
          const node = LiteGraph.createNode("ECAD_ScheduleEditor");
          app.graph.add(node);
          const start = node.widgets.find((widget) => widget.name === "start");
          start.value = "new/flux";
          start.callback?.("new/flux");
        }"""
    )
    editor = "[...ecad.living.values()].find((life) => life.editor).editor"
    story.wait("() => document.querySelector('[data-ecad=editor]')?.dataset.state === 'valid'")
    story.run(DRAWN)
    said = f"() => {editor}.state.textContent"
    assert story.run(said).startswith(f"{table['Valid']} · {table['{n} steps'].format(n=20)}")
    for zone in ((0, -1, -1, -1), (3, 0, 2, 1), (-1, 0, -1, 1)):
        hover = dict(zip(("step", "group", "block", "component"), zone, strict=True))
        story.run(f"(zone) => {{ {editor}.hover = zone; {editor}.redraw(); }}", hover)
        story.settle()
    story.show(*story.run("() => app.graph.nodes.map((node) => node.id)"))
    story.screenshot(f"words-editor-{story.language}")
    drawn = story.run("() => window.drawnTexts")
    assert table["Shift-click: compute every {n} steps"].format(n=2) in drawn
    assert_no_english([*story.run(SEEN), *drawn])
    assert_nothing_is_wider_than_its_place(story)
    first = f"(bits) => {editor}.repaint((bits) => bits.bits.fill(0, 0, 3))"
    story.run(first)
    wrong = "Not valid: {n} cells reuse in the first step, which must compute everything"
    assert table[wrong].format(n=3) == story.run(said)


def test_the_list_and_the_report_of_a_run_speak_the_language(story, table):
    story.load(example("emoji_cached_generation"))
    life = "[...ecad.living.values()].find((life) => life.choice)"
    story.wait(f"() => {life} && !{life}.parts.box.element.hidden")
    story.run(f"() => {life}.choice.open()")
    story.tab.wait_for_selector("dialog.ecad-picker[open] .ecad-option")
    story.wait("() => document.querySelector('.ecad-picker [data-drawn]')?.dataset.drawn")
    heading = story.tab.locator(".ecad-picker .ecad-heading").first.inner_text()
    assert table["Fits your model: {model}"].format(model="PixArt with 10 blocks") == heading
    assert_no_english(story.run(SEEN))
    assert_nothing_is_wider_than_its_place(story)
    story.screenshot(f"words-list-{story.language}")
    story.tab.keyboard.press("Escape")
    story.run(
        """(seed) => {
          const set = (id, name, value) =>
            (app.graph.getNodeById(id).widgets.find((w) => w.name === name).value = value);
          set(4, "compare", true);
          for (const sampler of [8, 11]) set(sampler, "seed", seed);
        }""",
        300 + sorted(["classic", "nodes2"]).index(story.renderer),
    )
    story.queue()
    story.wait(f"() => {life}.parts.pictures.element.dataset.loaded", seconds=120)
    story.wait_until_idle()
    names = story.run(
        f"() => [...{life}.parts.report.figures.querySelectorAll('dt')].map((d) => d.textContent)"
    )
    figures = ("computed", "reused", "time", "speed-up", "cache peak")
    assert [table[name] for name in figures] == names
    assert_no_english(story.run(SEEN))
    assert_nothing_is_wider_than_its_place(story)
    story.show(LOADER)
    story.screenshot(f"words-loader-{story.language}")


def test_another_language_is_taken_when_it_is_chosen(story, table):
    """ComfyUI makes the nodes anew then."""
    choose = "(language) => app.extensionManager.setting.set('Comfy.Locale', language)"
    shown = "[data-ecad=schedule] .ecad-choice button"
    story.run(choose, "en")
    story.tab.locator(shown, has_text="Choose a schedule").first.wait_for(state="attached")
    story.run(choose, story.language)
    text = table["Choose a schedule"]
    story.tab.locator(shown, has_text=text).first.wait_for(state="attached")
