import math

import pytest
import torch

from ecad_search.errors import ScorerError
from ecad_search.scorers import Combined


class Constant:
    def __init__(self, name: str, value: float, needs_reference: bool = False):
        self.name, self.value, self.needs_reference = name, value, needs_reference
        self.unloaded = False

    def score(self, images, prompts, references=None):
        return [self.value] * len(prompts)

    def unload(self):
        self.unloaded = True


def test_score_is_the_weighted_sum():
    combined = Combined([(Constant("a", 3.0), 2.0), (Constant("b", 10.0), 0.5)])
    assert [11.0, 11.0] == combined.score(torch.zeros(2, 4, 4, 3), ["x", "y"])
    assert "2 a + 0.5 b" == combined.name


def test_reference_is_needed_when_one_part_needs_it():
    assert not Combined([(Constant("a", 1.0), 1.0)]).needs_reference
    parts = [(Constant("a", 1.0), 1.0), (Constant("b", 1.0, needs_reference=True), 1.0)]
    assert Combined(parts).needs_reference


def test_unload_reaches_every_part():
    parts = [Constant("a", 1.0), Constant("b", 1.0)]
    Combined([(part, 1.0) for part in parts]).unload()
    assert [True, True] == [part.unloaded for part in parts]


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weight_that_is_not_positive_is_refused(weight):
    with pytest.raises(ScorerError, match="'a' has weight"):
        Combined([(Constant("a", 1.0), weight)])


def test_no_scorers_are_refused():
    with pytest.raises(ScorerError, match="no scorers"):
        Combined([])


def test_part_that_returns_no_number_is_refused():
    with pytest.raises(ScorerError, match="sample 0"):
        Combined([(Constant("a", math.nan), 1.0)]).score(torch.zeros(1, 4, 4, 3), ["x"])
