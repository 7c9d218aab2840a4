"""Score the masks that a folder run wrote, as a user gets them, and compare them with those of another run."""

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from monai_brain.data.splits import load_datalist
from monai_brain.evaluation.areas import SIZES, area_agreement, paired_difference, size_of_each
from monai_brain.evaluation.intervals import interval_over_groups
from monai_brain.io.read import read_mask
from monai_brain.io.write import sha256_of, write_json
from monai_brain.report.score_figures import draw_bland_altman
from monai_brain.report.segmentation import read_patients, write_segmentation_evaluation

logger = logging.getLogger(__name__)

KEPT_OPTIONS = ("weights", "threshold", "engine", "precision")


class InvalidPredictions(ValueError):
    """A folder run whose masks cannot be scored."""


def score_predictions(
    predictions: str | Path,
    datalist: str | Path,
    dataset_dir: str | Path,
    output: str | Path,
    *,
    part: str = "test",
    against: str | Path | None = None,
) -> dict[str, Any]:
    """Score a folder run's masks of slices against the references of a datalist.

    A patient of whom a slice has no mask is left out, and named in the log.

    Args:
        predictions: output folder of `monai-brain predict`, of a folder in which slices have the datalist's paths.
        datalist: with reference masks.
        dataset_dir: folder that its paths are relative to.
        output: gets `metrics.json`, `patients.csv`, `slices.csv`, `areas.png`, `report.html`, `run.json`.
        part: of the datalist.
        against: another scored folder (an `output` of this function), for a paired comparison.

    Returns:
        What stands in `metrics.json`.

    Raises:
        InvalidPredictions: no patient has all masks, or `against` has none of these patients.
    """
    predictions, output = Path(predictions), Path(output)
    items = load_datalist(datalist, dataset_dir, part)
    files = _masks_by_path(predictions)
    keys = [PurePosixPath(Path(item["image"]).relative_to(Path(dataset_dir).absolute())).as_posix() for item in items]
    incomplete = {item["group"] for item, key in zip(items, keys, strict=True) if key not in files}
    kept = [(item, files[key]) for item, key in zip(items, keys, strict=True) if item["group"] not in incomplete]
    if not kept:
        raise InvalidPredictions(f"{predictions}: no patient of {datalist}'s part {part} has a mask for every slice")
    if incomplete:
        logger.warning("left out, not every slice has a mask: %s", ", ".join(sorted(incomplete)))
    scored, masks = [item for item, _ in kept], [read_mask(path) for _, path in kept]
    options = _options(predictions, datalist, part)
    metrics = write_segmentation_evaluation(output, scored, masks, part=part, options=options)
    rows = read_patients(output / "patients.csv")
    metrics |= {"left_out": sorted(incomplete), "by_size": _by_size(rows), "areas": _areas(output, scored, masks)}
    if against is not None:
        metrics["paired"] = _paired(rows, Path(against))
    write_json(output / "metrics.json", metrics)
    return metrics


def _masks_by_path(predictions: Path) -> dict[str, Path]:
    table = predictions / "predictions.csv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {row["path"]: predictions / row["mask"] for row in rows if row.get("mask")}
    raise InvalidPredictions(f"{predictions}: has no predictions.csv; run monai-brain predict to its end")


def _options(predictions: Path, datalist: str | Path, part: str) -> dict[str, Any]:
    made = json.loads((predictions / "run.json").read_text(encoding="utf-8"))
    known = {key: made["options"][key] for key in KEPT_OPTIONS if key in made["options"]}
    return {"part": part, "datalist_sha256": sha256_of(Path(datalist)), **known, "predicted": made.get("command")}


def _by_size(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pixels = [int(row["reference_pixels"]) for row in rows]
    sizes = size_of_each(pixels)
    found = {}
    for name in SIZES:
        own = [place for place, size in enumerate(sizes) if size == name]
        if own:
            dice = [rows[place]["dice"] for place in own]
            found[name] = {
                "number": len(own),
                "reference_pixels": [min(pixels[place] for place in own), max(pixels[place] for place in own)],
                "mean_dice": float(np.mean(dice)),
                "mean_interval": interval_over_groups(_mean_of(dice), range(len(dice))),
                "mean_size_bias": float(np.mean([rows[place]["size_bias"] for place in own])),
            }
    return found


def _mean_of(values: Sequence[float]) -> Callable[[np.ndarray], float]:
    return lambda drawn: float(np.asarray(values)[drawn].mean())


def _areas(output: Path, items: Sequence[Mapping[str, Any]], masks: Sequence[np.ndarray]) -> dict[str, Any]:
    """Of slices with tumor in the reference or in the mask."""
    pairs = [
        (int(mask.sum()), int(read_mask(Path(item["label"])).sum())) for item, mask in zip(items, masks, strict=True)
    ]
    predicted, reference = (list(own) for own in zip(*(pair for pair in pairs if any(pair)), strict=True))
    agreement = area_agreement(predicted, reference)
    draw_bland_altman(predicted, reference, agreement, output / "areas.png")
    return {**agreement._asdict(), "unit": "pixels, of slices with tumor in the reference or in the mask"}


def _paired(rows: Sequence[Mapping[str, Any]], against: Path) -> dict[str, Any]:
    other = {row["patient"]: row["dice"] for row in read_patients(against / "patients.csv")}
    shared = [row for row in rows if row["patient"] in other]
    if not shared:
        raise InvalidPredictions(f"{against}: scored none of these patients")
    found = paired_difference([row["dice"] for row in shared], [other[row["patient"]] for row in shared])
    means = {"mean_dice": float(np.mean([row["dice"] for row in shared]))}
    means["other_mean_dice"] = means["mean_dice"] - found.mean
    return {**found._asdict(), **means, "against": against.name}
