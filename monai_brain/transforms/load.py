"""From a path or case to a uint8 slice, (C, H, W)."""

import functools
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_brain.io import DEFAULT_LIMITS, Case, Image, Limits, UnreadableCase, read_case
from monai_brain.io.read import read_image, read_mask
from monai_brain.io.record import SEQUENCES

TISSUE_ABOVE_8_BITS = 10
"""Of 255: brighter pixels are no air."""

LEAST_TISSUE_SHARE = 0.02
"""Of a slice's pixels. Of 969 slices with tumor of 79 patients the least had 0.15; 2 to 4 of 100 slices have less than
this, and no head in them."""

BRIGHT_PERCENTILE = 99.8
"""Where deeper images are cut to 8 bits: single bright voxels (vessels, fat) would darken all the rest."""

BRIGHT_BORDER, BORDER_SHARE = 50, 0.03
"""Median of a slice's outermost pixels, of 255, and how many they are, of its shorter side: where they are brighter,
it does not lie in air."""

WHITE_SHARE = 0.5
"""Of the tissue, that a window meant for the picture does not make white; usual ones do so with 1 to 5 %."""

COLORFUL, COLORFUL_SHARE = 40, 0.05
"""Channel difference, of 255, from which a pixel is colored, and the share of such pixels that noise cannot cause."""

GRAY_PREFERENCE = ("t1c", "t1", "flair")
"""Sequence that a network for gray slices sees, best first: the public sets are mostly post-contrast T1."""


class LoadSliced(MapTransform):
    """Read a slice and bring it to 8 bits; MR slices are gray, so colors are reduced to gray by default.

    Args:
        keys: hold a path, an `io.Case` or an `io.Image` of a slice; afterwards uint8 (1, H, W), or (3, H, W) with
            `gray=False`.
        gray: one channel by the luma weights of ITU-R BT.601; for slices whose channels are three
            sequences, say False.
        limits: sizes beyond which a file is refused.

    The codes of what was converted on the way are added under `<key>_warnings`, height and width under `<key>_shape`.

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
            image = as_8_bits(self._read(out[key]))
            out[key], notes = to_network_channels(image, gray=self.gray)
            out[f"{key}_warnings"] = (*image.warnings, *notes)
            out[f"{key}_shape"] = image.pixels.shape[-2:]
        return out

    def _read(self, place: Any) -> Image:
        if isinstance(place, Image):
            return place
        return (
            read_case(place, limits=self.limits)
            if isinstance(place, Case)
            else read_image(Path(place), limits=self.limits)
        )


class LoadMaskd(MapTransform):
    """Read a mask of two values, of which the brighter one is the target.

    Args:
        keys: hold a path; afterwards uint8 (1, H, W), 0 or 1.
        image_key: of the slice that they belong to; where `LoadSliced` has read it, sizes must be equal.

    Raises:
        UnreadableCase: see `io.read.read_mask`, or of another size (`geometry_mismatch`); inside a `Compose` as the
            cause of its RuntimeError.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths by masks."""
        out = dict(data)
        shape = out.get(f"{self.image_key}_shape")
        for key in self.key_iterator(out):
            if not isinstance(out[key], str | Path):
                raise UnreadableCase("not_a_mask", f"its {key} is {out[key]!r}, and no path of a mask")
            mask = read_mask(Path(out[key])).astype(np.uint8)[None]
            if shape is not None and mask.shape[1:] != shape:
                sizes = " and its mask ".join(f"{height}x{width}" for height, width in (shape, mask.shape[1:]))
                raise UnreadableCase("geometry_mismatch", f"the slice is {sizes}")
            out[key] = mask
        return out


def to_8_bits(pixels: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Pixels as uint8.

    8-bit images stay as they are. Deeper ones are mapped linearly: the window from black to white where the file
    names one that fits (`window_fits`), else from the darkest pixel to the 99.8th percentile, because their files do
    not say which part of the range holds the picture.

    Args:
        pixels: any shape.
        window: center and width, in the pixels' unit (DICOM PS3.3, C.11.2.1.2).
    """
    if pixels.dtype == np.uint8:
        return pixels
    if window is not None and window_fits(pixels, window):
        return _mapped(pixels, window[0] - window[1] / 2, window[0] + window[1] / 2)
    return _mapped(pixels, *_own_range(pixels))


def window_fits(pixels: np.ndarray, window: tuple[float, float]) -> bool:
    """Whether a window leaves air dark, something bright, and most of the tissue not white.

    Args:
        pixels: any shape, not of 8 bits.
        window: as for `to_8_bits`.
    """
    dark, bright = _own_range(pixels)
    low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    tissue = pixels[pixels > dark + (bright - dark) * TISSUE_ABOVE_8_BITS / 255]
    shown = (np.array([dark, bright]) - low) * 255 / (high - low)
    too_white = np.count_nonzero(tissue > high) > WHITE_SHARE * tissue.size
    return bool(shown[0] <= BRIGHT_BORDER and shown[1] > BRIGHT_BORDER and not too_white)


