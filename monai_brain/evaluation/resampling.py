"""Figures of a classifier with an interval each, of all resamples at once."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from monai_brain.evaluation.intervals import Interval, draw_groups, interval_of
from monai_brain.evaluation.metrics import classification_metrics

IN_ONE_TURN = 20_000_000
"""Numbers that are held in memory at a time."""


class Estimate(NamedTuple):
    """A figure with its interval."""

    value: float | None
    """None: undefined, such as the AUC of a class that is absent."""
    interval: Interval | None
    """None: too few groups, or an undefined figure."""
    groups: int
    """That it rests on: those that hold the class, say."""


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
    one_hot = np.eye(len(class_names))[predicted]
    point = classification_metrics(labels, one_hot, class_names)
    codes = np.unique(np.array([str(group) for group in groups]), return_inverse=True)[1]
    weights = draw_groups(int(codes.max()) + 1, seed=seed)
    confusion = _confusion_by_group(labels, predicted, codes, len(class_names))
    resampled = _figures(np.tensordot(weights, confusion, axes=1))
    auc = _areas(labels, probabilities, codes, weights)
    held = {name: _holding(confusion, index) for index, name in enumerate(class_names)}
    found: dict[str, dict[str, Estimate]] = {}
    for index, name in enumerate(class_names):
        own = {
            figure: _estimate(point["per_class"][name][figure], resampled[figure][:, index], held[name][figure])
            for figure in ("sensitivity", "specificity", "precision", "f1")
        }
        if not point["per_class"][name]["images"]:
            own = {key: one if key == "specificity" else Estimate(None, None, one.groups) for key, one in own.items()}
        both = min(held[name]["sensitivity"], held[name]["specificity"])
        own["auc"] = Estimate(None, None, 0) if auc is None else _estimate(auc[0][index], auc[1][:, index], both)
        found[name] = own
    present = [index for index, name in enumerate(class_names) if point["per_class"][name]["images"]]
    fewest = min(held[class_names[index]]["sensitivity"] for index in present)
    macro = {
        f"macro_{key}": _estimate(point[f"macro_{key}"], resampled[key][:, present].mean(axis=1), fewest)
        for key in ("f1", "sensitivity", "precision")
    }
    macro["macro_auc"] = _macro_auc(auc, fewest)
    accuracy = np.trace(resampled["counts"], axis1=1, axis2=2) / resampled["counts"].sum(axis=(1, 2))
    return {"all": {"accuracy": _estimate(point["accuracy"], accuracy, len(confusion)), **macro}, **found}


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
    weights = draw_groups(len(sums))
    return _estimate(float(values[known].mean()), (weights @ sums) / (weights @ sizes), len(sums), share=share)


def _estimate(value: float | None, resampled: np.ndarray, groups: int, *, share: bool = True) -> Estimate:
    return Estimate(value, None if value is None else interval_of(value, resampled, groups, share=share), groups)


def _confusion_by_group(labels: np.ndarray, predicted: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """Counts (G, K, K), rows of a group's matrix are the reference."""
    flat = np.bincount((codes * classes + labels) * classes + predicted, minlength=(codes.max() + 1) * classes**2)
    return flat.reshape(-1, classes, classes)


def _figures(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Per class (D, K), of confusion matrices (D, K, K); NaN where undefined."""
    right = np.diagonal(counts, axis1=1, axis2=2)
    reference, called = counts.sum(axis=2), counts.sum(axis=1)
    total = counts.sum(axis=(1, 2))[:, None]
    with np.errstate(invalid="ignore"):
        return {
            "counts": counts,
            "sensitivity": right / reference,
            "specificity": (total - reference - called + right) / (total - reference),
            "precision": np.where(called > 0, right / np.maximum(called, 1), 0.0),
            "f1": 2 * right / (reference + called),
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
    }


def _areas(
    labels: np.ndarray, probabilities: np.ndarray | None, codes: np.ndarray, weights: np.ndarray
) -> tuple[list[float | None], np.ndarray] | None:
    """AUC of each class against the rest, of the data (K,) and of the resamples (D, K)."""
    if probabilities is None:
        return None
    ones = np.ones((1, weights.shape[1]))
    turns = max(1, len(weights) * len(labels) // IN_ONE_TURN)
    areas = [
        np.concatenate([_area(labels == index, probabilities[:, index], own[:, codes]) for own in parts])
        for index in range(probabilities.shape[1])
        for parts in [[ones, *np.array_split(weights, turns)]]
    ]
    return [None if np.isnan(own[0]) else float(own[0]) for own in areas], np.stack([own[1:] for own in areas], axis=1)


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


def _macro_auc(auc: tuple[list[float | None], np.ndarray] | None, fewest: int) -> Estimate:
    if auc is None or any(value is None for value in auc[0]):
        return Estimate(None, None, 0)
    known = [value for value in auc[0] if value is not None]
    return _estimate(float(np.mean(known)), auc[1].mean(axis=1), fewest)
