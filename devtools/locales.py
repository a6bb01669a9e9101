"""The nodes and what the page says, in the reader's language.

ComfyUI finds the nodes' names and tooltips in locales/, our scripts their own texts in
web/js/translations.mjs. Both are written from the English ones, in the schemas of the nodes and
in the scripts, and from devtools/translations, which has a translation for each of them. A text
that was changed so has none any more, and is found.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
TRANSLATIONS = ROOT / "devtools" / "translations"
LANGUAGES = ("zh", "ja")  # beside en; ComfyUI's names for them
SCRIPTS = ROOT / "web" / "js"
WORDS, MODULE = "words.mjs", "translations.mjs"  # the scripts that ask for nothing
LITERALS = {"say": 1, "sayCount": 2}  # functions of words.mjs -> texts that they are called with
LITERAL = r'"(?:[^"\\\n]|\\.)*"'
TEXT = rf"{LITERAL}(?:\s*\+\s*{LITERAL})*"
CALL = re.compile(rf"(?<![\w.])({'|'.join(LITERALS)})\(\s*({TEXT})?(?:,\s*({TEXT}))?")
MODULE_HEAD = """\
// @ts-check
/** Written by `python3 dev.py locales`: change devtools/translations instead. */

/** Language -> English text -> its translation. @type {Record<string, Record<string, string>>} */
export const TRANSLATIONS = """

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


def calls(code: str, name: str = "the script") -> Iterator[tuple[list[str], str]]:
    """The texts of each call of `say` and its like, and the code that follows them in the call."""
    for call in CALL.finditer(code):
        written_texts = [text for text in call.groups()[1:] if text is not None]
        if len(written_texts) != LITERALS[call[1]]:
            raise ValueError(
                f"{name} calls {call[0].strip()!r} with something else than a text in double "
                "quotes; write the text out, so that it can be found and translated."
            )
        parts = [re.findall(LITERAL, text) for text in written_texts]
        rest = code[call.end() : code.find(";", call.end())]
        yield ["".join(map(json.loads, literals)) for literals in parts], rest


def page_texts() -> list[str]:
    """All that the page says, in English."""
    scripts = sorted([*SCRIPTS.glob("*.js"), *SCRIPTS.glob("*.mjs")])
    found = [
        text
        for script in scripts
        if script.name not in (WORDS, MODULE)
        for texts_of_call, _ in calls(script.read_text(encoding="utf-8"), script.name)
        for text in texts_of_call
    ]
    return list(dict.fromkeys(found))


def page_module(tables: Mapping[str, Mapping[str, str]]) -> str:
    """The script with the page's translations; `tables` by language."""
    wanted = page_texts()
    content = {
        language: {text: table[text] for text in wanted if table.get(text)}
        for language, table in tables.items()
    }
    return f"{MODULE_HEAD}{written(content).rstrip()};\n"


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
    """Write all of locales/ and the page's translations, and bring the tables up to date.

    Returns language -> texts it still lacks.
    """
    files = english(schemas)
    of_nodes = [text for content in files.values() for text in texts(content)]
    wanted = list(dict.fromkeys([*of_nodes, *page_texts()]))
    missing: dict[str, list[str]] = {}
    tables: dict[str, Table] = {}
    for language in ("en", *LANGUAGES):
        table = {text: text for text in wanted}
        if language != "en":
            table = completed(table_of(language), wanted)
            path = TRANSLATIONS / f"{language}.json"
            path.write_text(written(table), encoding="utf-8", newline="\n")
            tables[language] = table
            missing[language] = [text for text, translation in table.items() if not translation]
        (LOCALES / language).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = LOCALES / language / name
            path.write_text(written(translated(content, table)), encoding="utf-8", newline="\n")
    (SCRIPTS / MODULE).write_text(page_module(tables), encoding="utf-8", newline="\n")
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
