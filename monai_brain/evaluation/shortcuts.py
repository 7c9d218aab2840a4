"""Accuracy of classifiers that ignore the tumor: the most similar slice, or borders and image size."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold

from monai_brain.data.similarity import MIRRORED, oriented, unit
from monai_brain.evaluation.intervals import interval_over_groups

FOLDS = 5
TREES = 200
BORDER_PIXELS = 2
"""Border of a 32x32 thumbnail that lies outside most heads."""

DARK = 10
"""Gray values up to here are black."""

ROWS_AT_ONCE = 1024


def shortcut_baselines(
    thumbnails: np.ndarray, shapes: np.ndarray, labels: np.ndarray, groups: np.ndarray, test: np.ndarray | None
) -> dict[str, Any]:
    """Accuracy of three baselines that need no tumor.

    Args:
        thumbnails: gray, (N, 32, 32) uint8.
        shapes: height and width of the pictures, (N, 2).
        labels: class indices, (N,).
        groups: what is drawn together for intervals and kept together in folds, (N,).
        test: which pictures are tested, the others being the references, bool (N,); None: folds by group.

    Returns:
        `tested`, in words, and `baselines`: by name, `accuracy` and its 95% `interval` over groups.
    """
    if test is not None:
        divisions = [(np.flatnonzero(~test), np.flatnonzero(test))]
        tested = f"the test part's {int(test.sum())} pictures by the others"
    else:
        folds = min(FOLDS, len(np.unique(groups)))
        if folds < 2:
            return {}
        divisions = list(GroupKFold(folds).split(thumbnails, labels, groups))
        tested = f"{folds} folds, similar images together"
    methods: dict[str, Callable[..., np.ndarray]] = {
        "majority class": _majority,
        "nearest thumbnail": partial(_nearest, mirrors=False),
        "nearest thumbnail, mirror images compared too": partial(_nearest, mirrors=True),
        "random forest on borders and image size": _forest,
    }
    features = thumbnails, np.concatenate([_border(thumbnails), shapes], axis=1), labels
    order = np.concatenate([asked for _, asked in divisions])
    baselines = {}
    for name, method in methods.items():
        guessed = np.concatenate([method(features, known, asked) for known, asked in divisions])
        right = guessed == labels[order]
        interval = interval_over_groups(lambda i, right=right: float(right[i].mean()), groups[order].tolist())  # type: ignore[misc]
        baselines[name] = {"accuracy": float(right.mean()), "interval": interval}
    return {"tested": tested, "baselines": baselines}


def _majority(features: Any, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    labels = features[2]
    return np.full(len(asked), np.bincount(labels[known]).argmax())


def _nearest(features: Any, known: np.ndarray, asked: np.ndarray, mirrors: bool) -> np.ndarray:
    thumbnails, _, labels = features
    references = unit(thumbnails[known])
    looks = [unit(thumbnails[asked])] + ([unit(oriented(thumbnails[asked], MIRRORED))] if mirrors else [])
    best, guessed = np.full(len(asked), -2.0), np.zeros(len(asked), np.int64)
    for look in looks:
        for start in range(0, len(asked), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            correlation = look[rows] @ references.T
            nearest = correlation.argmax(axis=1)
            value = correlation[np.arange(len(nearest)), nearest]
            better = value > best[rows]
            best[rows] = np.where(better, value, best[rows])
            guessed[rows] = np.where(better, labels[known][nearest], guessed[rows])
    return guessed


def _forest(features: Any, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    _, columns, labels = features
    forest = RandomForestClassifier(TREES, random_state=0, n_jobs=-1).fit(columns[known], labels[known])
    guessed: np.ndarray = forest.predict(columns[asked])
    return guessed


def _border(thumbnails: np.ndarray) -> np.ndarray:
    """Mean, deviation and black share of the outermost pixels, (N, 3)."""
    inside = np.zeros(thumbnails.shape[1:], bool)
    inside[BORDER_PIXELS:-BORDER_PIXELS, BORDER_PIXELS:-BORDER_PIXELS] = True
    border = thumbnails[:, ~inside].astype(np.float32)
    return np.stack([border.mean(1), border.std(1), (border <= DARK).mean(1)], axis=1)
