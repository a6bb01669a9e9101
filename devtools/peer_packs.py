"""Caches of other node packs, unmodified: imported from their folders, applied as their nodes do.

A pack is known by the nodes it has, not by its folder's name. All of those here know FLUX, by
coefficients fitted to FLUX.1-dev.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from .problem import Problem


@dataclass(frozen=True)
class PackNode:
    """A node that puts a cache on a MODEL; `settings`, from nearly lossless to ruinous."""

    peer: str
    node_id: str
    arguments: Mapping[str, Any]
    settings: tuple[Mapping[str, Any], ...]


KNOWN = (
    PackNode(
        "TeaCache",
        "TeaCache",
        {"model_type": "flux", "start_percent": 0.0, "end_percent": 1.0, "cache_device": "cpu"},
        tuple({"rel_l1_thresh": value} for value in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.2, 2.0)),
    ),
    PackNode(
        "MagCache",
        "MagCache",
        {"model_type": "flux", "start_step": 0, "end_step": -1},
        tuple(
            {"magcache_thresh": threshold, "magcache_K": most, "retention_ratio": 0.1}
            for threshold, most in (
                *((0.03, 1), (0.06, 2), (0.1, 2), (0.15, 3)),
                *((0.24, 3), (0.24, 4), (0.3, 5), (0.3, 6)),
            )
        ),
    ),
    PackNode(
        "WaveSpeed",
        "ApplyFBCacheOnModel",
        {"object_to_patch": "diffusion_model"},
        tuple(
            {"residual_diff_threshold": value} for value in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
        ),
    ),
    PackNode(
        "TaylorSeer",
        "TaylorSeer",
        {"model_type": "flux", "last_enhance": 50},
        tuple(
            {"fresh_threshold": every, "max_order": order, "first_enhance": first}
            for every, order, first in (
                *((3, 1, 3), (3, 2, 3), (4, 1, 3), (4, 2, 3)),
                *((5, 1, 2), (5, 2, 2), (6, 1, 1), (7, 1, 1)),
            )
        ),
    ),
    PackNode(
        "Spectrum-Proper",
        "SpectrumApplyFlux",
        {
            **{"enabled": True, "debug": False, "max_history": 128},
            **{"blend_weight": 0.5, "degree": 4, "ridge_lambda": 0.1},
        },
        tuple(
            {
                **{"warmup_steps": first, "tail_actual_steps": last},
                **{"window_size": window, "flex_window": growth},
            }
            for first, last, window, growth in (
                *((5, 3, 2.0, 0.0), (5, 3, 2.0, 0.75), (3, 2, 2.0, 0.0), (3, 1, 2.0, 0.75)),
                *((2, 1, 2.0, 0.75), (2, 1, 3.0, 1.0), (2, 0, 3.0, 1.5), (1, 0, 4.0, 2.0)),
            )
        ),
    ),
    PackNode(
        "Spectrum v1",
        "Spectrum",
        {"w": 0.5, "M": 4, "lam": 0.1, "max_w": 0.8, "verbose": False},
        tuple(
            {"warmup_steps": first, "window_size": window, "flex_window": growth}
            for first, window, growth in (
                *((5, 2.0, 0.0), (3, 2.0, 0.0), (3, 2.0, 0.75), (2, 2.0, 0.75)),
                *((3, 3.0, 1.0), (2, 3.0, 1.0), (2, 3.0, 2.0), (1, 4.0, 2.0)),
            )
        ),
    ),
)


@dataclass(frozen=True)
class Applied:
    """A MODEL with a peer's cache on it."""

    name: str
    peer: str
    model: Any


def applied(folder: Path, model: Any) -> Iterator[Applied]:
    """The model with each known node of a pack, by each of its settings."""
    nodes: Mapping[str, Any] = loaded(folder).NODE_CLASS_MAPPINGS
    known = [pack_node for pack_node in KNOWN if pack_node.node_id in nodes]
    if not known:
        raise Problem(
            f"{folder} has none of the nodes {', '.join(n.node_id for n in KNOWN)}; give the "
            "folder of a cache for FLUX that this benchmark knows."
        )
    for pack_node in known:
        node = nodes[pack_node.node_id]
        for setting in pack_node.settings:
            words = " ".join(f"{value:g}" for value in setting.values())
            patched = _executed(node, {"model": model, **pack_node.arguments, **setting})
            yield Applied(f"{pack_node.peer} {words}", pack_node.peer, patched)


def _executed(node: Any, inputs: Mapping[str, Any]) -> Any:
    """The first output of a node of either kind that ComfyUI has."""
    if hasattr(node, "define_schema"):
        return node.execute(**inputs).args[0]
    return getattr(node(), node.FUNCTION)(**inputs)[0]


def loaded(folder: Path) -> Any:
    """The pack's package, imported as ComfyUI imports it."""
    start = folder / "__init__.py"
    if not start.is_file():
        raise Problem(f"{folder} is no node pack (it has no __init__.py).")
    name = f"peer_{folder.resolve().name}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, start, submodule_search_locations=[str(folder)])
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def tried(
    candidates: Sequence[Applied], sample: Callable[[Any], Any]
) -> tuple[list[Applied], dict[str, str]]:
    """Those with which a picture can be sampled, and why a peer's other settings cannot."""
    running, failures = [], {}
    for candidate in candidates:
        try:
            sample(candidate.model)
        except Exception as error:  # another's code, on a host it may not have been written for
            failures.setdefault(candidate.peer, f"{type(error).__name__}: {error}")
        else:
            running.append(candidate)
    return running, failures
