"""Write what an evaluation of a segmenter found: by patient, by slice, by institution; pictures and one page."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.intervals import DRAWS, FEWEST_GROUPS, NO_INTERVAL, interval_over_groups, with_interval
from monai_brain.evaluation.segmentation import (
    EMPTY_RULE,
    Overlap,
    hausdorff_95,
    lesions,
    overlap,
    overlap_by_group,
    stacks_of_patients,
)
from monai_brain.io.read import read_image, read_mask
from monai_brain.io.write import manifest, write_csv, write_json, write_png
from monai_brain.report.folds import InvalidFolds, identity_of, refuse_no_fold
from monai_brain.report.html import Block, Gallery, Table, write_page
from monai_brain.report.overlays import mask_panel
from monai_brain.transforms.load import to_8_bits, to_channels

PATIENT_COLUMNS = (
    "patient",
    "institution",
    "slices",
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "hd95_pixels",
    "size_bias",
    "lesions",
    "lesions_found",
    "lesions_invented",
    "reference_pixels",
    "predicted_pixels",
)
SLICE_COLUMNS = ("path", "patient", "dice", "iou", "sensitivity", "precision", "hd95_pixels")

NUMBERS = ("dice", "iou", "sensitivity", "precision", "hd95_pixels", "size_bias")
"""Columns that are read back as numbers; empty where they are undefined. Older tables lack the last two."""

COUNTS = ("lesions", "lesions_found", "lesions_invented")

SHOWN = 3
"""Patients in each of best, middle and worst."""


class Scored(NamedTuple):
    """A slice with its masks and what they have in common."""

    item: Mapping[str, Any]
    predicted: np.ndarray
    reference: np.ndarray
    overlap: Overlap


def write_segmentation_evaluation(
    folder: str | Path,
    items: Sequence[Mapping[str, Any]],
    predicted: Sequence[np.ndarray],
    *,
    part: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Score masks against their references, in the references' own size; write everything into `folder`.

    Args:
        folder: gets `metrics.json`, `patients.csv`, `slices.csv`, `pictures/`, `report.html`, `run.json`.
        items: slices with `image`, `label` (mask) and `group` (patient), N of them.
        predicted: bool masks, each of its reference's size.
        part: name of the evaluated part.
        options: for the manifest.

    Returns:
        What stands in `metrics.json`.
    """
    folder = Path(folder)
    scored = [_score(item, mask) for item, mask in zip(items, predicted, strict=True)]
    patients = _patients(scored)
    slices = [_slice_row(one) for one in scored]
    metrics: dict[str, Any] = {
        "part": part,
        **_by_patient(patients),
        "slices": {"number": len(slices)}
        | {
            name: _mean([row[name] for row in slices])
            for name in ("dice", "iou", "sensitivity", "precision", "hd95_pixels")
        },
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "run.json", manifest("evaluation", options))
    write_csv(folder / "patients.csv", PATIENT_COLUMNS, patients)
    write_csv(folder / "slices.csv", SLICE_COLUMNS, slices)
    galleries = _write_pictures(folder, scored, patients)
    write_page(folder / "report.html", f"Segmentation, {part}", [*_tables(metrics, patients), *galleries])
    return metrics


def write_pooled(folder: str | Path, runs: Sequence[Path]) -> dict[str, Any]:
    """Put the test patients of a cross-validation's folds together: every patient once, by a model that never saw it.

    Args:
        folder: gets `metrics.json`, `patients.csv`, `report.html`, `run.json`.
        runs: trained on the folds, each evaluated on its test part.

    Returns:
        What stands in `metrics.json`.

    Raises:
        InvalidFolds: a run was not evaluated as it is now, was trained on its test part, or a patient was tested
            twice.
    """
    folder = Path(folder)
    patients: dict[str, dict[str, Any]] = {}
    for run in runs:
        refuse_no_fold(run, "patients.csv")
        for row in read_patients(run / "evaluation_test" / "patients.csv"):
            if row["patient"] in patients:
                raise InvalidFolds(f"{run}: {row['patient']} was tested by another run too; give each fold once")
            patients[row["patient"]] = {**row, "run": run.name}
    rows = sorted(patients.values(), key=lambda row: -row["dice"])
    metrics = {"part": f"test parts of {len(runs)} runs", **_by_patient(rows)}
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "run.json", manifest("pooling", {"runs": [identity_of(run) for run in runs]}))
    write_csv(folder / "patients.csv", (*PATIENT_COLUMNS, "run"), rows)
    write_page(
        folder / "report.html",
        "Segmentation, all folds",
        [patient_table(metrics), *lesion_table(metrics), every_patient(rows)],
    )
    return metrics


