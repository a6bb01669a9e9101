"""The schedule editor in the real page, in both renderers: painting, undo, saving, reloading.

The tests of a renderer are one story on one page, in this order: each goes on where the last ended.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from ecad_search import architectures
from ecad_search.core import presets, schedule_json
from ecad_search.core.cost import relative_cost
from ecad_search.core.schedule import Schedule

EDITOR = "[data-ecad=editor]"
MAP = f"{EDITOR} .ecad-map canvas"
ARCHITECTURE = architectures.find("flux")
STEPS = 12
NODE = """() => [...ecad.living.keys()].find((node) => node.type === "ECAD_ScheduleEditor")"""


class Painter:
    """The editor on the page: its state, its widgets, and places on its map."""

    def __init__(self, page):
        self.page = page

    def told(self):
        """What the editor says of itself."""
        return self.page.run(f"() => ({{ ...document.querySelector('{EDITOR}').dataset }})")

    def wait(self, condition, *, seconds=20):
        """Until `condition`, JavaScript on `told`, holds."""
        self.page.wait(
            f"""() => {{ const told = document.querySelector('{EDITOR}')?.dataset;
                return told && ({condition}); }}""",
            seconds=seconds,
        )
        return self.told()

    def widget(self, name):
        return self.page.run(
            f"(name) => ({NODE})().widgets.find((widget) => widget.name === name).value", name
        )

    def choose(self, name, value):
        """As the user does: the value is set and its callback called."""
        self.page.run(
            f"""([name, value]) => {{
              const widget = ({NODE})().widgets.find((widget) => widget.name === name);
              widget.value = value;
              widget.callback?.(value);
            }}""",
            [name, value],
        )

    def painted(self) -> Schedule:
        """What the workflow file would hold, as the library reads it."""
        return schedule_json.loads(self.widget("edited"))

    def place(self, group, component, step, block, *, head=""):
        """Where a cell is in the window; with `head` the head of its step or its block."""
        return self.page.run(
            """([selector, group, component, step, block, head]) => {
              const editor = [...ecad.living.values()].find((life) => life.editor).editor;
              const { panels, strip } = editor.layout;
              const panel = panels.find((p) => p.group === group && p.component === component);
              const { steps, groups } = editor.bits;
              let x = panel.left + ((step + 0.5) * panel.width) / steps;
              let y = panel.top + ((block + 0.5) * panel.height) / groups[group][1];
              if (head === "step") y = panel.top - 5;
              if (head === "block") x = panel.left - 5;
              if (head === "name") [x, y] = [panel.left + 5, panel.top - 16];
              if (head === "whole step") {
                x = strip.left + ((step + 0.5) * strip.width) / steps;
                y = 7;
              }
              const canvas = document.querySelector(selector);
              const box = canvas.getBoundingClientRect();
              const zoom = box.width / canvas.clientWidth;
              return [box.left + x * zoom, box.top + y * zoom];
            }""",
            [MAP, group, component, step, block, head],
        )

    def click(self, *place, head="", keys=()):
        for key in keys:
            self.page.tab.keyboard.down(key)
        self.page.tab.mouse.click(*self.place(*place, head=head))
        for key in keys:
            self.page.tab.keyboard.up(key)
        self.page.settle()

    def drag(self, first, last, *, keys=()):
        """From one cell to another in one jump: a fast pointer."""
        mouse, keyboard = self.page.tab.mouse, self.page.tab.keyboard
        mouse.move(*self.place(*first))
        for key in keys:
            keyboard.down(key)
        mouse.down()
        mouse.move(*self.place(*last))
        mouse.up()
        for key in keys:
            keyboard.up(key)
        self.page.settle()

    def press(self, *keys):
        for key in keys:
            self.page.tab.keyboard.press(key)
        self.page.settle()

    def button(self, words):
        self.page.tab.locator(f"{EDITOR} button", has_text=words).click()
        self.page.settle()


@pytest.fixture(scope="module")
def story(page):
    """A page with one editor on it, a new one."""
    page.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    page.run(
        """(steps) => {
          const node = LiteGraph.createNode("ECAD_ScheduleEditor");
          node.pos = [40, 60];
          app.graph.add(node);
          const set = { start: "new/flux", steps };
          for (const [name, value] of Object.entries(set)) {
            const widget = node.widgets.find((widget) => widget.name === name);
            widget.value = value;
            widget.callback?.(value);
          }
        }""",
        STEPS,
    )
    page.settle()
    page.reveal(EDITOR)
    yield page


@pytest.fixture
def painter(story):
    return Painter(story)


def cells(schedule, group, component):
    """The cells of one component, (steps, blocks)."""
    names = ["double_blocks", "single_blocks"]
    columns = [
        cell.index
        for cell in schedule.architecture.cells
        if cell.group == names[group] and cell.component == component
    ]
    return schedule.compute[:, columns]


def test_a_new_node_is_a_schedule_that_computes_everything(painter):
    told = painter.wait("told.drawn === 'true'")
    assert ("valid", "1", "1.00") == (told["state"], told["computed"], told["speedup"])
    assert "" == painter.widget("edited")
    painter.page.screenshot("editor-new")


def test_a_click_paints_a_cell_and_a_drag_all_between(painter):
    painter.click(0, 1, 3, 4)
    expected = presets.uncached(ARCHITECTURE, STEPS).compute.copy()
    expected[3, ARCHITECTURE.cell("double_blocks", 4, "img_mlp").index] = False
    assert np.array_equal(expected, painter.painted().compute)
    painter.drag((1, 0, 2, 10), (1, 0, 9, 10))
    row = cells(painter.painted(), 1, "attn")[:, 10]
    assert [step not in range(2, 10) for step in range(STEPS)] == row.tolist()
    assert 9 == np.count_nonzero(~painter.painted().compute)


def test_shift_paints_a_rectangle_and_alt_whole_blocks(painter):
    painter.drag((1, 2, 4, 20), (1, 2, 6, 30), keys=["Shift"])
    expected = np.ones((STEPS, 38), dtype=bool)
    expected[4:7, 20:31] = False
    assert np.array_equal(expected, cells(painter.painted(), 1, "proj_out"))
    painter.click(0, 0, 8, 15, keys=["Alt"])
    for component in ("attn", "img_mlp", "txt_mlp"):
        assert not cells(painter.painted(), 0, component)[8, 15]


def test_undo_and_redo_by_key_leave_the_rest_of_the_workflow_alone(painter):
    before = painter.widget("edited")
    painter.page.run(
        """() => {
          const loader = LiteGraph.createNode("ECAD_CacheLoader");
          loader.pos = [720, 60];
          app.graph.add(loader);
        }"""
    )
    painter.click(0, 2, 5, 5)
    after = painter.widget("edited")
    painter.press("Control+z")
    assert before == painter.widget("edited")
    painter.press("Control+z", "Control+z", "Control+z", "Control+z", "Control+z")
    assert "" == painter.widget("edited")
    assert 2 == painter.page.run("() => app.graph.nodes.length")
    painter.press(*["Control+Shift+z"] * 4)
    assert before == painter.widget("edited")
    painter.press("Control+y")
    assert after == painter.widget("edited")
    assert 2 == painter.page.run("() => app.graph.nodes.length")
    painter.button("Undo")
    painter.press("Control+z")
    painter.button("Redo")
    assert before == painter.widget("edited")


def test_heads_turn_whole_lines_but_never_the_first_step_off(painter):
    painter.button("Compute all")
    painter.click(0, 0, 7, 0, head="whole step")
    expected = np.ones((STEPS, ARCHITECTURE.n_cells), dtype=bool)
    expected[7] = False
    assert np.array_equal(expected, painter.painted().compute)
    painter.click(0, 1, 3, 0, head="step")
    assert not cells(painter.painted(), 0, "img_mlp")[3].any()
    assert cells(painter.painted(), 0, "txt_mlp")[3].all()
    painter.click(1, 1, 0, 11, head="block")
    assert cells(painter.painted(), 1, "proj_mlp")[:, 11].all()  # step 7 was off: a click computes
    painter.click(1, 1, 0, 11, head="block")
    column = cells(painter.painted(), 1, "proj_mlp")[:, 11]
    assert [True] + [False] * (STEPS - 1) == column.tolist()
    painter.click(1, 0, 0, 0, head="name")
    assert cells(painter.painted(), 1, "attn").all()
    painter.click(1, 0, 0, 0, head="name")
    assert not cells(painter.painted(), 1, "attn")[1:].any()
    painter.click(1, 0, 0, 0, head="name", keys=["Shift"])
    rows = cells(painter.painted(), 1, "attn").all(axis=1)
    assert [step % 2 == 0 for step in range(STEPS)] == rows.tolist()
    assert "valid" == painter.told()["state"]
    painter.page.screenshot("editor-painted")


def test_validity_is_shown_at_once(painter):
    painter.click(0, 0, 0, 3)
    assert "invalid" == painter.told()["state"]
    assert painter.page.tab.locator(f"{EDITOR} button", has_text="Save").is_disabled()
    painter.page.screenshot("editor-invalid")
    painter.press("Control+z")
    assert "valid" == painter.told()["state"]


def test_cost_is_told_while_painting(painter):
    painter.button("FORA")
    fora = presets.fora(ARCHITECTURE, STEPS, 2)
    assert np.array_equal(fora.compute, painter.painted().compute)
    expected = 1 / relative_cost(fora, ARCHITECTURE.native_workload())
    assert f"{expected:.2f}" == painter.told()["speedup"]
    mouse = painter.page.tab.mouse
    mouse.move(*painter.place(1, 1, 2, 2))
    mouse.down()
    mouse.move(*painter.place(1, 1, 10, 30))
    painter.page.run("() => [...ecad.living.values()].find((life) => life.editor).settle()")
    held = painter.told()  # a run that ends meanwhile does not end the stroke
    mouse.up()
    assert held["computed"] == painter.told()["computed"]
    assert float(held["computed"]) < 0.5
    assert float(held["speedup"]) > expected


def test_arrow_keys_and_space_paint_too(painter):
    painter.button("Compute all")
    mouse = painter.page.tab.mouse
    mouse.move(*painter.place(0, 0, 4, 6))
    painter.press("ArrowRight", "ArrowDown", "Space")
    off = np.argwhere(~cells(painter.painted(), 0, "attn")).tolist()
    assert [[5, 7]] == off


def test_comfyuis_own_undo_takes_strokes_back_and_leaves_the_history_of_others(painter):
    page = painter.page
    before = painter.widget("edited")
    painter.click(0, 2, 6, 6)
    after = painter.widget("edited")
    assert before != after

    def comfyui(command, text):
        page.run("(id) => app.extensionManager.command.execute(id)", f"Comfy.{command}")
        page.wait(
            f"""(text) => {{
              const node = ({NODE})();
              return node?.widgets.find((widget) => widget.name === "edited").value === text;
            }}""",
            text,
        )
        painter.wait("told.drawn === 'true'")  # on a node that was made anew
        page.reveal(EDITOR)

    comfyui("Undo", before)
    comfyui("Redo", after)
    painter.click(0, 2, 7, 7)
    page.run(
        """() => {
          app.graph.add(LiteGraph.createNode("ECAD_SchedulePreview"));
          app.extensionManager.workflow.activeWorkflow.changeTracker.checkState();
        }"""
    )
    nodes = page.run("() => app.graph.nodes.length")
    comfyui("Undo", painter.widget("edited"))
    page.wait("(count) => app.graph.nodes.length === count - 1", nodes)
    painter.button("Undo")
    assert after == painter.widget("edited")


@pytest.mark.parametrize("seed", range(3))
def test_useless_cells_are_those_of_the_library(painter, seed):
    rows = np.random.default_rng(seed).random((STEPS, ARCHITECTURE.n_cells)) < 0.5
    rows[0] = True
    schedule = Schedule(ARCHITECTURE, rows)
    painter.choose("edited", schedule_json.dumps(schedule))
    painter.page.run("() => [...ecad.living.values()].find((life) => life.editor).settle()")
    found = painter.page.run(
        """() => {
          const { editor } = [...ecad.living.values()].find((life) => life.editor);
          return [Array.from(editor.bits.bits), Array.from(editor.useless), editor.host.text()];
        }"""
    )
    shape = rows.shape
    assert np.array_equal(rows, np.array(found[0], dtype=bool).reshape(shape))
    lost = schedule.compute & ~schedule.canonical().compute
    assert lost.any()
    assert np.array_equal(lost, np.array(found[1], dtype=bool).reshape(shape))
    assert schedule_json.dumps(schedule) == found[2]  # drawing does not write
    painter.page.screenshot("editor-useless")


def test_other_fields_of_the_text_survive_painting_digit_by_digit(painter):
    info = {"seed": 2**64 + 1, "note": '"compute": ["7"]', "sampling": {"cfg": 4.0}}
    schedule = Schedule(ARCHITECTURE, presets.fora(ARCHITECTURE, STEPS, 3).compute, info=info)
    painter.choose("edited", schedule_json.dumps(schedule))
    painter.page.run("() => [...ecad.living.values()].find((life) => life.editor).settle()")
    painter.click(0, 0, 1, 0)
    assert info == dict(painter.painted().info)
    assert 1 == np.count_nonzero(painter.painted().compute != schedule.compute)


def test_a_text_that_is_no_schedule_is_told_and_can_be_left(painter):
    whole = json.loads(schedule_json.dumps(presets.uncached(ARCHITECTURE, 2)))
    huge = {"blocks": {"a": 1024}, "components": {"a": ["x"] * 16}}
    for text in (
        "{",
        "[]",
        '{"format": "ecad-schedule", "steps": 3}',
        json.dumps({**whole, "steps": 3}),
        json.dumps({**whole, "compute": ["7", "7"]}),
        json.dumps({**whole, "compute": [row.replace("7", "8") for row in whole["compute"]]}),
        json.dumps(
            {**whole, "steps": 10_000, "compute": [""] * 10_000, **huge, "architecture": ""}
        ),
        json.dumps({**whole, "name": "x" * 2**23}),
    ):
        painter.choose("edited", text)
        painter.page.run("() => [...ecad.living.values()].find((life) => life.editor).settle()")
        assert "unreadable" == painter.told()["state"], text[:200]
        assert painter.page.tab.locator(f"{EDITOR} button", has_text="Save").is_disabled()
    painter.page.screenshot("editor-unreadable")
    painter.button("Start over")
    assert ("valid", "") == (painter.told()["state"], painter.widget("edited"))


def test_a_schedule_of_the_list_is_shown_when_it_is_chosen(painter):
    painter.choose("start", "pixart/fora-3-20-steps")
    painter.choose("steps", 0)
    told = painter.wait("told.state === 'valid' && Number(told.computed) < 1")
    assert 0.35 == pytest.approx(float(told["computed"]))
    assert "" == painter.widget("edited")
    painter.click(0, 0, 1, 0)
    expected = presets.fora(architectures.find("pixart"), 20, 3).compute.copy()
    expected[1, 0] = True
    assert np.array_equal(expected, painter.painted().compute)
    painter.page.queue()
    painter.page.wait_until_idle()  # what the node sends now is of the edits
    painter.press("Control+z")
    told = painter.wait("told.state === 'valid'")
    assert 0.35 == pytest.approx(float(told["computed"]))
    painter.choose("start", "my/gone")
    told = painter.wait("told.state === 'unreadable'")
    painter.choose("start", "new/flux")
    painter.choose("steps", STEPS)
    assert "valid" == painter.told()["state"]


def test_save_writes_the_file_and_the_loader_lists_it(painter):
    name = f"painted-{painter.page.renderer}"
    painter.drag((0, 0, 1, 2), (0, 0, 1, 12))
    painter.button("Save")  # without a name
    assert "Write a name" in painter.told()["note"]
    painter.choose("name", name)
    painter.button("Save")
    told = painter.wait("told.saved !== ''")
    assert f"my/{name}" == told["saved"]
    file = painter.page.server.log.parent / "base" / "models" / "ecad_schedules" / f"{name}.json"
    assert np.array_equal(painter.painted().compute, schedule_json.load(file).compute)
    painter.page.wait(
        """(name) => app.graph.nodes.find((node) => node.type === "ECAD_CacheLoader").widgets
          .find((widget) => widget.name === "schedule").options.values.includes(name)""",
        f"my/{name}",
        seconds=20,
    )
    painter.page.screenshot("editor-saved")
    painter.click(0, 0, 4, 4)
    assert "" == painter.told()["saved"]
    painter.button("Save")  # another one of that name
    assert "exists already" in painter.wait("told.note.includes('exists')")["note"]
    painter.page.run("() => document.querySelector('.p-dialog-close-button')?.click()")
    painter.press("Escape")
    painter.choose("overwrite", True)
    painter.page.reveal(EDITOR)
    painter.button("Save")
    painter.wait("told.saved !== ''")
    assert np.array_equal(painter.painted().compute, schedule_json.load(file).compute)


def test_a_reloaded_page_shows_the_same_and_the_file_is_unchanged(painter):
    page = painter.page
    saved, told = page.saved(), painter.told()
    (node,) = [node for node in saved["nodes"] if node["type"] == "ECAD_ScheduleEditor"]
    assert painter.widget("edited") in node["widgets_values"]
    page.open()
    page.load(saved)
    again = painter.wait("told.drawn === 'true'")
    for name in ("computed", "speedup", "state", "edited"):
        assert told[name] == again[name]
    (after,) = [node for node in page.saved()["nodes"] if node["type"] == "ECAD_ScheduleEditor"]
    assert node["widgets_values"] == after["widgets_values"]
    prompt = page.run("async () => (await app.graphToPrompt()).output")
    (inputs,) = [n["inputs"] for n in prompt.values() if n["class_type"] == "ECAD_ScheduleEditor"]
    assert {"start", "steps", "name", "overwrite", "edited"} == set(inputs)
    assert painter.widget("edited") == inputs["edited"]


def test_a_wired_schedule_is_shown_after_load_and_not_asked_for_again(painter):
    page = painter.page
    page.run(
        f"""() => {{
          const source = LiteGraph.createNode("ECAD_ScheduleEditor");
          source.pos = [700, 60];
          const editor = ({NODE})();
          app.graph.add(source);
          const set = (node, name, value) =>
            (node.widgets.find((widget) => widget.name === name).value = value);
          set(source, "start", "emoji-pixart/fora-4-20-steps");
          source.connect(0, editor, "schedule");
          set(editor, "name", "");
          set(editor, "steps", 0);
        }}"""
    )
    page.reveal(EDITOR)
    painter.button("Start over")
    told = painter.wait("told.state === 'valid' && told.edited === 'false'")
    assert 0.25 == pytest.approx(float(told["computed"]))
    painter.click(0, 0, 1, 0)
    assert "emoji-pixart" == painter.painted().architecture.id
    page.screenshot("editor-wired")


def test_edits_survive_a_subgraph(painter):
    before = painter.widget("edited")
    painter.page.run(f"() => app.graph.convertToSubgraph(new Set([({NODE})()]))")
    painter.page.settle()
    texts = painter.page.run(
        """() => [...ecad.living].filter(([, life]) => life.editor)
          .map(([node]) => node.widgets.find((widget) => widget.name === "edited").value)"""
    )
    assert before in texts


def test_removed_editors_leave_nothing_behind(painter):
    page = painter.page
    page.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    assert [0, 0] == page.run("() => [ecad.living.size, ecadTheme.themeListeners()]")
    page.wait("() => document.querySelectorAll('[data-ecad]').length === 0")


def test_the_edited_text_runs_without_a_browser(painter):
    """The same prompt, as a client without the page sends it."""
    server = painter.page.server
    schedule = presets.fora(architectures.find("emoji-pixart"), 8, 2)
    inputs = {"start": "new/flux", "steps": 0, "name": "", "overwrite": False}
    inputs["edited"] = schedule_json.dumps(schedule)
    prompt = {"1": {"class_type": "ECAD_ScheduleEditor", "inputs": inputs}}
    queued = server.post("/prompt", {"prompt": prompt})
    painter.page.wait_until_idle()
    history = server.get(f"/history/{queued['prompt_id']}")[queued["prompt_id"]]
    (view,) = history["outputs"]["1"]["ecad_schedule"]
    assert schedule.key == view["key"]
    json.dumps(view)
