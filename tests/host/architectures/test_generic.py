"""Models that have no family of their own, the host's own classes at small size."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from ecad_search.testing.architecture_contract import (
    ArchitectureContract,
    Output,
    SlowReference,
    Subject,
)


class GenericContract(ArchitectureContract):
    """What holds for every family, but for the costs: those are estimates here."""

    def test_costs_are_what_pytorch_counts(self, subject, pack, sample, apply):
        """The estimate of what FORA saves is not far from what PyTorch counts, proof included."""
        from torch.utils.flop_counter import FlopCounterMode

        architecture = pack.module("nodes.host.patching").detect_architecture(subject.model)
        presets = pack.module("ecad_search.core.presets")
        streams = self._streams(subject, self.tokens[0])
        steps = 4 * self.steps

        def counted(model):
            with FlopCounterMode(display=False) as counter:
                sample(model, *streams, steps=steps, cfg=1.0, shape=subject.shape)
            return counter.get_total_flops()

        reports = []
        fora = apply(subject.model, presets.fora(architecture, steps, 2), on_report=reports.append)
        speedup = counted(subject.model) / counted(fora)
        assert pytest.approx(speedup, rel=0.15) == reports[0].predicted_speedup > 1.2


def every_output(blocks, *names):
    return [(Output(getattr(block, name)),) for block in blocks for name in names]


def tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


# --- Mochi: a film; joint attention gives two tensors; the last block has no MLP for text ---------

MOCHI = {
    "image_model": "mochi_preview",
    "in_channels": 12,
    "hidden_size_x": 32,
    "hidden_size_y": 16,
    "depth": 3,
    "num_heads": 2,
    "mlp_ratio_x": 384.0,  # the host wants 12288 wide MLPs
    "mlp_ratio_y": 2.0,
    "learn_sigma": False,
    "qk_norm": True,
    "use_t5": True,
    "t5_feat_dim": 16,
    "qkv_bias": False,
    "out_bias": True,
    "patch_embed_bias": True,
    "timestep_mlp_bias": True,
    "timestep_scale": 1000.0,
}


def mochi_text(seed, tokens):
    (text,) = tensors(seed, (1, tokens, 16))
    return [[text, {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}]]


@pytest.fixture(scope="module")
def mochi(patcher):
    return patcher("GenmoMochi", "GenmoMochi", MOCHI)


class TestMochi(GenericContract):
    @pytest.fixture
    def subject(self, mochi):
        blocks = mochi.model.diffusion_model.blocks
        return Subject(
            mochi,
            mochi_text,
            shape=(1, 12, 2, 4, 4),
            family="generic",
            counts={"blocks": 2, "@2.blocks": 1},
            sites=[
                *every_output(blocks[:2], "attn", "mlp_x", "mlp_y"),
                *every_output(blocks[2:], "attn", "mlp_x"),
            ],
        )


# --- Stable Audio: sound, so latents without rows and columns -------------------------------------

STABLE_AUDIO = {
    "audio_model": "dit1.0",
    "io_channels": 8,
    "embed_dim": 768,  # heads of the text, 768 wide, have to go into these
    "depth": 3,
    "num_heads": 2,
    "cond_token_dim": 768,
    "global_cond_dim": 1536,
    "project_cond_tokens": False,
}


@pytest.fixture(scope="module")
def stable_audio(comfy, patcher):
    embedders = importlib.import_module("comfy.ldm.audio.embedders")
    torch.manual_seed(1)
    weights = embedders.NumberConditioner(768, min_val=0, max_val=512).state_dict()
    weights = {name: torch.randn_like(weight) * 0.05 for name, weight in weights.items()}
    made = patcher(
        "StableAudio",
        "StableAudio1",
        STABLE_AUDIO,
        seconds_start_embedder_weights=weights,
        seconds_total_embedder_weights=weights,
    )
    for name, buffer in made.model.diffusion_model.named_buffers():
        if name.endswith("inv_freq"):  # not a weight, yet of the checkpoint: nobody has set it
            buffer.copy_(torch.rand_like(buffer))
    return made


class TestStableAudio(GenericContract):
    @pytest.fixture
    def subject(self, stable_audio):
        layers = stable_audio.model.diffusion_model.transformer.layers
        return Subject(
            stable_audio,
            lambda seed, tokens: [[tensors(seed, (1, tokens, 768))[0], {}]],
            shape=(1, 8, 24),
            family="generic",
            counts={"transformer.layers": 3},
            sites=every_output(layers, "self_attn", "cross_attn", "ff"),
        )


# --- OmniGen2: four lists of blocks, one of them only for reference pictures ----------------------

OMNIGEN2 = {
    "image_model": "omnigen2",
    "hidden_size": 48,
    "num_layers": 3,
    "num_refiner_layers": 2,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "multiple_of": 16,
    "axes_dim_rope": (4, 4, 4),
    "text_feat_dim": 20,
}


def omnigen2_text(seed, tokens, **options):
    (text,) = tensors(seed, (1, tokens, 20))
    return [[text, {"attention_mask": torch.ones(1, tokens, dtype=torch.long), **options}]]


def omnigen2_lists(model):
    """In the order of the module tree."""
    return [model.noise_refiner, model.ref_image_refiner, model.context_refiner, model.layers]


@pytest.fixture(scope="module")
def omnigen2(patcher):
    return patcher("Omnigen2", "Omnigen2", OMNIGEN2)


class TestOmnigen2WithReference(GenericContract):
    @pytest.fixture
    def subject(self, omnigen2):
        def conditioning(seed, tokens):
            latents = tensors(7, (1, 16, 4, 4))
            return omnigen2_text(seed, tokens, reference_latents=latents)

        lists = omnigen2_lists(omnigen2.model.diffusion_model)
        return Subject(
            omnigen2,
            conditioning,
            shape=(1, 16, 8, 8),
            family="generic",
            counts={"noise_refiner": 2, "ref_image_refiner": 2, "context_refiner": 2, "layers": 3},
            sites=[
                site for blocks in lists for site in every_output(blocks, "attn", "feed_forward")
            ],
        )


def fora_of(pack, model, steps, every=2):
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    return pack.module("ecad_search.core.presets").fora(architecture, steps, every)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_blocks_that_are_not_called_always_compute(cfg, omnigen2, comfy, pack, sample, apply):
    schedule, reports, steps = fora_of(pack, omnigen2, 6), [], 6
    model = apply(omnigen2, schedule, on_report=reports.append)
    streams = omnigen2_text(1, 6), omnigen2_text(2, 6)
    options = {"steps": steps, "cfg": cfg, "shape": (1, 16, 8, 8)}
    fast = sample(model, *streams, **options)
    (report,) = reports
    (message,) = report.messages
    assert "4 of the 18 components" in message and "ref_image_refiner.0.attn" in message
    lists = omnigen2_lists(omnigen2.model.diffusion_model)
    sites = [site for blocks in lists for site in every_output(blocks, "attn", "feed_forward")]
    subject = Subject(omnigen2, omnigen2_text, (1, 16, 8, 8), "generic", {}, sites)
    sigmas = comfy.samplers.calculate_sigmas(
        omnigen2.get_model_object("model_sampling"), "simple", steps
    ).tolist()
    with SlowReference(subject, schedule.compute, sigmas).hooked() as reference:
        slow = sample(reference.model, *streams, **options)
    assert torch.equal(slow, fast)
    assert (0, 3 * 14) == (report.cells_forced, report.cells_reused)
    assert report.predicted_bytes == report.peak_bytes > 0


# --- ACE-Step: linear attention, convolutions for an MLP, and an encoder of the lyrics ------------

ACE_STEP = {
    "audio_model": "ace",
    "num_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "mlp_ratio": 2.0,
    "lyric_encoder_vocab_size": 50,
    "lyric_hidden_size": 32,
    "text_embedding_dim": 20,
    "ssl_latent_dims": [8, 8],
}


@pytest.fixture(scope="module")
def ace_step(comfy, patcher):
    ace = importlib.import_module("comfy.ldm.ace.model")
    small = {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 2}
    large = ace.LyricEncoder
    with pytest.MonkeyPatch.context() as patch:  # its size is no setting of the model
        patch.setattr(ace, "LyricEncoder", lambda **settings: large(**{**settings, **small}))
        return patcher("ACEStep", "ACEStep", ACE_STEP)


class TestAceStep(GenericContract):
    @pytest.fixture
    def subject(self, ace_step):
        def conditioning(seed, tokens):
            (text,) = tensors(seed, (1, tokens, 20))
            words = torch.randint(0, 50, (1, 5), generator=torch.Generator().manual_seed(seed))
            return [[text, {"conditioning_lyrics": words}]]

        model = ace_step.model.diffusion_model
        return Subject(
            ace_step,
            conditioning,
            shape=(1, 8, 16, 12),
            family="generic",
            counts={"transformer_blocks": 3, "lyric_encoder.encoders": 2},
            sites=[
                *every_output(model.transformer_blocks, "attn", "cross_attn", "ff"),
                *every_output(model.lyric_encoder.encoders, "self_attn", "feed_forward"),
            ],
        )


# --- What cannot be proven ------------------------------------------------------------------------


def noise_in_a_block(arguments, extra):
    """As packs do that add noise inside a model."""
    output = extra["original_block"](arguments)
    output["img"] = output["img"] + 0.01 * torch.randn_like(output["img"])
    return output


def one_more_look(arguments, extra):
    """As packs do that call a block twice, for guidance of their own."""
    output = extra["original_block"](arguments)
    again = extra["original_block"](arguments)
    output["img"] = 1.5 * output["img"] - 0.5 * again["img"]
    return output


def with_replaced_block(model, replacement):
    patched = model.clone()
    patched.set_model_patch_replace(replacement, "dit", "double_block", 1)
    return patched


def test_a_model_that_fails_its_check_is_uncached_and_says_so_once(mochi, pack, sample, apply):
    model, reports = with_replaced_block(mochi, noise_in_a_block), []
    cached = apply(model, fora_of(pack, model, 5), on_report=reports.append)
    streams = mochi_text(1, 6), mochi_text(2, 9)
    options = {"steps": 5, "cfg": 3.0, "shape": (1, 12, 2, 4, 4), "sampler": "euler_ancestral"}
    torch.manual_seed(4)
    plain = sample(model, *streams, **options)
    torch.manual_seed(4)
    assert torch.equal(plain, sample(cached, *streams, **options))
    (report,) = reports
    (message,) = report.messages
    assert "random numbers" in message and "uncached" in message
    assert (0, 0, 0) == (report.cells_reused, report.cells_forced, report.peak_bytes)
    assert 1.0 == report.predicted_speedup


def test_a_block_that_another_pack_calls_twice_always_computes(mochi, pack, sample, apply):
    model, reports = with_replaced_block(mochi, one_more_look), []
    cached = apply(model, fora_of(pack, model, 5), on_report=reports.append)
    options = {"steps": 5, "cfg": 1.0, "shape": (1, 12, 2, 4, 4)}
    latent = sample(cached, mochi_text(1, 6), mochi_text(2, 6), **options)
    (report,) = reports
    (message,) = report.messages
    assert "3 of the 8 components" in message and "called several times" in message
    assert 2 * 5 == report.cells_reused
    assert np.isfinite(latent.numpy()).all()


def test_a_second_run_is_checked_anew(mochi, pack, sample, apply):
    """Nothing of a run outlives it, so another node may have changed the model in between."""
    reports = []
    cached = apply(mochi, fora_of(pack, mochi, 4), on_report=reports.append)
    calls = []
    handle = mochi.model.diffusion_model.blocks[0].mod_x.register_forward_hook(
        lambda *_: calls.append(1)
    )
    for _ in range(2):
        sample(cached, mochi_text(1, 6), mochi_text(2, 6), steps=4, shape=(1, 12, 2, 4, 4))
    handle.remove()
    assert 2 * (4 + 1) == len(calls)
    assert reports[0].cells_reused == reports[1].cells_reused > 0


def test_the_cache_loader_makes_fora_for_it_and_says_that_it_is_unknown(mochi, pack):
    loader = pack.module("nodes.cache_loader")
    chosen = loader.chosen_schedule("any-model/fora-2-20-steps", mochi)
    assert fora_of(pack, mochi, 20) == chosen
    facts = pack.module("nodes.host.run_report").facts(chosen)
    assert "Unknown model: 8 components found, checked at the first evaluation" in facts
    assert "20 steps, 50% of the components computed, about" in facts
    text = pack.module("ecad_search.core.schedule_json").dumps(chosen)
    pack.module("nodes.host.patching").apply_schedule(
        mochi, pack.module("ecad_search.core.schedule_json").loads(text)
    )


def test_a_schedule_of_another_unknown_model_is_an_error(mochi, omnigen2, pack, apply):
    mismatch = pack.module("ecad_search.errors").ModelMismatchError
    with pytest.raises(mismatch, match=r"with 2 blocks and 1 @2\.block.*with 2 noise refiners"):
        apply(omnigen2, fora_of(pack, mochi, 4))


def test_a_u_net_is_refused(patcher, pack):
    """Its transformer blocks lie in lists inside lists, between convolutions."""
    config = {
        "image_size": 32,
        "use_spatial_transformer": True,
        "legacy": False,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "transformer_depth": [0, 2],
        "transformer_depth_output": [0, 0, 2, 2],
        "transformer_depth_middle": 2,
        "context_dim": 32,
        "num_heads": 2,
        "num_head_channels": -1,
        "use_linear_in_transformer": True,
        "adm_in_channels": None,
    }
    model = patcher("SD15", "BaseModel", config)
    mismatch = pack.module("ecad_search.errors").ModelMismatchError
    with pytest.raises(mismatch, match=r"UNetModel.*PixArt, .*whose blocks lie in a list"):
        pack.module("nodes.host.patching").detect_architecture(model)
