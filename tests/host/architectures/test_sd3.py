"""SD3 and SD3.5, the host's own class at small size."""

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

MEDIUM = {"dual_blocks": 0, "joint_blocks": 3, "last_blocks": 1}
MEDIUM_3_5 = {"dual_blocks": 2, "joint_blocks": 1, "last_blocks": 1}


def config(depth: int, blocks: int, dual: int) -> dict:
    """As ComfyUI reads it from a checkpoint; a head is always 64 wide."""
    return {
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "input_size": None,
        "depth": depth,
        "num_blocks": blocks,
        "adm_in_channels": 16,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": 32, "out_features": 64 * depth},
        },
        "qk_norm": "rms",
        "pos_embed_scaling_factor": None,
        "x_block_self_attn_layers": list(range(dual)),
    }


def sites(model):
    """The outputs of all attention, in the order of its projections, then the MLPs."""
    found = []
    for block in model.joint_blocks:
        context, x = block.context_block, block.x_block
        places = [] if context.pre_only else [Output(context.attn.proj)]
        places.append(Output(x.attn.proj))
        if x.x_block_self_attn:
            places.append(Output(x.attn2.proj))
        found += [tuple(places), (Output(x.mlp),)]
        if not context.pre_only:
            found.append((Output(context.mlp),))
    return found


class TestSD3(ArchitectureContract):
    counts = MEDIUM
    dtype = torch.float32

    @pytest.fixture
    def subject(self, patcher, flux_conditioning):
        settings = config(1, sum(self.counts.values()), self.counts["dual_blocks"])
        model = patcher("SD3", "SD3", settings, dtype=self.dtype)
        return Subject(
            model,
            flux_conditioning,
            shape=(1, 16, 8, 8),
            family="sd3",
            counts=self.counts,
            sites=sites(model.model.diffusion_model),
        )


class TestSD35Medium(TestSD3):
    """With blocks in which the image attends to itself as well."""

    counts = MEDIUM_3_5

    def test_a_block_that_is_not_the_host_s_goes_the_long_way(
        self, subject, comfy, sample, apply, random_rows
    ):
        """Another pack's `forward` is called, its attention computed and then replaced."""
        schedule, reports, calls = random_rows(7), [], []
        blocks = subject.model.model.diffusion_model.joint_blocks
        streams = self._streams(subject, self.tokens[1])
        options = {"steps": self.steps, "cfg": 3.0, "shape": subject.shape}
        model = apply(subject.model, schedule, on_report=reports.append)
        short = sample(model, *streams, **options)

        def foreign(forward):
            def wrapper(*args, **kwargs):
                calls.append(args)
                return forward(*args, **kwargs)

            return wrapper

        for block in blocks:
            block.forward = foreign(block.forward)
        try:
            long = sample(model, *streams, **options)
        finally:
            for block in blocks:
                del block.forward
        assert torch.equal(short, long)
        assert len(blocks) * 2 * self.steps == len(calls)
        assert reports[1].executed_macs > reports[0].executed_macs
        assert reports[1].cells_reused == reports[0].cells_reused

    def test_a_block_that_does_more_is_found_out(self, subject, comfy, sample, apply, monkeypatch):
        """A newer host's might: the proof of the short way sees it, and the picture stays right."""
        module = importlib.import_module("comfy.ldm.modules.diffusionmodules.mmdit")
        mixing = module._block_mixing

        def more(*args, **kwargs):
            context, x = mixing(*args, **kwargs)
            return context, x * 1.5

        monkeypatch.setattr(module, "_block_mixing", more)
        schedule, reports = self._schedule(subject), []
        streams = self._streams(subject, self.tokens[0])
        options = {"steps": self.steps, "cfg": 1.0, "shape": subject.shape}
        model = apply(subject.model, schedule, on_report=reports.append)
        fast = sample(model, *streams, **options)
        sigmas = self._sigmas(comfy, subject)
        with SlowReference(subject, schedule.compute, sigmas).hooked() as reference:
            slow = sample(reference.model, *streams, **options)
        assert torch.equal(slow, fast)
        assert 3 == len(reports[0].messages)
        for kind, message in zip(("dual", "joint", "last"), reports[0].messages, strict=True):
            assert f"The {kind} blocks of this model do more" in message

    @pytest.fixture(autouse=True)
    def _alternating(self, pack):
        detect = pack.module("nodes.host.patching").detect_architecture
        schedule = pack.module("ecad_search.core.schedule").Schedule

        def build(subject):
            architecture = detect(subject.model)
            rows = np.zeros((self.steps, architecture.n_cells), dtype=bool)
            rows[::2] = True
            return schedule(architecture, rows, name="every-other")

        self._schedule = build


class TestSD35MediumInHalfPrecision(TestSD3):
    counts = MEDIUM_3_5
    dtype = torch.bfloat16


@pytest.mark.parametrize(
    ("listed", "depth", "dual", "qk_norm"),
    [("SD3_MEDIUM", 24, 0, None), ("SD3_5_MEDIUM", 24, 13, "rms"), ("SD3_5_LARGE", 38, 0, "rms")],
)
def test_the_listed_sizes_are_those_the_host_reads_from_a_checkpoint(
    listed, depth, dual, qk_norm, comfy, pack
):
    kind = importlib.import_module("comfy.ldm.modules.diffusionmodules.mmdit").MMDiT
    options = {"device": "meta", "operations": importlib.import_module("comfy.ops").manual_cast}
    settings = config(depth, depth, dual) | {"adm_in_channels": 2048, "qk_norm": qk_norm}
    settings["context_embedder_config"]["params"]["in_features"] = 4096
    read = importlib.import_module("comfy.model_detection").detect_unet_config
    model = kind(**read(kind(**settings, **options).state_dict(), ""), **options)
    sd3 = pack.module("ecad_search.architectures.sd3")
    found, expected = sd3.detect(model), getattr(sd3, listed)
    built = sd3.SD3_FAMILY.build(found["counts"], **found["size"])
    assert (expected.counts, expected.size) == (built.counts, built.size)
    assert expected is pack.module("ecad_search.architectures").detect(model)


def test_blocks_in_an_unusual_order_are_not_known(patcher, pack):
    settings = config(1, 4, 0) | {"x_block_self_attn_layers": [1]}
    model = patcher("SD3", "SD3", settings).model.diffusion_model
    assert pack.module("ecad_search.architectures.sd3").detect(model) is None
