"""A search at the smallest size: a real PixArt, a VAE of no size, a scorer with a switch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

STEPS = 4


class TinyVae:
    """The surface of the host's VAE that rendering uses: shows three of four latent channels."""

    def __init__(self):
        self.patcher = SimpleNamespace(model=torch.nn.Linear(1, 1), backup={}, patches={})
        with torch.no_grad():
            self.patcher.model.weight.fill_(1.0)
            self.patcher.model.bias.fill_(0.0)
        self.decoded = 0

    def spacial_compression_encode(self):
        return 1

    def decode(self, latents):
        self.decoded += len(latents)
        return (latents[:, :3].movedim(1, -1) / 8 + 0.5).clamp(0, 1)


class TestScorer:
    """SSIM by the library, with a switch that breaks what comes after the uncached run."""

    __test__ = False
    needs_reference = True

    def __init__(self, pack, *, after=10**9, failure=None):
        self.inner = pack.module("ecad_search.scorers.reference_similarity").ReferenceSimilarity()
        self.name = "ssim"
        self.after, self.failure, self.scored = after, failure, 0

    def score(self, images, prompts, references=None):
        self.scored += len(images)
        if self.scored > self.after and not torch.equal(images, references):
            if isinstance(self.failure, BaseException):
                raise self.failure
            if self.failure is not None:
                return [self.failure] * len(images)
        return self.inner.score(images, prompts, references)

    def unload(self):
        pass


@pytest.fixture
def output(comfy, tmp_path):
    """A fresh output folder of the host."""
    before = comfy.folder_paths.get_output_directory()
    comfy.folder_paths.set_output_directory(str(tmp_path))
    yield tmp_path
    comfy.folder_paths.set_output_directory(before)


@pytest.fixture
def calibration(pack, conditioning):
    """Two prompts of one length, or of the lengths given."""

    def build(lengths=(6, 6), seeds_per_prompt=1, seed=0):
        prompts = pack.module("ecad_search.calibration").CalibrationPrompts(
            tuple(f"prompt {i}" for i in range(len(lengths))), seeds_per_prompt, seed, "test"
        )
        return pack.module("nodes.host.rendering").EncodedCalibration(
            prompts=prompts,
            positives=tuple(conditioning(i + 1, tokens=n) for i, n in enumerate(lengths)),
            negative=conditioning(99),
            negative_text="",
            guidance=0.0,
            clip="test",
        )

    return build


@pytest.fixture
def settings(pack):
    def build(**changes):
        values = {
            "steps": STEPS,
            "cfg": 2.0,
            "sampler": "euler",
            "scheduler": "simple",
            "width": 36,
            "height": 36,
            "batch": 2,
        }
        return pack.module("nodes.host.rendering").SamplerSettings(**(values | changes))

    return build


@pytest.fixture
def search(pack, output, tiny_pixart, calibration, settings):
    """Runs the node; keywords replace its inputs."""
    node = pack.module("nodes.search").SearchNode

    def run(**changes):
        inputs = {
            "model": tiny_pixart(depth=2, flow=True),
            "vae": TinyVae(),
            "calibration": calibration(),
            "sampler_settings": settings(),
            "scorer": TestScorer(pack),
            "images": 24,
            "mode": "ecad+",
            "seed": 0,
            "journal": "",
            "population": 4,
        }
        with torch.inference_mode():
            return node.execute(**(inputs | changes))

    return run


@pytest.fixture
def tiny_vae():
    """The class: `tiny_vae()` makes one, `.decoded` counts its pictures."""
    return TinyVae


@pytest.fixture
def test_scorer(pack):
    """A class to make scorers of, or to subclass: `test_scorer(after=4, failure=nan)`."""

    class Scorer(TestScorer):
        def __init__(self, **settings):
            super().__init__(pack, **settings)

    return Scorer
