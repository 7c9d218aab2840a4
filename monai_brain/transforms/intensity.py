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
    """Unsharp masking: add `amount` times what a Gaussian blur takes away.

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
    """Now and then one sequence in all channels, as slices look where the other sequences were not acquired.

    Args:
        keys: hold (C, H, W), of which each channel is a sequence.
        channel: of the sequence that stays; of LGG's slices 1 is FLAIR.
        prob: how often.
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


class RandTumorContrastd(RandomizableTransform, MapTransform):
    """Now and then a tumor that differs less, or more, from the brain around it; its border stays where it is.

    Within the mask, what a pixel differs from the median of the brain outside is multiplied, with a factor of its own
    for each channel; the mask's edge is blurred, so that the change leaves no line. Tumors that hardly show are rare
    where patients are few, and are what a segmenter misses.

    Args:
        keys: hold (C, H, W), background near 0.
        label_key: holds the (1, H, W) mask; where it is empty, nothing changes.
        factors: lowest and highest; 0 would make the tumor as gray as the median.
        sigma_pixels: of the blur of the mask.
        prob: how often.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        factors: tuple[float, float] = (0.4, 1.2),
        sigma_pixels: float = 1.5,
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key = label_key
        self.factors = factors
        self.sigma_pixels = sigma_pixels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the tumor of every key, or of none."""
        out = dict(data)
        self.randomize(None)
        mask = np.asarray(out[self.label_key])[0] > 0
        if not self._do_transform or not mask.any():
            return out
        weights = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), self.sigma_pixels)
        for key in self.key_iterator(out):
            image = np.array(out[key], dtype=np.float32)
            for channel in image:
                brain = channel[(channel > channel.max() / 10) & ~mask]
                factor = self.R.uniform(*self.factors)
                if brain.size:
                    channel += weights * (factor - 1) * (channel - np.median(brain))
            out[key] = np.clip(image, 0, 255)
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
