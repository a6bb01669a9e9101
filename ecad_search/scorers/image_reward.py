"""ImageReward (Xu et al. 2023, arXiv:2304.05977), the scorer of the ECAD paper, from local files.

The package `image-reward` 1.5 is unmaintained: it pins a timm of 2022, needs fairscale and a `clip`
that it does not declare, and its BERT no longer imports on transformers >= 4.48. None of that is
needed for scoring. So its network files are imported here past its two `__init__` files, under a
private name, while stand-ins answer for the few names they want from timm, fairscale, torchvision
and `transformers.modeling_utils`. Stand-ins and private modules are gone from `sys.modules` again
when loading ends. `pip install --no-deps image-reward` is enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import ScorerError
from .checkpoint import load_exactly, read_tensors
from .clip_pixels import preprocessed
from .placement import Placement, StayOn, free_cached_memory
from .scorer import check_batch, finite_scores, require_package

if TYPE_CHECKING:
    import torch

INSTALL = "pip install --no-deps image-reward"
PRIVATE = "_ecad_image_reward"
PROMPT_TOKENS = 35
BATCH = 8  # images
ALIASES = threading.Lock()


class ImageReward:
    """Human preference, about -2 to 2, by the published network and a local copy of its weights.

    Args:
        checkpoint: ImageReward.pt of THUDM/ImageReward (or the same tensors as .safetensors).
        med_config: med_config.json, which lies beside it there.
        vocabulary: a folder with the vocab.txt of bert-base-uncased, or that file. Without it the
            checkpoint's folder is looked at, then the local Hugging Face cache; nothing is
            downloaded.
        device: where the network runs and stays until it is unloaded, "cpu" or "cuda".
        placement: decides that instead of `device`.
    """

    name = "image-reward"
    needs_reference = False

    def __init__(
        self,
        checkpoint: str | Path,
        med_config: str | Path,
        *,
        vocabulary: str | Path | None = None,
        device: str = "cpu",
        placement: Placement | None = None,
    ):
        self.checkpoint = Path(checkpoint)
        self.med_config = Path(med_config)
        self.vocabulary = None if vocabulary is None else Path(vocabulary)
        self.placement = placement or StayOn(device)
        self.model: Any = None

    def load(self) -> Any:
        """The package's own ImageReward module, in evaluation mode."""
        if self.model is None:
            require_package(self.name, "transformers", "pip install transformers")
            require_package(self.name, "ImageReward", INSTALL)
            require_file("checkpoint", self.checkpoint, "ImageReward.pt")
            require_file("configuration", self.med_config, "med_config.json")
            tokenizer = find_tokenizer(self.vocabulary, self.checkpoint.parent)
            check_vocabulary(tokenizer, self.med_config)
            model = build(self.med_config, tokenizer)
            load_weights(model, self.checkpoint)
            self.model = model.eval().requires_grad_(False)
        return self.model

    def score(
        self,
        images: torch.Tensor,
        prompts: Sequence[str],
        references: torch.Tensor | None = None,
    ) -> list[float]:
        import torch

        check_batch(self.name, images, prompts)
        model = self.load()
        scores: list[float] = []
        with torch.inference_mode(), self.placement(model) as device:
            model.device = device  # the package sends its own tensors there
            for i in range(0, len(images), BATCH):
                part = list(prompts[i : i + BATCH])
                text = model.blip.tokenizer(
                    part,
                    padding="max_length",
                    truncation=True,
                    max_length=PROMPT_TOKENS,
                    return_tensors="pt",
                ).to(device)
                pixels = torch.stack([preprocessed(image) for image in images[i : i + BATCH]])
                rewards = model.score_gard(text.input_ids, text.attention_mask, pixels.to(device))
                scores += rewards[:, 0].float().tolist()
        return finite_scores(self.name, scores)

    def unload(self) -> None:
        self.model = None
        free_cached_memory()


def require_file(what: str, path: Path, name: str) -> None:
    if not path.is_file():
        raise ScorerError(
            f"The {what} of ImageReward was not found at '{path}', expected a local {name}; "
            "download it from THUDM/ImageReward on Hugging Face and give its path."
        )


