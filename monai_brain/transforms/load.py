"""From a path or case to a uint8 slice, (C, H, W)."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_brain.io import DEFAULT_LIMITS, Case, Limits, UnreadableCase, read_case
from monai_brain.io.read import read_image, read_mask

BRIGHT_PERCENTILE = 99.8
"""Where deeper images are cut to 8 bits: single bright voxels (vessels, fat) would darken all the rest."""


class LoadSliced(MapTransform):
    """Read a slice and bring it to 8 bits; MR slices are gray, so colors are reduced to gray by default.

    Args:
        keys: hold a path or an `io.Case`; afterwards uint8 (1, H, W), or (3, H, W) with `gray=False`.
        gray: one channel by the luma weights of ITU-R BT.601; for slices whose channels are three
            sequences, say False.
        limits: sizes beyond which a file is refused.

    The codes of what was converted on the way are added under `<key>_warnings`.

    Raises:
        UnreadableCase: see `io.read_case`; inside a `Compose` as the cause of its RuntimeError.
    """

    def __init__(
        self,
        keys: KeysCollection,
        gray: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.gray = gray
        self.limits = limits

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths by pixels."""
        out = dict(data)
        for key in self.key_iterator(out):
            place = out[key]
            image = (
                read_case(place, limits=self.limits)
                if isinstance(place, Case)
                else read_image(Path(place), limits=self.limits)
            )
            out[key] = to_channels(to_8_bits(image.pixels), gray=self.gray)
            out[f"{key}_warnings"] = image.warnings
        return out


class LoadMaskd(MapTransform):
    """Read a mask of two values, the brighter one being what is looked for.

    Args:
        keys: hold a path; afterwards uint8 (1, H, W), 0 or 1.

    Raises:
        UnreadableCase: see `io.read.read_mask`; inside a `Compose` as the cause of its RuntimeError.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths by masks."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = read_mask(Path(out[key])).astype(np.uint8)[None]
        return out


def to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Pixels as uint8.

    8-bit images stay as they are. Deeper ones are mapped linearly from their darkest pixel to their
    99.8th percentile, because their files do not say which part of the range holds the picture.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(np.percentile(pixels, BRIGHT_PERCENTILE))
    if high <= low:  # nearly everything is background: then the brightest pixel is the top
        high = float(pixels.max())
    scaled = (pixels.astype(np.float32) - low) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def to_channels(pixels: np.ndarray, *, gray: bool) -> np.ndarray:
    """(1, H, W) if `gray`, else (3, H, W), from either."""
    if gray and pixels.shape[0] == 3:
        return cv2.cvtColor(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), cv2.COLOR_RGB2GRAY)[None]
    if not gray and pixels.shape[0] == 1:
        return np.repeat(pixels, 3, axis=0)
    return pixels


def refusal_behind(error: BaseException) -> UnreadableCase | None:
    """The refusal that MONAI's transforms wrapped into errors of their own, or None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnreadableCase):
        cause = cause.__cause__
    return cause
