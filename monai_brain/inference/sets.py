"""Calibrated probabilities and sets of classes, for the weights that a run applies."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.calibration_file import (
    CALIBRATION,
    Calibration,
    InvalidCalibration,
    calibration_of,
    read_calibration,
)
from monai_brain.evaluation.conformal import coverage_step
from monai_brain.io.weights import find_weights
from monai_brain.io.write import sha256_of
from monai_brain.labels import SET_SEPARATOR

SET_COLUMNS = ("set", "set_size")

EMPTY_SET = "empty_set"
"""Code of a case of which no class is probable enough."""

NO_CALIBRATION = "none"
"""Instead of a file."""

DEFAULT_COVERAGE = 0.9

logger = logging.getLogger(__name__)


class Sets(NamedTuple):
    """A calibration at the coverage that was asked for."""

    calibration: Calibration
    coverage: float

    def columns(self, probabilities: np.ndarray, of: str) -> dict[str, Any]:
        """Values of `SET_COLUMNS`.

        Args:
            probabilities: calibrated, (K,).
            of: `calibration_file.SLICES` or `calibration_file.PATIENTS`.
        """
        names = self.calibration.names(probabilities, self.coverage, of)
        return dict(zip(SET_COLUMNS, (SET_SEPARATOR.join(names), len(names)), strict=True))

    @property
    def chosen(self) -> dict[str, Any]:
        """What decides results, for a run's options."""
        content = json.dumps(self.calibration.content(), sort_keys=True)
        return {"coverage": self.coverage, "calibration_sha256": hashlib.sha256(content.encode()).hexdigest()}

    @property
    def note(self) -> str:
        """For pages."""
        return (
            "Probabilities are calibrated. The classes that cannot be ruled out form a set, which contains the true "
            f"class in {self.coverage:.0%} of the cases, if these are like those of the calibration."
        )


def find_sets(
    weights: str | Path | None, calibration: str | None, coverage: float | None, class_names: Sequence[str]
) -> Sets | None:
    """What is known about the probabilities of weights.

    Args:
        weights: file or folder; None: nothing is known.
        calibration: file; None: the one beside the weights, where there is one; `none`: none.
        coverage: of the sets; None: `DEFAULT_COVERAGE`.
        class_names: of the weights.

    Raises:
        InvalidCalibration: the file that was named cannot be used; or a coverage was asked for and there is no file.
        InvalidCoverage: the coverage cannot be given.
    """
    found = None
    if weights is not None and calibration != NO_CALIBRATION:
        file = find_weights(Path(weights))
        if calibration is not None:
            found = read_calibration(Path(calibration), class_names, sha256_of(file))
        elif (beside := file.with_name(CALIBRATION)).is_file():
            found = _unless_of_others(beside, class_names, file)
    if found is None:
        if coverage is not None:
            raise InvalidCalibration(
                "--coverage needs a calibration of these weights; make one with monai-brain calibrate, or leave it out"
            )
        return None
    coverage_step(coverage or DEFAULT_COVERAGE)
    return Sets(found, coverage or DEFAULT_COVERAGE)


def sets_of_run(manifest: Mapping[str, Any], where: str) -> Sets | None:
    """What a run went by, from its manifest; None where it had no calibration."""
    if "calibration" not in manifest:
        return None
    return Sets(calibration_of(manifest["calibration"], where), manifest["options"]["coverage"])


def _unless_of_others(path: Path, class_names: Sequence[str], weights: Path) -> Calibration | None:
    """The calibration beside weights; None, with a warning, where the weights are others by now."""
    try:
        return read_calibration(path, class_names, sha256_of(weights))
    except InvalidCalibration as error:
        logger.warning("probabilities are not calibrated: %s", error)
        return None
