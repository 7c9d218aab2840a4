"""Metrics of masks: overlap by slice and patient, surface distance, lesions; with rules for empty masks."""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

EMPTY_RULE = (
    "If the reference is empty, Dice and IoU are 1 if the prediction is empty too, and 0 otherwise. Sensitivity with "
    "an empty reference, precision with an empty prediction, and HD95 with either are undefined and "
    "left out of means. A "
    "patient's HD95 uses the slices in which neither is empty, and its size bias is undefined without a tumor"
)
"""Printed with every result: tools differ in this rule, and it dominates means over slices."""


THRESHOLDS = tuple(round(0.1 + 0.05 * step, 2) for step in range(17))
"""Candidates on validation slices: 0.1 to 0.9."""


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
        raise ValueError(f"prediction {predicted.shape} and reference {reference.shape} have different shapes")
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


def hausdorff_95(predicted: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float | None:
    """95th percentile of the distance between two surfaces, over all slices of a patient.

    Distances lie in the plane: between slices nothing is measured, as their distance is often not known.

    Args:
        predicted: bool (H, W) each.
        references: bool, of the same shapes.

    Returns:
        In pixels, the larger of the percentiles of both directions; None where no slice has both masks.

    Source: `monai.metrics.compute_hausdorff_distance`, of one slice.
    """
    there, back = [], []
    for own, reference in zip(predicted, references, strict=True):
        if own.any() and reference.any():
            masks = [torch.from_numpy(mask.astype(np.uint8)) for mask in (own, reference)]
            _, distances, _ = get_edge_surface_distance(*masks, symmetric=True)
            there.append(distances[0].numpy())
            back.append(distances[1].numpy())
    if not there:
        return None
    return float(max(np.percentile(np.concatenate(every), 95) for every in (there, back)))


class Lesions(NamedTuple):
    """Components of a patient's masks; pixels that touch at a corner, in the next slice too, belong to one."""

    number: int
    """In the reference."""
    found: int
    """Of these, in how many anything was predicted."""
    invented: int
    """Predicted where the reference has nothing."""


def lesions(predicted: np.ndarray, reference: np.ndarray) -> Lesions:
    """Count lesions found and missed, and false-positive components.

    Args:
        predicted: bool (D, H, W).
        reference: bool, the same shape.
    """
    touching = np.ones((3,) * reference.ndim)
    in_reference, number = ndimage.label(reference, structure=touching)
    in_predicted, components = ndimage.label(predicted, structure=touching)
    both = predicted & reference
    return Lesions(number, len(np.unique(in_reference[both])), components - len(np.unique(in_predicted[both])))


def stacks_of_patients(
    shapes: Sequence[tuple[int, ...]], items: Sequence[Mapping[str, Any]]
) -> dict[Hashable, list[list[int]]]:
    """Group a patient's slices into stacks: same folder, size and series, ordered by number.

    The last number in which the names differ counts the slices, numbers before it that differ too the series: `ax_1`,
    `ax_2` are one stack and `t1_1`, `t1_2`, `t2_1` two, unless every slice would be a stack of its own.

    Args:
        shapes: of the slices.
        items: the slices, with `image` and `group`.

    Returns:
        By patient, places of each stack's slices from one end to the other.
    """
    alike: dict[Hashable, dict[Any, list[int]]] = {}
    for place, (shape, item) in enumerate(zip(shapes, items, strict=True)):
        path = Path(item["image"])
        words = re.sub(r"\d+", "#", path.stem)
        alike.setdefault(item["group"], {}).setdefault((path.parent, words, shape), []).append(place)
    return {
        group: [stack for places in own.values() for stack in _series(places, items)] for group, own in alike.items()
    }


def _series(places: Sequence[int], items: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    numbers = {place: [int(n) for n in re.findall(r"\d+", Path(items[place]["image"]).stem)] for place in places}
    differing = [column for column, values in enumerate(zip(*numbers.values(), strict=True)) if len(set(values)) > 1]
    stacks: dict[tuple[int, ...], list[int]] = {}
    for place in sorted(places, key=lambda place: numbers[place]):
        stacks.setdefault(tuple(numbers[place][column] for column in differing[:-1]), []).append(place)
    if len(stacks) == len(places):
        return [[place for stack in stacks.values() for place in stack]]
    return list(stacks.values())


def mean_dice(predicted: Sequence[np.ndarray], references: Sequence[np.ndarray], groups: Sequence[Hashable]) -> float:
    """Mean over patients of the Dice of all slices of one together.

    Args:
        predicted: bool (H, W) each.
        references: likewise.
        groups: patient per slice.
    """
    overlaps = [overlap(own, reference) for own, reference in zip(predicted, references, strict=True)]
    return float(np.mean([own.dice for own in overlap_by_group(overlaps, groups).values()]))
