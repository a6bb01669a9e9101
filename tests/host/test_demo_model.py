"""The models that ship with the pack draw on every release what their prompts say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("pixart", "flux")
PROMPTS = (
    "red apple on a blue background",
    "dog face on a pink background",
    "sailboat on a white background",
)


@pytest.fixture(scope="module")
def demo_model(pack):
    """Kind -> MODEL, CLIP and VAE."""
    load = pack.module("nodes.host.demo_model").load_demo_model
    return {kind: load(kind) for kind in KINDS}


@pytest.mark.parametrize(("decode", "seams"), [("decode", 1e-5), ("decode_tiled", 0.02)])
def test_decoded_pictures_are_the_network_s_as_colours_between_0_and_1(demo_model, decode, seams):
    vae = demo_model["pixart"][2]
    latents = torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        network = vae.first_stage_model.decode(latents)
        pictures = getattr(vae, decode)(latents)
    expected = ((network + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(expected, pictures, rtol=0, atol=seams)


def test_a_picture_comes_back_from_its_latent(demo_model):
    vae = demo_model["pixart"][2]
    rows = torch.linspace(0, 1, 96)
    picture = torch.stack([rows[:, None].expand(96, 96)] * 3, dim=-1)[None]
    with torch.inference_mode():
        again = vae.decode(vae.encode(picture))
    assert float((picture - again).abs().mean()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_what_the_prompt_says(pack, demo_model, sample, kind):
    """Uncached pictures score 0.9 on average, noise and wrong colours below 0."""
    model, clip, vae = demo_model[kind]
    scorer = pack.module("ecad_search.scorers.emoji_reward").EmojiReward()

    def encoded(text):
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    options = {"steps": 20, "cfg": 3.0, "sampler": "dpmpp_2m", "shape": (1, 1, 48, 48)}
    with torch.inference_mode():
        latents = [sample(model, encoded(text), encoded(""), **options) for text in PROMPTS]
        pictures = torch.cat([vae.decode(latent) for latent in latents])
    assert min(scorer.score(pictures, PROMPTS)) > 0


def test_the_page_knows_which_schedules_fit_each_of_them_before_anything_runs(pack, demo_model):
    names = pack.module("nodes.demo_model").KINDS
    assert set(KINDS) == set(names.values())
    patching, view = (pack.module(f"nodes.host.{name}") for name in ("patching", "schedule_view"))
    expected = {}
    for name, kind in names.items():
        architecture = patching.detect_architecture(demo_model[kind][0])
        assert f"emoji-{kind}" == architecture.id
        expected[f"ECAD_DemoModel|{name}"] = view.fits_key(architecture), architecture.describe()
    script = (ROOT / "web/js/connected_model.mjs").read_text(encoding="utf-8")
    entry = r'"(ECAD_DemoModel\|[^"]+)": \{\s*fits: "([^"]+)",\s*model: "([^"]+)"'
    assert expected == {name: (fits, model) for name, fits, model in re.findall(entry, script)}
