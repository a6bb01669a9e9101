"""The pack as ComfyUI loads it, in this process, beside ComfyUI's own modules.

The pack so loaded has a copy of `ecad_search` of its own, whose classes are not those of a plain
`import ecad_search`.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from . import torchvision_operators

ROOT = Path(__file__).resolve().parent.parent
NAME = "comfyui_ecad_benchmarked"


class LoadedPack:
    """`module("nodes.host.rendering")` gives one of the pack's modules."""

    def __init__(self, comfyui: Path) -> None:
        put_first(comfyui)
        import torch

        arguments = importlib.import_module("comfy.cli_args").args
        self.accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
        arguments.cpu = not self.accelerated
        arguments.use_pytorch_cross_attention = True
        if NAME not in sys.modules:
            spec = spec_from_file_location(NAME, ROOT / "__init__.py")
            assert spec is not None and spec.loader is not None
            module = sys.modules[NAME] = module_from_spec(spec)
            spec.loader.exec_module(module)

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{NAME}.{name}")


def put_first(comfyui: Path) -> None:
    """Have `import` find ComfyUI's modules, before any of them is imported."""
    # First, never last: our own folder `nodes` must not stand in front of ComfyUI's module.
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]
    sys.path.insert(0, str(comfyui))
    torchvision_operators.install()
