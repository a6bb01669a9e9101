"""ComfyUI's start up to where it would serve, with a stopwatch at the loading of one pack.

A program, not a module: ComfyUI reads sys.argv and its modules are imported but once. Run as
`python host_start.py COMFYUI PACK ARGUMENT...` with the name of the pack's folder in custom_nodes
and what main.py is to be given. The last line of its output is the JSON of bench_import.HostStart.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # torch, and all else that ComfyUI imports, comes after it

import asyncio  # noqa: E402
import contextlib  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import torchvision_operators  # noqa: E402  # pyright: ignore[reportMissingImports]


def start(comfyui: str, pack: str, arguments: list[str]) -> dict[str, Any]:
    torchvision_operators.install()
    sys.path[0] = comfyui  # where main.py would have it; our own folder must not be seen
    sys.argv = ["main.py", *arguments]
    main = importlib.import_module("main")
    nodes: Any = importlib.import_module("nodes")
    load = nodes.load_custom_node
    found: dict[str, Any] = {"pack_seconds": None, "cpu_seconds": None, "modules": []}

    async def timed(path: str, *positional: Any, **named: Any) -> bool:
        if os.path.basename(path) != pack:
            return await load(path, *positional, **named)
        with contextlib.suppress(ImportError):
            # What ComfyUI imports to read the pyproject.toml of its first pack is not this pack's.
            reader = importlib.import_module("comfy_config.config_parser")
            reader.extract_node_configuration(path)
        known = set(sys.modules)
        began, cpu_began = time.perf_counter(), time.thread_time()
        loaded = await load(path, *positional, **named)
        if loaded:
            found["pack_seconds"] = time.perf_counter() - began
            found["cpu_seconds"] = time.thread_time() - cpu_began
        own = path.replace(".", "_x_")  # ComfyUI's name for the pack's module
        found["modules"] = sorted(n for n in set(sys.modules) - known if not n.startswith(own))
        return loaded

    nodes.load_custom_node = timed
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    main.start_comfyui(loop)
    found["start_seconds"] = time.perf_counter() - BEGAN
    return found


if __name__ == "__main__":
    print("\n" + json.dumps(start(sys.argv[1], sys.argv[2], sys.argv[3:])), flush=True)
    os._exit(0)  # ComfyUI's threads would keep the process
