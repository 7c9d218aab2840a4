"""Figures of merit of masks: overlap by slice and by patient, surface distance; what an empty mask means."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance

EMPTY_RULE = (
    "Dice and IoU of an empty reference are 1 where the prediction is empty too, else 0; sensitivity of an empty "
    "reference, precision of an empty prediction, and HD95 where either is empty are undefined and left out of means"
)
"""Printed with every figure: tools differ in this, and it decides means over slices."""


THRESHOLDS = tuple(round(0.1 + 0.05 * step, 2) for step in range(17))
"""What is tried on validation slices: 0.1 to 0.9."""


class Overlap(NamedTuple):
    """Pixels of a prediction against its reference."""

    both: int
    only_predicted: int
    only_reference: int

    def __add__(self, other: "Overlap") -> "Overlap":  # type: ignore[override]
        """Counts of two sets of pixels together."""
        return Overlap(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where both are empty."""
        total = 2 * self.both + self.only_predicted + self.only_reference
        return 2 * self.both / total if total else 1.0

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); 1 where both are empty."""
        total = self.both + self.only_predicted + self.only_reference
        return self.both / total if total else 1.0

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN); None for an empty reference."""
        total = self.both + self.only_reference
        return self.both / total if total else None

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None for an empty prediction."""
        total = self.both + self.only_predicted
        return self.both / total if total else None


def overlap(predicted: np.ndarray, reference: np.ndarray) -> Overlap:
    """Count pixels.

    Args:
        predicted: bool, any shape.
        reference: bool, the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"prediction {predicted.shape} and reference {reference.shape} are of different shapes")
    predicted, reference = predicted.astype(bool), reference.astype(bool)
    both = int((predicted & reference).sum())
    return Overlap(both, int(predicted.sum()) - both, int(reference.sum()) - both)


def overlap_by_group(overlaps: Sequence[Overlap], groups: Sequence[Hashable]) -> dict[Hashable, Overlap]:
    """All slices of a patient together, as one volume.

    Args:
        overlaps: one per slice.
        groups: patient per slice.
    """
    sums: dict[Hashable, Overlap] = {}
    for group, own in zip(groups, overlaps, strict=True):
        sums[group] = sums.get(group, Overlap(0, 0, 0)) + own
    return sums


def hausdorff_95(predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float] | None = None) -> float | None:
    """95th percentile of the distance between the two surfaces.

    Args:
        predicted: bool (H, W) or (D, H, W).
        reference: bool, the same shape.
        spacing: of the axes, millimeters; without it the result is in pixels.

    Returns:
        The distance, or None where either is empty.

    Source: `monai.metrics.compute_hausdorff_distance`.
    """
    if not (predicted.any() and reference.any()):
        return None
    batches = [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in (predicted, reference)]
    distance = compute_hausdorff_distance(
        *batches, include_background=True, percentile=95, spacing=list(spacing) if spacing else None
    )
    return float(distance[0, 0])


def mean_dice(predicted: Sequence[np.ndarray], references: Sequence[np.ndarray], groups: Sequence[Hashable]) -> float:
    """Mean over patients of the Dice of all slices of one together.

    Args:
        predicted: bool (H, W) each.
        references: likewise.
        groups: patient per slice.
    """
    overlaps = [overlap(own, reference) for own, reference in zip(predicted, references, strict=True)]
    return float(np.mean([own.dice for own in overlap_by_group(overlaps, groups).values()]))
