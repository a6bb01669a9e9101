"""The search benchmark's numbers are those of the demo model's pictures."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from devtools.search_benchmark.host import RenderedImages
from ecad_search.architectures import EMOJI_PIXART
from ecad_search.calibration import CalibrationPrompts
from ecad_search.core import presets

STEPS = 4


@pytest.fixture(scope="module")
def images(pack):
    return RenderedImages(SimpleNamespace(module=pack.module, accelerated=False), STEPS)


PROMPTS = CalibrationPrompts(("winking face on a pink background", "red apple"), 1, 7)


def test_the_architecture_and_its_costs_cross_the_border_whole(images, pack):
    theirs = images._renderer(PROMPTS, STEPS)
    cost = pack.module("ecad_search.core.cost")
    mine = presets.fora(images.architecture, STEPS, 2)
    other = pack.module("ecad_search.core.presets").fora(theirs.architecture, STEPS, 2)
    assert EMOJI_PIXART.id == images.architecture.id
    assert other.key == mine.key
    from ecad_search.core.cost import relative_cost

    assert cost.relative_cost(other, theirs.workload) == relative_cost(mine, images.workload)


def test_scores_are_of_the_samples_asked_for_whatever_else_is_rendered(images):
    schedule = presets.fora(images.architecture, STEPS, 2)
    both = images.scores(schedule, PROMPTS, [0, 1])
    assert both[1] == pytest.approx(images.scores(schedule, PROMPTS, [1])[0], abs=1e-3)
    assert both[0] != pytest.approx(both[1], abs=1e-6)


def test_a_drift_is_none_without_reuse_and_grows_with_it(images):
    drifts = [
        images.drifts(presets.fora(images.architecture, STEPS, every), PROMPTS, [0, 1])
        for every in (1, 2, 4)
    ]
    assert [0.0, 0.0] == drifts[0]
    assert 0 < sum(drifts[1]) < sum(drifts[2])


def test_fewer_steps_are_another_sampling(images):
    fewer = images.scores(presets.uncached(images.architecture, 2), PROMPTS, [0])
    assert fewer != images.scores(presets.uncached(images.architecture, STEPS), PROMPTS, [0])
