"""Performance of a classifier at one site, by class, at the site's own prevalence."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.stats import beta

from monai_brain.evaluation.intervals import LEVEL


def site_figures(
    labels: np.ndarray, predicted: np.ndarray, groups: Sequence[Hashable], class_names: Sequence[str]
) -> dict[str, Any]:
    """Prevalence, sensitivity, specificity and predictive values of each class against the rest.

    Args:
        labels: class indices, (N,).
        predicted: class indices, (N,).
        groups: patient per case, (N,); each patient counts once.
        class_names: K names.

    Returns:
        By class `cases` and `prevalence` (share of the cases), and `sensitivity`, `specificity`,
        `positive_predictive_value` and `negative_predictive_value` as a share with its 95% interval.
    """
    found = {}
    for index, name in enumerate(class_names):
        true, called = labels == index, predicted == index
        found[name] = {
            "cases": int(true.sum()),
            "prevalence": float(true.mean()),
            "sensitivity": share(called, groups, true),
            "specificity": share(~called, groups, ~true),
            "positive_predictive_value": share(true, groups, called),
            "negative_predictive_value": share(~true, groups, ~called),
        }
    return found


def share(hit: np.ndarray, groups: Sequence[Hashable], among: np.ndarray) -> list[float] | None:
    """Mean over groups of the share of their cases that are a hit, with its interval; see `bounded_mean`.

    Args:
        hit: bool (N,).
        groups: per case, (N,).
        among: bool (N,), the cases that count; None is returned where there is none.
    """
    members: dict[Hashable, list[bool]] = {}
    for place in np.flatnonzero(among).tolist():
        members.setdefault(groups[place], []).append(bool(hit[place]))
    if not members:
        return None
    return bounded_mean([float(np.mean(own)) for own in members.values()])


def bounded_mean(values: Sequence[float]) -> list[float]:
    """Mean of numbers from 0 to 1, with the ends of its 95% interval.

    The interval is that of Clopper and Pearson with the numbers as trials. So it is valid for few of them and for means
    of 0 and 1, where resampling would give no width; for numbers other than 0 and 1 it is wider than necessary.
    """
    number, mean = len(values), float(np.mean(values))
    tail, hits = (1 - LEVEL) / 2, mean * number
    low = float(beta.ppf(tail, hits, number - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, number - hits)) if hits < number else 1.0
    return [mean, low, high]
