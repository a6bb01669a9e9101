"""The benchmark of peers: who is compared with whom, at which measured speed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from devtools import bench_peers


def row(name, speedup, mean, broken=0):
    score = {"mean": mean, "difference": mean - 0.9}
    score |= {"difference_low": mean - 0.95, "difference_high": mean - 0.85}
    score |= {"low": mean - 0.05, "high": mean + 0.05}
    return {
        "name": name,
        "peer": bench_peers.peer_of(name),
        "speedup": speedup,
        "relative_macs": None,
        "frechet": 0.5,
        "frechet_stderr": 0.1,
        "broken_images": broken,
        "scores": {"reward": score},
    }


ROWS = [
    row("uncached", 1.0, 0.9),
    row("ECAD 2.50x", 2.2, 0.8),
    row("ECAD 1.40x", 1.3, 0.89),
    row("FORA 2", 1.9, 0.85),
    row("fora-7-14-steps", 4.2, 0.1),
    row("7 steps", 2.0, 0.7, broken=1),
    row("EasyCache 0.2", 1.0, 0.9),
]


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("ECAD 2.50x", "ECAD"),
        ("FORA 2", "FORA"),
        ("fora-7-14-steps", "FORA"),
        ("7 steps", "fewer steps"),
        ("LazyCache 0.1", "LazyCache"),
        ("uncached", ""),
    ],
)
def test_every_row_belongs_to_a_way_to_sample(name, peer):
    assert peer == bench_peers.peer_of(name)


def test_at_a_speed_the_best_setting_that_reaches_it_counts():
    found = {(e["speedup"], e["peer"]): e["row"] for e in bench_peers.matched(ROWS, "reward")}
    assert "ECAD 1.40x" == found[1.25, "ECAD"]
    assert "ECAD 2.50x" == found[1.5, "ECAD"] == found[2.0, "ECAD"]
    assert found[2.5, "ECAD"] is None
    assert "FORA 2" == found[1.25, "FORA"]
    assert "fora-7-14-steps" == found[2.0, "FORA"] == found[4.0, "FORA"]
    assert found[1.25, "EasyCache"] is None
    assert found[1.25, "fewer steps"] is None  # its pictures are broken


def test_the_tables_say_who_is_never_so_fast():
    result = {"scorers": ["reward"], "rows": ROWS}
    assert "0.5 ±0.2" in bench_peers.every_row(result)
    result["matched"] = list(bench_peers.matched(ROWS, "reward"))
    lines = bench_peers.matched_table(result).splitlines()
    assert "-0.100 [-0.150, -0.050] (ECAD 2.50x)" in lines[3] and "1.5x" in lines[3]
    assert "never so fast" in lines[2]
    assert len(bench_peers.SPEEDUPS) + 2 == len(lines)
    assert "-0.010 [-0.060, +0.040]" in bench_peers.every_row(result)


def test_other_scorers_stand_with_half_their_interval():
    assert "31.79 ±0.5" == bench_peers.level({"mean": 31.79, "low": 31.29, "high": 32.29})
    assert "80" == bench_peers.level({"mean": 80.0, "low": 80.0, "high": 80.0})


class Slowing:
    """A Subject where everything takes a hundredth longer each time; a model is its seconds."""

    model = 0.5  # the yardstick's
    heldout = None

    def __init__(self):
        self.slowness = 1.0

    def renderer(self, _prompts, _steps, _batch):
        return self

    def sample(self, model, _batch):
        self.slowness *= 1.01
        yield SimpleNamespace(seconds=model * self.slowness)


def test_what_is_timed_does_not_depend_on_how_fast_the_machine_is_by_then():
    machine: Any = Slowing()
    seconds = {"uncached": 4.0, "a": 2.0, "b": 1.0}
    columns = [SimpleNamespace(name=n, model=s, renderer=None) for n, s in seconds.items()]
    run = SimpleNamespace(columns=columns, renderer=machine)
    status: Any = SimpleNamespace(show=lambda words: None)
    lengths = bench_peers.paced(machine, run, status)
    expected = {name: pytest.approx(s / 0.5, rel=1e-3) for name, s in seconds.items()}
    assert expected == lengths
    assert machine.slowness > 1.5
