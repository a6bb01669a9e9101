"""The features of FID: those of the package, from a file that is checked, without unpickling it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecad_search.errors import MissingPackageError, ScorerError
from ecad_search.scorers import scorer as scorers
from ecad_search.scorers.frechet import frechet_distance
from ecad_search.scorers.inception import LAYER, Inception


def pictures(count=3, seed=0, height=40, width=56):
    generator = torch.Generator().manual_seed(seed)
    eighths = torch.randint(0, 256, (count, height, width, 3), generator=generator)
    return eighths.float() / 255


def test_features_are_the_package_s_own(inception_weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    package = FeatureExtractorInceptionV3(
        "test", [LAYER], feature_extractor_weights_path=str(inception_weights)
    )
    images = pictures()
    (expected,) = package((images * 255).round().to(torch.uint8).permute(0, 3, 1, 2))
    found = Inception(inception_weights).image_features(images)
    assert (3, 2048) == found.shape and np.float32 == found.dtype
    np.testing.assert_allclose(expected.numpy(), found, rtol=1e-5, atol=1e-6)


def test_more_damage_is_a_larger_distance(inception_weights):
    network = Inception(inception_weights)
    images = pictures(8)
    noise = pictures(8, seed=1) - 0.5
    own = network.image_features(images)
    distances = [
        frechet_distance(own, network.image_features((images + share * noise).clamp(0, 1)))
        for share in (0.0, 0.2, 1.0)
    ]
    assert 0 == pytest.approx(distances[0], abs=1e-3)
    assert distances == sorted(distances) and distances[1] > distances[0]
    network.unload()
    assert network.model is None


def test_another_file_is_refused(inception_weights, tmp_path):
    state = torch.load(inception_weights, weights_only=True)
    state.pop("fc.bias")
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(ScorerError, match="is not a checkpoint of Inception: 1 tensors are miss"):
        Inception(tmp_path / "less.pth").load()
    with pytest.raises(ScorerError, match=r"expected a local weights-inception-2015-12-05"):
        Inception(tmp_path / "none.pth").load()


def test_pictures_of_another_shape_are_refused(inception_weights):
    with pytest.raises(ScorerError, match=r"shape \(1, 3, 8, 8\), expected \(images, height"):
        Inception(inception_weights).image_features(torch.zeros(1, 3, 8, 8))


def test_without_the_package_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(scorers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps torch-fidelity"):
        Inception(tmp_path / "weights.pth").load()
