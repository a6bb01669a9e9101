"""ECAD Cache Loader in the real page: the list, the report after a run, the compare switch.

The tests of a renderer are one story on one page, in this order: each goes on where the last ended.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADER, SAMPLER, COMPARE = 4, 8, 13
FRAME = "[data-ecad=schedule]"
FIRST = "emoji-pixart/ecad-4.9x-20-steps"
CHOSEN = "emoji-pixart/fora-2-20-steps"


def example():
    path = ROOT / "example_workflows" / "emoji_cached_generation.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def story(page):
    """The page with the example; each renderer has a seed of its own."""
    page.run("() => localStorage.removeItem('ecad.models')")
    page.load(example())
    page.run(
        """(seed) => {
          const set = (id, name, value) =>
            (app.graph.getNodeById(id).widgets.find((w) => w.name === name).value = value);
          set(3, "batch_size", 2);
          for (const sampler of [8, 11]) set(sampler, "seed", seed);
        }""",
        sorted(["classic", "nodes2"]).index(page.renderer),
    )
    return page


LIFE = "[...ecad.living.values()].find((life) => life.choice)"


def said(page):
    """What the loader's own part of the page says of itself."""
    return page.run(
        f"""() => {{
          const {{ choice, parts, view }} = {LIFE};
          return {{
            ...choice.element.dataset, ...parts.report.element.dataset, value: choice.value,
            shown: parts.box.element.hidden ? null : parts.box.title.textContent,
            key: parts.box.element.dataset.key,
            figures: [...parts.report.figures.children].map((part) => part.textContent).join("|"),
            title: parts.report.title.textContent,
            pairs: parts.pictures.pairs.length,
            runs: view?.run?.runs?.length ?? 0,
          }};
        }}"""
    )


def wait_for(page, condition, *, seconds=20):
    """Until JavaScript on the loader's `life` holds."""
    page.wait(f"() => {{ const life = {LIFE}; return life && ({condition}); }}", seconds=seconds)


def values(page):
    return next(n for n in page.saved()["nodes"] if int(n["id"]) == LOADER)["widgets_values"]


def open_list(page):
    page.show(LOADER)
    page.reveal(f"{FRAME} .ecad-choice button")
    page.tab.locator(f"{FRAME} .ecad-choice button").first.click()
    page.tab.wait_for_selector("dialog.ecad-picker[open] .ecad-option")


def test_the_chosen_schedule_is_shown_by_a_name_that_speaks_before_anything_runs(story):
    wait_for(story, "!life.parts.box.element.hidden")
    now = said(story)
    assert "Emoji PixArt (demo) - ECAD 4.9x - 20 steps" == now["label"] == now["shown"]
    assert (FIRST, "") == (now["value"], now["note"])
    assert [FIRST, False, "gpu", False] == values(story)
    story.show(LOADER)
    story.screenshot("loader")


def test_the_list_has_the_schedules_that_fit_first_and_draws_what_is_pointed_at(story):
    open_list(story)
    names = story.run(
        """() => [...document.querySelectorAll(".ecad-picker .ecad-option")]
          .map((row) => [row.dataset.name, row.dataset.fits === "true"])"""
    )
    fitting = [name for name, fits in names if fits]
    assert fitting == [name for name, _ in names[: len(fitting)]]
    assert {"emoji-pixart", "any-model"} == {name.split("/")[0] for name in fitting}
    assert len(names) == len(story.server.get("/ecad/schedules")["schedules"])
    heading = story.tab.locator(".ecad-picker .ecad-heading").first.inner_text()
    assert "Fits your model: PixArt with 10 blocks" == heading
    story.wait("() => document.querySelector('.ecad-picker [data-drawn]')?.dataset.drawn")
    story.screenshot("list")
    combo = story.run(f"() => {LIFE}.choice.widget.options.values.slice(0, 6)")
    assert [name for name in fitting if name.startswith("emoji")] == combo


def test_escape_closes_the_list_and_changes_nothing(story):
    story.tab.keyboard.press("Escape")
    story.wait("() => !document.querySelector('.ecad-picker')")
    assert FIRST == said(story)["value"]


def test_the_other_demo_model_has_schedules_of_its_own(story):
    choose = """(kind) => {
      const [widget] = app.graph.nodes.find((node) => node.type === "ECAD_DemoModel").widgets;
      widget.value = widget.options.values.find((value) => value.includes(kind));
    }"""
    story.run(choose, "FLUX")
    open_list(story)
    fitting = story.run(
        """() => [...document.querySelectorAll(".ecad-picker .ecad-option[data-fits=true]")]
          .map((row) => row.dataset.name.split("/")[0])"""
    )
    assert {"emoji-flux", "any-model"} == set(fitting)
    heading = story.tab.locator(".ecad-picker .ecad-heading").first.inner_text()
    assert "Fits your model: FLUX with 3 double blocks and 6 single blocks" == heading
    story.tab.keyboard.press("Escape")
    story.wait("() => !document.querySelector('.ecad-picker')")
    story.run(choose, "PixArt")
    assert FIRST == said(story)["value"]


