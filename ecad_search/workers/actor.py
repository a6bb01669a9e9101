"""What runs in a worker's process before the pack is there: a ComfyUI without a server.

Ray sends the class itself, since the worker cannot import the pack by the name it has in ComfyUI.
So nothing in it may refer to anything outside of it.
"""

from __future__ import annotations

from typing import Any


def actor_class() -> type:
    """The class of Ray's actors; each process has one object of it."""

    class Worker:
        def begin(self, host: dict[str, Any], module: str, arguments: dict[str, Any]) -> Any:
            """Start ComfyUI's runtime, then `begin(**arguments)` of the pack's `module`.

            host: folder, arguments, cwd, python, version (of this pack) and scratch (a folder).
            Gives where it runs, or {"error": sentence}.
            """
            import contextlib
            import importlib
            import os
            import shlex
            import sys

            here = f"{sys.version_info[0]}.{sys.version_info[1]}"
            if here != host["python"]:
                return {"error": f"it runs Python {here}, the search runs {host['python']}"}
            folder = os.environ.get("ECAD_WORKER_COMFYUI") or host["folder"]
            if not os.path.isfile(os.path.join(folder, "main.py")):
                return {
                    "error": f"it has no ComfyUI in {folder}; set ECAD_WORKER_COMFYUI before "
                    "`ray start` there"
                }
            more = host["arguments"]
            if "ECAD_WORKER_ARGUMENTS" in os.environ:
                more = shlex.split(os.environ["ECAD_WORKER_ARGUMENTS"])
            scratch = os.path.join(host["scratch"], str(os.getpid()))  # ComfyUI empties its temp
            with contextlib.suppress(OSError):
                os.chdir(host["cwd"])  # relative paths among the arguments are the search's
            # ComfyUI puts wrappers of its own around these, and Ray's close when they are dropped.
            self.streams = (sys.stdout, sys.stderr)
            sys.path.insert(0, folder)
            sys.argv = [
                "main.py",
                *more,
                *("--temp-directory", scratch, "--database-url", "sqlite:///:memory:"),
                "--disable-auto-launch",
            ]
            main = importlib.import_module("main")
            self.loop, self.server, _ = main.start_comfyui()
            known = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
            search = known.get("ECAD_Search")
            if search is None:
                return {"error": f"the ComfyUI in {folder} has no ComfyUI-ECAD among its nodes"}
            pack = search.__module__.removesuffix(".nodes.search")
            version = importlib.import_module(f"{pack}.ecad_search").__version__
            if version != host["version"]:
                return {
                    "error": f"it has ComfyUI-ECAD {version}, the search runs {host['version']}"
                }
            begun = importlib.import_module(f"{pack}.{module}").begin(self.server, **arguments)
            if isinstance(begun, dict):
                return begun
            self.work = begun
            return {"pid": os.getpid(), "host": os.uname().nodename if os.name != "nt" else ""}

        def do(self, what: str, arguments: dict[str, Any]) -> Any:
            """Call a method of what `begin` of the module made."""
            return getattr(self.work, what)(**arguments)

    return Worker
