"""From probabilities to a mask: the slice's own size, a threshold, and no specks."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from monai_brain.evaluation.segmentation import THRESHOLDS, mean_dice, stacks_of_patients
from monai_brain.io.read import read_mask
from monai_brain.transforms.spatial import to_size_before

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5

PEAKS = (0.0, 0.7, 0.8, 0.9, 0.95)
"""What is tried on validation slices."""


class Cutoffs(NamedTuple):
    """What is tumor."""

    threshold: float = DEFAULT_THRESHOLD
    """A pixel whose probability is above it,"""
    peak: float = 0.0
    """in a component, of all slices of a patient, that is above this somewhere."""


def to_mask(
    probabilities: np.ndarray,
    threshold: float = DEFAULT_THRESHOLD,
    smallest: float = 0.0,
) -> np.ndarray:
    """Where the probability, (H, W) or (D, H, W), is above the threshold; see `without_specks`."""
    return without_specks(probabilities > threshold, smallest)


def without_specks(
    mask: np.ndarray,
    smallest: float,
    pixel_size: float = 1.0,
    certain: np.ndarray | None = None,
) -> np.ndarray:
    """A mask without components that are too small or nowhere certain; pixels that touch at a corner belong to one.

    Args:
        mask: bool (H, W) or (D, H, W).
        smallest: size of the smallest component that stays, in the unit of `pixel_size`.
        pixel_size: square millimeters of a slice's pixel, cubic ones of a volume's voxel; 1: sizes are their number.
        certain: bool, of the same shape; a component without any such pixel goes. None: none goes for that.

    Returns:
        bool, of the same shape.
    """
    if (smallest <= 0 and certain is None) or not mask.any():
        return mask
    labels, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(labels.ravel()) * pixel_size
    stays = sizes >= smallest
    if certain is not None:
        stays &= np.isin(np.arange(len(sizes)), labels[certain])
    stays[0] = False  # the background
    return stays[labels]


def masks_of_patients(
    probabilities: Sequence[np.ndarray], items: Sequence[Mapping[str, Any]], cutoffs: Cutoffs, smallest: float = 0.0
) -> list[np.ndarray]:
    """The masks of slices, whose components are those of their patients where they need a peak.

    Args:
        probabilities: (H, W) each.
        items: the slices, with `image` and `group`; see `stacks_of_patients`.
        cutoffs: what is tumor.
        smallest: pixels of a slice's component that stays.

    Returns:
        bool, (H, W) each, in the order of the items.
    """
    masks = [to_mask(own, cutoffs.threshold, smallest) for own in probabilities]
    if cutoffs.peak <= cutoffs.threshold:
        return masks
    stacks = stacks_of_patients([own.shape for own in probabilities], items)
    for places in itertools.chain.from_iterable(stacks.values()):
        certain = np.stack([probabilities[place] > cutoffs.peak for place in places])
        whole = without_specks(np.stack([masks[place] for place in places]), 0.0, certain=certain)
        for place, mask in zip(places, whole, strict=True):
            masks[place] = mask
    return masks


def in_size_of_mask(
    probabilities: np.ndarray, items: Sequence[Mapping[str, Any]], transforms: Sequence[Any]
) -> list[np.ndarray]:
    """The network's maps (N, h, w) in the sizes of the slices' reference masks.

    Args:
        probabilities: of N slices.
        items: the slices, with `label`, the mask's path.
        transforms: the deterministic ones that the slices went through.
    """
    sizes = [read_mask(Path(item["label"])).shape for item in items]
    return [to_size_before(own, transforms, size) for own, size in zip(probabilities, sizes, strict=True)]


def chosen_cutoffs(
    threshold: float | None,
    peak: float | None,
    evaluator: Any,
    outputs: Any,
    items: Sequence[Mapping[str, Any]],
    transforms: Sequence[Any],
    trained_part: str = "training",
) -> Cutoffs:
    """Threshold and peak that were given, or those with the highest mean Dice over the validation patients.

    Args:
        threshold: None to have it chosen.
        peak: likewise.
        evaluator: runs the network over the validation part.
        outputs: `training.evaluating.CollectMasks` of that evaluator.
        items: slices of the validation part.
        transforms: the deterministic ones.
        trained_part: what the network was trained on; where that holds the validation part, nothing can be chosen
            there and the defaults are taken.
    """
    if threshold is not None and peak is not None:
        return Cutoffs(threshold, peak)
    if "validation" in trained_part.split("+"):
        default = Cutoffs()
        given = Cutoffs(default.threshold if threshold is None else threshold, default.peak if peak is None else peak)
        logger.warning("trained on the validation part too: nothing is chosen there; %s", given)
        return given
    evaluator.run()
    maps = in_size_of_mask(outputs.probabilities, items, transforms)
    references = [read_mask(Path(item["label"])) for item in items]
    chosen, dice = best_cutoffs(
        maps,
        references,
        items,
        THRESHOLDS if threshold is None else (threshold,),
        PEAKS if peak is None else (peak,),
    )
    logger.info("%s: mean Dice %.4f of the validation patients", chosen, dice)
    return chosen


def best_cutoffs(
    probabilities: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    items: Sequence[Mapping[str, Any]],
    thresholds: Sequence[float] = THRESHOLDS,
    peaks: Sequence[float] = PEAKS,
) -> tuple[Cutoffs, float]:
    """Those with the highest mean Dice over patients; of equals, the threshold nearest to 1/2 and the lowest peak.

    Args:
        probabilities: of validation slices, (H, W) each.
        references: bool (H, W) each.
        items: the slices, with `image` and `group`.
        thresholds: to try.
        peaks: to try.

    Returns:
        Cutoffs and mean Dice.
    """
    groups = [item["group"] for item in items]
    scores = {
        cutoffs: mean_dice(masks_of_patients(probabilities, items, cutoffs), references, groups)
        for cutoffs in itertools.starmap(Cutoffs, itertools.product(thresholds, peaks))
        if cutoffs.peak == min(peaks) or cutoffs.peak > cutoffs.threshold
    }
    best = max(scores, key=lambda own: (scores[own], -abs(own.threshold - DEFAULT_THRESHOLD), -own.peak))
    return best, scores[best]