def test_a_schedule_is_found_by_words_and_chosen_with_enter(story):
    open_list(story)
    story.tab.keyboard.type("demo pixart fora-2")
    story.wait("() => document.querySelector('.ecad-picker')?.dataset.rows === '1'")
    story.screenshot("found")
    story.tab.keyboard.press("Enter")
    story.wait("() => !document.querySelector('.ecad-picker')")
    wait_for(story, "life.parts.box.title.textContent.includes('FORA every 2')")
    assert [CHOSEN, False, "gpu", False] == values(story)
    prompt = story.run("async () => (await app.graphToPrompt()).output")
    assert CHOSEN == prompt[str(LOADER)]["inputs"]["schedule"]


def test_a_schedule_of_any_model_is_drawn_as_far_as_it_is_known(story):
    store = f"(name) => {{ const c = {LIFE}.choice; c.widget.value = name; c.sync(); }}"
    story.run(store, "any-model/fora-3-28-steps")
    wait_for(story, "life.parts.box.title.textContent === 'Any model - FORA every 3 - 28 steps'")
    wait_for(story, "life.parts.box.shares.slice(0, 4).join() === '1,0,0,1'")
    story.run(store, CHOSEN)


def test_the_classic_combo_shows_the_name_and_opens_the_list(story):
    if story.renderer != "classic":
        pytest.skip("Nodes 2.0 opens a list of its own, see test_combo_labels.py")
    story.show(LOADER)
    x, y, label = story.run(
        f"""() => {{
          const {{ node, widget }} = {LIFE}.choice;
          const at = app.canvas.ds.convertOffsetToCanvas(
            [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10]);
          const box = app.canvas.canvas.getBoundingClientRect();
          return [box.left + at[0], box.top + at[1], widget._displayValue];
        }}"""
    )
    assert "Emoji PixArt (demo) - FORA every 2 - 20 steps" == label
    story.tab.mouse.click(x, y)
    story.tab.wait_for_selector("dialog.ecad-picker[open]")
    story.tab.keyboard.press("Escape")
    story.wait("() => !document.querySelector('.ecad-picker')")


def test_a_new_file_is_listed_after_r(story):
    folder = story.server.log.parent / "base" / "models" / "ecad_schedules"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "schedules" / f"{CHOSEN}.json", folder / "mine.json")
    story.run("() => app.refreshComboInNodes()")
    wait_for(story, "life.choice.widget.options.values.includes('my/mine')")
    first = story.run(f"() => {LIFE}.choice.widget.options.values.slice(0, 7)")
    assert "my/mine" in first  # it fits
    (folder / "mine.json").unlink()
    story.run("() => app.refreshComboInNodes()")
    wait_for(story, "!life.choice.widget.options.values.includes('my/mine')")


