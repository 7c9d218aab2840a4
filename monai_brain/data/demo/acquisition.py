"""The scanner: thick slices in the three planes and whole volumes, limited resolution, noise."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from monai_brain.data.demo.anatomy import CONTRASTS
from monai_brain.data.demo.lesions import Head

PLANES = ("axial", "coronal", "sagittal")
THICKNESS_MM = 5.0
SHEETS = 3
"""Thin sheets whose mean is a thick slice."""
FIELD_OF_VIEW_MM = 236.0
SIZE_PIXELS = 256

BRIGHT_PERCENTILE = 99.6
"""What becomes white: a few bright voxels must not darken the rest."""


LOWEST_MM, HIGHEST_MM = -65.0, 100.0
"""From below the cerebellum to the crown: where a volume's slices lie."""


class DemoVolume(NamedTuple):
    """A rendered head in three sequences and its reference, as NIfTI stores them: (R, A, S), first index left."""

    sequences: Mapping[str, np.ndarray]
    """float32 (X, Y, Z) by name, about 0 to 1."""
    mask: np.ndarray
    """bool (X, Y, Z): what is not normal on FLAIR."""
    affine_ras: np.ndarray
    """(4, 4), millimeters."""


class DemoSlice(NamedTuple):
    """A rendered slice and its reference."""

    image: np.ndarray
    """uint8 (H, W)."""
    mask: np.ndarray
    """bool (H, W), tumor."""


def slice_points(plane: str, at_mm: float, size: int = SIZE_PIXELS) -> torch.Tensor:
    """Scanner coordinates (RAS, mm) of a slice's pixels, (size, size, 3), as radiologists look at it.

    Args:
        plane: `axial`, `coronal` or `sagittal`.
        at_mm: position along the through-plane axis.
        size: pixels per side.
    """
    steps = (torch.arange(size) + 0.5) / size * FIELD_OF_VIEW_MM - FIELD_OF_VIEW_MM / 2
    down, across = torch.meshgrid(-steps, steps, indexing="ij")
    fixed = torch.full_like(down, at_mm)
    axes = {
        "axial": (-across, down - 18, fixed),
        "coronal": (-across, fixed, down + 2),
        "sagittal": (fixed, -across - 18, down + 2),
    }
    return torch.stack(axes[plane], dim=-1)


def acquire_slice(head: Head, plane: str, at_mm: float, random: np.random.Generator) -> DemoSlice:
    """One slice, `THICKNESS_MM` thick, as an 8-bit image with the scanner's faults."""
    offsets = np.linspace(-THICKNESS_MM / 2, THICKNESS_MM / 2, SHEETS + 2)[1:-1]
    sheets = [head(slice_points(plane, at_mm + float(offset))) for offset in offsets]
    image = torch.stack([sheet[0] for sheet in sheets]).mean(0).numpy()
    share = torch.stack([sheet[1] for sheet in sheets]).mean(0).numpy()
    magnitude = scan(image, random, noise=random.uniform(0.012, 0.03), kept=random.uniform(0.7, 0.95))
    white = np.percentile(magnitude, BRIGHT_PERCENTILE)
    return DemoSlice((np.clip(magnitude / white, 0, 1) * 255).astype(np.uint8), share >= 0.5)


def acquire_volume(
    head: Head, random: np.random.Generator, size: int = 128, step_mm: float = THICKNESS_MM
) -> DemoVolume:
    """T1, FLAIR and T1 with contrast of one head on one grid of axial slices.

    Args:
        head: the subject.
        random: of noise and resolution.
        size: pixels per side.
        step_mm: between slices.
    """
    noise, kept = random.uniform(0.012, 0.03), random.uniform(0.75, 0.95)
    places = np.arange(LOWEST_MM, HIGHEST_MM, step_mm)
    images: dict[str, list[np.ndarray]] = {name: [] for name in CONTRASTS}
    masks = []
    for at_mm in places:
        points = slice_points("axial", float(at_mm), size)
        for name, contrast in CONTRASTS.items():
            image, share = head(points, contrast)
            images[name].append(scan(image.numpy(), random, noise=noise, kept=kept).astype(np.float32))
            if name == "flair":
                masks.append(share.numpy() >= 0.5)
    pixel_mm = FIELD_OF_VIEW_MM / size
    first = slice_points("axial", float(places[0]), size)[-1, -1].numpy()  # left, posterior: x and y grow from there
    affine = np.diag([pixel_mm, pixel_mm, step_mm, 1.0])
    affine[:3, 3] = first
    return DemoVolume({name: _as_stored(own) for name, own in images.items()}, _as_stored(masks), affine)


def _as_stored(slices: list[np.ndarray]) -> np.ndarray:
    """Slices (H, W), seen from below with the head up, as (X, Y, Z) with x to the right and y to the front."""
    return np.ascontiguousarray(np.stack(slices, axis=-1)[::-1, ::-1].swapaxes(0, 1))


def scan(image: np.ndarray, random: np.random.Generator, *, noise: float, kept: float) -> np.ndarray:
    """Limit a slice in k-space and add Rician noise (H. Gudbjartsson, S. Patz, MRM 34, 1995).

    Args:
        image: (N, N), about 0 to 1.
        random: of the noise.
        noise: standard deviation in each of the two receive channels.
        kept: share of the spatial frequencies along each axis.
    """
    size = image.shape[0]
    radius = np.abs(np.arange(size) - size / 2) / (size / 2)
    window = np.clip((kept - radius) / 0.08 + 0.5, 0, 1)
    frequencies = np.fft.fftshift(np.fft.fft2(image)) * window[:, None] * window[None]
    received = np.fft.ifft2(np.fft.ifftshift(frequencies))
    received = received + noise * (random.standard_normal(image.shape) + 1j * random.standard_normal(image.shape))
    return np.abs(received)
