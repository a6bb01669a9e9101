import numpy as np
import pytest

from ecad_search.errors import ScorerError
from ecad_search.scorers.frechet import frechet_distance, frechet_stderr


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


def test_the_error_of_a_distance_is_how_much_it_differs_between_sets_of_samples():
    rng = np.random.default_rng(3)

    def drawn(n):
        a = rng.normal(size=(n, 3))
        return a, a + 0.4 + 0.3 * rng.normal(size=(n, 3))

    sets = [drawn(60) for _ in range(200)]
    spread = np.std([frechet_distance(a, b) for a, b in sets], ddof=1)
    told = np.median([frechet_stderr(a, b) for a, b in sets[:40]])
    assert spread == pytest.approx(told, rel=0.2)


def test_a_distance_to_itself_has_no_error():
    features = np.random.default_rng(4).normal(size=(12, 4))
    assert 0 == pytest.approx(frechet_stderr(features, features), abs=1e-9)


def test_the_error_of_a_distance_needs_the_same_samples():
    features = np.zeros((5, 4))
    with pytest.raises(ScorerError, match="the same samples in both"):
        frechet_stderr(features, features[:4])