def test_a_run_is_reported_on_the_node(story):
    story.run(f"() => {{ {LIFE}.node.widgets.find((w) => w.name === 'compare').value = false; }}")
    story.queue()
    wait_for(story, "life.parts.report.element.dataset.state === 'done'", seconds=120)
    story.wait_until_idle()
    now = said(story)
    assert (
        now["computed"] == now["reused"] == str(20 * 10 * 3 // 2)
    )  # steps, blocks, components: half
    assert "0" == now["forced"]
    assert "speed-up" in now["figures"] and "predicted" in now["figures"]
    assert "cache peak" in now["figures"]
    assert (1, 0) == (now["runs"], now["pairs"])
    story.show(LOADER)
    story.screenshot("report")


def test_the_compare_switch_shows_both_pictures_and_what_the_uncached_one_took(story):
    story.run(f"() => {{ {LIFE}.node.widgets.find((w) => w.name === 'compare').value = true; }}")
    story.queue()
    wait_for(story, "life.parts.pictures.element.dataset.loaded", seconds=120)
    story.wait_until_idle()
    now = said(story)
    assert 2 == now["pairs"]  # a batch
    assert "uncached" in now["figures"] and "about" not in now["figures"]
    wait_for(story, "life.parts.pictures.element.dataset.drawn === 'slider'")
    story.show(LOADER)
    story.screenshot("compare")
    # the second row of the example samples the same without the loader
    pair = story.run(f"() => {LIFE}.parts.pictures.pairs[0]")
    history = list(story.server.get("/history", max_items="1").values())[-1]
    other = history["outputs"][str(COMPARE)]["ecad_pairs"][0]["pairs"][0]
    assert other["psnr"] == pytest.approx(pair["psnr"])
    view = {"type": "temp", "subfolder": ""}
    for name in ("image", "reference"):
        ours = story.server.read("/view", filename=pair[name]["filename"], **view)
        assert story.server.read("/view", filename=other[name]["filename"], **view) == ours


def test_the_next_run_of_a_loader_that_is_not_executed_again_is_reported_too(story):
    seed = "app.graph.getNodeById(8).widgets.find((w) => w.name === 'seed')"
    story.run(f"() => {{ {seed}.value += 5; }}")
    story.queue()
    wait_for(story, "life.view.run.runs.length === 2 && life.view.run.runs[1].pairs", seconds=120)
    story.wait_until_idle()
    first, second = story.run(f"() => {LIFE}.view.run.runs.map((run) => run.prompt_id)")
    assert first != second


def test_the_history_and_a_reloaded_page_have_the_report(story):
    before, saved = said(story), story.saved()
    # where the loader was not executed again, older hosts leave it out
    outputs = [item["outputs"] for item in story.server.get("/history").values()]
    last = next(found for found in reversed(outputs) if str(LOADER) in found)
    (stored,) = last[str(LOADER)]["ecad_run"]
    assert before["runs"] == len(stored["runs"])
    assert stored["runs"][-1]["pairs"]
    story.open()
    story.load(saved)
    wait_for(story, "life.parts.pictures.element.dataset.loaded")
    wait_for(story, "!life.parts.box.element.hidden")
    after = said(story)
    for field in ("runs", "figures", "computed", "key", "shown", "value"):
        assert before[field] == after[field], field


def test_the_report_goes_into_a_subgraph_and_the_next_run_is_reported_there(story):
    before = said(story)
    story.run("() => app.graph.convertToSubgraph(new Set([app.graph.getNodeById(4)]))")
    wait_for(story, "life.view?.run?.runs.length === 2", seconds=10)
    assert before["figures"] == said(story)["figures"]
    assert 1 == story.run("() => [...ecad.living.values()].filter((life) => life.choice).length")
    story.run(
        "() => { app.graph.getNodeById(8).widgets.find((w) => w.name === 'seed').value += 7; }"
    )
    story.queue()
    wait_for(story, "life.view?.run?.runs.length === 1", seconds=90)  # its log begins
    story.wait_until_idle()
    open_graph = """() => {
      const holder = app.graph.nodes.find((node) => node.subgraph);
      app.canvas.openSubgraph?.(holder.subgraph, holder);
    }"""
    story.run(open_graph)
    story.settle()
    heading = story.run(
        f"""() => {{ {LIFE}.choice.open();
          return document.querySelector(".ecad-picker .ecad-heading").textContent; }}"""
    )
    assert heading.startswith("Fits your model")  # found across the edge of the subgraph
    story.tab.keyboard.press("Escape")


def test_a_schedule_that_is_not_installed_is_named_on_the_node_and_by_the_host(story):
    workflow = example()
    loader = next(node for node in workflow["nodes"] if node["id"] == LOADER)
    loader["widgets_values"][0] = "my/from-elsewhere"
    story.load(workflow)
    wait_for(story, "life.choice.element.dataset.note")
    note = said(story)["note"]
    assert note.startswith("Not installed: my/from-elsewhere. Copy its file to models/")
    assert "my/from-elsewhere" == values(story)[0]
    story.show(LOADER)
    story.screenshot("missing")
    story.queue()
    story.wait(f"() => app.lastNodeErrors?.[{LOADER}] ?? app.lastNodeErrors?.['{LOADER}']")
    errors = story.run(f"() => JSON.stringify(app.lastNodeErrors[{LOADER}])")
    assert "is not installed" in errors
    story.tab.keyboard.press("Escape")  # the host's own dialog


def test_a_schedule_for_another_model_is_told_before_it_runs(story):
    workflow = example()
    loader = next(node for node in workflow["nodes"] if node["id"] == LOADER)
    loader["widgets_values"][0] = "flux/fora-2-20-steps"
    story.load(workflow)
    wait_for(story, "life.choice.element.dataset.note")
    assert "Made for FLUX.1; the connected model is PixArt with 10 blocks." == said(story)["note"]


def test_a_removed_loader_leaves_no_listener_and_no_element(story):
    story.run(f"() => {LIFE}.choice.open()")
    story.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    assert [0, 0] == story.run("() => [ecad.living.size, ecadTheme.themeListeners()]")
    story.wait("() => document.querySelectorAll('[data-ecad], .ecad-picker').length === 0")
