import numpy as np
import pytest

from ecad_search.benchmark.estimate import Estimate, estimate, holm, sign_flip_p, student_quantile


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (29, 2.045), (1000, 1.962)],
)
def test_student_s_quantile_is_the_tabled_one(freedom, expected):
    assert expected == pytest.approx(student_quantile(freedom), rel=0.01)


def test_interval_of_four_prompts_is_student_s():
    found = estimate([1.0, 2.0, 3.0, 4.0], [0, 1, 2, 3])
    reach = 3.182 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert 2.5 == found.mean
    assert (2.5 - reach, 2.5 + reach) == pytest.approx((found.low, found.high), rel=0.01)


def test_more_seeds_of_one_prompt_do_not_narrow_the_interval():
    once = estimate([1.0, 2.0, 3.0], [0, 1, 2])
    assert once == estimate([1.0, 2.0, 3.0] * 4, [0, 1, 2] * 4)


def test_one_prompt_has_no_interval():
    assert Estimate(1.5, None, None) == estimate([1.0, 2.0], [0, 0])
    assert sign_flip_p([1.0, 2.0], [0, 0], np.random.default_rng(0)) is None


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [estimate(rng.normal(3, 1, 8).tolist(), range(8)) for _ in range(400)]
    covered = np.mean([e.low is not None and e.low <= 3 <= (e.high or 0) for e in found])
    assert 0.95 == pytest.approx(covered, abs=0.03)


def test_signs_are_all_tried_for_few_prompts():
    differences = [1.0, 1.0, 1.0, 1.0]  # only all plus and all minus reach it
    assert 2 / 16 == sign_flip_p(differences, range(4), np.random.default_rng(0))
    assert 1.0 == sign_flip_p([1.0, -1.0], range(2), np.random.default_rng(0))
    assert 1.0 == sign_flip_p([0.0, 0.0], range(2), np.random.default_rng(0))


def test_clear_difference_of_many_prompts_is_hardly_chance():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.5, 0.3, 40).tolist()
    p = sign_flip_p(differences, range(40), np.random.default_rng(1))
    assert p is not None and p < 0.001


def test_p_is_even_where_there_is_no_difference():
    rng = np.random.default_rng(0)
    p = [
        sign_flip_p(rng.normal(0, 1, 10).tolist(), range(10), np.random.default_rng(i))
        for i in range(200)
    ]
    assert 0.5 == pytest.approx(np.mean([x for x in p if x is not None]), abs=0.07)


def test_holm_s_correction_by_hand():
    assert [0.03, 0.06, None, 0.06] == pytest.approx(holm([0.01, 0.04, None, 0.03]))
    assert [1.0, 1.0] == holm([0.7, 0.9])
