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


# A tiny CLIP: the real classes of transformers, two layers, seeded weights --------------------


def write_clip_words(folder):
    """CLIP's kind of vocabulary without merges: 256 bytes, 256 that end a word, start and end."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *[f"{c}</w>" for c in letters], "<|startoftext|>", "<|endoftext|>"]
    vocabulary = json.dumps({word: i for i, word in enumerate(words)})
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return len(words)


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory):
    """config.json, model.safetensors and tokenizer of a CLIP that looks at 32 px."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed: pip install transformers")
    try:
        from transformers import CLIPConfig, CLIPModel
    except ImportError as error:
        pytest.skip(f"transformers has no CLIP here (a torchvision of another torch?): {error}")

    folder = tmp_path_factory.mktemp("clip")
    words = write_clip_words(folder)
    tower = {
        "hidden_size": 128,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,  # of 64 channels, as in the large ones
        "hidden_act": "gelu",
        "projection_dim": 24,
    }
    config = CLIPConfig(
        projection_dim=24,
        text_config=tower
        | {
            "vocab_size": words,
            "max_position_embeddings": 77,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
        },
        vision_config=tower | {"image_size": 32, "patch_size": 8},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(config)
        for name, value in model.named_parameters():
            if name.endswith("weight") and value.ndim == 2:  # the initial spread hardly responds
                torch.nn.init.xavier_normal_(value)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_open_clip_file(tiny_clip_folder, tmp_path_factory):
    """The same weights as OpenCLIP names them, in a torch file as HPS v2's."""
    from safetensors.torch import load_file

    from ecad_search.scorers import open_clip_weights as names

    theirs = {new: old for old, new in names.WHOLE.items()}
    flipped = {new: old for old, new in names.TRANSPOSED.items()}
    in_block = {new: old for old, new in names.IN_BLOCK.items()}
    source = load_file(tiny_clip_folder / "model.safetensors")
    state = {}
    for name, value in source.items():
        if name in theirs or name in flipped:
            state[theirs.get(name) or flipped[name]] = value.T if name in flipped else value
            continue
        tower, _, _, block, rest = name.split(".", 4)
        prefix = ("visual." if tower == "vision_model" else "") + f"transformer.resblocks.{block}"
        layer, kind = rest.rsplit(".", 1)
        if layer.endswith("_proj") and layer[-6] in "qkv":
            parts = [source[name.replace(f".{layer[-6]}_proj.", f".{p}_proj.")] for p in "qkv"]
            state[f"{prefix}.attn.in_proj_{kind}"] = torch.cat(parts)
        else:
            state[f"{prefix}.{in_block[layer]}.{kind}"] = value
    path = tmp_path_factory.mktemp("open-clip") / "HPS_v2_compressed.pt"
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    write_clip_words(path.parent)
    return path


@pytest.fixture(scope="session")
def aesthetic_head(tmp_path_factory):
    """The head's file for the tiny CLIP's 24 numbers."""
    from ecad_search.scorers import aesthetic

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = aesthetic.build_head(24).state_dict()
    path = tmp_path_factory.mktemp("aesthetic") / "head.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def lpips_files(tmp_path_factory):
    """AlexNet's and VGG-16's convolutions with seeded weights, and heads, named as published."""
    from ecad_search.scorers.lpips_network import LpipsNetwork

    folder = tmp_path_factory.mktemp("lpips")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for kind in ("alex", "vgg"):
            network = LpipsNetwork(kind)
            for value in network.parameters():
                if value.ndim > 1:
                    torch.nn.init.kaiming_normal_(value, nonlinearity="relu")
            left_over = {"classifier.1.weight": torch.zeros(3, 4)}
            torch.save(network.backbone.state_dict() | left_over, folder / f"{kind}-backbone.pth")
            heads = network.heads.state_dict()
            published = {n.replace(".weight", ".model.1.weight"): v.abs() for n, v in heads.items()}
            torch.save(published, folder / f"{kind}.pth")
    return folder


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """A file as torch-fidelity publishes it, of seeded weights."""
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not installed: pip install --no-deps torch-fidelity")
    from ecad_search.scorers.inception import network

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(dict(network().state_dict()), path)
    return path
