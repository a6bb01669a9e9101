"""A tiny ImageReward: the package's real network code, two layers, seeded weights."""

from __future__ import annotations

import importlib.util
import json
from contextlib import contextmanager

import pytest
import torch

from ecad_search.scorers import ImageReward, image_reward

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a on red apple dog face sailboat blue pink white background"
MED_CONFIG = {
    "add_cross_attention": True,
    "attention_probs_dropout_prob": 0.1,
    "encoder_width": 768,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 1,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": len(WORDS.split()) + 2,
}
real_network_files = image_reward.network_files


@contextmanager
def small_network_files():
    """The package hard-codes ViT-large: only its size is replaced, not its code."""
    with real_network_files() as modules:
        pretrain, vit = modules("models.BLIP.blip_pretrain"), modules("models.BLIP.vit")
        pretrain.create_vit = lambda *_: (
            vit.VisionTransformer(img_size=224, embed_dim=64, depth=2, num_heads=2),
            64,
        )
        yield modules


def random_state(model) -> dict[str, torch.Tensor]:
    """Seeded weights that make scores of about 1 which differ between images and prompts."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            state[name] = value
        elif "norm" in name.lower() and name.endswith("weight"):
            state[name] = torch.ones_like(value)
        else:
            fan_in = value.shape[-1] if value.ndim == 2 else value[0].numel()
            spread = 0.5 if "embed" in name else (2 / max(2, fan_in)) ** 0.5
            state[name] = spread * torch.randn(value.shape, generator=generator)
    return state


@pytest.fixture(scope="session")
def tiny_image_reward_folder(tmp_path_factory):
    """ImageReward.pt, med_config.json and vocab.txt of a tiny ImageReward."""
    if importlib.util.find_spec("ImageReward") is None:
        pytest.skip("image-reward is not installed: pip install --no-deps image-reward")
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed: pip install transformers")
    folder = tmp_path_factory.mktemp("image-reward")
    (folder / "vocab.txt").write_text("\n".join(WORDS.split()) + "\n", encoding="utf-8")
    (folder / "med_config.json").write_text(json.dumps(MED_CONFIG), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_reward, "network_files", small_network_files)
        tokenizer = image_reward.find_tokenizer(folder, folder)
        model = image_reward.build(folder / "med_config.json", tokenizer)
    torch.save(random_state(model), folder / "ImageReward.pt")
    return folder


@pytest.fixture
def tiny_image_reward(tiny_image_reward_folder, monkeypatch):
    monkeypatch.setattr(image_reward, "network_files", small_network_files)
    folder = tiny_image_reward_folder
    return ImageReward(folder / "ImageReward.pt", folder / "med_config.json")
