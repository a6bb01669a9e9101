import importlib.util

import pytest
import torch

from ecad_search.errors import MissingPackageError, ScorerError
from ecad_search.scorers import Lpips
from ecad_search.testing.scorer_contract import damaged, pictures


def lpips(files, kind="alex", **changes):
    settings = {"network": kind, "heads": files / f"{kind}.pth"} | changes
    return Lpips(files / f"{kind}-backbone.pth", **settings)


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_equal_pictures_have_no_distance(lpips_files, kind):
    images, prompts = pictures()
    assert [0, 0, 0] == lpips(lpips_files, kind).score(images, prompts, images)


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_distance_equals_the_package_s_own(lpips_files, kind):
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("lpips is not installed: pip install --no-deps lpips")
    try:
        import lpips as package
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"lpips does not import here: {error}")
    theirs = package.LPIPS(net=kind, pnet_rand=True, pretrained=True, verbose=False).eval()
    state = torch.load(lpips_files / f"{kind}-backbone.pth", weights_only=True)
    features = {n.split(".", 1)[1]: v for n, v in state.items() if n.startswith("features.")}
    for part in range(1, 6):
        for number, layer in getattr(theirs.net, f"slice{part}").named_children():
            if f"{number}.weight" in features:
                layer.weight.data = features[f"{number}.weight"]
                layer.bias.data = features[f"{number}.bias"]
    images, prompts = pictures()
    other = damaged(images, "ghost")
    with torch.inference_mode():
        expected = theirs(images.permute(0, 3, 1, 2), other.permute(0, 3, 1, 2), normalize=True)
    ours = Lpips(lpips_files / f"{kind}-backbone.pth", network=kind)  # heads of the package
    scores = ours.score(other, prompts, images)
    assert scores == pytest.approx((-expected).flatten().tolist(), rel=1e-4)


def test_more_damage_is_more_distance(lpips_files):
    images, prompts = pictures()
    scorer = lpips(lpips_files)
    some = torch.lerp(images, damaged(images, "noise"), 0.3)
    little, much = (scorer.score(x, prompts, images) for x in (some, damaged(images, "noise")))
    assert all(a > b for a, b in zip(little, much, strict=True))


def test_missing_heads_are_named_with_the_pip_line(lpips_files, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps lpips"):
        images, prompts = pictures()
        lpips(lpips_files, heads=None).score(images, prompts, images)


@pytest.mark.parametrize(
    ("backbone", "heads", "message"),
    [
        ("vgg-backbone.pth", "alex.pth", "backbone"),
        ("alex-backbone.pth", "vgg.pth", "heads"),
        ("alex.pth", "alex.pth", r"10 tensors are missing.*alexnet-owt"),
        ("alex-backbone.pth", "alex-backbone.pth", r"5 tensors are missing.*alex\.pth"),
        ("absent.pth", "alex.pth", "were not found"),
    ],
)
def test_wrong_files_are_refused(lpips_files, backbone, heads, message):
    images, prompts = pictures()
    with pytest.raises(ScorerError, match=message):
        Lpips(lpips_files / backbone, heads=lpips_files / heads).score(images, prompts, images)


def test_pictures_that_are_too_small_are_refused(lpips_files):
    for kind, least in (("alex", 31), ("vgg", 16)):
        images = torch.rand(1, least, least, 3)
        assert [0] == lpips(lpips_files, kind).score(images, ["a"], images)
        with pytest.raises(ScorerError, match="use SSIM"):
            small = images[:, 1:]
            lpips(lpips_files, kind).score(small, ["a"], small)


def test_unknown_network_is_refused(lpips_files):
    with pytest.raises(ScorerError, match="expected 'alex' or 'vgg'"):
        Lpips(lpips_files / "alex-backbone.pth", network="squeeze")  # pyright: ignore
