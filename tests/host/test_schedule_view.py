"""What the browser is told of schedules and fronts says the same as they do, in plain JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

STEPS = 6


@pytest.fixture
def view(pack):
    return pack.module("nodes.host.schedule_view")


@pytest.fixture
def fora(pack, tiny_pixart, tiny_flux):
    """Factory of a FORA schedule of a tiny model."""
    detect = pack.module("nodes.host.patching").detect_architecture
    presets = pack.module("ecad_search.core.presets")
    models = {"pixart": tiny_pixart, "flux": tiny_flux}

    def build(every=2, family="pixart"):
        return presets.fora(detect(models[family]()), STEPS, every)

    return build


@pytest.fixture
def front(pack, fora):
    module = pack.module("ecad_search.core.front")
    points = [
        module.FrontPoint(fora(every), 1 / every, quality, 0.01, 16, is_reference=every != 3)
        for every, quality in ((1, 0.0), (2, -0.3), (3, -0.05))
    ]
    return module.Front.of(points)


def unpacked(shown, compute):
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(shown), dtype=np.uint8))
    return bits[: compute.size].reshape(compute.shape).astype(bool)


@pytest.mark.parametrize("family", ["pixart", "flux"])
def test_the_bits_are_the_schedules(view, fora, family):
    schedule = fora(family=family)
    shown = json.loads(json.dumps(view.schedule_view(schedule)))
    assert np.array_equal(schedule.compute, unpacked(shown["compute"], schedule.compute))
    assert STEPS == shown["steps"]
    cells = sum(blocks * len(components) for _, blocks, components in shown["groups"])
    assert schedule.architecture.n_cells == cells


def test_a_view_says_what_the_node_says(view, pack, fora):
    schedule = fora(3)
    shown, said = view.schedule_view(schedule), pack.module("nodes.host.run_report")
    facts = said.facts(schedule)
    assert f"{shown['computed']:.0%} of the components" in facts
    assert f"{shown['speedup']:.2f}x fewer MACs" in facts
    assert said.amount(shown["bytes"]) in facts


def test_the_bytes_of_an_unknown_model_are_unknown(view, fora, monkeypatch):
    schedule = fora()
    object.__setattr__(schedule.architecture, "fingerprint", "0" * 16)
    assert view.schedule_view(schedule)["bytes"] is None


def test_a_front_view_holds_every_point_and_marks_the_front(view, front):
    shown = json.loads(json.dumps(view.front_view(front, bits=True)))
    assert [point.schedule.key for point in front] == [p["key"] for p in shown["points"]]
    assert [True, False, True] == [p["on_front"] for p in shown["points"]]
    assert front.pick_knee().schedule.key == shown["knee"]
    for point, drawn in zip(front, shown["points"], strict=True):
        compute = point.schedule.compute
        assert np.array_equal(compute, unpacked(drawn["compute"], compute))


def test_most_events_of_a_search_leave_the_bits_out(view, front):
    shown = view.front_view(front, bits=False)
    assert [] == [p for p in shown["points"] if "compute" in p]
    assert len(json.dumps(shown)) < len(json.dumps(view.front_view(front, bits=True)))


def test_an_empty_front_is_no_points(view, pack):
    empty = pack.module("ecad_search.core.front").Front()
    assert {"points": []} == view.front_view(empty, bits=True)


def test_the_origin_is_told_in_lines(view):
    info = {
        "sampling": {"sampler": "euler", "scheduler": "simple", "cfg": 4.5, "width": 96,
                     "height": 64},
        "provenance": {"mode": "ecad+", "generation": 7, "origin": "crossover"},
        "objectives": [
            {"name": "quality", "value": -0.0123, "stderr": 0.004, "samples": 32, "scorer": "x"},
            {"name": "relative_macs", "value": 0.5},
        ],
    }  # fmt: skip
    assert [
        "search, mode ecad+ · generation 7 · from crossover",
        "euler · simple · CFG 4.5 · 96 x 64 px",
        "quality -0.0123 ± 0.0040 · 32 samples · x",
    ] == view.origin_lines(info)


@pytest.mark.parametrize(
    "info",
    [
        {"sampling": {"sampler": ["euler"], "width": "96", "height": None}},
        {"provenance": {"mode": {"a": 1}, "seed": float("nan")}, "sampling": None},
        {"objectives": [3, None, {"name": "quality"}, {"name": "quality", "value": True}]},
    ],
)
def test_fields_of_another_kind_are_left_out(view, info):
    assert [] == view.origin_lines(info)


def test_nodes_that_hold_a_schedule_show_it(pack, fora, front, tiny_pixart, view):
    schedule = fora()
    nodes = {
        "apply_schedule": ("ApplySchedule", (tiny_pixart(), schedule)),
        "schedule_preview": ("SchedulePreview", (schedule, 640)),
        "pick_from_front": ("PickFromFront", (front, "this schedule", 1.0, 0.0, schedule.key)),
    }
    for module, (name, arguments) in nodes.items():
        output = getattr(pack.module(f"nodes.{module}"), name).execute(*arguments)
        (shown,) = output.ui["ecad_schedule"]
        assert view.schedule_view(schedule)["compute"] == shown["compute"], name
