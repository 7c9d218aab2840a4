"""Combine several slices of a patient into one result."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.special import softmax

from monai_brain.evaluation.calibration import SMALLEST_PROBABILITY

Rule = Callable[[np.ndarray, int | None], np.ndarray]
"""From the slices' probabilities (N, K), and the index of the class without tumor, to the patient's (K,)."""

LEAST_TUMOR_SHARE = 0.25
"""If a smaller share of slices is called a tumor, single mistakes are more likely than a tumor."""


def mean_probability(probabilities: np.ndarray, no_tumor: int | None) -> np.ndarray:
    """Mean over slices."""
    return np.asarray(probabilities.mean(axis=0))


def mean_log_probability(probabilities: np.ndarray, no_tumor: int | None) -> np.ndarray:
    """Geometric mean over slices, made to add up to 1."""
    return np.asarray(softmax(np.log(np.maximum(probabilities, SMALLEST_PROBABILITY)).mean(axis=0)))


def tumor_slices(probabilities: np.ndarray, no_tumor: int | None) -> np.ndarray:
    """Mean over the slices that are called a tumor where these are `LEAST_TUMOR_SHARE` of all or more; else over all.

    A head with a tumor has tumor-free slices above and below it, which are no evidence against it.
    """
    called = probabilities.argmax(axis=1) != no_tumor
    if no_tumor is None or called.mean() < LEAST_TUMOR_SHARE:
        return mean_probability(probabilities, no_tumor)
    return mean_probability(probabilities[called], no_tumor)


RULES: dict[str, Rule] = {
    "mean probability": mean_probability,
    "mean log-probability": mean_log_probability,
    "mean probability of the slices called a tumor": tumor_slices,
}
"""That were compared by folds, see docs/calibration.md."""


def by_patient(
    probabilities: np.ndarray, groups: Sequence[Hashable], rule: Rule, no_tumor: int | None
) -> dict[Hashable, np.ndarray]:
    """Each patient's probabilities (K,), in the order of their first slices.

    Args:
        probabilities: of slices, (N, K).
        groups: patient per slice, (N,).
        rule: of `RULES`.
        no_tumor: index of the class without tumor; None: there is none.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return {group: rule(probabilities[own], no_tumor) for group, own in members.items()}
