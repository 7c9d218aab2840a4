"""Corruptions of slices: noise, bias field, gamma, blur, JPEG, rotation, crop, resolution."""

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from monai.transforms import (
    AdjustContrast,
    CenterSpatialCrop,
    GaussianSmooth,
    RandBiasField,
    RandRicianNoise,
    Resize,
    Rotate,
)

REFERENCE_PIXELS = 224
"""Height of the slices that strengths in pixels are meant for; they grow with the slice."""


class Corruption(NamedTuple):
    """One kind of corruption, at three levels."""

    name: str
    unit: str
    """What the strengths are."""
    strengths: tuple[float, float, float]
    """From weak to strong."""
    apply: Callable[[np.ndarray, float, int], np.ndarray]
    """From uint8 (C, H, W), a strength and a seed to uint8 (C, h, w)."""
    moves: bool = False
    """Whether pixels move; then `apply` also moves masks of 0 and 255."""


def _noise(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    return _drawn(RandRicianNoise(prob=1, std=deviation, sample_std=False), image, seed)


def _bias_field(image: np.ndarray, coefficient: float, seed: int) -> np.ndarray:
    """Brightened parts do not saturate: the brightest pixel stays as bright as it was."""
    field = RandBiasField(prob=1, degree=3, coeff_range=(-coefficient, coefficient))
    field.set_random_state(seed)
    biased = np.asarray(field(torch.from_numpy(image.astype(np.float32))))
    return _as_8_bits(biased * (image.max() / max(biased.max(), 1)))


def _gamma(image: np.ndarray, gamma: float, seed: int) -> np.ndarray:
    return _as_8_bits(AdjustContrast(gamma)(torch.from_numpy(image.astype(np.float32))))


def _blur(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    smooth = GaussianSmooth(sigma * image.shape[-2] / REFERENCE_PIXELS)
    return _as_8_bits(smooth(torch.from_numpy(image.astype(np.float32))))


def _jpeg(image: np.ndarray, quality: float, seed: int) -> np.ndarray:
    channels_last = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    content = cv2.imencode(".jpg", channels_last, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    flag = cv2.IMREAD_GRAYSCALE if len(image) == 1 else cv2.IMREAD_COLOR
    decoded = cv2.imdecode(content, flag)
    assert decoded is not None  # it was encoded just now
    return decoded[None] if decoded.ndim == 2 else np.moveaxis(decoded, -1, 0)


def _rotation(image: np.ndarray, degrees: float, seed: int) -> np.ndarray:
    rotate = Rotate(np.deg2rad(degrees), mode="bilinear", padding_mode="zeros", align_corners=False)
    return _as_8_bits(rotate(torch.from_numpy(image.astype(np.float32))))


def _crop(image: np.ndarray, share: float, seed: int) -> np.ndarray:
    size = [side - 2 * round(side * share) for side in image.shape[-2:]]
    return np.asarray(CenterSpatialCrop(size)(torch.from_numpy(image)))


def _resolution(image: np.ndarray, factor: float, seed: int) -> np.ndarray:
    small = Resize([max(1, round(side / factor)) for side in image.shape[-2:]], mode="area")
    back = Resize(image.shape[-2:], mode="bilinear", align_corners=False)
    return _as_8_bits(back(small(torch.from_numpy(image.astype(np.float32)))))


CORRUPTIONS = (
    Corruption("noise", "deviation of Rician noise, of 255", (5, 10, 20), _noise),
    Corruption("bias field", "largest coefficient", (0.1, 0.2, 0.4), _bias_field),
    Corruption("gamma", "exponent", (1.25, 1.5, 2), _gamma),
    Corruption("blur", "sigma, pixels of 224", (0.5, 1, 2), _blur),
    Corruption("JPEG", "quality", (50, 25, 10), _jpeg),
    Corruption("rotation", "degrees", (5, 10, 20), _rotation, moves=True),
    Corruption("crop", "share of each side", (0.05, 0.1, 0.15), _crop, moves=True),
    Corruption("resolution", "times fewer rows and columns", (1.5, 2, 4), _resolution),
)


def _drawn(transform: Any, image: np.ndarray, seed: int) -> np.ndarray:
    transform.set_random_state(seed)
    return _as_8_bits(transform(torch.from_numpy(image.astype(np.float32))))


def _as_8_bits(image: Any) -> np.ndarray:
    return np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)