def read_patients(path: Path) -> list[dict[str, Any]]:
    """Rows of a `patients.csv`; figures are numbers, None where they are undefined."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in COUNTS}
            | {key: float(row[key]) if row[key] else None for key in NUMBERS if key in row}
            | {key: int(row[key]) for key in COUNTS if row.get(key)}
            for row in csv.DictReader(file)
        ]


def _by_patient(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "patients": _summary([row["dice"] for row in rows]) | _figures_of_lesions(rows),
        "by_institution": {
            name: _summary([row["dice"] for row in rows if row["institution"] == name])
            for name in sorted({row["institution"] for row in rows})
        },
        "empty_masks": EMPTY_RULE,
        "bootstrap": f"95% percentile intervals, {DRAWS} resamples of patients; {NO_INTERVAL}",
    }


def _score(item: Mapping[str, Any], predicted: np.ndarray) -> Scored:
    reference = read_mask(Path(item["label"]))
    return Scored(item, predicted, reference, overlap(predicted, reference))


def _patients(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    stacks = stacks_of_patients([one.reference.shape for one in scored], [one.item for one in scored])
    rows = [
        _patient_row(str(group), [[scored[place] for place in places] for places in own])
        for group, own in stacks.items()
    ]
    return sorted(rows, key=lambda row: -row["dice"])


def _patient_row(patient: str, stacks: Sequence[Sequence[Scored]]) -> dict[str, Any]:
    slices = [one for stack in stacks for one in stack]
    (own,) = overlap_by_group([one.overlap for one in slices], [patient] * len(slices)).values()
    reference, predicted = own.both + own.only_reference, own.both + own.only_predicted
    counted = [
        lesions(np.stack([one.predicted for one in stack]), np.stack([one.reference for one in stack]))
        for stack in stacks
    ]
    return {
        "patient": patient,
        "institution": slices[0].item.get("institution", ""),
        "slices": len(slices),
        **_figures(own),
        "hd95_pixels": hausdorff_95([one.predicted for one in slices], [one.reference for one in slices]),
        "size_bias": predicted / reference - 1 if reference else None,
        **dict(zip(COUNTS, map(sum, zip(*counted, strict=True)), strict=True)),
        "reference_pixels": reference,
        "predicted_pixels": predicted,
    }


def _slice_row(one: Scored) -> dict[str, Any]:
    distance = hausdorff_95([one.predicted], [one.reference])
    return {"path": one.item["image"], "patient": one.item["group"], **_figures(one.overlap), "hd95_pixels": distance}


def _figures(own: Overlap) -> dict[str, float | None]:
    return {"dice": own.dice, "iou": own.iou, "sensitivity": own.sensitivity, "precision": own.precision}


def _summary(dice: Sequence[float]) -> dict[str, Any]:
    values = np.array(dice)
    everyone = range(len(values))
    return {
        "number": len(values),
        "mean_dice": float(values.mean()),
        "median_dice": float(np.median(values)),
        "mean_interval": interval_over_groups(lambda i: float(values[i].mean()), everyone),
        "median_interval": interval_over_groups(lambda i: float(np.median(values[i])), everyone),
    }


def _figures_of_lesions(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """None of them where some rows are older than these columns."""
    if not all("lesions" in row for row in rows):
        return {}
    return {
        "mean_hd95_pixels": _mean([row["hd95_pixels"] for row in rows]),
        "with_hd95": sum(row["hd95_pixels"] is not None for row in rows),
        "mean_size_bias": _mean([row["size_bias"] for row in rows]),
        **{key: sum(row[key] for row in rows) for key in COUNTS},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _tables(metrics: Mapping[str, Any], patients: Sequence[Mapping[str, Any]]) -> list[Block]:
    slices = metrics["slices"]
    return [
        patient_table(metrics),
        *lesion_table(metrics),
        Table(
            f"Means over slices. {metrics['empty_masks']}",
            ["slices", "Dice", "IoU", "sensitivity", "precision", "HD95, pixels"],
            [
                [
                    str(slices["number"]),
                    *map(_shown, (slices[k] for k in ("dice", "iou", "sensitivity", "precision", "hd95_pixels"))),
                ]
            ],
        ),
        every_patient(patients),
    ]


def patient_table(metrics: Mapping[str, Any]) -> Table:
    """Dice of patients, all of them and by institution, of `metrics.json`."""
    groups = {"all": metrics["patients"], **{k: v for k, v in metrics["by_institution"].items() if k}}
    rows = [
        [
            name,
            str(own["number"]),
            with_interval(own["mean_dice"], own["mean_interval"] if own["number"] >= FEWEST_GROUPS else None),
            with_interval(own["median_dice"], own["median_interval"] if own["number"] >= FEWEST_GROUPS else None),
        ]
        for name, own in groups.items()
    ]
    caption = f"Each patient is scored on all slices together ({metrics['bootstrap']}; {NO_INTERVAL})"
    return Table(caption, ["institution", "patients", "mean Dice", "median Dice"], rows)


def lesion_table(metrics: Mapping[str, Any]) -> list[Table]:
    """Distances, sizes and lesions over all patients, of `metrics.json`; none of runs that did not measure them."""
    own = metrics["patients"]
    if "lesions" not in own:
        return []
    caption = (
        f"The table shows the mean in-plane HD95 over the patients that have one ({own['with_hd95']} of "
        f"{own['number']}); size bias (mean of predicted size / reference size - 1); lesions (components of the "
        "reference), those found (in which anything was predicted), and false positives (predicted components where "
        f"the reference has none). {metrics['empty_masks']}"
    )
    columns = ["HD95, pixels", "size bias", "lesions", "found", "false positives"]
    shown = [_shown(own["mean_hd95_pixels"]), _shown(own["mean_size_bias"]), *(str(own[key]) for key in COUNTS)]
    return [Table(caption, columns, [shown])]


def every_patient(patients: Sequence[Mapping[str, Any]]) -> Table:
    """A row per patient, of `patients.csv` with its numbers read; older tables have no lesions."""
    known = all("lesions" in row for row in patients)
    rows = [
        [
            row["patient"],
            row["institution"],
            str(row["slices"]),
            *map(_shown, (row["dice"], row["sensitivity"], row["precision"])),
            *([_shown(row["hd95_pixels"]), "/".join(str(row[key]) for key in COUNTS)] if known else []),
        ]
        for row in patients
    ]
    columns = ["patient", "institution", "slices", "Dice", "sensitivity", "precision"]
    columns += ["HD95, pixels", "lesions/found/false positives"] if known else []
    return Table("All patients, in descending order of Dice", columns, rows)


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _write_pictures(folder: Path, scored: Sequence[Scored], patients: Sequence[Mapping[str, Any]]) -> list[Gallery]:
    middle = max(0, (len(patients) - SHOWN) // 2)
    chosen = {
        "Best": patients[:SHOWN],
        "In the middle": patients[middle : middle + SHOWN],
        "Worst": patients[-SHOWN:],
    }
    galleries = []
    for title, rows in chosen.items():
        pictures = []
        for row in rows:
            own = [one for one in scored if one.item["group"] == row["patient"]]
            largest = max(own, key=lambda one: int((one.predicted | one.reference).sum()))
            path = f"pictures/{row['patient']}.png"
            caption = f"{row['patient']}: Dice {row['dice']:.3f}"
            gray = to_channels(to_8_bits(read_image(Path(largest.item["image"])).pixels), gray=True)[0]
            write_png(folder / path, mask_panel(gray, largest.reference, largest.predicted, caption))
            pictures.append((path, caption))
        galleries.append(Gallery(f"{title}: reference orange, prediction blue, largest slice", pictures))
    return galleries
