"""When a candidate is worth no more samples."""

from __future__ import annotations

import numpy as np
import pytest

from ecad_search.evolution import racing

SURE = {"confidence": 0.9, "usual_variance": 0.01}


@pytest.mark.parametrize(
    ("differences", "hopeless"),
    [
        ([-1.0, -1.1, -0.9, -1.0], True),
        ([-0.1, -0.1, -0.1, -0.1], False),
        ([-0.31, -0.29, -0.3, -0.31], False),  # below the bound, but not surely
    ],
)
def test_only_what_surely_loses_too_much_is_hopeless(differences, hopeless):
    assert hopeless == racing.is_hopeless(np.array(differences), -0.3, 32, **SURE)


def test_nothing_is_uncertain_once_all_samples_are_in():
    differences = np.array([-0.31, -0.29, -0.3, -0.31])
    assert racing.is_hopeless(differences, -0.3, 4, **SURE)


@pytest.mark.parametrize("caution", [0.0, 0.5, 1.0])
def test_where_all_samples_fall_alike_caution_changes_nothing(caution):
    assert [pytest.approx(0.2)] == racing.losses_of(np.full((1, 6), -0.2), caution).tolist()


def test_a_gain_by_chance_is_a_loss_to_the_cautious():
    lucky = np.array([[0.3, -0.1, -0.1, 0.1]])
    assert -0.05 == pytest.approx(racing.losses_of(lucky, 0.0)[0])
    assert np.sqrt(0.03) == pytest.approx(racing.losses_of(lucky, 1.0)[0])
    assert (np.sqrt(0.03) - 0.05) / 2 == pytest.approx(racing.losses_of(lucky, 0.5)[0])


def test_what_changes_nothing_loses_nothing():
    assert [0.0] == racing.losses_of(np.zeros((1, 3)), 0.5).tolist()


def test_a_rival_that_leads_by_scores_that_move_does_not_beat_the_cautious():
    uncached = np.zeros((1, 8))
    moving = np.array([[0.6, -0.3, 0.6, -0.3, 0.6, -0.3, 0.6, -0.3]])
    still = uncached - 0.01
    given = {"confidence": 0.9, "usual_variances": [0.01], "uncached": uncached}
    assert racing.is_dominated(still, 0.5, [(0.4, moving)], **given)
    assert not racing.is_dominated(still, 0.5, [(0.4, moving)], **given, caution=0.5)
    assert racing.is_dominated(still, 0.5, [(0.4, uncached)], **given, caution=0.5)
