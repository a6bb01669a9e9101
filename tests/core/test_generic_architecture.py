"""Transformers of no known family: what is recognised, and that a file alone describes one."""

from __future__ import annotations

import json

import pytest
from torch import nn

from ecad_search.architectures import FAMILIES, GENERIC_FAMILY, PIXART, detect, sized
from ecad_search.architectures.generic import is_attention, is_feed_forward
from ecad_search.core import presets, schedule_json
from ecad_search.core.architecture import Dimensions
from ecad_search.core.cost import relative_cost
from ecad_search.core.schedule import Schedule
from ecad_search.errors import ModelMismatchError, ScheduleError

COUNTS = {"blocks": 2, "refiner.layers": 1}
SIZE = {
    "hidden": 8,
    "rest": 40,
    "blocks/attn": 256,
    "blocks/mlp": 512,
    "refiner.layers/self_attn": 256,
    "refiner.layers/cross_attn": 200,
    "refiner.layers/ff.net": 100,
}
UNKNOWN = GENERIC_FAMILY.build(COUNTS, id=None, display_name=None, **SIZE)


class Block(nn.Module):
    def __init__(self, width=8, **more):
        super().__init__()
        self.attn_norm = nn.LayerNorm(width)
        self.attn = nn.Linear(width, 4 * width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU())
        self.mlp_act = nn.GELU()
        for name, module in more.items():
            setattr(self, name, module)


def transformer(**lists):
    model = nn.Module()
    model.embedder = nn.Linear(3, 8)
    for name, blocks in lists.items():
        setattr(model, name, nn.ModuleList(blocks))
    return model


@pytest.mark.parametrize(
    "name", "attn attn1 self_attn cross_attn attention SelfAttention attn_temporal x.attn2".split()
)
def test_what_is_called_like_attention(name):
    assert is_attention(name) and not is_feed_forward(name)


@pytest.mark.parametrize(
    "name",
    "mlp ff ffn feed_forward feedforward img_mlp txt_mlp mlp_x mlpX ff_i FeedForward".split(),
)
def test_what_is_called_like_a_feed_forward_network(name):
    assert is_feed_forward(name) and not is_attention(name)


@pytest.mark.parametrize(
    "name",
    "attn_norm norm1 mlpNorm ffn_norm1 mlp_act attn_gate adaln_mlp modulation offset".split(),
)
def test_what_is_neither(name):
    assert not is_attention(name) and not is_feed_forward(name)


def test_lists_of_blocks_are_found_in_the_order_of_the_module_tree():
    found = detect(transformer(layers=[Block(), Block()], refiner=[Block(), Block(), Block()]))
    assert found is not None
    assert ("generic", {"layers": 2, "refiner": 3}) == (found.family, found.counts)
    assert ["layers.0.attn", "layers.0.mlp"] == [str(cell) for cell in found.cells[:2]]
    assert (8, 10) == (found.hidden, found.n_cells)
    assert dict(found.size)["layers/mlp"] == 8 * 32 and dict(found.size)["rest"] == 3 * 8
    assert found.id == f"generic-{found.fingerprint}" and 8 == len(found.fingerprint)
    assert "unknown transformer with 2 layers and 3 refiners" == found.describe()


def test_blocks_with_other_components_are_a_group_of_their_own():
    last = Block(attn2=nn.Linear(8, 8))
    found = detect(transformer(blocks=[Block(), Block(), last]))
    assert found is not None
    assert {"blocks": 2, "@2.blocks": 1} == found.counts
    assert [("blocks", 0), ("blocks", 2)] == [(g.path, g.first) for g in found.groups]
    assert ("attn", "mlp", "attn2") == found.component_names


def test_a_wrapper_round_each_block_is_looked_into():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

    found = detect(transformer(layers=[Wrapper(), Wrapper()]))
    assert found is not None
    assert ("block.attn", "block.mlp") == found.component_names


def unet():
    model = nn.Module()
    inner = transformer(transformer_blocks=[Block(), Block()])
    model.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 8, 3), inner)] * 2)
    return model


@pytest.mark.parametrize(
    "model",
    [
        nn.Module(),
        transformer(blocks=[Block()]),
        transformer(blocks=[nn.Linear(8, 8), nn.Linear(8, 8)]),
        transformer(blocks=[Block(), nn.Linear(8, 8)]),
        transformer(experts=[nn.Sequential(nn.Linear(8, 8)) for _ in range(4)]),
        transformer(**{f"list{i}": [Block(), Block()] for i in range(9)}),
        unet(),
    ],
    ids=["empty", "one block", "linears", "two classes", "no attention", "nine lists", "U-Net"],
)
def test_what_is_no_list_of_blocks_is_not_detected(model):
    assert detect(model) is None


