"""Scorers on a CLIP: what is computed, and that a wrong file never passes for a right one."""

import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ecad_search.errors import ScorerError
from ecad_search.scorers import Aesthetic, ClipScore, HpsV2, PickScore
from ecad_search.scorers.clip_network import ClipNetwork
from ecad_search.testing.scorer_contract import pictures


@pytest.fixture
def copied(tiny_clip_folder, tmp_path):
    return shutil.copytree(tiny_clip_folder, tmp_path / "clip")


@pytest.fixture(scope="module")
def published_logits(tiny_clip_folder):
    """transformers' own model and processing, as PickScore's authors call it: (N, N)."""
    from transformers import CLIPModel, CLIPTokenizer

    from ecad_search.scorers.clip_pixels import preprocessed

    images, prompts = pictures()
    model = CLIPModel.from_pretrained(tiny_clip_folder).eval()
    tokens = CLIPTokenizer.from_pretrained(tiny_clip_folder)(
        prompts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    pixels = torch.stack([preprocessed(image, 32) for image in images])
    with torch.inference_mode():
        return model(**tokens, pixel_values=pixels).logits_per_image, model.logit_scale.exp()


def test_pick_score_is_the_published_model_s_logit(tiny_clip_folder, published_logits):
    expected, _ = published_logits
    scores = PickScore(tiny_clip_folder).score(*pictures())
    assert scores == pytest.approx(expected.diagonal().tolist(), abs=1e-4)


def test_clip_score_is_a_hundred_cosines(tiny_clip_folder, published_logits):
    logits, scale = published_logits
    scores = ClipScore(ClipNetwork(tiny_clip_folder)).score(*pictures())
    assert scores == pytest.approx((100 * logits / scale).diagonal().tolist(), abs=1e-4)


def test_score_depends_on_the_image_and_on_the_prompt(tiny_clip_folder):
    images, prompts = pictures()
    rows = images[[0, 0, 1]], [prompts[0], prompts[1], prompts[0]]
    assert 3 == len({round(score, 3) for score in PickScore(tiny_clip_folder).score(*rows)})


def test_open_clip_names_hold_the_same_network(tiny_clip_folder, tiny_open_clip_file):
    """Shapes tell the sizes; 128 channels are two heads of 64 in both towers."""
    expected = ClipScore(ClipNetwork(tiny_clip_folder)).score(*pictures())
    scores = [100 * score for score in HpsV2(tiny_open_clip_file).score(*pictures())]
    assert scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("width", "head"), [(128, 64), (1280, 80)])
