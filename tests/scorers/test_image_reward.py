import json
import sys
import warnings
from contextlib import contextmanager

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ecad_search.errors import MissingPackageError, ScorerError
from ecad_search.scorers import ImageReward, clip_pixels, image_reward
from ecad_search.testing.scorer_contract import pictures

FOREIGN = ("timm", "fairscale", "torchvision.transforms", "transformers.modeling_utils")


def test_scores_equal_the_package_s_own_score(tiny_image_reward):
    images, prompts = pictures()
    model = tiny_image_reward.load()
    model.preprocess = lambda picture: clip_pixels.preprocessed(
        torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(96, 96, 3) / 255
    )
    files = [Image.fromarray((image * 255).round().byte().numpy()) for image in images]
    theirs = [model.score(p, file) for p, file in zip(prompts, files, strict=True)]
    assert theirs == pytest.approx(tiny_image_reward.score(images, prompts), abs=1e-4)


def test_score_depends_on_the_image_and_on_the_prompt(tiny_image_reward):
    images, prompts = pictures()
    rows = images[[0, 0, 1]], [prompts[0], prompts[1], prompts[0]]
    assert 3 == len({round(score, 3) for score in tiny_image_reward.score(*rows)})


@pytest.mark.parametrize("size", [(96, 96), (300, 224), (224, 500), (37, 61)])
def test_preprocessing_equals_the_transform_of_the_package(size):
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError):
        pytest.skip("torchvision does not import here: install the build that fits this torch")
    theirs = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(clip_pixels.MEAN, clip_pixels.STD),
        ]
    )
    pixels = torch.randint(0, 256, (*size, 3), generator=torch.Generator().manual_seed(0)).byte()
    expected = theirs(Image.fromarray(pixels.numpy()))
    assert torch.allclose(expected, clip_pixels.preprocessed(pixels / 255), atol=1e-5)


def test_loading_leaves_no_stand_in_behind(tiny_image_reward):
    before = {name: sys.modules.get(name) for name in FOREIGN}
    filters = list(warnings.filters)
    tiny_image_reward.load()
    assert before == {name: sys.modules.get(name) for name in FOREIGN}
    assert [] == [name for name in sys.modules if name.startswith(image_reward.PRIVATE)]
    assert filters == list(warnings.filters)


def with_config(scorer, folder, **changes) -> ImageReward:
    config = json.loads(scorer.med_config.read_text(encoding="utf-8")) | changes
    (folder / "med_config.json").write_text(json.dumps(config), encoding="utf-8")
    return ImageReward(scorer.checkpoint, folder / "med_config.json")


def test_failed_loading_leaves_no_stand_in_behind(tiny_image_reward, tmp_path):
    with pytest.raises(ScorerError, match=r"med_config\.json' is no configuration"):
        with_config(tiny_image_reward, tmp_path, hidden_size="wide").load()
    assert [] == [name for name in sys.modules if name.startswith(("timm", image_reward.PRIVATE))]


def test_vocabulary_of_another_size_is_refused(tiny_image_reward, tmp_path):
    with pytest.raises(ScorerError, match=r"expects 30524"):
        with_config(tiny_image_reward, tmp_path, vocab_size=30524).load()


def test_configuration_that_is_no_json_is_refused(tiny_image_reward, tmp_path):
    (tmp_path / "med_config.json").write_text("<html>", encoding="utf-8")
    with pytest.raises(ScorerError, match="is no configuration"):
        ImageReward(tiny_image_reward.checkpoint, tmp_path / "med_config.json").load()


def test_safetensors_checkpoint_gives_the_same_scores(tiny_image_reward, tmp_path):
    state = torch.load(tiny_image_reward.checkpoint, weights_only=True)
    path = tmp_path / "ImageReward.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    folder = tiny_image_reward.checkpoint.parent
    other = ImageReward(path, tiny_image_reward.med_config, vocabulary=folder / "vocab.txt")
    assert tiny_image_reward.score(*pictures()) == other.score(*pictures())


