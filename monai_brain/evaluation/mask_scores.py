"""Score masks from any software against reference masks, per file and per patient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance

from monai_brain.evaluation.matching import NamedCases, match_names
from monai_brain.evaluation.segmentation import Lesions, Overlap, lesions, overlap
from monai_brain.io.cases import is_clutter
from monai_brain.io.formats import usual_suffixes
from monai_brain.io.read import read_any_mask
from monai_brain.io.record import Image, UnreadableCase
from monai_brain.io.sequences import check_geometry
from monai_brain.io.tables import InvalidTable, Table, find_column, need_column, read_table

MASK_COLUMNS = ("mask", "mask_path", "mask_file", "segmentation", "seg", "file", "path")
ID_COLUMNS = ("id", "case", "case_id", "image", "path", "file", "name", "mask")

UNITS = ("pixels", "mm")


class MaskPair(NamedTuple):
    """A reference mask with its prediction."""

    case: str
    predicted: Path | None
    """None: the software gave no mask."""
    reference: Path
    cells: dict[str, str]
    """Of the tables' other columns."""


class MaskScore(NamedTuple):
    """Figures of one pair."""

    overlap: Overlap
    hd95: float | None
    """None where either mask is empty."""
    unit: str
    """Of `UNITS`: pixels in a slice, mm in a volume that says its spacing."""
    lesions: Lesions
    pixel_size: float | None
    """mm2 or mm3."""
    kind: str
    """`slice` or `volume`."""


def find_mask_pairs(predictions: Path, references: Path, id_column: str | None = None) -> tuple[list[MaskPair], str]:
    """Pair masks of two folders, or of two tables with a column of mask files.

    Args:
        predictions: folder, searched with everything below it, or CSV.
        references: likewise.
        id_column: of the tables.

    Returns:
        A pair per reference, and the rule by which they were matched.

    Raises:
        InvalidTable: nothing is there, nothing matches, or a name is there twice.
    """
    (first, given, cells), (second, wanted, more) = (_masks(place, id_column) for place in (predictions, references))
    matched, rule = match_names(first, second, "--id-column")
    pairs = []
    for place, path in enumerate(wanted):
        own = matched.get(place)
        if path is None:
            continue
        table = {**({} if own is None else cells[own]), **more[place]}
        pairs.append(MaskPair(second.names[place], None if own is None else given[own], path, table))
    if not pairs:
        raise InvalidTable(f"{references}: the column of masks is empty")
    return pairs, rule


def _masks(place: Path, id_column: str | None) -> tuple[NamedCases, list[Path | None], list[dict[str, str]]]:
    if place.is_file():
        return _of_table(read_table(place), id_column)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder or table")
    files = sorted(
        path
        for path in place.rglob("*")
        if path.name.lower().endswith(usual_suffixes()) and path.is_file() and not any(map(is_clutter, path.parts))
    )
    if not files:
        raise InvalidTable(f"{place}: no mask files; expected {', '.join(usual_suffixes())}")
    names = [path.relative_to(place).as_posix() for path in files]
    return NamedCases(place, names, names), list(files), [{} for _ in files]


def _of_table(table: Table, id_column: str | None) -> tuple[NamedCases, list[Path | None], list[dict[str, str]]]:
    column = need_column(table, MASK_COLUMNS, "mask files", "the name mask", None)
    others = [name for name in ID_COLUMNS if name != column]
    identity = find_column(table, others, id_column) or column
    places = [f"line {table.line(place)}" for place in range(len(table.rows))]
    names = [row[identity] for row in table.rows]
    files = [table.path.parent / row[column] if row[column] else None for row in table.rows]
    return NamedCases(table.path, names, places), files, [dict(row) for row in table.rows]


def score_pair(predicted: Image, reference: Image) -> MaskScore:
    """Score two masks on one grid.

    Args:
        predicted: as `io.read.read_any_mask` gives it.
        reference: likewise.

    Raises:
        UnreadableCase: `geometry_mismatch`: they differ in size or place.
    """
    check_geometry_of(predicted, reference)
    first, second = predicted.pixels[0], reference.pixels[0]
    spacing = reference.spacing_mm if reference.kind == "volume" else None
    return MaskScore(
        overlap(first, second),
        hausdorff_distance_95(first, second, spacing),
        UNITS[spacing is not None],
        lesions(first, second),
        reference.pixel_size,
        reference.kind,
    )


def check_geometry_of(predicted: Image, reference: Image) -> None:
    """As `io.sequences.check_geometry`, also for slices."""
    if predicted.kind != reference.kind:
        raise UnreadableCase("geometry_mismatch", f"the prediction is a {predicted.kind}, the reference is not")
    if reference.kind == "volume":
        check_geometry("the prediction", predicted, "the reference", reference)
    elif predicted.pixels.shape != reference.pixels.shape:
        shapes = f"{predicted.pixels.shape[1:]} and {reference.pixels.shape[1:]}"
        raise UnreadableCase("geometry_mismatch", f"prediction and reference have {shapes} pixels; resize the mask")


def hausdorff_distance_95(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float] | None = None
) -> float | None:
    """95th percentile of the distance between two surfaces, the larger of both directions.

    Args:
        predicted: bool, (H, W) or (D, H, W).
        reference: bool, the same shape.
        spacing_mm: along each axis; None: the result is in pixels.

    Returns:
        None where either is empty.

    Source: `monai.metrics.compute_hausdorff_distance`.
    """
    if not predicted.any() or not reference.any():
        return None
    boxes = np.nonzero(predicted | reference)
    crop = tuple(slice(max(0, own.min() - 1), own.max() + 2) for own in boxes)  # the surfaces lie inside
    masks = [torch.from_numpy(mask[crop].astype(np.uint8))[None, None] for mask in (predicted, reference)]
    spacing = None if spacing_mm is None else [float(own) for own in spacing_mm]
    return float(compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing))


def score_files(pair: MaskPair) -> MaskScore | str:
    """Read and score a pair, or say why it cannot be scored."""
    if pair.predicted is None:
        return "not answered: no mask"
    try:
        reference = read_any_mask(pair.reference)
    except UnreadableCase as error:
        return f"left out: reference {error.code}"
    try:
        return score_pair(read_any_mask(pair.predicted), reference)
    except UnreadableCase as error:
        return f"not answered: mask {error.code}"


def score_row(pair: MaskPair, group: str, score: MaskScore) -> dict[str, Any]:
    """A row for tables."""
    own = score.overlap
    reference, predicted = own.both + own.only_reference, own.both + own.only_predicted
    return {
        "case": pair.case,
        "group": group,
        "kind": score.kind,
        "dice": own.dice,
        "iou": own.iou,
        "sensitivity": own.sensitivity,
        "precision": own.precision,
        "hd95": score.hd95,
        "hd95_unit": score.unit,
        "size_bias": predicted / reference - 1 if reference else None,
        "both_pixels": own.both,
        "reference_pixels": reference,
        "predicted_pixels": predicted,
        "pixel_size_mm": score.pixel_size,
        "lesions": score.lesions.number,
        "lesions_found": score.lesions.found,
        "lesions_invented": score.lesions.invented,
    }
