"""Compare classifiers that were scored on the same images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest


class McNemar(NamedTuple):
    """McNemar's exact test of two classifiers on the same images."""

    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar(first_right: Sequence[bool] | np.ndarray, second_right: Sequence[bool] | np.ndarray) -> McNemar:
    """Test whether two classifiers have the same accuracy.

    Images of a group are treated as independent, so with large groups the p-value is too small.

    Args:
        first_right: whether the first classifier was correct, (N,).
        second_right: the same for the second, on the same images in the same order, (N,).

    Returns:
        Discordant counts and the two-sided exact p-value (1 where the two never differ).

    Raises:
        ValueError: the lengths differ.

    Source: Q. McNemar, Psychometrika 1947; exact form: binomial test of the discordant pairs.
    """
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape}: the two were not scored on the same images")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    p_value = float(binomtest(only_first, total).pvalue) if total else 1.0
    return McNemar(only_first, only_second, p_value)
