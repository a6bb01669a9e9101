"""LPIPS (Zhang et al. 2018, arXiv:1801.03924): how different a picture looks from the uncached."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import MissingPackageError, ScorerError
from .checkpoint import load_exactly, read_tensors
from .placement import Placement, StayOn, free_cached_memory
from .scorer import check_batch, check_references, finite_scores

if TYPE_CHECKING:
    import torch

    from .lpips_network import LpipsNetwork

Backbone = Literal["alex", "vgg"]
EXPECTED = {
    "alex": "torchvision's alexnet-owt-7be5be79.pth",
    "vgg": "torchvision's vgg16-397923af.pth",
}
INSTALL = "pip install --no-deps lpips"
SMALLEST = {"alex": 31, "vgg": 16}  # px a side that leave something after the last pooling
BATCH = 4  # pairs


class Lpips:
    """Minus the LPIPS distance, version 0.1: 0 for an equal picture, about -0.7 for another one.

    Args:
        backbone: file of the ImageNet network, as torchvision publishes it.
        network: which network that is.
        heads: file of the linear heads (alex.pth or vgg.pth of the package lpips, folder
            weights/v0.1); without it, the one of the installed package is read.
        placement: where the network runs.
    """

    needs_reference = True

    def __init__(
        self,
        backbone: str | Path,
        *,
        network: Backbone = "alex",
        heads: str | Path | None = None,
        placement: Placement | None = None,
    ):
        if network not in get_args(Backbone):
            raise ScorerError(
                f"LPIPS got the network '{network}', expected 'alex' or 'vgg'; choose one of them."
            )
        self.backbone = Path(backbone)
        self.network: Backbone = network
        self.heads = None if heads is None else Path(heads)
        self.placement = placement or StayOn("cpu")
        self.model: LpipsNetwork | None = None

    @property
    def name(self) -> str:
        return f"lpips-{self.network}"

    def load(self) -> LpipsNetwork:
        if self.model is None:
            from .lpips_network import LpipsNetwork

            model = LpipsNetwork(self.network)
            expected = EXPECTED[self.network]
            load_exactly(
                model.backbone,
                read_tensors(self.backbone, network="LPIPS", expected=expected),
                self.backbone,
                network="LPIPS's backbone",
                expected=expected,
                ignored=lambda name: name.startswith("classifier."),
            )
            heads = self.heads or self.heads_of_package()
            expected = f"{self.network}.pth of the package lpips (weights/v0.1)"
            state = read_tensors(heads, network="LPIPS", expected=expected)
            state = {name.replace(".model.1.", "."): value for name, value in state.items()}
            load_exactly(model.heads, state, heads, network="LPIPS's heads", expected=expected)
            self.model = model.float().eval().requires_grad_(False)
        return self.model

    def heads_of_package(self) -> Path:
        spec = None
        try:
            spec = importlib.util.find_spec("lpips")
        except ValueError:  # a module without a spec
            pass
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not folders:
            raise MissingPackageError(
                f"Scorer '{self.name}' got no file of linear heads and the Python package 'lpips', "
                f"which has them, is not installed; give {self.network}.pth, or install the "
                f"package with `{INSTALL}`."
            )
        return Path(folders[0]) / "weights" / "v0.1" / f"{self.network}.pth"

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        import torch

        check_batch(self.name, images, prompts)
        check_references(self.name, images, references)
        assert references is not None
        least = SMALLEST[self.network]
        if min(images.shape[1:3]) < least:
            raise ScorerError(
                f"Scorer '{self.name}' got images of {images.shape[2]} x {images.shape[1]} px, "
                f"expected at least {least} x {least}; use SSIM for smaller ones."
            )
        model = self.load()
        distances: list[float] = []
        with torch.inference_mode(), self.placement(model) as device:
            for i in range(0, len(images), BATCH):
                pair = [
                    x[i : i + BATCH].to(device).float().clamp(0, 1).permute(0, 3, 1, 2)
                    for x in (images, references)
                ]
                distances += model.distance(*pair).cpu().tolist()
        return finite_scores(self.name, [-distance for distance in distances])

    def unload(self) -> None:
        self.model = None
        free_cached_memory()
