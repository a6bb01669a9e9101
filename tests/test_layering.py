"""Who may import whom: core <- architectures <- engine; scorers and evolution know core only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "ecad_search"
HOST = {"comfy", "comfy_api", "comfy_api_nodes", "comfy_extras", "comfy_execution", "execution"}
HOST |= {"folder_paths", "node_helpers", "nodes", "server"}
OURS = {"ecad_search", "nodes", "demo", "devtools"}
MAY_IMPORT = {  # part of the library -> parts it may import, besides itself
    "__init__": {"architectures"},
    "errors": set(),
    "file_names": {"errors"},
    "json_files": {"errors"},
    "text_table": set(),
    "core": {"errors", "json_files"},
    "architectures": {"core", "errors"},
    "engine": {"architectures", "core", "errors"},
    "scorers": {"core", "errors"},
    "evolution": {"core", "errors", "json_files"},
    "calibration": {"core", "errors", "prompt_files"},
    "prompt_files": {"errors", "json_files"},
    "benchmark": {"errors", "json_files", "scorers", "text_table"},
    "drawing": {"core", "errors"},
    "comfyui": {"errors", "json_files"},
    "workers": {"errors"},
    "library": {"core", "errors", "file_names"},
    "builtin_schedules": {"architectures", "core", "errors"},
}
NO_TORCH = (
    "__init__",
    "errors",
    "file_names",
    "json_files",
    "text_table",
    "core",
    "architectures",
    "evolution",
    "library",
    "cli",
    "commands",
    "comfyui",
    "workers",
    "calibration",
    "prompt_files",
)


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path, top: Path) -> list[tuple[bool, str]]:
    """(is relative, first name below `top`, or absolute top name) of every import."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(False, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((False, (node.module or "").split(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1]
            assert folder.is_relative_to(top), f"{path} climbs out of {top.name}"
            here = (*folder.relative_to(top).parts, *(node.module or "").split("."))
            names = [alias.name for alias in node.names]
            found += [(True, name) for name in ([p for p in here if p][:1] or names)]
    return found


@pytest.mark.parametrize("path", modules(LIBRARY), ids=lambda p: p.relative_to(LIBRARY).as_posix())
def test_the_library_imports_only_what_its_layer_may(path):
    part = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    for relative, name in imports(path, LIBRARY):
        if not relative:
            assert name not in HOST | OURS, f"{path} imports {name}"
            assert not (name == "torch" and part in NO_TORCH), f"{path} imports torch"
        elif name != part and part in MAY_IMPORT:
            assert name in {*MAY_IMPORT[part], "__version__"}, f"{part} may not import {name}"


@pytest.mark.parametrize("path", modules(ROOT / "nodes"), ids=lambda p: p.name)
def test_nodes_reach_the_library_relatively(path):
    for relative, name in imports(path, ROOT):
        assert relative or name not in OURS, f"{path} imports {name} absolutely"


def test_the_parts_are_all_listed():
    wiring = {"__main__", "cli", "commands", "testing"}
    parts = {p.relative_to(LIBRARY).parts[0].removesuffix(".py") for p in modules(LIBRARY)}
    assert set() == parts - set(MAY_IMPORT) - wiring, "add the new part to MAY_IMPORT"
