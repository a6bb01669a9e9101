"""ECAD Compare Images in the real page, in both renderers: slider, difference map, batches.

The tests of a renderer are one story on one page, in this order: each goes on where the last ended.
"""

from __future__ import annotations

import pytest

PICTURES = "[data-ecad=pictures]"
CANVAS = f"{PICTURES} .ecad-pictures canvas"
VIEW = "[...ecad.living.values()].find((life) => life.pictures)?.pictures"


def workflow():
    """Two pictures of one colour each, as large as each other; (200, 40, 40) over (180, 40, 80)."""

    def colour(id, value):
        return {
            "id": id, "type": "EmptyImage", "pos": [40, 60 + 240 * (id - 1)], "size": [260, 160],
            "flags": {}, "order": 0, "mode": 0, "inputs": [],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [id]}],
            "properties": {}, "widgets_values": [96, 64, 2, value],
        }  # fmt: skip

    compare = {
        "id": 3, "type": "ECAD_CompareImages", "pos": [380, 60], "size": [420, 420], "flags": {},
        "order": 1, "mode": 0, "properties": {}, "widgets_values": [4],
        "inputs": [{"name": "images", "type": "IMAGE", "link": 1},
                   {"name": "references", "type": "IMAGE", "link": 2}],
        "outputs": [{"name": "difference", "type": "IMAGE", "links": None},
                    {"name": "summary", "type": "STRING", "links": None}],
    }  # fmt: skip
    return {
        "id": "0e6a0c1e-94c5-4b8c-9a3e-6a4c6a1d8f01",
        "nodes": [colour(1, 0xC82828), colour(2, 0xB42850), compare],
        "links": [[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 3, 1, "IMAGE"]],
        "version": 0.4, "last_node_id": 3, "last_link_id": 2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def story(page):
    page.load(workflow())
    return page


def colour_at(page, x, y=0.5):
    """Red, green, blue of the drawing, `x` and `y` of the way across and down the picture."""
    return page.run(
        f"""([x, y]) => {{
          const view = {VIEW};
          const {{ canvas }} = view;
          const {{ clientWidth, clientHeight }} = canvas;
          const {{ left, top, width, height }} = view.frame(clientWidth, clientHeight);
          const sharp = canvas.width / clientWidth;
          const at = [left + x * width, top + y * height].map((v) => Math.round(v * sharp));
          return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
        }}""",
        [x, y],
    )


def wait_for(page, condition):
    page.wait(f"() => {{ const view = {VIEW}; return view && ({condition}); }}")


def test_a_run_shows_both_pictures_on_each_other(story):
    story.queue()
    wait_for(story, "view.element.dataset.drawn === 'slider'")
    assert [180, 40, 80] == colour_at(story, 0.25)  # the reference
    assert [200, 40, 40] == colour_at(story, 0.75)
    facts = story.run(f"() => {VIEW}.facts.textContent")
    assert facts.startswith("reference | image · PSNR 19.") and "SSIM" in facts
    story.show(3)
    story.screenshot("pictures")


def test_the_slider_follows_the_pointer_and_the_keys(story):
    story.show(3)
    story.reveal(CANVAS)
    box = story.tab.locator(CANVAS).bounding_box()
    before = story.run("() => [...app.graph.getNodeById(3).pos]")
    middle = box["y"] + box["height"] / 2
    story.tab.mouse.move(box["x"] + box["width"] / 2, middle)
    story.tab.mouse.down()
    story.tab.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=4)
    story.tab.mouse.up()
    wait_for(story, "view.split < 0.35")
    story.settle()
    assert [200, 40, 40] == colour_at(story, 0.45)
    assert before == story.run("() => [...app.graph.getNodeById(3).pos]")  # the node stays
    split = story.run(f"() => {VIEW}.split")
    story.tab.locator(CANVAS).focus()
    story.tab.keyboard.press("ArrowRight")
    wait_for(story, f"view.split > {split}")
    story.run(f"() => {VIEW}.setSplit(9)")
    story.settle()
    assert [180, 40, 80] == colour_at(story, 0.9)


def test_the_difference_is_shown_and_multiplied(story):
    story.reveal(f"{PICTURES} .ecad-buttons")
    story.tab.locator(f"{PICTURES} button", has_text="Difference").click()
    wait_for(story, "view.element.dataset.drawn === 'difference 4'")
    assert [80, 0, 160] == colour_at(story, 0.5, 0.9)
    story.tab.locator(f"{PICTURES} button", has_text="4x").click()
    wait_for(story, "view.element.dataset.drawn === 'difference 16'")
    assert [255, 0, 255] == colour_at(story, 0.5, 0.9)
    story.show(3)
    story.screenshot("difference")
    story.reveal(f"{PICTURES} .ecad-buttons")
    story.tab.locator(f"{PICTURES} button", has_text="Slider").click()


def test_the_next_picture_of_a_batch_is_a_click_away(story):
    story.tab.locator(f"{PICTURES} button", has_text="1 / 2").click()
    wait_for(story, "view.element.dataset.at === '1'")
    wait_for(story, "view.element.dataset.loaded.includes('_1_')")


def test_the_workflow_has_no_trace_of_the_pictures(story):
    (node,) = [n for n in story.saved()["nodes"] if n["type"] == "ECAD_CompareImages"]
    assert [4] == node["widgets_values"][:1]
    prompt = story.run("async () => (await app.graphToPrompt()).output")
    assert {"images", "references", "gain"} == set(prompt["3"]["inputs"])


def test_a_reloaded_page_shows_them_again_and_says_when_they_are_gone(story):
    saved = story.saved()
    story.open()
    story.load(saved)
    wait_for(story, "view.element.dataset.drawn === 'slider'")
    story.run(
        f"""() => {{
          const view = {VIEW};
          const image = {{ ...view.pairs[0].image, filename: "no.png" }};
          view.show([{{ ...view.pairs[0], image }}]);
        }}"""
    )
    wait_for(story, "view.problem.includes('Queue again')")


def test_a_removed_node_leaves_nothing_behind(story):
    story.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    assert [0, 0] == story.run("() => [ecad.living.size, ecadTheme.themeListeners()]")
    story.wait("() => document.querySelectorAll('[data-ecad]').length === 0")
