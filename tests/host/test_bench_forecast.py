"""The forecasts of the benchmark of them are first-order, on the engine's own store and run."""

from __future__ import annotations

import pytest
import torch

from devtools.bench_forecast import fora_after, forecasting_store, measured, run_of
from ecad_search.engine.cache_store import CacheStore, signatures

STEPS = 6


def test_values_on_a_line_are_forecast_exactly_and_a_first_one_is_reused():
    store = forecasting_store(CacheStore, frozenset({3}))()
    given = signatures([torch.zeros(2, 4)], 2)

    def held_at(row, cell):
        store.row = lambda: row
        return torch.cat([piece.value for piece in store.pieces(("a", "b"), cell, 0)])

    line = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    for row in (0, 2):
        store.row = lambda row=row: row
        for cell in (3, 4):
            store.put(("a", "b"), cell, 0, line * (1 + row), given)
        if row == 0:
            assert torch.equal(line, held_at(1, 3))
    assert torch.equal(line * 6, held_at(5, 3))
    assert torch.equal(line * 3, held_at(5, 4))  # of which no forecast is wanted


@pytest.fixture(scope="module")
def subject(pack):
    from devtools.bench_quick import Subject

    return Subject(pack, 2)


def test_each_kind_of_component_is_forecast_by_itself(subject):
    rows = {row["forecast"]: row for row in measured(subject, STEPS, [2], [1])}
    assert ["reuse", "attn", "cross_attn", "mlp", "all"] == list(rows)
    assert 5 == len({row["drift"] for row in rows.values()})


def test_a_run_that_forecasts_nothing_is_the_engine_s_own(subject):
    run = subject.module("ecad_search.engine.run").Run
    assert run is run_of(subject, frozenset())
    judge = subject.renderer(subject.heldout, STEPS, 2)
    fora = subject.module("ecad_search.core.presets").fora(judge.architecture, STEPS, 2)
    plain, _ = subject.judged(judge, fora)
    # A cell number that no component has: the store of forecasts, but none is made.
    same, _ = subject.judged(judge, fora, run_of(subject, frozenset({10_000})))
    assert torch.equal(plain, same)


def test_fora_begins_with_the_last_computed_step(subject):
    architecture = subject.renderer(subject.heldout, STEPS, 2).architecture
    fora = subject.module("ecad_search.core.presets").fora(architecture, STEPS, 3)
    assert fora.key == fora_after(subject, architecture, STEPS, 3, 1).key
    after = fora_after(subject, architecture, 8, 3, 2).compute.all(axis=1)
    assert [True, True, False, False, True, False, False, True] == after.tolist()
