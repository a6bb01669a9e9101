import numpy as np
import pytest

from ecad_search.errors import ScorerError
from ecad_search.scorers.frechet import frechet_distance


def test_distance_to_itself_is_zero():
    features = np.random.default_rng(0).random((50, 4))
    assert 0 == pytest.approx(frechet_distance(features, features), abs=1e-9)


def test_shift_of_the_mean_counts_squared():
    features = np.random.default_rng(0).random((50, 4))
    assert 4 * 0.5**2 == pytest.approx(frechet_distance(features, features + 0.5))


def test_one_dimension_is_the_difference_of_means_and_deviations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (200, 1)), rng.normal(2, 3, (200, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert expected == pytest.approx(frechet_distance(a, b))


def test_distance_is_symmetric_for_covariances_that_do_not_commute():
    rng = np.random.default_rng(0)
    a, b = rng.random((80, 5)) @ rng.random((5, 5)), rng.random((80, 5))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_fewer_images_than_features_give_a_finite_distance():
    rng = np.random.default_rng(0)
    assert frechet_distance(rng.random((6, 64)), rng.random((6, 64))) > 0


@pytest.mark.parametrize("shapes", [((1, 4), (5, 4)), ((5, 4), (5, 3)), ((5,), (5,))])
def test_unusable_shapes_are_refused(shapes):
    with pytest.raises(ScorerError, match="shapes"):
        frechet_distance(np.ones(shapes[0]), np.ones(shapes[1]))


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(ScorerError, match="not finite"):
        frechet_distance(np.full((5, 4), np.nan), np.ones((5, 4)))
