"""Metrics of a classifier with intervals, computed for all resamples at once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monai_brain.evaluation.intervals import FEWEST_GROUPS, Interval, draw_groups, interval_of

IN_ONE_TURN = 20_000_000
"""Numbers that are held in memory at a time."""


class Estimate(NamedTuple):
    """A figure with its interval."""

    value: float | None
    """None: undefined, such as the AUC of a class that is absent."""
    interval: Interval | None
    """None: too few groups, or an undefined figure."""
    groups: int
    """Number of groups the metric is based on, for example those with the class."""


UNDEFINED = Estimate(None, None, 0)


def class_estimates(
    labels: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None,
    groups: Sequence[Hashable],
    class_names: Sequence[str],
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Accuracy and macro figures, and those of each class.

    Args:
        labels: class indices, (N,).
        predicted: class indices, (N,).
        probabilities: (N, K); None: there are none, and no AUC.
        groups: group per case, (N,), whole groups are drawn.
        class_names: K names.
        seed: of the resampling.

    Returns:
        Under `all` accuracy, macro_f1, macro_sensitivity, macro_precision and macro_auc; under each class's name
        sensitivity, specificity, precision, f1 and auc.
    """
    codes = np.unique(np.array([str(group) for group in groups]), return_inverse=True)[1]
    number = int(codes.max()) + 1
    weights = np.concatenate([np.ones((1, number)), draw_groups(number, seed=seed)])  # the data, then the resamples
    confusion = _confusion_by_group(labels, predicted, codes, len(class_names))
    counts = np.tensordot(weights, confusion, axes=1)
    figures = _figures(counts)
    if probabilities is not None:
        figures["auc"] = _areas(labels, probabilities, codes, weights)
    held = [_holding(confusion, index) for index in range(len(class_names))]
    accuracy = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    return {
        "all": {"accuracy": _estimate(accuracy, number, counted=True), **_macro(figures, held, number)},
        **{
            name: {
                key: _estimate(own[:, index], held[index][key], counted=key != "auc") for key, own in figures.items()
            }
            | ({"auc": UNDEFINED} if probabilities is None else {})
            for index, name in enumerate(class_names)
        },
    }


def mean_estimate(values: np.ndarray, groups: Sequence[Hashable], *, share: bool = True) -> Estimate:
    """Mean of a figure over cases, NaN where it is undefined.

    Args:
        values: (N,).
        groups: group per case, (N,).
        share: it lies between 0 and 1.
    """
    known = ~np.isnan(values)
    if not known.any():
        return Estimate(None, None, 0)
    names = np.array([str(group) for group in groups])[known]
    codes = np.unique(names, return_inverse=True)[1]
    sums, sizes = np.bincount(codes, values[known]), np.bincount(codes)
    weights = np.concatenate([np.ones((1, len(sums))), draw_groups(len(sums))])
    return _estimate((weights @ sums) / (weights @ sizes), len(sums), share=share)


def _estimate(values: np.ndarray, groups: int, *, share: bool = True, counted: bool = False) -> Estimate:
    """Of a figure of the data and of the resamples, (1 + D,)."""
    if np.isnan(values[0]):
        return Estimate(None, None, groups)
    own = float(values[0])
    return Estimate(own, interval_of(own, values[1:], groups, share=share, counted=counted), groups)


def _macro(figures: Mapping[str, np.ndarray], held: Sequence[Mapping[str, int]], number: int) -> dict[str, Estimate]:
    """Means over the classes that are there; of the AUC over all, if each has one."""
    present = [index for index, own in enumerate(held) if own["sensitivity"]]
    fewest = min(held[index]["sensitivity"] for index in present)
    enough = number if fewest >= FEWEST_GROUPS else fewest  # a mean over classes needs all of them
    found = {
        f"macro_{key}": _estimate(figures[key][:, present].mean(axis=1), enough, counted=True)
        for key in ("f1", "sensitivity", "precision")
    }
    found["macro_auc"] = _estimate(figures["auc"].mean(axis=1), enough) if "auc" in figures else UNDEFINED
    return found


def _confusion_by_group(labels: np.ndarray, predicted: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """Counts (G, K, K), rows of a group's matrix are the reference."""
    flat = np.bincount((codes * classes + labels) * classes + predicted, minlength=(codes.max() + 1) * classes**2)
    return flat.reshape(-1, classes, classes).astype(float)


def _figures(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Per class (D, K), of confusion matrices (D, K, K); NaN where a class is absent."""
    right = np.diagonal(counts, axis1=1, axis2=2)
    reference, called = counts.sum(axis=2), counts.sum(axis=1)
    total = counts.sum(axis=(1, 2))[:, None]
    with np.errstate(invalid="ignore"):
        return {
            "sensitivity": right / reference,
            "specificity": (total - reference - called + right) / (total - reference),
            "precision": np.where(reference > 0, right / np.maximum(called, 1), np.nan),
            "f1": np.where(reference > 0, 2 * right / (reference + called), np.nan),
        }


def _holding(confusion: np.ndarray, index: int) -> dict[str, int]:
    """Groups that each figure of a class rests on."""
    reference, called = confusion[:, index].sum(axis=1) > 0, confusion[:, :, index].sum(axis=1) > 0
    others = confusion.sum(axis=(1, 2)) - confusion[:, index].sum(axis=1) > 0
    return {
        "sensitivity": int(reference.sum()),
        "specificity": int(others.sum()),
        "precision": int(called.sum()),
        "f1": int((reference | called).sum()),
        "auc": min(int(reference.sum()), int(others.sum())),
    }


def _areas(labels: np.ndarray, probabilities: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of each class against the rest, (D, K)."""
    parts = np.array_split(weights, max(1, len(weights) * len(labels) // IN_ONE_TURN))
    return np.stack(
        [
            np.concatenate([_area(labels == index, probabilities[:, index], own[:, codes]) for own in parts])
            for index in range(probabilities.shape[1])
        ],
        axis=1,
    )


def _area(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted share of pairs in which the positive case has the higher score, ties counting half.

    Args:
        positive: bool (N,).
        score: (N,).
        weights: of the cases, (D, N).

    Returns:
        (D,), NaN where a side is empty.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positives = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    negatives = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    with np.errstate(invalid="ignore"):
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return np.asarray((positives * (below + negatives / 2)).sum(axis=1) / pairs)
