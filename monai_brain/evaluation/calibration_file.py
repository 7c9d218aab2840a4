"""Calibration of a network, fitted on labeled predictions, as a file of plain numbers."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.calibration import COLDEST, HOTTEST, fit_temperature, scaled
from monai_brain.evaluation.conformal import COVERAGES, coverage_step, least_probabilities, sets_of
from monai_brain.evaluation.verdict import by_patient, tumor_slices
from monai_brain.io.write import write_json
from monai_brain.labels import index_of_no_tumor

CALIBRATION = "calibration.json"
"""File name, next to the weights it belongs to."""

KIND = "calibration"

VERDICT_RULE = tumor_slices
"""How slices of a patient or volume are combined; chosen by cross-validation, see docs/calibration.md."""

SLICES, PATIENTS = "slices", "patients"
"""What sets are given for."""


class InvalidCalibration(ValueError):
    """A calibration that is missing, damaged, or for other weights; the message says what to do."""


class Calibration(NamedTuple):
    """Temperature, and the probability thresholds for a class to be in a set."""

    class_names: tuple[str, ...]
    weights_sha256: str
    """Hash of the weight file it belongs to."""
    temperature: float
    least: Mapping[str, np.ndarray]
    """Of `SLICES` and of `PATIENTS`: (C, K), by `conformal.COVERAGES` and class."""
    fitted_on: Mapping[str, Any]
    """Numbers of slices and groups, and where they came from."""

    def scaled(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, (N, K)."""
        return scaled(probabilities, self.temperature)

    def names(self, probabilities: np.ndarray, coverage: float, of: str = SLICES) -> tuple[str, ...]:
        """The set of one prediction, its most probable class first.

        Args:
            probabilities: calibrated, (K,).
            coverage: asked for.
            of: `SLICES`, or `PATIENTS` for slices that were put together.
        """
        inside = sets_of(probabilities, self.least[of][coverage_step(coverage)])
        return tuple(self.class_names[index] for index in np.argsort(-probabilities, kind="stable") if inside[index])

    def content(self) -> dict[str, Any]:
        """As JSON values."""
        tables = {
            of: {name: own[:, index].tolist() for index, name in enumerate(self.class_names)}
            for of, own in self.least.items()
        }
        return {
            "kind": KIND,
            "class_names": list(self.class_names),
            "weights_sha256": self.weights_sha256,
            "temperature": self.temperature,
            "coverages": list(COVERAGES),
            "least_probability": tables,
            "fitted_on": dict(self.fitted_on),
            "note": "Research use only; not a medical device.",
        }


def calibration_from(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[Hashable],
    class_names: Sequence[str],
    weights_sha256: str,
    fitted_on: Mapping[str, Any],
) -> Calibration:
    """Fit a calibration.

    Args:
        probabilities: before scaling, of slices that no training saw, (N, K).
        labels: class indices, (N,).
        groups: patient per slice, (N,).
        class_names: K names.
        weights_sha256: of the file that it is for.
        fitted_on: where the slices came from; their numbers are added.
    """
    temperature = round(fit_temperature(probabilities, labels), 4)
    calibrated = scaled(probabilities, temperature)
    patients = together(calibrated, labels, groups, class_names)
    least = {
        SLICES: _table(calibrated, labels, groups),
        PATIENTS: _table(patients.probabilities, patients.labels, range(len(patients.labels))),
    }
    counts = {name: _counts(labels, groups, index) for index, name in enumerate(class_names)}
    about = {**fitted_on, "slices": len(labels), "groups": len(set(groups)), "by_class": counts}
    return Calibration(tuple(class_names), weights_sha256, temperature, least, about)


class Patients(NamedTuple):
    """Combine the slices of each patient and class."""

    names: list[Hashable]
    probabilities: np.ndarray
    """(P, K)."""
    labels: np.ndarray
    """(P,)."""


def together(
    calibrated: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[Hashable],
    class_names: Sequence[str],
    rule: Any = VERDICT_RULE,
) -> Patients:
    """One verdict for each group; a group whose slices have several classes counts as its tumor's.

    Args:
        calibrated: probabilities, (N, K).
        labels: class indices, (N,).
        groups: per slice, (N,).
        class_names: K names.
        rule: of `verdict.RULES`.
    """
    no_tumor = index_of_no_tumor(class_names)
    found = by_patient(calibrated, groups, rule, no_tumor)
    classes: dict[Hashable, list[int]] = {}
    for group, label in zip(groups, labels.tolist(), strict=True):
        classes.setdefault(group, []).append(label)
    of_patient = [next((own for own in classes[group] if own != no_tumor), classes[group][0]) for group in found]
    return Patients(list(found), np.array(list(found.values())), np.array(of_patient))


def read_calibration(path: Path, class_names: Sequence[str], weights_sha256: str) -> Calibration:
    """A calibration file, checked.

    Raises:
        InvalidCalibration: it is missing or damaged, or for other weights or classes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidCalibration(f"{path}: no such calibration; monai-brain calibrate makes one") from None
    except ValueError as error:
        raise InvalidCalibration(f"{path}: not JSON ({error}); make it again with monai-brain calibrate") from None
    calibration = calibration_of(content, str(path))
    if calibration.weights_sha256 != weights_sha256:
        raise InvalidCalibration(
            f"{path}: was made for other weights; make it again with monai-brain calibrate, or give --calibration none"
        )
    if calibration.class_names != tuple(class_names):
        raise InvalidCalibration(f"{path}: its classes are {', '.join(calibration.class_names)}; others were expected")
    return calibration


def calibration_of(content: Any, where: str) -> Calibration:
    """A calibration from its JSON values.

    Args:
        content: as `Calibration.content` gives it.
        where: for messages.

    Raises:
        InvalidCalibration: it is damaged.
    """
    try:
        names = tuple(content["class_names"])
        least = {
            of: np.array([content["least_probability"][of][name] for name in names], np.float64).T
            for of in (SLICES, PATIENTS)
        }
        temperature = float(content["temperature"])
        is_usable = (
            content["kind"] == KIND
            and content["coverages"] == list(COVERAGES)
            and COLDEST <= temperature <= HOTTEST
            and all(own.shape == (len(COVERAGES), len(names)) and _are_shares(own) for own in least.values())
        )
        weights, fitted_on = str(content["weights_sha256"]), dict(content["fitted_on"])
    except (KeyError, TypeError, ValueError):
        is_usable = False
    if not is_usable:
        raise InvalidCalibration(f"{where}: is not a calibration, or damaged; make it again with monai-brain calibrate")
    return Calibration(names, weights, temperature, least, fitted_on)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON."""
    write_json(path, calibration.content())


def _table(probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """(C, K), rounded down, so that rounding leaves no class out."""
    rows = [least_probabilities(probabilities, labels, groups, coverage) for coverage in COVERAGES]
    return np.floor(np.array(rows) * 1e6) / 1e6


def _counts(labels: np.ndarray, groups: Sequence[Hashable], index: int) -> dict[str, int]:
    own = np.flatnonzero(labels == index).tolist()
    return {"slices": len(own), "groups": len({groups[place] for place in own})}


def _are_shares(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and (values >= 0).all() and math.isfinite(values.sum()) and values.max() <= 1)
