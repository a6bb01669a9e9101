"""The workflows that ship are valid on this host: types, links, widgets, the host's own check."""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))
API_WORKFLOW = ROOT / "demo" / "workflow_api.json"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTES = {"Note", "MarkdownNote"}  # exist in the browser alone
MODEL_FILES = {"ckpt_name", "unet_name", "clip_name", "clip_name1", "clip_name2", "vae_name"}


@pytest.fixture(scope="module")
def host_nodes(comfy, pack):
    """The host's table of nodes, with ours and the core's that are not in it from the start."""
    nodes = importlib.import_module("nodes")
    before = dict(nodes.NODE_CLASS_MAPPINGS)
    preview = importlib.import_module("comfy_extras.nodes_preview_any")
    nodes.NODE_CLASS_MAPPINGS.update(preview.NODE_CLASS_MAPPINGS)
    for name in ("nodes_sd3", "nodes_flux", "nodes_easycache"):
        extension = importlib.import_module(f"comfy_extras.{name}").comfy_entrypoint()
        if asyncio.iscoroutine(extension):  # of some of the host's modules it is not
            extension = asyncio.run(extension)
        for node in asyncio.run(extension.get_node_list()):
            nodes.NODE_CLASS_MAPPINGS[node.GET_SCHEMA().node_id] = node
    for node in pack.module("nodes").MENU:
        nodes.NODE_CLASS_MAPPINGS[node.GET_SCHEMA().node_id] = node
    yield nodes.NODE_CLASS_MAPPINGS
    nodes.NODE_CLASS_MAPPINGS.clear()
    nodes.NODE_CLASS_MAPPINGS.update(before)


def inputs_of(node_class):
    """(name, type, options) of a node's inputs, in the order in which the browser shows them."""
    for group in ("required", "optional"):
        for name, (kind, *rest) in node_class.INPUT_TYPES().get(group, {}).items():
            options = dict(rest[0]) if rest else {}
            if isinstance(kind, list):
                kind, options["options"] = "COMBO", kind
            yield name, str(kind), options


def is_widget(kind, options):
    return kind in WIDGETS and not options.get("forceInput")


def widget_names(node_class):
    """One name for each of `widgets_values`; None is the browser's control_after_generate."""
    names = []
    for name, kind, options in inputs_of(node_class):
        if is_widget(kind, options):
            names.append(name)
            control = options.get("control_after_generate")
            if control or (control is None and name in ("seed", "noise_seed")):
                names.append(None)
    return names


def as_api(workflow, host_nodes):
    """What the browser queues for a workflow without bypassed nodes."""
    links = {link[0]: link for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        names = widget_names(host_nodes[node["type"]])
        values = zip(names, node["widgets_values"], strict=True)
        inputs = {name: value for name, value in values if name is not None}
        for slot in node["inputs"]:
            if slot["link"] is not None:
                _, source, source_slot, *_ = links[slot["link"]]
                inputs[slot["name"]] = [str(source), source_slot]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    return load(request.param)


def test_every_node_type_exists(example, host_nodes):
    types = {node["type"] for node in example["nodes"]}
    assert set() == types - NOTES - set(host_nodes)


def test_every_widget_has_a_value(example, host_nodes):
    for node in example["nodes"]:
        if node["type"] not in NOTES:
            names = widget_names(host_nodes[node["type"]])
            assert len(names) == len(node["widgets_values"]), node["type"]


def test_seeds_stay_fixed(example, host_nodes):
    """A seed that changes after every run would start another search every time."""
    for node in example["nodes"]:
        if node["type"] not in NOTES:
            pairs = zip(widget_names(host_nodes[node["type"]]), node["widgets_values"], strict=True)
            assert all(value == "fixed" for name, value in pairs if name is None)


def test_every_socket_is_one_of_the_node(example, host_nodes):
    for node in example["nodes"]:
        if node["type"] in NOTES:
            continue
        node_class = host_nodes[node["type"]]
        sockets = [
            (name, kind)
            for name, kind, options in inputs_of(node_class)
            if not is_widget(kind, options)
        ]
        assert sockets == [(slot["name"], slot["type"]) for slot in node["inputs"]]
        types = [str(kind) for kind in node_class.RETURN_TYPES]
        saved = [slot["type"] for slot in node["outputs"]]
        # Newer hosts let their own preview and save nodes pass on what they show.
        assert saved == (types if node["type"].startswith("ECAD_") else types[: len(saved)])


def test_links_agree_with_both_of_their_ends(example):
    nodes = {node["id"]: node for node in example["nodes"]}
    for link, source, source_slot, target, target_slot, kind in example["links"]:
        output = nodes[source]["outputs"][source_slot]
        socket = nodes[target]["inputs"][target_slot]
        assert link in output["links"]
        assert link == socket["link"]
        assert kind == output["type"]
        assert socket["type"] in (kind, "*")
    count = sum(slot["link"] is not None for n in example["nodes"] for slot in n["inputs"])
    assert len(example["links"]) == count
    assert example["last_node_id"] == max(nodes)


def test_every_node_lies_in_a_group_and_on_no_other_node(example):
    boxes = [(n["pos"], n["size"], n["type"]) for n in example["nodes"]]
    for i, ((x, y), (width, height), name) in enumerate(boxes):
        assert any(
            left <= x and top <= y and x + width <= left + w and y + height <= top + h
            for left, top, w, h in (group["bounding"] for group in example["groups"])
        ), name
        for (other_x, other_y), (other_width, other_height), other in boxes[:i]:
            apart = (
                x >= other_x + other_width
                or other_x >= x + width
                or y >= other_y + other_height
                or other_y >= y + height
            )
            assert apart, f"{name} lies on {other}"


def test_every_example_has_a_note(example):
    assert any(node["type"] in NOTES for node in example["nodes"])


def valid(prompt):
    execution = importlib.import_module("execution")
    return asyncio.run(execution.validate_prompt("test", prompt, None))


def test_the_host_accepts_every_example(example, host_nodes, comfy, monkeypatch):
    prompt = as_api(example, host_nodes)
    files = [n["inputs"][name] for n in prompt.values() for name in MODEL_FILES & set(n["inputs"])]
    if files:  # as if the reader had put them into the models folder
        monkeypatch.setattr(comfy.folder_paths, "get_filename_list", lambda folder: files)
    accepted, error, _, node_errors = valid(prompt)
    assert accepted, (error, node_errors)
    assert {} == node_errors


def test_the_demo_runs_the_search_example(host_nodes):
    """demo/workflow_api.json is emoji_search.json as the browser would queue it."""
    api = {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]}
        for key, node in load(API_WORKFLOW).items()
    }
    assert as_api(load(ROOT / "example_workflows" / "emoji_search.json"), host_nodes) == api


def test_the_host_accepts_the_demo(host_nodes):
    accepted, error, outputs, node_errors = valid(load(API_WORKFLOW))
    assert accepted, (error, node_errors)
    assert {} == node_errors
    assert len(outputs) >= 5


def test_the_demo_searches_and_checks_on_other_captions():
    prompts = load(API_WORKFLOW)
    search = next(n for n in prompts.values() if n["class_type"] == "ECAD_Search")
    compare = next(n for n in prompts.values() if n["class_type"] == "ECAD_CompareSchedules")
    seen = prompts[search["inputs"]["calibration"][0]]["inputs"]
    unseen = prompts[compare["inputs"]["held_out"][0]]["inputs"]
    assert ("emoji-calibration", "emoji-heldout") == (seen["source"], unseen["source"])
    assert seen["prompts"] * 2 <= search["inputs"]["images"]
