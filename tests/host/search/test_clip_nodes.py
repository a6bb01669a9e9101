"""Scorers on a CLIP and their files, through the host's own classes at a small size."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

TOWER = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "quick_gelu",
}
VISION = TOWER | {
    "num_channels": 3,
    "patch_size": 8,
    "image_size": 32,
    "model_type": "clip_vision_model",
    "projection_dim": 64,
}
PROMPTS = ["a fox (red)", "a green pizza"]


def filled(module, seed):
    """Seeded weights that respond; norms as they are in a new network."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.named_parameters():
        if "norm" in name:
            value.data = torch.ones_like(value) * (1.0 if name.endswith("weight") else 0.0)
        elif name.split(".")[-1] != "logit_scale":
            fan_in = value.shape[-1] if value.ndim == 2 else value[0].numel()
            spread = 0.5 if "embed" in name else max(fan_in, 2) ** -0.5
            value.data = spread * torch.randn(value.shape, generator=generator)


@pytest.fixture(scope="module")
def vision(comfy, tmp_path_factory):
    path = tmp_path_factory.mktemp("vision") / "config.json"
    path.write_text(json.dumps(VISION), encoding="utf-8")
    model = importlib.import_module("comfy.clip_vision").ClipVisionModel(str(path))
    model.model.float()
    filled(model.model, 1)
    return model


@pytest.fixture
def clip(comfy):
    sd, sd1 = importlib.import_module("comfy.sd"), importlib.import_module("comfy.sd1_clip")
    target = SimpleNamespace(params={}, clip=sd1.SD1ClipModel, tokenizer=sd1.SD1Tokenizer)
    options = {"clip_l_model_config": TOWER, "dtype": torch.float32}
    model = sd.CLIP(target, model_options=options)
    filled(model.cond_stage_model, 2)
    return model


@pytest.fixture
def score(pack):
    return pack.module("nodes.clip_score_scorer").ClipScoreScorer.execute


@pytest.fixture
def scorer_error(pack):
    return pack.module("ecad_search.errors").ScorerError


@pytest.fixture
def images():
    return torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))


def test_clip_score_equals_the_same_weights_in_transformers(pack, score, vision, clip, images):
    try:
        from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    except ImportError as error:
        pytest.skip(f"transformers has no CLIP here: {error}")
    text = TOWER | {"vocab_size": 49408, "max_position_embeddings": 77, "projection_dim": 64}
    text |= {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=64)
    theirs = CLIPModel(config).eval()
    weights = clip.cond_stage_model.clip_l.transformer.state_dict() | vision.model.state_dict()
    weights["logit_scale"] = torch.zeros(())
    assert not theirs.load_state_dict(weights, strict=False).unexpected_keys
    folder = Path(importlib.import_module("comfy.sd1_clip").__file__).with_name("sd1_tokenizer")
    tokens = CLIPTokenizer.from_pretrained(str(folder))(
        PROMPTS, padding="max_length", max_length=77, return_tensors="pt"
    )
    clip_preprocess = (
        getattr(importlib.import_module("comfy.clip_model"), "clip_preprocess", None)
        or importlib.import_module("comfy.clip_vision").clip_preprocess
    )
    with torch.inference_mode():
        expected = theirs(**tokens, pixel_values=clip_preprocess(images, size=32)).logits_per_image
    scores = score(clip_vision=vision, clip=clip).args[0].score(images, PROMPTS)
    assert scores == pytest.approx((100 * expected).diagonal().tolist(), abs=1e-3)


def test_clip_score_depends_on_the_image_and_on_the_prompt(score, vision, clip, images):
    scorer = score(clip_vision=vision, clip=clip).args[0]
    scores = scorer.score(images[[0, 0, 1]], [*PROMPTS, PROMPTS[0]])
    assert 3 == len({round(value, 3) for value in scores})
    assert (2, 64) == scorer.image_features(images).shape


@pytest.mark.parametrize("kind", ["identity", "zeros", "nan"])
def test_text_encoder_whose_file_had_no_projection_is_refused(
    score, vision, clip, scorer_error, kind
):
    weight = clip.cond_stage_model.clip_l.transformer.text_projection.weight
    values = {"identity": torch.eye(64), "zeros": torch.zeros(64, 64)}
    weight.data = values.get(kind, torch.full((64, 64), float("nan")))
    with pytest.raises(scorer_error, match="had no text projection"):
        score(clip_vision=vision, clip=clip)


def test_halves_of_two_networks_are_refused(pack, score, clip, images, scorer_error):
    other = SimpleNamespace(encode_image=lambda images: {"image_embeds": torch.ones(2, 48)})
    with pytest.raises(scorer_error, match="48 numbers a picture, the CLIP 64 a text"):
        score(clip_vision=other, clip=clip).args[0].score(images, PROMPTS)
    rows = SimpleNamespace(encode_image=lambda images: {"image_embeds": torch.ones(2, 9, 64)})
    with pytest.raises(scorer_error, match=r"shape \(2, 9, 64\)"):
        score(clip_vision=rows, clip=clip).args[0].score(images, PROMPTS)


