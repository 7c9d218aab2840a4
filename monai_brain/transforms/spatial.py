"""Crop and resize uint8 slices."""

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

DEFAULT_BORDER_PIXELS = 12
"""Of 224: what the sources of the public sets leave as frames, which tell a network the class (evaluation)."""


def crop_border(image: np.ndarray, border_pixels: int) -> np.ndarray:
    """`image` (C, H, W) without its outermost rows and columns.

    At most an eighth of a side is cut at each end, so that small images keep their brain.
    """
    height, width = image.shape[-2:]
    rows, columns = min(border_pixels, height // 8), min(border_pixels, width // 8)
    return image[..., rows : height - rows, columns : width - columns]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """`image` (C, H, W) stretched to (C, size, size); pixel areas are averaged when it shrinks."""
    height, width = image.shape[-2:]
    if (height, width) == (size, size):
        return image
    method = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    channels_last = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    resized = cv2.resize(channels_last, (size, size), interpolation=method)
    return resized[None] if resized.ndim == 2 else np.moveaxis(resized, -1, 0)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """`mask` (C, H, W) of 0 and 1 as `resize` would: 1 where at least half of the pixel's area was.

    The nearest pixel would be quicker, and shifts a mask that shrinks by half a pixel.
    """
    return (resize(mask * np.uint8(254), size) >= 127).astype(np.uint8)


class CropBorderd(MapTransform):
    """Cut frames and scanner text away; see `crop_border`.

    Args:
        keys: hold (C, H, W) arrays.
        border_pixels: of the image as it was read, at each of the four sides.
    """

    def __init__(
        self,
        keys: KeysCollection,
        border_pixels: int = DEFAULT_BORDER_PIXELS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if border_pixels < 0:
            raise ValueError(f"border_pixels is {border_pixels}; give 0 to keep the border")
        self.border_pixels = border_pixels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = crop_border(out[key], self.border_pixels)
        return out


class ResizeSliced(MapTransform):
    """Stretch to a square by OpenCV, on uint8; see `resize`.

    Args:
        keys: hold uint8 (C, H, W) arrays.
        size: height and width afterwards, pixels.
        is_mask: see `resize_mask`.
    """

    def __init__(
        self, keys: KeysCollection, size: int, is_mask: bool = False, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = size
        self.resize = resize_mask if is_mask else resize

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.resize(out[key], self.size)
        return out
