"""Fit a calibration for weights: on the pooled folds of their recipe, or on labeled cases of a site."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from monai_brain.evaluation.calibration_file import CALIBRATION, InvalidCalibration, write_calibration
from monai_brain.evaluation.cross_fitting import figures_by_folds, fitted_on
from monai_brain.evaluation.site import site_figures
from monai_brain.inference.apply import predict_folder
from monai_brain.inference.folder import EXIT_NOTHING
from monai_brain.inference.patients import Verdicts
from monai_brain.inference.prediction import Prediction
from monai_brain.inference.sets import NO_CALIBRATION
from monai_brain.io import settings
from monai_brain.io.weights import find_weights
from monai_brain.io.write import sha256_of
from monai_brain.report.labeled import read_labels, read_pooled, read_site

TABLE = "predictions.csv"


def calibrate_by_folds(pooled: Path, weights: Path, output: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Fit on all folds of a cross-validation, and measure on each what the others give.

    Args:
        pooled: folder that `monai-brain pool` wrote.
        weights: file or folder of weights of the same network, such as those that learned from all folds together.
        output: file to write; None: beside the weights.

    Returns:
        The file, and the figures by folds.

    Raises:
        InvalidTable: see `read_pooled`.
        InvalidCalibration: the weights are of another network, or have other classes.
    """
    found, options = read_pooled(pooled)
    file = find_weights(weights)
    recorded = settings.read(weights) or {}
    theirs = (recorded.get("network_def"), tuple(recorded.get("class_names", found.class_names)))
    if theirs != (options.get("network_def"), found.class_names):
        raise InvalidCalibration(
            f"{weights}: is another network, or has other classes, than the folds in {pooled}; name the weights of the "
            "folds' recipe with --weights"
        )
    source = {"runs": options["runs"], "source": "folds of a cross-validation, patients apart"}
    target = output or file.with_name(CALIBRATION)
    write_calibration(target, fitted_on(found, sha256_of(file), source))
    return target, figures_by_folds(found)


def calibrate_site(
    labeled: Path, output: Path, labels: Path | None, patient_pattern: str | None, **options: Any
) -> dict[str, Any]:
    """Fit on labeled cases of one site, and measure on each fifth what the others give.

    Args:
        labeled: a folder with one folder for each class, to which the network is applied; or a `predictions.csv`.
        output: file to write.
        labels: CSV with the columns `path` and `label`, for a `predictions.csv`, or for a folder without class folders.
        patient_pattern: regular expression for the patient in a path; None: each case is its own.
        options: of `predict_folder`, for a folder.

    Returns:
        The figures: by class at the site's prevalence, and by folds.

    Raises:
        InvalidTable: see `read_site`.
    """
    known = read_labels(labels) if labels is not None else None
    if labeled.is_file():
        return _fit_site(labeled, output, known, patient_pattern)
    with tempfile.TemporaryDirectory(prefix="monai-brain-") as folder:
        out = Path(folder) / "predictions"
        status = predict_folder(labeled, out, calibration=NO_CALIBRATION, answer_anyway=True, **options)
        if status == EXIT_NOTHING:
            raise InvalidCalibration(f"{labeled}: contains no slice or volume; give a folder with one folder per class")
        return _fit_site(out / TABLE, output, known, patient_pattern)


def _fit_site(table: Path, output: Path, labels: dict[str, str] | None, pattern: str | None) -> dict[str, Any]:
    found, manifest = read_site(table, labels, {})
    if pattern is not None:
        paths = [str(group) for group in found.groups]
        named = Verdicts(found.class_names, None, pattern).names(Prediction(path, "ok") for path in paths)
        found, manifest = read_site(table, labels, named)
    predicted = found.probabilities.argmax(axis=1)
    figures = {
        "site": site_figures(found.labels, predicted, found.groups, found.class_names),
        "cases": len(found.labels),
        "accuracy": float(np.mean(predicted == found.labels)),
        **figures_by_folds(found),
    }
    source = {"source": "labeled cases of a site", "figures": figures}
    write_calibration(output, fitted_on(found, manifest["weights_sha256"], source))
    return figures
