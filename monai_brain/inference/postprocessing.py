"""From probabilities to a mask: the slice's own size, a threshold, and no specks."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from monai_brain.evaluation.segmentation import THRESHOLDS, mean_dice
from monai_brain.io.read import read_mask
from monai_brain.transforms.spatial import to_size_before

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5


def to_mask(
    probabilities: np.ndarray,
    threshold: float = DEFAULT_THRESHOLD,
    smallest: float = 0.0,
) -> np.ndarray:
    """Where the probability, (H, W) or (D, H, W), is above the threshold; see `remove_small_components`."""
    return remove_small_components(probabilities > threshold, smallest)


def remove_small_components(mask: np.ndarray, smallest: float, pixel_size: float = 1.0) -> np.ndarray:
    """A mask without components that are too small; pixels that touch at a corner belong to one.

    Args:
        mask: bool (H, W) or (D, H, W).
        smallest: size of the smallest component that stays, in the unit of `pixel_size`.
        pixel_size: square millimeters of a slice's pixel, cubic ones of a volume's voxel; 1: sizes are their number.

    Returns:
        bool, of the same shape.
    """
    if smallest <= 0 or not mask.any():
        return mask
    labels, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    stays = np.bincount(labels.ravel()) * pixel_size >= smallest
    stays[0] = False  # the background
    return stays[labels]


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


def chosen_threshold(
    threshold: float | None,
    evaluator: Any,
    outputs: Any,
    items: Sequence[Mapping[str, Any]],
    transforms: Sequence[Any],
    trained_part: str = "training",
) -> float:
    """The given threshold, or the one with the highest mean Dice over the validation patients.

    Args:
        threshold: None to have it chosen.
        evaluator: runs the network over the validation part.
        outputs: `training.collectors.CollectMasks` of that evaluator.
        items: slices of the validation part.
        transforms: the deterministic ones.
        trained_part: what the network was trained on; if that includes the validation part, nothing can be chosen
            there, and the default is taken.
    """
    if threshold is not None:
        return threshold
    if "validation" in trained_part.split("+"):
        logger.warning("trained on the validation part too: the threshold stays %s", DEFAULT_THRESHOLD)
        return DEFAULT_THRESHOLD
    evaluator.run()
    maps = in_size_of_mask(outputs.probabilities, items, transforms)
    references = [read_mask(Path(item["label"])) for item in items]
    chosen, dice = best_threshold(maps, references, [item["group"] for item in items])
    logger.info("threshold %s: mean Dice %.4f of the validation patients", chosen, dice)
    return chosen


def best_threshold(
    probabilities: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    groups: Sequence[Any],
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[float, float]:
    """The threshold with the highest mean Dice over patients; of equals, the one nearest to 1/2.

    Args:
        probabilities: of validation slices, (H, W) each.
        references: bool (H, W) each.
        groups: patient of each slice.
        thresholds: to try.

    Returns:
        Threshold and mean Dice.
    """
    scores = {
        threshold: mean_dice([to_mask(own, threshold) for own in probabilities], references, groups)
        for threshold in thresholds
    }
    best = max(scores, key=lambda own: (scores[own], -abs(own - DEFAULT_THRESHOLD)))
    return best, scores[best]