def changed_checkpoint(scorer, folder, change) -> ImageReward:
    state = torch.load(scorer.checkpoint, weights_only=True)
    change(state)
    torch.save(state, folder / "ImageReward.pt")
    return ImageReward(
        folder / "ImageReward.pt", scorer.med_config, vocabulary=scorer.checkpoint.parent
    )


def test_missing_tensor_is_refused(tiny_image_reward, tmp_path):
    scorer = changed_checkpoint(tiny_image_reward, tmp_path, lambda s: s.pop("mlp.layers.0.bias"))
    with pytest.raises(ScorerError, match=r"1 tensors are missing.*mlp\.layers\.0\.bias"):
        scorer.load()


def test_unknown_tensor_is_refused(tiny_image_reward, tmp_path):
    scorer = changed_checkpoint(
        tiny_image_reward, tmp_path, lambda s: s.update(extra=torch.ones(1))
    )
    with pytest.raises(ScorerError, match=r"1 are unknown.*extra"):
        scorer.load()


def test_row_numbers_may_be_absent(tiny_image_reward, tmp_path):
    name = "blip.text_encoder.embeddings.position_ids"
    scorer = changed_checkpoint(tiny_image_reward, tmp_path, lambda s: s.pop(name))
    assert tiny_image_reward.score(*pictures()) == scorer.score(*pictures())


def test_tensor_of_another_shape_is_refused(tiny_image_reward, tmp_path):
    scorer = changed_checkpoint(
        tiny_image_reward, tmp_path, lambda s: s.update({"mlp.layers.0.bias": torch.ones(3)})
    )
    with pytest.raises(ScorerError, match="does not fit"):
        scorer.load()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_file_that_is_no_checkpoint_is_refused(tiny_image_reward, tmp_path, content):
    path = tmp_path / "ImageReward.pt"
    path.write_bytes(content)
    folder = tiny_image_reward.checkpoint.parent
    with pytest.raises(ScorerError, match="cannot be read as ImageReward weights"):
        ImageReward(path, tiny_image_reward.med_config, vocabulary=folder).load()


def test_checkpoint_that_is_no_table_of_tensors_is_refused(tiny_image_reward, tmp_path):
    torch.save([1, 2], tmp_path / "ImageReward.pt")
    folder = tiny_image_reward.checkpoint.parent
    scorer = ImageReward(
        tmp_path / "ImageReward.pt", tiny_image_reward.med_config, vocabulary=folder
    )
    with pytest.raises(ScorerError, match="holds a list"):
        scorer.load()


@pytest.mark.parametrize("absent", ["ImageReward.pt", "med_config.json"])
def test_absent_file_is_named(tiny_image_reward_folder, absent):
    names = [n if n != absent else f"no/{n}" for n in ("ImageReward.pt", "med_config.json")]
    with pytest.raises(ScorerError, match=absent):
        ImageReward(*(tiny_image_reward_folder / name for name in names)).load()


def test_vocabulary_that_is_not_there_is_named(tiny_image_reward, tmp_path):
    scorer = ImageReward(
        tiny_image_reward.checkpoint, tiny_image_reward.med_config, vocabulary=tmp_path
    )
    with pytest.raises(ScorerError, match=r"vocab\.txt"):
        scorer.load()


def test_no_vocabulary_anywhere_says_where_to_put_it(tiny_image_reward, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScorerError, match="beside the checkpoint"):
        image_reward.find_tokenizer(None, tmp_path)


def test_extra_tokens_of_blip_follow_the_vocabulary(tiny_image_reward):
    tokenizer = tiny_image_reward.load().blip.tokenizer
    size = json.loads(tiny_image_reward.med_config.read_text())["vocab_size"]
    assert [size - 2, size - 1] == tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"])


def test_missing_transformers_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="pip install transformers"):
        ImageReward(tmp_path / "a", tmp_path / "b").load()


def test_network_is_placed_around_each_use(tiny_image_reward):
    seen = []

    @contextmanager
    def placement(network):
        seen.append("in")
        yield torch.device("cpu")
        seen.append("out")

    expected = tiny_image_reward.score(*pictures())
    tiny_image_reward.placement = placement
    assert expected == tiny_image_reward.score(*pictures())
    assert ["in", "out"] == seen
