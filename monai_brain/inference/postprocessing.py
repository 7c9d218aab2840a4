"""From probabilities to a mask: a threshold, and no specks."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def to_mask(
    probabilities: np.ndarray,
    threshold: float = 0.5,
    smallest: float = 0.0,
    spacing_mm: Sequence[float] | None = None,
) -> np.ndarray:
    """Where the probability is above the threshold, without components that are too small.

    Pixels that touch at a corner belong to one component.

    Args:
        probabilities: (H, W) or (D, H, W) in [0, 1].
        threshold: of the probability.
        smallest: size of the smallest component that stays: square millimeters for a slice, cubic ones for a
            volume; pixels or voxels where the spacing is not known.
        spacing_mm: of the axes.

    Returns:
        bool, of the same shape.

    Raises:
        ValueError: the spacing has another number of axes than the array.
    """
    mask = probabilities > threshold
    if smallest <= 0 or not mask.any():
        return mask
    if spacing_mm is not None and len(spacing_mm) != mask.ndim:
        raise ValueError(f"spacing of {len(spacing_mm)} axes for an array of {mask.ndim}")
    unit = float(np.prod(spacing_mm)) if spacing_mm is not None else 1.0
    labels, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(labels.ravel()) * unit
    stays = sizes >= smallest
    stays[0] = False  # the background
    return stays[labels]
