"""Volumes of any axis order turned to one orientation, and back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from monai_brain.io.record import Image, UnreadableCase

PLANES = {2: ("axial", "SPL"), 1: ("coronal", "AIL"), 0: ("sagittal", "LIP")}
"""By the world axis (right, anterior, superior) that the slices follow: the plane, and where index 1 lies from index 0
along slices, rows and columns. Heads look up or to the left, and their right is at the left, as radiologists read."""

THICK = 1.3
"""Slices follow the axis whose spacing is this many times the next larger one; otherwise they are axial."""

TIE_BREAK = np.eye(4)
"""A turn of the world by less than a tenth of a degree, before its nearest axes are asked for. An axis midway between
two of them (45 degrees) would otherwise go to the one that rounding, or the order of the file's axes, prefers."""
TIE_BREAK[:3, :3] += 1e-3 * np.array([[0, -1, 0.7], [1, 0, -0.4], [-0.7, 0.4, 0]])


class VolumeSource(NamedTuple):
    """What brings an array of `Image.pixels`' orientation back to the file's."""

    shape: tuple[int, ...]
    affine_ras: np.ndarray
    orientation: np.ndarray
    """nibabel's (3, 2), of the file's first three axes."""
    plane: str
    """`axial`, `coronal` or `sagittal`."""
    header: Mapping[str, Any] | None = None
    """Of a NIfTI header, what places the voxels in the world; None: of another format."""


def oriented(
    values: np.ndarray,
    affine_ras: np.ndarray,
    warnings: tuple[str, ...] = (),
    *,
    unit_mm: float = 1.0,
    header: Mapping[str, Any] | None = None,
    shape: tuple[int, ...] | None = None,
) -> Image:
    """A volume turned as `PLANES` says.

    Args:
        values: float32, three axes.
        affine_ras: (4, 4), of these axes.
        warnings: codes that are noted already.
        unit_mm: of the affine.
        header: for masks, see `VolumeSource`.
        shape: as the file gives it, which may have further axes of length 1.

    Raises:
        UnreadableCase: `non_finite`, `bad_affine`.
    """
    if not np.isfinite(values).all():
        raise UnreadableCase("non_finite", "some voxels are NaN or infinite")
    if not _is_usable(affine_ras):
        raise UnreadableCase("bad_affine", "the affine is singular or not finite, so the orientation is unknown")
    orientation = io_orientation(TIE_BREAK @ affine_ras)
    world_axis = [int(axis) for axis in orientation[:, 0]]
    plane, names = PLANES[_slice_axis(values.shape, affine_ras, world_axis)]
    turn = ornt_transform(orientation, axcodes2ornt(names))
    turned = np.ascontiguousarray(apply_orientation(values, turn))
    turned_affine = affine_ras @ inv_ornt_aff(turn, values.shape)
    turned_affine[:3] *= unit_mm
    spacing = tuple(float(v) for v in np.linalg.norm(turned_affine[:3, :3], axis=0))
    if len(turned) == 1:
        warnings = (*warnings, "single_slice")
    source = VolumeSource(shape or values.shape, affine_ras, orientation, plane, header)
    return Image(turned[None], spacing, turned_affine, "volume", warnings, source=source)


def in_source_orientation(array: np.ndarray, source: VolumeSource) -> np.ndarray:
    """An array (D, H, W) as the file has its axes, of the file's shape."""
    back = ornt_transform(axcodes2ornt(_codes(source.plane)), source.orientation)
    return apply_orientation(array, back).reshape(source.shape)


def _is_usable(affine: np.ndarray) -> bool:
    """Whether an affine is finite and its three axes are independent, whatever their unit."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(lengths.all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-4)


def _slice_axis(shape: tuple[int, ...], affine: np.ndarray, world_axis: list[int]) -> int:
    """The world axis that the slices follow: the only one with a single voxel, or the thickest, or superior."""
    single = [axis for axis, size in zip(world_axis, shape, strict=True) if size == 1]
    if len(single) == 1:
        return single[0]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(spacing)
    return world_axis[order[-1]] if spacing[order[-1]] >= THICK * spacing[order[-2]] else 2


def _codes(plane: str) -> str:
    return next(codes for name, codes in PLANES.values() if name == plane)