def test_the_fingerprint_tells_models_of_other_widths_apart():
    wide = detect(transformer(blocks=[Block(16), Block(16)]))
    one, two = (detect(transformer(blocks=[Block(), Block()])) for _ in range(2))
    assert one is not None and two is not None and wide is not None
    assert one == two and one.fits(two)
    assert one.counts == wide.counts and not one.fits(wide)
    keys = {presets.fora(architecture, 4, 2).key for architecture in (one, wide)}
    assert 2 == len(keys)


def test_other_families_come_first():
    assert "pixart" == sized("pixart", {"blocks": 3}).family
    block = Block(cross_attn=nn.Linear(8, 8))
    model = transformer(blocks=[block, Block(cross_attn=nn.Linear(8, 8))])
    found = detect(model)
    assert found is not None and "generic" == found.family
    vars(model).update(hidden_size=8, patch_size=2)
    found = detect(model)
    assert found is not None and "pixart" == found.family


def test_costs_count_each_weight_once_for_each_token():
    d = Dimensions(hidden=8, batch=2, image_tokens=10, text_tokens=5)
    attn, mlp = UNKNOWN.groups[0].components
    assert 256 * 15 * 2 == attn.macs(d)
    assert 2 * 15**2 * 8 * 2 == attn.attention_macs(d)
    assert (512 * 15 * 2, 0) == (mlp.macs(d), mlp.attention_macs(d))
    assert 40 * 15 * 2 == UNKNOWN.base_macs(d)
    assert [True, False, True, True, False] == [
        component.is_attention for group in UNKNOWN.groups for component in group.components
    ]
    assert "estimated" in UNKNOWN.display_name


def test_a_file_is_read_without_the_model():
    schedule = presets.fora(UNKNOWN, 6, 2)
    text = schedule_json.dumps(schedule)
    again = schedule_json.loads(text)
    assert schedule.architecture == again.architecture
    assert schedule == again and text == schedule_json.dumps(again)
    assert relative_cost(schedule, UNKNOWN.native_workload()) == relative_cost(
        again, UNKNOWN.native_workload()
    )
    assert hash(again.architecture) == hash(UNKNOWN)


def test_a_file_under_a_name_of_its_own_still_fits_its_model_only():
    document = json.loads(schedule_json.dumps(presets.fora(UNKNOWN, 6, 2)))
    renamed = schedule_json.loads(json.dumps(document | {"architecture": "my model"}))
    assert "my model" == renamed.architecture.id
    renamed.require_fit(UNKNOWN)
    document["size"]["blocks/mlp"] += 1
    with pytest.raises(ModelMismatchError, match="unknown transformer with 2 blocks"):
        schedule_json.loads(json.dumps(document)).require_fit(UNKNOWN)


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": {}},
        {"blocks": {"blocks": 2}},
        {"blocks": {"blocks": 2, "refiner.layers": 10**9}},
        {"blocks": {"blocks": 2, "refiner.layers": True}},
        {"blocks": {"blocks": 2, "__import__('os')": 1}},
        {"blocks": {f"list{i}": 1 for i in range(9)}},
        {"size": None},
        {"size": {"hidden": 8}},
        {"size": {"hidden": 8, "blocks/attn": 0}},
        {"size": SIZE | {"blocks/mlp": "many"}},
        {"size": SIZE | {"blocks/mlp": 1.5}},
        {"size": SIZE | {"elsewhere/mlp": 1}},
        {"size": SIZE | {"blocks/../mlp": 1}},
        {"size": SIZE | {"depth": 3}},
        {"size": SIZE | {f"blocks/mlp{i}": 1 for i in range(20)}},
        {"components": {"blocks": ["attn"], "refiner.layers": []}},
    ],
)
def test_a_broken_description_is_one_sentence(changes):
    document = json.loads(schedule_json.dumps(presets.fora(UNKNOWN, 4, 2))) | changes
    with pytest.raises(ScheduleError, match=r"^my\.json: ") as error:
        schedule_json.loads(json.dumps(document), source="my.json")
    assert str(error.value).isprintable()


def test_the_paper_s_format_cannot_name_it():
    with pytest.raises(ScheduleError, match="ecad-schedule format"):
        schedule_json.dumps_paper(presets.fora(UNKNOWN, 4, 2))


def test_a_schedule_of_another_family_does_not_fit():
    with pytest.raises(ModelMismatchError, match=r"PixArt with 28 blocks.*unknown transformer"):
        presets.fora(PIXART, 4, 2).require_fit(UNKNOWN)
    assert () == Schedule(UNKNOWN, presets.uncached(UNKNOWN, 2).compute).noise_levels


def test_it_is_asked_last():
    assert GENERIC_FAMILY is FAMILIES[-1]
