"""Predictions with what is true, read from tables: what calibrations are fitted on."""

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from monai_brain.evaluation.calibration import scaled
from monai_brain.evaluation.calibration_file import calibration_of
from monai_brain.evaluation.cross_fitting import Labeled
from monai_brain.io.tables import InvalidTable, read_table
from monai_brain.labels import class_of_folder
from monai_brain.report.evaluation import FOLD, GROUP

PREFIX = "prob_"

LEAST_CASES = 50
"""Labeled cases of a site, below which temperature and thresholds would mostly follow chance."""

SITE_FOLDS = 5


def read_pooled(folder: Path) -> tuple[Labeled, dict[str, Any]]:
    """What `monai-brain pool` wrote: every slice scored by a network that saw none of its patient.

    Returns:
        The predictions, and the options of the pooling.

    Raises:
        InvalidTable: it is none, or was written before there were groups and folds in it.
    """
    found, manifest = read_labeled(folder), _manifest(folder)
    if manifest.get("kind") != "pooling" or len(set(found.folds)) < 2:
        raise InvalidTable(f"{folder}: holds no pooled folds; put them together: monai-brain pool RUN... -o FOLDER")
    return found, manifest["options"]


def read_labeled(folder: Path) -> Labeled:
    """What `monai-brain evaluate` or `pool` wrote; without folds, all is one.

    Raises:
        InvalidTable: it is none, or was written before there were groups in it.
    """
    rows = read_table(folder / "predictions.csv").rows
    if not {"reference", GROUP} <= set(rows[0]):
        raise InvalidTable(f"{folder}: its predictions have no groups; evaluate or pool again")
    names = _classes_in(rows[0])
    labels = np.array([names.index(row["reference"]) for row in rows])
    folds = np.array([int(row.get(FOLD) or 1) for row in rows])
    return Labeled(_probabilities(rows, names), labels, [row[GROUP] for row in rows], folds, names)


def read_site(
    predictions: Path, labels: Mapping[str, str] | None, groups: Mapping[str, str]
) -> tuple[Labeled, dict[str, Any]]:
    """What `monai-brain predict` wrote, with the site's labels.

    Args:
        predictions: the table, with its run's manifest beside it.
        labels: class by path; None: the folders in a path say it.
        groups: patient by path; a case that is not there is a group of its own.

    Returns:
        The predictions, not calibrated whatever the run did, and the run's manifest.

    Raises:
        InvalidTable: fewer than `LEAST_CASES` cases have probabilities and a label; or the classes do not fit.
    """
    manifest = _manifest(predictions.parent)
    rows = [row for row in read_table(predictions).rows if row["status"] in ("ok", "abstained")]
    names = tuple(manifest.get("labels", ())) or _classes_in(rows[0] if rows else {})
    classes = [_label_of(row["path"], labels, names) for row in rows]
    known = [(row, own) for row, own in zip(rows, classes, strict=True) if own is not None]
    if len(known) < LEAST_CASES:
        raise InvalidTable(
            f"{predictions}: {len(known)} labeled cases; at least {LEAST_CASES} are needed, as with fewer the result "
            "would mostly follow chance. Label more, or use the calibration that came with the weights"
        )
    rows = [row for row, _ in known]
    truth = np.array([names.index(own) for _, own in known])
    probabilities = _probabilities(rows, names)
    if "calibration" in manifest:
        temperature = calibration_of(manifest["calibration"], str(predictions)).temperature
        probabilities = scaled(probabilities, 1 / temperature)
    own_groups: list[Hashable] = [groups.get(row["path"], row["path"]) for row in rows]
    folds = _site_folds(truth, own_groups)
    return Labeled(probabilities, truth, own_groups, folds, names), manifest


def read_labels(path: Path) -> dict[str, str]:
    """Class by path, from a CSV with columns `path` and `label` (or `reference`).

    Raises:
        InvalidTable: it has other columns.
    """
    rows = read_table(path).rows
    column = next((name for name in ("label", "reference") if name in rows[0]), None)
    if column is None or "path" not in rows[0]:
        raise InvalidTable(f"{path}: expected a CSV with the columns path and label")
    return {row["path"]: row[column] for row in rows}


def _label_of(path: str, labels: Mapping[str, str] | None, names: Sequence[str]) -> str | None:
    """The class of a case; None where nothing says it."""
    if labels is not None:
        return class_of_folder(labels[path], names) if path in labels else None
    folders = (class_of_folder(part, names) for part in reversed(path.split("/")[:-1]))
    return next((own for own in folders if own is not None), None)


def _site_folds(labels: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Patients apart, classes as even as can be, (N,)."""
    numbers = np.unique([str(group) for group in groups], return_inverse=True)[1]
    if len(np.unique(numbers)) < SITE_FOLDS:
        raise InvalidTable(f"{len(np.unique(numbers))} patients; at least {SITE_FOLDS} are needed")
    folds = np.zeros(len(labels), int)
    splits = StratifiedGroupKFold(SITE_FOLDS, shuffle=True, random_state=0).split(labels, labels, numbers)
    for number, (_, own) in enumerate(splits, 1):
        folds[own] = number
    return folds


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not isinstance(content, dict):
        raise InvalidTable(f"{path}: is missing; it says which weights the predictions are of")
    return content


def _classes_in(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name.removeprefix(PREFIX) for name in row if name.startswith(PREFIX))


def _probabilities(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> np.ndarray:
    return np.array([[float(row[f"{PREFIX}{name}"]) for name in names] for row in rows])
