import numpy as np
import pytest

from monai_brain.evaluation.areas import area_agreement, paired_difference, size_of_each


def test_bias_and_limits_are_those_of_bland_and_altman():
    reference = np.array([100.0, 200.0, 300.0, 400.0])
    found = area_agreement(reference + [10, 20, 30, 20], reference)
    assert (found.number, found.bias) == (4, 20)
    spread = np.std([10, 20, 30, 20], ddof=1)
    assert (found.low, found.high) == pytest.approx((20 - 1.96 * spread, 20 + 1.96 * spread))


def test_thirds_of_the_patients_are_small_medium_and_large():
    assert size_of_each([50, 10, 900, 30, 20, 800]) == ["medium", "small", "large", "medium", "small", "large"]


def test_paired_difference_is_of_the_same_patients_and_its_interval_holds_the_mean():
    random = np.random.default_rng(0)
    other = random.uniform(0.6, 0.9, 30)
    found = paired_difference(other + 0.05, other)
    assert (found.patients, found.better) == (30, 30)
    assert found.mean == pytest.approx(0.05)
    assert found.interval == pytest.approx((0.05, 0.05)), "patients are paired: their own spread does not count"