def find_tokenizer(vocabulary: Path | None, beside: Path) -> Any:
    """BERT's tokenizer with BLIP's two extra tokens, from local files only."""
    from transformers import BertTokenizer

    if vocabulary is not None:
        folder = vocabulary.parent if vocabulary.is_file() else vocabulary
        if not (folder / "vocab.txt").is_file():
            raise ScorerError(
                f"The vocabulary of ImageReward was not found at '{vocabulary}', expected "
                "bert-base-uncased's vocab.txt or its folder; download it and give its path."
            )
        place = str(folder)
    else:
        place = str(beside) if (beside / "vocab.txt").is_file() else "bert-base-uncased"
    nowhere = ScorerError(
        f"ImageReward found no vocab.txt beside its checkpoint in '{beside}' and no "
        "bert-base-uncased in the local Hugging Face cache, expected one of them; put "
        "bert-base-uncased's vocab.txt beside the checkpoint."
    )
    try:
        tokenizer = BertTokenizer.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError) as error:
        raise nowhere from error
    # transformers 5 makes an empty tokenizer of a name that it does not find.
    if "[CLS]" not in tokenizer.get_vocab() or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise nowhere
    # [DEC] then [ENC]: together they are the 30524 rows of the checkpoint's embedding.
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_tokens(["[ENC]"], special_tokens=True)
    return tokenizer


def check_vocabulary(tokenizer: Any, med_config: Path) -> None:
    """Another BERT's vocabulary would load and give meaningless scores."""
    try:
        expected = json.loads(med_config.read_text(encoding="utf-8"))["vocab_size"]
    except (ValueError, KeyError, TypeError) as error:
        raise bad_configuration(med_config, f"no vocab_size: {error}") from error
    if len(tokenizer) != expected:
        raise ScorerError(
            f"The vocabulary of ImageReward has {len(tokenizer)} words with BLIP's two, "
            f"'{med_config.name}' expects {expected}; use the vocab.txt of bert-base-uncased."
        )


def load_weights(model: Any, checkpoint: Path) -> None:
    """Load with every key accounted for: the package's own loader ignores a wrong checkpoint."""
    expected = "ImageReward.pt of THUDM/ImageReward with its own med_config.json"
    load_exactly(
        model,
        read_tensors(checkpoint, network="ImageReward", expected=expected),
        checkpoint,
        network="ImageReward",
        expected=expected,
        # Row numbers, not weights: some exports leave them out.
        ignored=lambda name: name.endswith("position_ids"),
    )


# Importing the package's network files -----------------------------------------------------------


def build(med_config: Path, tokenizer: Any) -> Any:
    """The package's ImageReward module with random weights, on the CPU."""
    with network_files() as modules:
        blip_pretrain = modules("models.BLIP.blip_pretrain")
        image_reward = modules("ImageReward")
        # The package asks the Hugging Face hub for its tokenizer; ours is already loaded.
        setattr(blip_pretrain, "init_tokenizer", lambda: tokenizer)  # noqa: B010
        try:
            return image_reward.ImageReward(device="cpu", med_config=str(med_config))
        except ImportError:
            raise
        except Exception as error:  # every transformers has kinds of its own for a bad value
            raise bad_configuration(med_config, str(error)) from error


def bad_configuration(path: Path, reason: str) -> ScorerError:
    return ScorerError(
        f"'{path}' is no configuration of ImageReward ({' '.join(reason.split())[:160]}), expected "
        "the med_config.json that lies beside ImageReward.pt; download it again."
    )


