"""Whether a network learned from the slice that it is shown, or from its mirror image."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_brain.data.provenance import SAME_SLICE_BITS, appearance_hash, nearest_hash
from monai_brain.data.similarity import MIRRORED, THUMBNAIL_PIXELS, oriented
from monai_brain.io.weights import find_weights

LEARNED_SLICES = "learned_slices.npy"
"""Beside weights that are handed out: hashes of what they learned from, (N, 32) uint8; no pixels."""


class LearnedSlices:
    """Hashes of the slices that weights learned from, as their network saw them.

    Args:
        weights: file or folder; nothing is known where no `LEARNED_SLICES` lies beside the file.
    """

    def __init__(self, weights: str | Path) -> None:
        path = find_weights(Path(weights)).with_name(LEARNED_SLICES)
        self.hashes = np.load(path, allow_pickle=False) if path.is_file() else None

    def holds(self, images: Tensor) -> np.ndarray:
        """Whether each slice, or its mirror image, was learned from; (N,) bool.

        Args:
            images: the network's inputs, (N, C, H, W).
        """
        if self.hashes is None:
            return np.zeros(len(images), bool)
        small = thumbnails_of(images)
        bits = [nearest_hash(appearance_hash(oriented(small, way)), self.hashes)[:, 1] for way in (0, MIRRORED)]
        return np.min(bits, axis=0) <= SAME_SLICE_BITS


def thumbnails_of(images: Tensor) -> np.ndarray:
    """First channel of the network's inputs (N, C, H, W), averaged to (N, 32, 32)."""
    return torch.nn.functional.adaptive_avg_pool2d(images[:, :1].float(), THUMBNAIL_PIXELS)[:, 0].cpu().numpy()
