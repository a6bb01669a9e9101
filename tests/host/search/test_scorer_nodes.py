"""The scorer nodes: each gives the scorer that its widgets say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize(
    ("metric", "name"), [("SSIM", "ssim"), ("PSNR", "psnr"), ("both", "1 ssim + 0.05 psnr")]
)
def test_reference_similarity_measures_what_the_widget_says(pack, metric, name):
    node = pack.module("nodes.reference_similarity_scorer").ReferenceSimilarityScorer
    scorer = node.execute(metric=metric).args[0]
    assert name == scorer.name
    assert scorer.needs_reference
    images = torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    close, same = scorer.score(
        torch.stack([images[0] * 0.9, images[1]]), ["a", "b"], references=images
    )
    assert close < same


def test_scorers_combine_by_weight_and_absent_ones_are_left_out(pack):
    similarity = pack.module("nodes.reference_similarity_scorer").ReferenceSimilarityScorer
    node = pack.module("nodes.combine_scorers").CombineScorers
    ssim = similarity.execute(metric="SSIM").args[0]
    psnr = similarity.execute(metric="PSNR").args[0]
    combined = node.execute(scorer_a=ssim, scorer_c=psnr, weight_a=2.0, weight_c=0.1).args[0]
    assert "2 ssim + 0.1 psnr" == combined.name


def test_emoji_reward_judges_pictures_without_a_reference(pack):
    scorer = pack.module("nodes.emoji_reward_scorer").EmojiRewardScorer.execute().args[0]
    scores = scorer.score(torch.rand(1, 96, 96, 3), ["fox on a green background"])
    assert 1 == len(scores)
    assert not scorer.needs_reference


def test_image_reward_lists_its_files_and_refuses_others(pack, comfy):
    node = pack.module("nodes.image_reward_scorer").ImageRewardScorer
    options = {i.id: i.options for i in node.define_schema().inputs if hasattr(i, "options")}
    assert ["put ImageReward.pt into models/image_reward"] == options["checkpoint"]
    assert "ImageReward.pt" in str(node.validate_inputs(checkpoint=options["checkpoint"][0]))
    folder = Path(comfy.folder_paths.models_dir) / "image_reward"
    assert str(folder) in comfy.folder_paths.get_folder_paths("image_reward")
    with pytest.raises(pack.module("ecad_search.errors").StorageError, match="image_reward"):
        node.execute(checkpoint="../x.pt", config="med_config.json", device="cpu")


def test_inception_features_come_from_the_chosen_file(pack, comfy, tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity", reason="pip install --no-deps torch-fidelity")
    known = comfy.folder_paths.folder_names_and_paths
    monkeypatch.setitem(known, "ecad_scorers", ([str(tmp_path)], {".pth"}))
    monkeypatch.setattr(comfy.folder_paths, "filename_list_cache", {})
    inception = pack.module("ecad_search.scorers.inception")
    torch.save(dict(inception.network().state_dict()), tmp_path / "inception.pth")
    node = pack.module("nodes.inception_features").InceptionFeatures
    assert ["inception.pth"] == node.define_schema().inputs[0].options
    assert node.validate_inputs(weights="inception.pth") is True
    features = node.execute(weights="inception.pth", device="cpu").args[0]
    assert isinstance(features, pack.module("nodes.host.benchmark").SeesFeatures)
    assert (1, 2048) == features.image_features(torch.rand(1, 16, 16, 3)).shape
    assert "ecad_scorers" in node.validate_inputs(weights="other.pth")
