"""The network of LPIPS: the convolutions of AlexNet or VGG-16, and a linear head at five depths.

Its own file because it needs torch at import; `lpips.py` imports it when it loads. Layer numbers
are torchvision's, so that its files load by name; torchvision itself is not needed.
"""

from __future__ import annotations

import torch
from torch import nn

# Of pixels in [-1, 1]: ImageNet's means and deviations, as LPIPS was trained with.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


def alexnet() -> tuple[nn.Sequential, dict[int, int]]:
    """The layers, and the widths of the outputs that are compared by their layer's number."""
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )
    return layers, {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}


def vgg16() -> tuple[nn.Sequential, dict[int, int]]:
    layers: list[nn.Module] = []
    compared = {}
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2, stride=2))
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        compared[len(layers) - 1] = width
    return nn.Sequential(*layers), compared


class LpipsNetwork(nn.Module):
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: str):
        super().__init__()
        features, self.compared = alexnet() if network == "alex" else vgg16()
        self.backbone = nn.ModuleDict({"features": features})
        self.heads = nn.ModuleDict(
            {
                f"lin{i}": nn.Conv2d(width, 1, 1, bias=False)
                for i, width in enumerate(self.compared.values())
            }
        )
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def looks(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) in [0, 1] -> what each compared layer sees, of length 1 at every place."""
        x = (images * 2 - 1 - self.shift) / self.scale
        seen = []
        for number, layer in enumerate(self.backbone["features"].children()):
            x = layer(x)
            if number in self.compared:
                seen.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return seen

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """(N,) of two (N, 3, H, W) in [0, 1]."""
        pairs = zip(self.heads.values(), self.looks(a), self.looks(b), strict=True)
        parts = [head((x - y).square()).mean((1, 2, 3)) for head, x, y in pairs]
        return torch.stack(parts).sum(0)
