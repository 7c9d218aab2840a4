"""Prediction sets that contain the true class with the requested coverage, by class and patient.

Slices of a patient are alike, so patients are the exchangeable units: each counts once, however many slices it has. For
a slice from a new patient, the set then contains the slice's class with at least the requested probability, provided
that the patient comes from the same population as the fit and that the network was trained on neither. This makes no
statement about all slices of a patient jointly.

Source: class by class, V. Vovk, Conditional Validity of Inductive Conformal Predictors, ACML 2012; by groups, Y. Lee,
R. F. Barber, R. Willett, Distribution-free Inference with Hierarchical Data, 2023 (arXiv 2306.06342), section 3.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

COVERAGES = tuple(round(0.5 + 0.01 * step, 2) for step in range(50))
"""Coverages on offer: 50 to 99 %."""

ROUNDING = 1e-9
"""Sums of weights that should be equal differ by less."""


class InvalidCoverage(ValueError):
    """A coverage that cannot be given."""


def least_probabilities(
    probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[Hashable], coverage: float
) -> np.ndarray:
    """Probability threshold of each class for being in a set, (K,); 0 if there are too few groups.

    Args:
        probabilities: of predictions that no training saw, (N, K).
        labels: class indices, (N,).
        groups: patient per prediction, (N,); exchangeable.
        coverage: in (0, 1).
    """
    return np.array(
        [
            _least(probabilities[own, index], [groups[place] for place in own.tolist()], coverage)
            for index in range(probabilities.shape[1])
            for own in [np.flatnonzero(labels == index)]
        ]
    )


def _least(probabilities: np.ndarray, groups: Sequence[Hashable], coverage: float) -> float:
    """Of the true class's probabilities, (N,): weights of a group add up to 1 / (groups + 1), and the rest is kept for
    the new one, whose probability may be as low as 0.
    """
    sizes = Counter(groups)
    weights = np.array([1 / (sizes[group] * (len(sizes) + 1)) for group in groups])
    order = np.argsort(-probabilities, kind="stable")
    enough = np.flatnonzero(np.cumsum(weights[order]) >= coverage - ROUNDING)
    return float(probabilities[order[enough[0]]]) if len(enough) else 0.0


def sets_of(probabilities: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Classes in the set of each prediction, bool (N, K); a set may be empty.

    Args:
        probabilities: (N, K).
        least: of `least_probabilities`, (K,).
    """
    return np.asarray(probabilities >= least)


def coverage_step(coverage: float) -> int:
    """Index among `COVERAGES` of the one asked for, or of the next larger one.

    Raises:
        InvalidCoverage: it is not between 0.5 and 0.99.
    """
    if not COVERAGES[0] <= coverage <= COVERAGES[-1]:
        raise InvalidCoverage(f"coverage {coverage}; expected a share from {COVERAGES[0]} to {COVERAGES[-1]}")
    return math.ceil(round((coverage - COVERAGES[0]) * 100, 6))
