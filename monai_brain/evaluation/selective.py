"""Accuracy against the share of answered cases, and coverage of sets of classes."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.resampling import Estimate, mean_estimate

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the most confident cases shown in the table."""


class Point(NamedTuple):
    """The most confident cases, and how many of them are correct."""

    share: float
    """Of all cases."""
    cases: int
    least_confidence: float
    accuracy: Estimate


def coverage_curve(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of cases answered, and the accuracy of these, as the least confidence falls.

    Args:
        confidence: highest probability, (N,).
        right: bool (N,).

    Returns:
        Two arrays; cases of equal confidence are answered together.
    """
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(confidence[order]) < 0, True])
    number = ends + 1
    return number / len(right), np.cumsum(right[order])[ends] / number


def coverage_points(confidence: np.ndarray, right: np.ndarray, groups: Sequence[Hashable]) -> list[Point]:
    """The curve at `SHARES`, with intervals.

    Args:
        confidence: highest probability, (N,).
        right: bool (N,).
        groups: group per case, (N,).
    """
    order = np.argsort(-confidence, kind="stable")
    points = []
    for share in SHARES:
        own = order[: max(1, round(share * len(order)))]
        accuracy = mean_estimate(right[own].astype(float), [groups[place] for place in own.tolist()])
        points.append(Point(len(own) / len(order), len(own), float(confidence[own[-1]]), accuracy))
    return points


def measured_sets(
    sets: Sequence[frozenset[int] | None],
    labels: np.ndarray,
    groups: Sequence[Hashable],
    class_names: Sequence[str],
) -> dict[str, Any] | None:
    """How often the software's set of classes contains the reference; None if it gave no sets.

    Args:
        sets: of class indices, N of them.
        labels: class indices, (N,).
        groups: group per case, (N,).
        class_names: K names.
    """
    places = [place for place, own in enumerate(sets) if own is not None]
    if not places:
        return None
    known = [own for own in sets if own is not None]
    held = np.array([int(labels[place]) in own for place, own in zip(places, known, strict=True)], float)
    own_groups = [groups[place] for place in places]
    by_class = {
        name: mean_estimate(np.where(labels[places] == index, held, np.nan), own_groups)
        for index, name in enumerate(class_names)
    }
    return {
        "cases": len(places),
        "mean_size": float(np.mean([len(own) for own in known])),
        "empty": sum(not own for own in known),
        "coverage": mean_estimate(held, own_groups),
        "by_class": by_class,
    }
