"""Node definitions that load on every supported ComfyUI: keywords it does not know are dropped.

A keyword that a release does not know is a TypeError inside `define_schema`, and the node vanishes.
What may be dropped only decorates (search aliases, "advanced"); behaviour must not depend on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from comfy_api.latest import io


def schema(*, node_id: str, **keywords: Any) -> io.Schema:
    """`io.Schema(...)` with the keywords this host knows."""
    return io.Schema(node_id=node_id, **known(io.Schema, keywords))


def field(kind: Any, name: str, **keywords: Any) -> Any:
    """`kind.Input(name, ...)` with the keywords this host knows, such as `advanced` (0.12)."""
    return kind.Input(name, **known(kind.Input, keywords))


def known(build: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords that `build` accepts."""
    accepted = parameters(build)
    if accepted is None:
        return keywords
    return {name: value for name, value in keywords.items() if name in accepted}


@lru_cache(maxsize=64)  # `define_schema` runs for every node at every GET /object_info
def parameters(build: Callable[..., Any]) -> frozenset[str] | None:
    """The names of the parameters of `build`; None when it takes any."""
    found = inspect.signature(build).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values()):
        return None
    return frozenset(found)