def test_embeddings_equal_open_clip_s_own(tmp_path, tiny_open_clip_file, width, head):
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("open_clip is not installed: pip install open_clip_torch")
    try:
        from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip does not import here: {error}")
    from ecad_search.scorers.clip_pixels import preprocessed

    torch.manual_seed(0)
    model = CLIP(
        embed_dim=24,
        vision_cfg=CLIPVisionCfg(
            layers=2, width=width, head_width=head, patch_size=8, image_size=32
        ),
        text_cfg=CLIPTextCfg(vocab_size=514, width=128, heads=2, layers=2),
    ).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "open.pt")
    network = ClipNetwork(tmp_path / "open.pt", tokenizer=tiny_open_clip_file.parent)
    images, prompts = pictures()
    _, tokenizer = network.load()
    ids = tokenizer(prompts, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.inference_mode():
        pixels = torch.stack([preprocessed(image, 32) for image in images])
        seen = model.encode_image(pixels, normalize=True)
        read = model.encode_text(ids, normalize=True)
    assert torch.allclose(seen, network.images(images), atol=1e-5)
    assert torch.allclose(read, network.texts(prompts), atol=1e-5)


def test_aesthetic_is_the_head_on_the_embedding(tiny_clip_folder, aesthetic_head):
    network = ClipNetwork(tiny_clip_folder)
    state = torch.load(aesthetic_head, weights_only=True)
    x = network.images(pictures()[0])
    for layer in (0, 2, 4, 6, 7):
        x = x @ state[f"layers.{layer}.weight"].T + state[f"layers.{layer}.bias"]
    scores = Aesthetic(network, aesthetic_head).score(*pictures())
    assert scores == pytest.approx(x[:, 0].tolist(), abs=1e-5)


def test_aesthetic_head_of_another_clip_is_refused(tiny_clip_folder, tmp_path):
    from ecad_search.scorers.aesthetic import build_head

    torch.save(build_head(768).state_dict(), tmp_path / "head.pth")
    with pytest.raises(ScorerError, match="embeddings of 768 numbers, but this CLIP gives 24"):
        Aesthetic(ClipNetwork(tiny_clip_folder), tmp_path / "head.pth").score(*pictures())


@pytest.mark.parametrize("file", ["clip", "nothing"])
def test_file_that_is_no_aesthetic_head_is_refused(tiny_clip_folder, tmp_path, file):
    path = tiny_clip_folder / "model.safetensors" if file == "clip" else tmp_path / "no.pth"
    with pytest.raises(ScorerError, match="aesthetic head"):
        Aesthetic(ClipNetwork(tiny_clip_folder), path).score(*pictures())


def test_features_are_one_row_an_image(tiny_clip_folder):
    scorer = PickScore(tiny_clip_folder)
    assert (3, 24) == scorer.image_features(pictures()[0]).shape


def test_long_prompts_are_cut_and_repeated_ones_read_once(tiny_clip_folder, monkeypatch):
    network = ClipNetwork(tiny_clip_folder)
    read = []
    texts = network.texts
    monkeypatch.setattr(network, "texts", lambda t: read.append(list(t)) or texts(t))
    images, _ = pictures()
    scores = ClipScore(network).score(images, ["word " * 200, "a", "word " * 200])
    assert 3 == len(scores)
    assert [["word " * 200, "a"]] == read


def test_open_clip_reads_typographic_quotation_marks_as_straight_ones(tiny_open_clip_file):
    scorer, images = HpsV2(tiny_open_clip_file), pictures()[0][:1].repeat(2, 1, 1, 1)
    straight, typographic = scorer.score(images, ['a fox\'s "den"', "a fox\u2019s \u201cden\u201d"])
    assert straight == typographic


def test_half_precision_weights_are_computed_in_full(copied):
    path = copied / "model.safetensors"
    save_file({n: v.half() for n, v in load_file(path).items()}, path)
    model, _ = ClipNetwork(copied).load()
    assert {torch.float32} == {value.dtype for value in model.parameters()}


def test_row_numbers_of_older_exports_are_passed_over(copied, tiny_clip_folder):
    path = copied / "model.safetensors"
    numbers = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(load_file(path) | numbers, path)
    expected = PickScore(tiny_clip_folder).score(*pictures())
    assert expected == PickScore(copied).score(*pictures())


def test_torch_file_of_weights_is_read_too(copied, tiny_clip_folder):
    path = copied / "model.safetensors"
    torch.save(load_file(path), copied / "pytorch_model.bin")
    path.unlink()
    expected = PickScore(tiny_clip_folder).score(*pictures())
    assert expected == PickScore(copied).score(*pictures())


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "text_projection.weight"), "1 tensors are missing.*text_projection"),
        (lambda s: s | {"extra.weight": torch.zeros(1)}, "1 are unknown.*extra"),
        (lambda s: s | {"visual_projection.weight": torch.zeros(9, 9)}, "does not fit"),
    ],
)
def test_weights_that_are_not_all_there_are_refused(copied, change, message):
    path = copied / "model.safetensors"
    save_file(change(load_file(path)), path)
    with pytest.raises(ScorerError, match=message):
        PickScore(copied).score(*pictures())


def test_broken_weights_are_refused(copied):
    (copied / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ScorerError, match="cannot be read as CLIP weights"):
        PickScore(copied).score(*pictures())


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "is no configuration of a CLIP"),
        ("config.json", "<html>", "is no configuration of a CLIP"),
        ("config.json", '{"model_type": "bert"}', "of the type 'bert', expected 'clip'"),
        ("model.safetensors", None, "has no weights, expected model.safetensors"),
        ("vocab.json", None, "found no tokenizer"),
        ("merges.txt", None, "found no tokenizer"),
        ("vocab.json", "{}", "tokenizer"),
    ],
)
def test_folder_that_is_not_whole_is_refused(copied, file, content, message):
    if content is None:
        (copied / file).unlink()
    else:
        (copied / file).write_text(content, encoding="utf-8")
    with pytest.raises(ScorerError, match=message) as error:
        PickScore(copied).score(*pictures())
    assert "\n" not in str(error.value)


def test_tokenizer_of_another_network_is_refused(copied):
    words = json.loads((copied / "vocab.json").read_text(encoding="utf-8"))
    (copied / "vocab.json").write_text(json.dumps(words | {"one more</w>": len(words)}))
    with pytest.raises(ScorerError, match="has 515 words, the network 514"):
        PickScore(copied).score(*pictures())


def test_checkpoint_of_another_network_is_refused(tmp_path, aesthetic_head):
    for path in (aesthetic_head, tmp_path / "absent.pt"):
        with pytest.raises(ScorerError, match=r"HPS_v2_compressed\.pt"):
            HpsV2(path).score(*pictures())


class Counted:
    """A placement that sees every use."""

    def __init__(self):
        self.uses = self.open = 0

    def __call__(self, network):
        self.uses += 1
        return self

    def __enter__(self):
        self.open += 1
        return torch.device("cpu")

    def __exit__(self, *error):
        self.open -= 1


def test_network_is_placed_around_each_use(tiny_clip_folder, tiny_open_clip_file):
    for build, files in ((PickScore, tiny_clip_folder), (HpsV2, tiny_open_clip_file)):
        placement = Counted()
        build(files, placement=placement).score(*pictures())
        assert (2, 0) == (placement.uses, placement.open)