@contextmanager
def network_files() -> Iterator[Callable[[str], ModuleType]]:
    """Yields an import function for the package's modules by their dotted path inside it.

    Real modules of transformers that the files use are imported before the stand-ins are in
    place, so that nothing but the package itself can pick a stand-in up.
    """
    spec = importlib.util.find_spec("ImageReward")
    if spec is None or not spec.submodule_search_locations:
        raise ScorerError(
            f"The package 'ImageReward' has no folder of modules, got {spec}, expected "
            f"image-reward 1.5; install it again with `{INSTALL}`."
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    try:
        import transformers
        import transformers.activations
        import transformers.modeling_outputs
        import transformers.models.bert.configuration_bert
    except ImportError as error:
        raise ScorerError(
            f"ImageReward cannot use the installed transformers ({error}), expected 4.27 or newer; "
            "update it with `pip install -U transformers`."
        ) from error
    verbosity = transformers.logging.get_verbosity()
    aliases = stand_ins()
    for name, path in (("", folder), (".models", folder / "models")):
        package = ModuleType(PRIVATE + name)
        package.__path__ = [str(path)]
        aliases[PRIVATE + name] = package
    with ALIASES, warnings.catch_warnings():  # the package silences every warning at import
        before = {name: sys.modules[name] for name in aliases if name in sys.modules}
        sys.modules.update(aliases)
        try:
            yield lambda name: importlib.import_module(f"{PRIVATE}.{name}")
        except ImportError as error:
            raise ScorerError(
                f"The network files of the package 'ImageReward' cannot be imported ({error}), "
                f"expected image-reward 1.5; install it with `{INSTALL}==1.5`."
            ) from error
        finally:
            for name in [n for n in sys.modules if n in aliases or n.startswith(PRIVATE)]:
                del sys.modules[name]
            sys.modules.update(before)
            transformers.logging.set_verbosity(verbosity)


def stand_ins() -> dict[str, ModuleType]:
    """Modules by name that hold just what the network files import, written for inference."""
    import torch
    from torch import nn
    from transformers.utils.generic import ModelOutput

    class PatchEmbed(nn.Module):
        """Image -> one token per patch; tensor names as in timm."""

        def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int):
            super().__init__()
            self.num_patches = (img_size // patch_size) ** 2
            self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)

        def forward(self, x):
            return self.proj(x).flatten(2).transpose(1, 2)

    class DropPath(nn.Identity):
        """Does nothing outside training."""

        def __init__(self, rate: float):
            super().__init__()

    class PreTrainedModel(nn.Module):
        """The part of transformers' class of that name that BLIP's BERT uses."""

        def __init__(self, config):
            super().__init__()
            defaults = {"chunk_size_feed_forward": 0, "output_attentions": False}
            defaults |= {"output_hidden_states": False, "add_cross_attention": True}
            for name, value in defaults.items():
                if getattr(config, name, None) is None:
                    setattr(config, name, value)
            self.config = config

        def init_weights(self):
            """Every weight comes from the checkpoint."""

        @property
        def dtype(self):
            return next(self.parameters()).dtype

        def invert_attention_mask(self, mask):
            hidden = 1 - mask[:, None, None, :].to(self.dtype)
            return hidden * torch.finfo(self.dtype).min

        def get_head_mask(self, head_mask, layers: int):
            return [None] * layers

    def apply_chunking_to_forward(forward, chunk_size, dimension, *inputs):
        return forward(*inputs)

    def unused(*_, **__):
        raise NotImplementedError("ImageReward's network files never call this while scoring.")

    def unchanged(value=None, *_, **__):
        return value

    contents: dict[str, dict[str, Any]] = {
        "timm": {},
        "timm.models": {},
        "timm.models.vision_transformer": {"_cfg": unused, "PatchEmbed": PatchEmbed},
        "timm.models.registry": {"register_model": unchanged},
        # Every weight comes from the checkpoint, so time for random ones is saved.
        "timm.models.layers": {"trunc_normal_": unchanged, "DropPath": DropPath},
        "timm.models.helpers": {"named_apply": unused, "adapt_input_conv": unused},
        "timm.models.hub": {"download_cached_file": unused},
        "fairscale": {},
        "fairscale.nn": {},
        "fairscale.nn.checkpoint": {},
        "fairscale.nn.checkpoint.checkpoint_activations": {"checkpoint_wrapper": unused},
        "torchvision": {},
        # Only named while the module is built; `preprocessed` above does their work.
        "torchvision.transforms": dict.fromkeys(
            ("Compose", "Resize", "CenterCrop", "ToTensor", "Normalize"), unchanged
        )
        | {"InterpolationMode": type("InterpolationMode", (), {"BICUBIC": "bicubic"})},
        "transformers.modeling_utils": {
            "PreTrainedModel": PreTrainedModel,
            "apply_chunking_to_forward": apply_chunking_to_forward,
            "find_pruneable_heads_and_indices": unused,
            "prune_linear_layer": unused,
        },
        "transformers.file_utils": {"ModelOutput": ModelOutput},
    }
    modules = {}
    for name, attributes in contents.items():
        modules[name] = module = ModuleType(name)
        module.__dict__.update(attributes, __path__=[])
    return modules
