import numpy as np
import pytest

from monai_brain.evaluation.compare import mcnemar


def test_only_discordant_pairs_count():
    first = np.array([True] * 10 + [True] * 8 + [False] * 2 + [False] * 5)
    second = np.array([True] * 10 + [False] * 8 + [True] * 2 + [False] * 5)
    test = mcnemar(first, second)
    assert (test.only_first_right, test.only_second_right) == (8, 2)
    assert test.p_value == pytest.approx(2 * (1 + 10 + 45) / 2**10)  # binomial(10, 1/2), 8 or more, two-sided


def test_two_that_never_differ_have_p_1():
    assert mcnemar([True, False], [True, False]).p_value == 1


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="not scored on the same images"):
        mcnemar([True], [True, False])
