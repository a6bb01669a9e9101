"""A workflow in API format, cut down to one search and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import json_files
from ..errors import SearchError
from ..json_files import printable

SEARCH = "ECAD_Search"
LARGEST_FILE = 64 * 2**20  # bytes; a workflow may hold pictures as text
Nodes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SearchWorkflow:
    """The nodes that feed the search node `id`, itself included, and nothing after it."""

    nodes: Nodes
    id: str

    @classmethod
    def load(cls, path: Path, node: str | None = None) -> SearchWorkflow:
        """Of a file; StorageError when it cannot be read."""
        content = json_files.read(path, kind="a workflow", largest=LARGEST_FILE, error=SearchError)
        text = json_files.decoded(content, path, error=SearchError)
        return cls.parsed(text, node, source=str(path))

    @classmethod
    def parsed(cls, text: str, node: str | None = None, *, source: str) -> SearchWorkflow:
        """Of JSON text; `node` is the id of the search node where there are several."""
        source = printable(source)
        try:
            document = json_files.parsed(text)
        except json_files.UnusableJson as error:
            raise SearchError(f"'{source}' is not a workflow: it {error}.") from None
        if isinstance(document, dict) and isinstance(document.get("nodes"), list):
            raise SearchError(
                f"'{source}' is a workflow as the browser saves it; export it with File > Export "
                "(API) and use that file."
            )
        if not isinstance(document, dict) or not all(map(is_node, document.values())):
            raise SearchError(
                f"'{source}' is not a workflow in API format (an object of nodes, each with a "
                "class_type and inputs); export it in ComfyUI with File > Export (API)."
            )
        return cls.of(document, node, source=source)

    @classmethod
    def of(cls, nodes: Nodes, node: str | None = None, *, source: str) -> SearchWorkflow:
        found = [id for id, fields in nodes.items() if fields["class_type"] == SEARCH]
        if node is None:  # of searches that start from one another the last is meant
            last = [
                id for id in found if not any(id in upstream(nodes, o) for o in found if o != id)
            ]
            node = last[0] if len(last) == 1 else None
        if node not in found:
            there = f"{len(found)} of them ({listed(found)})" if found else "none"
            ask = "name one of them with --node" if found else "add it to the workflow"
            raise SearchError(
                f"A search needs one ECAD Search node, but '{source}' has {there}; {ask}."
            )
        return cls({id: as_asked(n) for id, n in upstream(nodes, node).items()}, node)

    def changed(self, inputs: Mapping[str, Any]) -> SearchWorkflow:
        """With other values on the search node; a link to such an input is replaced."""
        fields = self.nodes[self.id]
        changed = {**fields, "inputs": {**fields.get("inputs", {}), **inputs}}
        return SearchWorkflow(upstream({**self.nodes, self.id: changed}, self.id), self.id)


def upstream(nodes: Nodes, id: str) -> Nodes:
    """`id` and all nodes it needs, in the order of `nodes`."""
    needed, waiting = set(), [id]
    while waiting:
        current = waiting.pop()
        if current in needed or current not in nodes:  # a dangling link is the host's to refuse
            continue
        needed.add(current)
        for value in nodes[current].get("inputs", {}).values():
            if is_link(value):
                waiting.append(str(value[0]))
    return {id: fields for id, fields in nodes.items() if id in needed}


def as_asked(fields: dict[str, Any]) -> dict[str, Any]:
    """A node without what the host notes on it when it runs, `is_changed`, which may be NaN."""
    return {name: fields[name] for name in ("inputs", "class_type", "_meta") if name in fields}


def is_node(fields: Any) -> bool:
    return (
        isinstance(fields, dict)
        and isinstance(fields.get("class_type"), str)
        and all(isinstance(fields.get(name, {}), dict) for name in ("inputs", "_meta"))
    )


def listed(ids: list[str]) -> str:
    """Ids of nodes in a message."""
    shown = [printable(id[:40]) for id in ids[:20]]
    return ", ".join([*shown, "..."] if len(ids) > len(shown) else shown)


def is_link(value: Any) -> bool:
    """Links are [node id, output number]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )
