"""Crop, pad and resize uint8 slices, and invert this for maps in the network's coordinates."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

DEFAULT_BORDER_PIXELS = 12
"""Of 224: width of frames in the public sets, which would reveal the class to a network."""


Size = tuple[int, int]
"""Height and width, pixels."""


@runtime_checkable
class InvertibleResize(Protocol):
    """An invertible transform that changes a slice's size."""

    def size_after(self, size: Size) -> Size:
        """The size of a slice after the transform."""

    def undo(self, array: np.ndarray, size: Size) -> np.ndarray:
        """Invert the transform for a float map (h, w), given the slice's size before."""


def to_size_before(array: np.ndarray, transforms: Sequence[Any], size: Size) -> np.ndarray:
    """Bring a map from the network's coordinates back to those of the slice as read.

    Args:
        array: float32 (h, w), such as the probability of every pixel.
        transforms: that the slice went through; those that are not `InvertibleResize` must leave its size alone.
        size: of the slice as it was read.

    Returns:
        (H, W); 0 where the network saw nothing.

    Raises:
        ValueError: the transforms do not lead from `size` to the map's size.
    """
    before = []
    for transform in transforms:
        if isinstance(transform, InvertibleResize):
            before.append((transform, size))
            size = transform.size_after(size)
    if size != array.shape:
        names = ", ".join(type(transform).__name__ for transform in transforms)
        raise ValueError(f"the way back from {array.shape} is not known: {names} lead to {size}")
    for transform, earlier in reversed(before):
        array = transform.undo(array, earlier)
    return array


def border_of(size: Size, border_pixels: int) -> Size:
    """Rows and columns that are cut at each end: at most an eighth of a side, so that small images keep their brain."""
    return min(border_pixels, size[0] // 8), min(border_pixels, size[1] // 8)


def crop_border(image: np.ndarray, border_pixels: int) -> np.ndarray:
    """`image` (C, H, W) without its outermost rows and columns; see `border_of`."""
    height, width = image.shape[-2:]
    rows, columns = border_of((height, width), border_pixels)
    return image[..., rows : height - rows, columns : width - columns]


def margins_to_square(size: Size) -> tuple[Size, Size]:
    """Rows above and below, columns left and right, that make a square; the odd one is below or right."""
    side = max(size)
    (rows, columns) = (side - size[0], side - size[1])
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


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

    Nearest-neighbor resizing would be faster, but shifts a shrinking mask by half a pixel.
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

    def size_after(self, size: Size) -> Size:
        """See `InvertibleResize`."""
        rows, columns = border_of(size, self.border_pixels)
        return size[0] - 2 * rows, size[1] - 2 * columns

    def undo(self, array: np.ndarray, size: Size) -> np.ndarray:
        """See `InvertibleResize`; zeros where the border was."""
        rows, columns = border_of(size, self.border_pixels)
        return np.pad(array, ((rows, rows), (columns, columns)))


class PadToSquared(MapTransform):
    """Zeros at the shorter sides, as many at both ends, so that resizing does not stretch.

    Args:
        keys: hold (C, H, W) arrays.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pad every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            margins = margins_to_square(out[key].shape[-2:])
            if any(map(any, margins)):
                out[key] = np.pad(out[key], ((0, 0), *margins))
        return out

    def size_after(self, size: Size) -> Size:
        """See `InvertibleResize`."""
        return max(size), max(size)

    def undo(self, array: np.ndarray, size: Size) -> np.ndarray:
        """See `InvertibleResize`."""
        (above, _), (left, _) = margins_to_square(size)
        return array[above : above + size[0], left : left + size[1]]


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

    def size_after(self, size: Size) -> Size:
        """See `InvertibleResize`."""
        return self.size, self.size

    def undo(self, array: np.ndarray, size: Size) -> np.ndarray:
        """See `InvertibleResize`; linear."""
        if array.shape == size:
            return array
        return cv2.resize(np.ascontiguousarray(array), size[::-1], interpolation=cv2.INTER_LINEAR)
