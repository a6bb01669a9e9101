"""The features of the Fréchet Inception Distance, by the network of the package torch-fidelity."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ScorerError
from .checkpoint import load_exactly, one_line, read_tensors
from .placement import Placement, StayOn, free_cached_memory
from .scorer import require_package

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

EXPECTED = "weights-inception-2015-12-05-6726825d.pth of the package torch-fidelity (release 0.2.0)"
INSTALL = "pip install --no-deps torch-fidelity"
LAYER = "2048"
BATCH = 16


class Inception:
    """Pictures -> what FID is a distance of (Heusel et al. 2017, arXiv:1706.08500).

    Not a scorer: it judges sets of pictures, by `frechet_distance`. The package has the network of
    TensorFlow's original, resizing included; its weights are a local file.

    Args:
        weights: the file EXPECTED names.
        placement: where the network runs.
    """

    name = "inception"

    def __init__(self, weights: str | Path, *, placement: Placement | None = None):
        self.weights = Path(weights)
        self.placement = placement or StayOn("cpu")
        self.model: Any = None

    def load(self) -> Any:
        if self.model is None:
            require_package(self.name, "torch_fidelity", INSTALL)
            state = read_tensors(self.weights, network="Inception", expected=EXPECTED)
            model = network()
            load_exactly(model, state, self.weights, network="Inception", expected=EXPECTED)
            self.model = model.float().eval().requires_grad_(False)
        return self.model

    def image_features(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, H, W, 3) in [0, 1] -> (N, 2048)."""
        import numpy as np
        import torch

        if images.ndim != 4 or images.shape[3] != 3:
            raise ScorerError(
                f"Inception got images of shape {tuple(images.shape)}, expected (images, height, "
                "width, 3); give it decoded RGB images."
            )
        model = self.load()
        found = []
        with torch.inference_mode(), self.placement(model) as device:
            for i in range(0, len(images), BATCH):
                bytes_ = (images[i : i + BATCH].float().clamp(0, 1) * 255).round().to(torch.uint8)
                (features,) = model(bytes_.permute(0, 3, 1, 2).contiguous().to(device))
                found.append(features.float().cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, int(LAYER)), np.float32)

    def unload(self) -> None:
        self.model = None
        free_cached_memory()


def network() -> Any:
    """The package's network without weights, which it would fetch or unpickle."""
    import torch

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except Exception as error:  # of torchvision's libraries, which it imports
        raise ScorerError(
            f"The Python package 'torch-fidelity' cannot be imported ({one_line(error)}); expected "
            f"release 0.3 or newer beside a torchvision that works, install it with `{INSTALL}`."
        ) from error

    class Empty(FeatureExtractorInceptionV3):
        """Takes no weights while it is made."""

        made = False

        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return super().load_state_dict(*args, **kwargs) if self.made else None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    model = Empty("inception-v3-compat", [LAYER], feature_extractor_weights_path=nothing)
    model.made = True
    return model
