"""A CLIP (Radford et al. 2021, arXiv:2103.00020) from local files, through `transformers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ScorerError
from .checkpoint import load_exactly, one_line, read_tensors
from .clip_pixels import preprocessed
from .placement import Placement, StayOn, free_cached_memory
from .scorer import require_package

if TYPE_CHECKING:
    import torch

WEIGHT_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
BATCH = 8  # images; bounds the memory, changes no embedding
STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")


class Embedder(Protocol):
    """Puts pictures and texts into one space, where fitting ones point the same way.

    Rows are of length 1, float32 on the CPU.
    """

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) in [0, 1] -> (N, d)."""
        ...

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """N texts -> (N, d)."""
        ...

    def unload(self) -> None: ...


class ClipNetwork:
    """transformers' CLIPModel with the weights of a local folder or of an OpenCLIP checkpoint.

    Args:
        files: a folder as published on Hugging Face (config.json, weights, tokenizer files), or a
            checkpoint of OpenCLIP, such as HPS v2's, whose sizes are told from its tensors.
        scorer: the name that messages speak of.
        expected: the published files, for messages.
        tokenizer: folder of vocab.json and merges.txt; by default the folder, or beside the file.
        placement: where the network runs.
    """

    def __init__(
        self,
        files: str | Path,
        *,
        scorer: str = "clip-score",
        expected: str = "the folder of a CLIP model",
        tokenizer: str | Path | None = None,
        placement: Placement | None = None,
    ):
        self.files = Path(files)
        self.scorer = scorer
        self.expected = expected
        self.tokenizer = None if tokenizer is None else Path(tokenizer)
        self.placement = placement or StayOn("cpu")
        self.loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The CLIPModel in float32 evaluation mode, and its tokenizer."""
        if self.loaded is None:
            require_transformers(self.scorer)
            model = self.from_folder() if self.files.is_dir() else self.from_open_clip()
            place = self.tokenizer or (self.files if self.files.is_dir() else self.files.parent)
            words = load_tokenizer(place, model.config.text_config.vocab_size, self.scorer)
            self.loaded = model.float().eval().requires_grad_(False), words
        return self.loaded

    def from_folder(self) -> Any:
        config_file = self.files / "config.json"
        try:
            sizes = json.loads(config_file.read_text(encoding="utf-8"))
            kind = sizes.get("model_type")
        except (OSError, ValueError, AttributeError) as error:
            raise ScorerError(
                f"'{config_file}' is no configuration of a CLIP ({one_line(error)}), expected "
                f"{self.expected}; download it again."
            ) from error
        if kind != "clip":
            raise ScorerError(
                f"'{self.files}' holds a model of the type '{kind}', expected 'clip'; use "
                f"{self.expected}."
            )
        weights = next((f for n in WEIGHT_FILES if (f := self.files / n).is_file()), None)
        if weights is None:
            raise ScorerError(
                f"The folder '{self.files}' has no weights, expected {' or '.join(WEIGHT_FILES)}; "
                f"download {self.expected} with its weights in one file."
            )
        state = read_tensors(weights, network="CLIP", expected=self.expected)
        return self.filled(sizes, state, weights)

    def from_open_clip(self) -> Any:
        from .open_clip_weights import as_transformers, transformers_config

        state = read_tensors(self.files, network="CLIP", expected=self.expected)
        try:
            return self.filled(transformers_config(state), as_transformers(state), self.files)
        except KeyError as error:
            raise ScorerError(
                f"'{self.files}' is not a checkpoint of OpenCLIP: the tensor {error} is missing; "
                f"use {self.expected}."
            ) from error

    def filled(self, sizes: dict[str, Any], state: Any, path: Path) -> Any:
        import torch
        from transformers import CLIPConfig, CLIPModel

        try:
            with torch.device("meta"):  # no time and memory for random weights
                model = CLIPModel(CLIPConfig.from_dict(sizes))
        except Exception as error:  # every transformers has kinds of its own for a bad value
            raise ScorerError(
                f"'{path.parent}' has a configuration that is no CLIP's ({one_line(error)}); use "
                f"{self.expected}."
            ) from error
        load_exactly(
            model,
            state,
            path,
            network="CLIP",
            expected=self.expected,
            # Row numbers, not weights: older exports carry them.
            ignored=lambda name: name.endswith("position_ids"),
            assign=True,
        )
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                if name == "position_ids":
                    rows = torch.arange(buffer.shape[-1]).expand(buffer.shape)
                    module.register_buffer(name, rows, persistent=False)
        return model

    def images(self, images: torch.Tensor) -> torch.Tensor:
        import torch

        model, _ = self.load()
        size = model.config.vision_config.image_size
        rows = []
        with torch.inference_mode(), self.placement(model) as device:
            for i in range(0, len(images), BATCH):
                pixels = torch.stack([preprocessed(image, size) for image in images[i : i + BATCH]])
                seen = model.vision_model(pixel_values=pixels.to(device)).pooler_output
                rows.append(unit(model.visual_projection(seen)))
        return torch.cat(rows)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        import torch

        model, tokenizer = self.load()
        if not self.files.is_dir():  # OpenCLIP straightens quotation marks before it reads
            texts = [text.translate(STRAIGHT) for text in texts]
        rows = []
        with torch.inference_mode(), self.placement(model) as device:
            for i in range(0, len(texts), BATCH):
                tokens = tokenizer(
                    list(texts[i : i + BATCH]),
                    padding="max_length",
                    truncation=True,
                    max_length=model.config.text_config.max_position_embeddings,
                    return_tensors="pt",
                ).to(device)
                read = model.text_model(
                    input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
                ).pooler_output
                rows.append(unit(model.text_projection(read)))
        return torch.cat(rows)

    def scale(self) -> float:
        """What the training multiplied cosines with; about 100 in published networks."""
        return float(self.load()[0].logit_scale.detach().exp())

    def unload(self) -> None:
        self.loaded = None
        free_cached_memory()


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows of length 1, float32, on the CPU."""
    rows = rows.float().cpu()
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def require_transformers(scorer: str) -> None:
    require_package(scorer, "transformers", "pip install transformers")
    try:
        from transformers import CLIPModel, CLIPTokenizer  # noqa: F401
    except ImportError as error:
        raise ScorerError(
            f"Scorer '{scorer}' cannot use the installed transformers ({one_line(error)}), "
            "expected one with CLIP; a torchvision that does not fit torch is the usual reason, "
            "so install both again together."
        ) from error


def load_tokenizer(folder: Path, words: int, scorer: str) -> Any:
    from transformers import CLIPTokenizer

    if not ((folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()):
        raise ScorerError(
            f"Scorer '{scorer}' found no tokenizer in '{folder}', expected CLIP's vocab.json and "
            "merges.txt; download them with the weights."
        )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the tokenizers package has kinds of its own
        raise ScorerError(
            f"The tokenizer of scorer '{scorer}' in '{folder}' cannot be read "
            f"({one_line(error)}), expected CLIP's vocab.json and merges.txt; download them again."
        ) from error
    if len(tokenizer) != words:
        raise ScorerError(
            f"The tokenizer of scorer '{scorer}' in '{folder}' has {len(tokenizer)} words, the "
            f"network {words}; use the vocab.json and merges.txt that belong to it."
        )
    return tokenizer
