"""locales/, where ComfyUI finds the nodes' names and tooltips in the reader's language.

Its files are written from the schemas of the nodes and from devtools/translations, which has a
translation for each English text. A text that was changed so has none any more, and is found.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
TRANSLATIONS = ROOT / "devtools" / "translations"
LANGUAGES = ("zh", "ja")  # beside en; ComfyUI's names for them

Texts = dict[str, Any]  # names of ComfyUI's -> text or Texts
Table = dict[str, str]  # English text -> its translation


def english(schemas: Iterable[Any]) -> dict[str, Texts]:
    """File name -> content, as the page of ComfyUI reads it, in the words of the schemas."""
    nodes: Texts = {}
    categories: Texts = {}
    for schema in schemas:
        nodes[schema.node_id] = {
            "display_name": schema.display_name,
            "description": schema.description,
        }
        if schema.inputs:
            nodes[schema.node_id]["inputs"] = {
                slot.id: {"name": slot.id, "tooltip": slot.tooltip} for slot in schema.inputs
            }
        if schema.outputs:
            nodes[schema.node_id]["outputs"] = {
                str(i): of_output(slot) for i, slot in enumerate(schema.outputs)
            }
        categories |= {part: part for part in schema.category.split("/")}
    return {"nodeDefs.json": nodes, "main.json": {"nodeCategories": categories}}


def of_output(slot: Any) -> Texts:
    """One without a name of its own is shown under its type's, which ComfyUI translates."""
    name = {"name": slot.display_name} if slot.display_name else {}
    return {**name, "tooltip": slot.tooltip}


def texts(content: Texts) -> Iterator[str]:
    for value in content.values():
        if isinstance(value, dict):
            yield from texts(value)
        else:
            yield value


def translated(content: Texts, table: Mapping[str, str]) -> Texts:
    """`content` in the language of `table`; without the texts that it lacks, which stay English."""
    found: Texts = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found[key] = translated(value, table)
        elif table.get(value):
            found[key] = table[value]
    return found


def table_of(language: str) -> Table:
    return json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))


def completed(table: Mapping[str, str], wanted: Iterable[str]) -> Table:
    """The table with an entry for each of the texts, and no other; a missing one is empty."""
    return {text: table.get(text, "") for text in wanted}


def written(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def write(schemas: Iterable[Any]) -> dict[str, list[str]]:
    """Write all of locales/ and bring the tables up to date; language -> texts it still lacks."""
    files = english(schemas)
    wanted = list(dict.fromkeys(text for content in files.values() for text in texts(content)))
    missing: dict[str, list[str]] = {}
    for language in ("en", *LANGUAGES):
        table = {text: text for text in wanted}
        if language != "en":
            table = completed(table_of(language), wanted)
            path = TRANSLATIONS / f"{language}.json"
            path.write_text(written(table), encoding="utf-8", newline="\n")
            missing[language] = [text for text, translation in table.items() if not translation]
        (LOCALES / language).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = LOCALES / language / name
            path.write_text(written(translated(content, table)), encoding="utf-8", newline="\n")
    return missing


def main() -> int:
    from .loaded_pack import LoadedPack

    menu = LoadedPack(Path(os.environ["COMFYUI_PATH"])).module("nodes").MENU
    missing = write(node.GET_SCHEMA() for node in menu)
    for language, lacking in missing.items():
        if lacking:
            print(
                f"devtools/translations/{language}.json lacks {len(lacking)} translations, such as "
                f"that of '{lacking[0]}': fill in the empty ones and run this again.",
                file=sys.stderr,
            )
    return int(any(missing.values()))


if __name__ == "__main__":
    sys.exit(main())
