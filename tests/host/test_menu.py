"""ComfyUI's own loader finds the pack under any folder name, and its nodes are complete."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IDS = (ROOT / "tests" / "host" / "node_ids.txt").read_text().split()
IMPORT_SECONDS = 1.0  # of CPU, generous: a busy machine counts hyperthreads as whole ones


@pytest.fixture(scope="module")
def host_nodes(comfy):
    return importlib.import_module("nodes")


@pytest.fixture(scope="module")
def menu(pack):
    return {node.GET_SCHEMA().node_id: node for node in pack.module("nodes").MENU}


@pytest.fixture
def restored(host_nodes):
    """The host as it was: no node and no module of a pack under another name stays behind."""
    tables = (
        host_nodes.NODE_CLASS_MAPPINGS,
        host_nodes.NODE_DISPLAY_NAME_MAPPINGS,
        host_nodes.EXTENSION_WEB_DIRS,
        host_nodes.LOADED_MODULE_DIRS,
    )
    before = [dict(table) for table in tables]
    modules = set(sys.modules)
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)
    for name in set(sys.modules) - modules:
        if "ecad" in name.lower():
            del sys.modules[name]


@pytest.mark.parametrize("folder", ["ComfyUI-ECAD", "ComfyUI_ECAD-1.0.2", "ecad pack", "nodes"])
def test_the_pack_loads_under_any_folder_name(host_nodes, restored, tmp_path, folder):
    path = tmp_path / "ecad-custom-nodes" / folder
    path.parent.mkdir()
    path.symlink_to(ROOT, target_is_directory=True)
    for node_id in IDS:
        host_nodes.NODE_CLASS_MAPPINGS.pop(node_id, None)
    assert asyncio.run(host_nodes.load_custom_node(str(path)))
    found = {name for name in host_nodes.NODE_CLASS_MAPPINGS if name.startswith("ECAD_")}
    assert set(IDS) == found
    assert [folder] == [n for n, p in host_nodes.EXTENSION_WEB_DIRS.items() if str(path) in p]
    assert host_nodes is sys.modules["nodes"]


def test_importing_the_pack_is_quick(host_nodes, restored, tmp_path):
    path = tmp_path / "ecad-timed"
    path.symlink_to(ROOT, target_is_directory=True)
    spec = importlib.util.spec_from_file_location(str(path), path / "__init__.py")
    module = sys.modules[str(path)] = importlib.util.module_from_spec(spec)
    started = time.process_time()
    spec.loader.exec_module(module)
    assert time.process_time() - started < IMPORT_SECONDS


def test_the_ids_are_the_committed_ones(menu):
    assert IDS == sorted(menu)


def test_every_node_has_a_name_a_description_and_a_place(menu):
    for node_id, node in menu.items():
        schema = node.GET_SCHEMA()
        assert node_id.startswith("ECAD_")
        assert schema.display_name and not schema.display_name.startswith("ECAD_"), node_id
        assert schema.description.endswith("."), node_id
        assert "ECAD" == schema.category.split("/")[0], node_id


def test_every_input_and_output_has_a_tooltip(menu):
    for node_id, node in menu.items():
        schema = node.GET_SCHEMA()
        for slot in [*schema.inputs, *schema.outputs]:
            assert slot.tooltip, f"{node_id}.{getattr(slot, 'id', slot)}"
            assert slot.tooltip.endswith("."), f"{node_id}.{slot.id}: {slot.tooltip}"


def test_every_float_has_a_step(menu):
    for node_id, node in menu.items():
        for slot in node.GET_SCHEMA().inputs:
            if slot.get_io_type() == "FLOAT":
                assert slot.step and slot.round, f"{node_id}.{slot.id}"


def test_defaults_are_allowed_values(menu):
    for node_id, node in menu.items():
        for slot in node.GET_SCHEMA().inputs:
            kind, default = slot.get_io_type(), getattr(slot, "default", None)
            if kind in ("INT", "FLOAT"):
                assert slot.min <= default <= slot.max, f"{node_id}.{slot.id}"
            if kind == "COMBO" and default is not None:
                assert default in slot.options, f"{node_id}.{slot.id}"


def test_optional_widgets_come_last(menu):
    """The browser shows required inputs first; in another order saved values would move."""
    for node_id, node in menu.items():
        widgets = [slot for slot in node.GET_SCHEMA().inputs if hasattr(slot, "default")]
        optional = [slot.optional for slot in widgets]
        assert sorted(optional) == optional, node_id


def test_what_the_browser_is_told_is_json(menu):
    for node in menu.values():
        assert json.dumps(node.GET_NODE_INFO_V1())


def test_every_node_has_a_help_page_and_no_page_is_left_over(pack, menu):
    pages = {page.stem for page in (ROOT / pack.root.WEB_DIRECTORY / "docs").glob("*.md")}
    assert set(menu) == pages


def test_help_pages_name_their_inputs_as_the_node_does(menu):
    """A page may leave inputs out; what it shows in bold before a colon must exist."""
    for node_id, node in menu.items():
        schema = node.GET_SCHEMA()
        known = {slot.id for slot in schema.inputs} | {
            slot.display_name or slot.get_io_type().lower() for slot in schema.outputs
        }
        known |= {str(option) for slot in schema.inputs for option in getattr(slot, "options", ())}
        text = (ROOT / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
        for line in text.splitlines():
            if line.startswith("- **") and "**:" in line:
                for name in line[2 : line.index("**:")].replace("*", "").split(", "):
                    assert name in known, f"{node_id}: {name}"


def test_no_node_imports_models_of_the_host_at_the_top():
    """comfy.ldm costs seconds at start-up and moves between releases."""
    for file in sorted((ROOT / "nodes").rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.startswith("comfy.ldm") for name in names), file


def test_the_pack_takes_the_newest_interface_alone(pack):
    assert not hasattr(pack.root, "NODE_CLASS_MAPPINGS")
    assert {"WEB_DIRECTORY", "comfy_entrypoint"} == set(pack.root.__all__)


def test_keywords_that_the_host_lacks_are_dropped(pack):
    module = pack.module("nodes.host.schema")

    def build(known):
        return known

    assert {"known": 1} == module.known(build, {"known": 1, "search_aliases": ["x"]})

    def takes_all(**keywords):
        return keywords

    assert {"any": 1} == module.known(takes_all, {"any": 1})
    schema = module.schema(node_id="X", category="ECAD", keyword_of_the_future=True, inputs=[])
    assert ("X", "ECAD") == (schema.node_id, schema.category)
