"""Contrast, sharpness, range and normalization of slices."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1], as every torchvision weight file expects."""

TISSUE_ABOVE = 0.04
"""Of the full range: what counts for mean and deviation of a slice. Noise of the air stays below."""

AIR_BELOW = 0.015
"""Becomes 0. Lower than `TISSUE_ABOVE`, so that dark fluid keeps its shades."""

LEAST_TISSUE_PIXELS = 200
"""A few specks are divided by this, so that they do not become a slice's mean."""

LEAST_DEVIATION = 0.03
"""Keeps noise in flat slices from being amplified."""

STANDARD_MEAN, STANDARD_DEVIATION, STANDARD_MAXIMUM = 0.4, 0.15, 1.3
"""Of the standardized tissue: near what ImageNet's normalization expects; beyond six deviations nothing differs."""


def equalize_local_contrast(image: np.ndarray, clip_limit: float = 2.0, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalization (CLAHE).

    Args:
        image: uint8 (C, H, W); with 3 channels, only the lightness L of CIELAB is equalized.
        clip_limit: highest bin of a tile's histogram, relative to a flat one.
        tiles: along each side.

    Returns:
        uint8 (C, H, W).

    Source: K. Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV, 1994.
    """
    clahe = cv2.createCLAHE(clip_limit, (tiles, tiles))
    if image.shape[0] == 1:
        return clahe.apply(np.ascontiguousarray(image[0]))[None]
    lab = cv2.cvtColor(np.ascontiguousarray(np.moveaxis(image, 0, -1)), cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
    return np.moveaxis(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), -1, 0)


def sharpen(image: np.ndarray, sigma_pixels: float = 1.0, amount: float = 0.5) -> np.ndarray:
    """Unsharp masking: add `amount` times what a Gaussian blur removes.

    Args:
        image: uint8 (C, H, W).
        sigma_pixels: of the blur.
        amount: 0 changes nothing.

    Returns:
        uint8 (C, H, W), clipped.
    """
    channels_last = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    blurred = cv2.GaussianBlur(channels_last, (0, 0), sigma_pixels)
    sharpened = cv2.addWeighted(channels_last, 1 + amount, blurred.reshape(channels_last.shape), -amount, 0)
    return np.moveaxis(sharpened.reshape(channels_last.shape), -1, 0)


def standardize_slice(image: torch.Tensor) -> torch.Tensor:
    """Shift and scale the tissue of a slice, each channel by itself, to one mean and deviation; air becomes 0.

    Scanners scale intensities arbitrarily, and every slice differently. After this step, a tumor stands out only by
    its difference from the surrounding tissue.

    Args:
        image: float (..., C, H, W) in [0, 1], or a little above after augmentation.

    Returns:
        The same shape, in [0, 1.3]. A channel without tissue is 0 throughout.
    """
    tissue = (image > TISSUE_ABOVE).to(image.dtype)
    pixels = tissue.sum((-2, -1), keepdim=True).clamp(min=LEAST_TISSUE_PIXELS)
    mean = (image * tissue).sum((-2, -1), keepdim=True) / pixels
    deviation = ((image - mean).square() * tissue).sum((-2, -1), keepdim=True).div(pixels).sqrt()
    standardized = (image - mean) / deviation.clamp(min=LEAST_DEVIATION) * STANDARD_DEVIATION + STANDARD_MEAN
    return standardized.clamp(0, STANDARD_MAXIMUM) * (image > AIR_BELOW)


class EqualizeLocalContrastd(MapTransform):
    """CLAHE on uint8 slices; see `equalize_local_contrast`."""

    def __init__(
        self, keys: KeysCollection, clip_limit: float = 2.0, tiles: int = 8, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.clip_limit = clip_limit
        self.tiles = tiles

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Equalize every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = equalize_local_contrast(out[key], self.clip_limit, self.tiles)
        return out


class SharpenGaussiand(MapTransform):
    """Unsharp masking on uint8 slices; see `sharpen`."""

    def __init__(
        self,
        keys: KeysCollection,
        sigma_pixels: float = 1.0,
        amount: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.sigma_pixels = sigma_pixels
        self.amount = amount

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Sharpen every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = sharpen(out[key], self.sigma_pixels, self.amount)
        return out


class RandSingleSequenced(RandomizableTransform, MapTransform):
    """Randomly copy one sequence to all channels, like slices for which the other sequences were not acquired.

    Args:
        keys: hold (C, H, W), of which each channel is a sequence.
        channel: of the sequence that stays; of LGG's slices 1 is FLAIR.
        prob: probability.
    """

    def __init__(
        self, keys: KeysCollection, channel: int = 1, prob: float = 0.1, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.channel = channel

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Repeat the channel of every key, or of none."""
        out = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(out):
                out[key] = out[key][[self.channel] * len(out[key])]
        return out


class ScaleToUnitd(MapTransform):
    """From [0, 255] (uint8, or float after augmentation) to float32 in [0, 1], as a tensor."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            if isinstance(image, torch.Tensor):
                out[key] = image * (1 / 255)
            else:
                out[key] = torch.from_numpy(np.multiply(image, np.float32(1 / 255), dtype=np.float32))
        return out


class StandardizeSliced(MapTransform):
    """One brightness and contrast for the tissue of every slice; see `standardize_slice`.

    Comes after `ScaleToUnitd` and before `NormalizeChannelsd`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Standardize every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = standardize_slice(torch.as_tensor(out[key]))
        return out


class NormalizeChannelsd(MapTransform):
    """Subtract a mean and divide by a deviation per channel; a gray slice becomes as many channels as means.

    Args:
        keys: hold float (1, H, W) or (C, H, W) tensors in [0, 1].
        mean: C values.
        std: C values.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.gain = 1 / torch.tensor(std, dtype=torch.float32)[:, None, None]
        self.offset = -torch.tensor(mean, dtype=torch.float32)[:, None, None] * self.gain

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalize every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = torch.addcmul(self.offset, torch.as_tensor(out[key]), self.gain)
        return out
