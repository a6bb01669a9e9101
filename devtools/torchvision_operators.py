"""Let torchvision import beside a CPU build of torch. Copied into the development environment.

PyPI's torchvision for Linux is compiled for CUDA. Beside a CPU torch its library does not load, so
`import torchvision` ends with "operator torchvision::nms does not exist", and ComfyUI needs
torchvision to start. Declaring the two operators' schemas (without kernels: nothing here detects
boxes) is enough. A finder does so at the first `import torchvision`, so that starting Python stays
cheap; where the compiled library loads, as on CUDA, nothing is declared.
"""

from __future__ import annotations

import importlib.machinery
import sys

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared = []  # a Library withdraws its schemas when it is collected


class DeclareOperators:
    """A meta path finder that finds nothing, but sees the first import of torchvision coming."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(cls)
            declare_missing_operators()
        return None


def declare_missing_operators() -> None:
    package = importlib.machinery.PathFinder.find_spec("torchvision")
    if package is None or not package.submodule_search_locations:
        return
    library = importlib.machinery.PathFinder.find_spec(
        "_C", list(package.submodule_search_locations)
    )
    import torch

    try:
        if library is not None and library.origin is not None:
            torch.ops.load_library(library.origin)
    except OSError:
        pass  # compiled for another torch: the case this module is for
    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            fragment.define(SCHEMAS[name])
        _declared.append(fragment)


def install() -> None:
    if "torchvision" not in sys.modules and DeclareOperators not in sys.meta_path:
        sys.meta_path.insert(0, DeclareOperators)
