"""Evaluate calibration, sets and per-patient results on unseen patients: each fold uses a fit on the others."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.calibration import Bin, brier_score, calibration_error, reliability
from monai_brain.evaluation.calibration_file import PATIENTS, SLICES, Calibration, Patients, calibration_from, together
from monai_brain.evaluation.conformal import coverage_step, sets_of
from monai_brain.evaluation.intervals import interval_over_groups
from monai_brain.evaluation.verdict import RULES

SHOWN_COVERAGES = (0.8, 0.9, 0.95)


class Labeled(NamedTuple):
    """Predictions with their reference labels; N slices."""

    probabilities: np.ndarray
    """(N, K), not calibrated."""
    labels: np.ndarray
    """Class indices, (N,)."""
    groups: list[Hashable]
    """Patient per slice, N."""
    folds: np.ndarray
    """(N,); a group is in one fold."""
    class_names: tuple[str, ...]

    def part(self, own: np.ndarray) -> "Labeled":
        """The slices of a mask (N,)."""
        groups = [self.groups[index] for index in np.flatnonzero(own).tolist()]
        return Labeled(self.probabilities[own], self.labels[own], groups, self.folds[own], self.class_names)


class CrossFitted(NamedTuple):
    """A part of the predictions, and a calibration fitted on the others."""

    fold: int
    part: Labeled
    calibration: Calibration

    @property
    def calibrated(self) -> np.ndarray:
        """Of the part, (N, K)."""
        return self.calibration.scaled(self.part.probabilities)


def cross_fitted(found: Labeled) -> list[CrossFitted]:
    """For each fold, the calibration fitted on the others.

    Raises:
        ValueError: there are fewer than two folds.
    """
    numbers = np.unique(found.folds)
    if len(numbers) < 2:
        raise ValueError("calibration is cross-validated; there is only one fold")
    fitted = []
    for fold in numbers:
        own = found.folds == fold
        calibration = fitted_on(found.part(~own), "", {})
        fitted.append(CrossFitted(int(fold), found.part(own), calibration))
    return fitted


def fitted_on(found: Labeled, weights_sha256: str, source: dict[str, Any]) -> Calibration:
    """See `calibrated.calibration_from`."""
    return calibration_from(found.probabilities, found.labels, found.groups, found.class_names, weights_sha256, source)


def calibration_figures(fitted: Sequence[CrossFitted]) -> dict[str, Any]:
    """Temperatures; calibration error, Brier score and reliability of all slices, before and after.

    Args:
        fitted: of `cross_fitted`.
    """
    labels = np.concatenate([own.part.labels for own in fitted])
    before = np.concatenate([own.part.probabilities for own in fitted])
    after = np.concatenate([own.calibrated for own in fitted])
    return {
        "slices": len(labels),
        "groups": sum(len(set(own.part.groups)) for own in fitted),
        "temperatures": [own.calibration.temperature for own in fitted],
        "before": _taken_at_its_word(before, labels),
        "after": _taken_at_its_word(after, labels),
    }


def coverage_figures(fitted: Sequence[CrossFitted], of: str = SLICES) -> list[dict[str, Any]]:
    """For each of `SHOWN_COVERAGES`, how often the sets hold the true class, and how large they are.

    Args:
        fitted: of `cross_fitted`.
        of: `SLICES`, or `PATIENTS` for groups put together.

    Returns:
        Rows with `asked`, `mean_size`, `single`, `empty` (shares of sets) and `by_class`: for each class numbers of
        sets and groups, `covered` (mean over groups of the share of their sets that hold the class) with its
        `interval`, and `covered_sets` (share of all sets).
    """
    parts = [_in_sets(own, of) for own in fitted]
    names = fitted[0].part.class_names
    rows = []
    for coverage in SHOWN_COVERAGES:
        step = coverage_step(coverage)
        sets = np.concatenate([sets_of(one.probabilities, one.least[step]) for one in parts])
        labels = np.concatenate([one.labels for one in parts])
        groups = [(number, group) for number, one in enumerate(parts) for group in one.groups]
        size = sets.sum(axis=1)
        hit = sets[np.arange(len(labels)), labels]
        rows.append(
            {
                "asked": coverage,
                "mean_size": float(size.mean()),
                "single": float((size == 1).mean()),
                "empty": float((size == 0).mean()),
                "by_class": {name: _covered(hit, groups, labels == index) for index, name in enumerate(names)},
            }
        )
    return rows


def verdict_figures(fitted: Sequence[CrossFitted]) -> list[dict[str, Any]]:
    """For each of `verdict.RULES`, accuracy on groups of several slices, and on those of each class.

    Args:
        fitted: of `cross_fitted`.
    """
    names = fitted[0].part.class_names
    rows = []
    for rule_name, rule in RULES.items():
        right: list[bool] = []
        labels: list[int] = []
        for own in fitted:
            found = together(own.calibrated, own.part.labels, own.part.groups, names, rule)
            several = _of_several(found, own.part.groups)
            right += (found.probabilities.argmax(axis=1) == found.labels)[several].tolist()
            labels += found.labels[several].tolist()
        if right:
            rows.append({"rule": rule_name, **_accuracy(np.array(right), np.array(labels), names)})
    return rows


class _Sets(NamedTuple):
    """What sets are made of."""

    probabilities: np.ndarray
    labels: np.ndarray
    groups: Sequence[Hashable]
    least: np.ndarray


def _in_sets(own: CrossFitted, of: str) -> _Sets:
    least = own.calibration.least[of]
    if of == SLICES:
        return _Sets(own.calibrated, own.part.labels, own.part.groups, least)
    found = together(own.calibrated, own.part.labels, own.part.groups, own.part.class_names)
    return _Sets(found.probabilities, found.labels, found.names, least)


def _covered(hit: np.ndarray, groups: Sequence[Hashable], own: np.ndarray) -> dict[str, Any]:
    """Of the sets of one class."""
    members: dict[Hashable, list[bool]] = {}
    for index in np.flatnonzero(own).tolist():
        members.setdefault(groups[index], []).append(bool(hit[index]))
    if not members:
        return {"sets": 0, "groups": 0, "covered": None, "interval": None, "covered_sets": None}
    shares = np.array([np.mean(values) for values in members.values()])
    interval = interval_over_groups(lambda drawn: float(shares[drawn].mean()), range(len(shares)))
    return {
        "sets": int(own.sum()),
        "groups": len(shares),
        "covered": float(shares.mean()),
        "interval": interval,
        "covered_sets": float(hit[own].mean()),
    }


def _of_several(found: Patients, groups: Sequence[Hashable]) -> np.ndarray:
    """Which of the groups have several slices, bool (P,)."""
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    return np.array([sizes[name] > 1 for name in found.names], bool)


def _accuracy(right: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    interval = interval_over_groups(lambda drawn: float(right[drawn].mean()), range(len(right)), strata=labels.tolist())
    by_class = {
        name: {"groups": int(own.sum()), "accuracy": float(right[own].mean()) if own.any() else None}
        for name, own in ((name, labels == index) for index, name in enumerate(names))
    }
    return {"groups": len(right), "accuracy": float(right.mean()), "interval": interval, "by_class": by_class}


def _taken_at_its_word(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    bins: list[Bin] = reliability(probabilities, labels)
    return {
        "calibration_error": calibration_error(probabilities, labels),
        "brier_score": brier_score(probabilities, labels),
        "reliability": [own._asdict() for own in bins],
    }


def figures_by_folds(found: Labeled) -> dict[str, Any]:
    """All of them, as JSON values.

    Args:
        found: predictions of a cross-validation.
    """
    fitted = cross_fitted(found)
    return {
        "calibration": calibration_figures(fitted),
        "sets_of_slices": coverage_figures(fitted, SLICES),
        "sets_of_patients": coverage_figures(fitted, PATIENTS),
        "verdicts": verdict_figures(fitted),
    }