def test_text_encoder_of_another_kind_is_refused(pack, score, vision, scorer_error):
    demo_clip = pack.module("nodes.host.demo_model").load_demo_model()[1]
    with pytest.raises(scorer_error, match="expected"):
        score(clip_vision=vision, clip=demo_clip)


# Files in models/ecad_scorers


@pytest.fixture
def folder(comfy, pack):
    files = pack.module("nodes.host.scorer_files")
    files.listed()  # tells the host of the folder
    path = Path(comfy.folder_paths.models_dir) / "ecad_scorers"
    path.mkdir(exist_ok=True)
    yield path
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    comfy.folder_paths.filename_list_cache.clear()


NODES = {
    "pick_score_scorer.PickScoreScorer": ("folder", "put the folder PickScore_v1"),
    "hps_scorer.HpsScorer": ("checkpoint", "put HPS_v2.1_compressed.pt"),
    "aesthetic_scorer.AestheticScorer": ("head", "put sac+logos+ava1-l14-linearMSE.pth"),
    "lpips_scorer.LpipsScorer": ("backbone", "put alexnet-owt-7be5be79.pth"),
}


@pytest.mark.parametrize("name", NODES)
def test_absent_files_are_asked_for_before_anything_runs(pack, folder, name):
    module, node_name = name.split(".")
    node = getattr(pack.module(f"nodes.{module}"), node_name)
    widget, wish = NODES[name]
    options = next(i.options for i in node.define_schema().inputs if i.id == widget)
    assert 1 == len(options) and options[0].startswith(wish)
    assert wish in str(node.validate_inputs(**{widget: options[0]}))
    assert "models/ecad_scorers" in str(node.validate_inputs(**{widget: "../secret.pt"}))


def test_aesthetic_predictor_judges_through_the_host_s_vision_model(pack, folder, vision, images):
    head = pack.module("ecad_search.scorers.aesthetic").build_head(64)
    torch.save(head.state_dict(), folder / "head.pth")
    node = pack.module("nodes.aesthetic_scorer").AestheticScorer
    assert node.validate_inputs(head="head.pth") is True
    scorer = node.execute(clip_vision=vision, head="head.pth").args[0]
    seen = torch.nn.functional.normalize(vision.encode_image(images)["image_embeds"].float(), dim=1)
    with torch.inference_mode():
        expected = head(seen)[:, 0].tolist()
    assert scorer.score(images, PROMPTS) == pytest.approx(expected, abs=1e-5)


def test_lpips_reads_the_files_that_are_named(pack, folder, images):
    network = pack.module("ecad_search.scorers.lpips_network").LpipsNetwork("alex")
    torch.save(network.backbone.state_dict(), folder / "backbone.pth")
    heads = {f"{n[:5]}model.1.weight": v.abs() for n, v in network.heads.state_dict().items()}
    torch.save(heads, folder / "heads.pth")
    node = pack.module("nodes.lpips_scorer").LpipsScorer
    inputs = {"network": "alex", "backbone": "backbone.pth", "heads": "heads.pth"}
    assert node.validate_inputs(backbone="backbone.pth", heads="heads.pth") is True
    scorer = node.execute(**inputs, device="cpu").args[0]
    assert "lpips-alex" == scorer.name
    same, other = scorer.score(images, PROMPTS, images[[0, 0]])
    assert same == 0 > other


def test_a_wrong_file_is_refused_at_the_node(pack, folder, scorer_error):
    torch.save({"x": torch.zeros(1)}, folder / "backbone.pth")
    node = pack.module("nodes.lpips_scorer").LpipsScorer
    with pytest.raises(scorer_error, match="is not a checkpoint of LPIPS"):
        node.execute(
            network="alex", backbone="backbone.pth", heads="backbone.pth", device="default"
        )


def test_pick_score_takes_a_folder_and_the_host_s_tokenizer(pack, folder, images):
    try:
        from transformers import CLIPConfig, CLIPModel
    except ImportError as error:
        pytest.skip(f"transformers has no CLIP here: {error}")
    text = TOWER | {"vocab_size": 49408, "projection_dim": 64}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=64)
    CLIPModel(config).save_pretrained(folder / "PickScore_v1")
    node = pack.module("nodes.pick_score_scorer").PickScoreScorer
    assert ["PickScore_v1"] == node.define_schema().inputs[0].options
    assert node.validate_inputs(folder="PickScore_v1") is True
    scorer = node.execute(folder="PickScore_v1", device="default").args[0]
    assert 2 == len(scorer.score(images, PROMPTS))


def test_a_network_visits_the_gpu_and_leaves_it_again(pack):
    """Seen with the CPU as the device: the host is asked for room, and the weights come back."""
    files = pack.module("nodes.host.scorer_files")
    network = torch.nn.Linear(3, 2)
    with files.Visit(torch.device("cpu"))(network) as device:
        assert torch.device("cpu") == device
    assert torch.device("cpu") == network.weight.device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_leaves_no_memory_on_the_gpu(pack):
    files = pack.module("nodes.host.scorer_files")
    network = torch.nn.Linear(1000, 1000)
    before = torch.cuda.memory_allocated()
    with files.Visit(torch.device("cuda"))(network) as device:
        assert "cuda" == network.weight.device.type == device.type
    assert before == torch.cuda.memory_allocated()
    assert "cpu" == network.weight.device.type
