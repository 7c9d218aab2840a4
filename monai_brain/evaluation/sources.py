"""Break down a classifier's errors by tumor, source and sequence, and by stack of slices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_brain.evaluation.intervals import interval_over_groups


def by_source(items: Sequence[Mapping[str, Any]], predicted: np.ndarray, no_tumor: int | None) -> list[dict[str, Any]]:
    """One row per source, sequence and presence of tumor; none if no item has a source, or no class means no tumor.

    This exposes a classifier that has learned the source instead of the tumor: it calls all slices of one source
    "no tumor", whether or not they show one.

    Args:
        items: with `label`, and `source` and `sequence` where they are known, N of them.
        predicted: class index per item, (N,).
        no_tumor: index of the class without tumor; None: there is none.

    Returns:
        Rows with `source`, `sequence`, `tumor`, `images`, `accuracy` and `called_tumor` (shares of the images).
    """
    if no_tumor is None or not any("source" in item for item in items):
        return []
    cells: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        cells[item.get("source", ""), item.get("sequence", ""), item["label"] != no_tumor].append(index)
    labels = np.array([item["label"] for item in items])
    return [
        {
            "source": source,
            "sequence": sequence,
            "tumor": tumor,
            "images": len(own),
            "accuracy": float((predicted[own] == labels[own]).mean()),
            "called_tumor": float((predicted[own] != no_tumor).mean()),
        }
        for (source, sequence, tumor), own in sorted(cells.items())
    ]


def tumor_classes(
    labels: np.ndarray, predicted: np.ndarray, groups: Sequence[Any], no_tumor: int | None
) -> dict[str, Any] | None:
    """Accuracy on the slices with tumor, among all classes; None where there is none, or no class without tumor.

    Args:
        labels: class indices, (N,).
        predicted: class indices, (N,).
        groups: group per slice, (N,).
        no_tumor: index of the class without tumor; None: there is none.

    Returns:
        `images`, `accuracy` and its `interval`, resampled by groups within their class.
    """
    tumor = np.flatnonzero(labels != no_tumor)
    if no_tumor is None or not len(tumor):
        return None
    right = predicted[tumor] == labels[tumor]
    own = [groups[index] for index in tumor.tolist()]
    interval = interval_over_groups(lambda i: float(right[i].mean()), own, strata=labels[tumor].tolist())
    return {"images": len(tumor), "accuracy": float(right.mean()), "interval": interval}


def by_group(labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[Any]) -> dict[str, Any] | None:
    """Verdicts on groups of several slices of one class: the class of their mean probability.

    Args:
        labels: class indices, (N,).
        probabilities: (N, K).
        groups: group per slice, (N,).

    Returns:
        `groups`, `slices`, `accuracy` and its `interval`; None where no group has several slices.
    """
    members = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    several = [own for own in members.values() if len(own) > 1 and len(set(labels[own])) == 1]
    if not several:
        return None
    right = np.array([probabilities[own].mean(axis=0).argmax() == labels[own[0]] for own in several])
    strata = [int(labels[own[0]]) for own in several]
    interval = interval_over_groups(lambda i: float(right[i].mean()), range(len(several)), strata=strata)
    return {
        "groups": len(several),
        "slices": sum(map(len, several)),
        "accuracy": float(right.mean()),
        "interval": interval,
    }
