"""Which model is this? A hash of its class, configuration, some weights and its patches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

SAMPLED_WEIGHTS = 48  # weight tensors looked at, evenly over the model
SAMPLED_VALUES = 16  # values of each


def model_fingerprint(patcher: Any) -> str:
    """16 hex digits for a ModelPatcher (also `clip.patcher`, `vae.patcher`).

    Cheap (a few kB of weights are read) and the same in another session, on another device, and
    whether or not the model is loaded. Two checkpoints, a LoRA, or its strength give another one.
    """
    digest = hashlib.sha256()
    model = patcher.model
    digest.update(type(model).__name__.encode())
    digest.update(configuration_text(model).encode())
    weights = list(model.named_parameters())
    stride = max(1, len(weights) // SAMPLED_WEIGHTS)
    for i, (name, weight) in enumerate(weights):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        if i % stride == 0:
            # While a LoRA is merged into a loaded model, the untouched weight is the backup.
            backup = patcher.backup.get(name)
            digest.update(sampled(weight if backup is None else backup.weight))
    for name in sorted(patcher.patches):
        digest.update(name.encode())
        for part in flattened(patcher.patches[name]):
            digest.update(sampled(part) if isinstance(part, torch.Tensor) else repr(part).encode())
    return digest.hexdigest()[:16]


def configuration_text(model: Any) -> str:
    config = getattr(getattr(model, "model_config", None), "unet_config", None) or {}
    # The dtype and the device say how the model is run here, not which model it is.
    kept = {name: config[name] for name in sorted(config) if name not in ("dtype", "device")}
    return json.dumps(kept, default=str)


def sampled(weight: torch.Tensor) -> bytes:
    """Some values of a tensor in a precision every device agrees on."""
    try:
        flat = weight.detach().reshape(-1)
        stride = max(1, flat.numel() // SAMPLED_VALUES)
        values = flat[::stride][:SAMPLED_VALUES].to(device="cpu", dtype=torch.float32)
        return ",".join(f"{value:.3e}" for value in values.tolist()).encode()
    except (RuntimeError, NotImplementedError, TypeError):
        # Packed weights (GGUF, some fp8 and fp4 layouts) cannot be sliced: their shape must do.
        return b"opaque"


def flattened(part: Any) -> Iterator[Any]:
    """The tensors and plain values inside one entry of ModelPatcher.patches, in order."""
    if isinstance(part, torch.Tensor | str | int | float | bool):
        yield part
    elif isinstance(part, Sequence):
        for inner in part:
            yield from flattened(inner)
    elif part is not None and hasattr(part, "weights"):  # comfy.weight_adapter
        yield type(part).__name__
        yield from flattened(part.weights)