def _own_range(pixels: np.ndarray) -> tuple[float, float]:
    """The darkest value and the 99.8th percentile."""
    low, high = float(pixels.min()), float(np.percentile(pixels, BRIGHT_PERCENTILE))
    if high <= low:  # nearly everything is background: then the brightest pixel is the top
        high = float(pixels.max())
    return low, high


def _mapped(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def as_8_bits(image: Image) -> Image:
    """The same image as uint8; each sequence of a volume for itself, all its slices together.

    A window that does not fit is ignored, with the warning `window_ignored`.
    """
    if image.window is not None and image.pixels.dtype != np.uint8 and not window_fits(image.pixels, image.window):
        image = image._replace(window=None, warnings=(*image.warnings, "window_ignored"))
    if image.kind == "slice":
        return image._replace(pixels=to_8_bits(image.pixels, image.window))
    return image._replace(pixels=np.stack([to_8_bits(channel, image.window) for channel in image.pixels]))


def slices_of(image: Image) -> list[Image]:
    """The slices of a volume, or the slice itself; the volume's warnings are not repeated."""
    if image.kind == "slice":
        return [image]
    spacing = image.spacing_mm[1:] if image.spacing_mm else None
    return [
        Image(image.pixels[:, index], spacing, None, "slice", channels=image.channels)
        for index in range(image.pixels.shape[1])
    ]


def slices_with_signal(volume: np.ndarray) -> list[int]:
    """Slices that hold more than one value; at least one of the volume, uint8 (C, D, H, W)."""
    flat = volume.reshape(*volume.shape[:2], -1)
    has_signal = (flat.max(axis=-1) > flat.min(axis=-1)).any(axis=0)
    return np.flatnonzero(has_signal).tolist() or [volume.shape[1] // 2]


def slices_with_tissue(volume: np.ndarray) -> list[int]:
    """Slices with enough tissue; if there are none, those with any signal.

    Args:
        volume: uint8 (C, D, H, W).
    """
    tissue = (volume > TISSUE_ABOVE_8_BITS).reshape(*volume.shape[:2], -1).mean(axis=-1)
    return np.flatnonzero(tissue.max(axis=0) >= LEAST_TISSUE_SHARE).tolist() or slices_with_signal(volume)


def to_network_channels(image: Image, *, gray: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """The part of a slice that a network sees, and codes for the conversions applied.

    Args:
        image: of a slice, uint8 (C, H, W).
        gray: (1, H, W): colors by their luma, of several sequences the one that `GRAY_PREFERENCE` names first.
            Otherwise (3, H, W) in `SEQUENCES`' order; what is missing is replaced by FLAIR, as in the LGG data.
    """
    if not image.channels:
        alone = not gray and image.pixels.shape[0] == 1
        notes = ("in_color",) if gray and is_colorful(image.pixels) else ()
        return to_channels(image.pixels, gray=gray), ("one_sequence_replicated",) if alone else notes
    if gray:
        best = next(name for name in GRAY_PREFERENCE if name in image.channels)
        return image.pixels[image.channels.index(best)][None], ()
    chosen = [image.channels.index(name if name in image.channels else "flair") for name in SEQUENCES]
    missing = len(image.channels) < len(SEQUENCES)
    return image.pixels[chosen], ("missing_sequence_replaced",) if missing else ()


def to_channels(pixels: np.ndarray, *, gray: bool) -> np.ndarray:
    """(1, H, W) if `gray`, else (3, H, W), from either."""
    if gray and pixels.shape[0] == 3:
        return cv2.cvtColor(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), cv2.COLOR_RGB2GRAY)[None]
    if not gray and pixels.shape[0] == 1:
        return np.repeat(pixels, 3, axis=0)
    return pixels


def has_bright_border(pixels: np.ndarray) -> bool:
    """Whether an image continues beyond its border, as photographs and screenshots do and heads in air do not.

    Args:
        pixels: uint8 (C, H, W), or (C, D, H, W) of a volume, whose slices count together.
    """
    width = max(1, round(BORDER_SHARE * min(pixels.shape[-2:])))
    sides = (pixels[..., :width, :], pixels[..., -width:, :], pixels[..., :width], pixels[..., -width:])
    sums = [functools.reduce(np.add, side.astype(np.uint16)).ravel() for side in sides]  # over channels
    return bool(np.median(np.concatenate(sums)) > BRIGHT_BORDER * len(pixels))


def is_colorful(pixels: np.ndarray) -> bool:
    """Whether a picture has colors that no MR slice of one sequence has.

    Args:
        pixels: uint8 (C, H, W).
    """
    # channel by channel: where they lie side by side in memory, numpy's own reduction takes ten times as long
    spread = functools.reduce(np.maximum, pixels) - functools.reduce(np.minimum, pixels)
    return bool(np.count_nonzero(spread > COLORFUL) > COLORFUL_SHARE * spread.size)


def refusal_behind(error: BaseException) -> UnreadableCase | None:
    """The refusal inside an error raised by MONAI's transforms, or None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnreadableCase):
        cause = cause.__cause__
    return cause
