"""DICOM: slices and volumes with their geometry, and coded refusals.

What names a patient leaves this module only in `Image.dicom`, for segmentations that refer to their source
(`io.dicom_seg`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID

from monai_brain.io.dicom_header import (
    check_kind,
    check_mosaic,
    checked_voxels,
    group,
    is_inverted,
    note_oddities,
    numbers,
    parse,
    rescale,
    sequence_of,
    window_of,
)
from monai_brain.io.dicom_source import DicomSource, Instance, identity_of, instances_of, thickness_of
from monai_brain.io.orient import oriented
from monai_brain.io.record import Image, Limits, UnreadableCase

POSITION_TOLERANCE = 0.1
"""Of the distance between slices: how uneven it may be before a slice is taken to be missing."""

PARALLEL = 1e-3
"""Largest difference of direction cosines within one volume."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


class Frame(NamedTuple):
    """One decoded slice; directions and positions are DICOM's, left, posterior, superior."""

    pixels: np.ndarray
    """(H, W) or (3, H, W), float32 or uint8."""
    position_mm: np.ndarray | None
    """(3,), center of the first pixel."""
    directions: np.ndarray | None
    """(2, 3): where columns, then rows, lead to."""
    spacing_mm: tuple[float, float] | None
    """Along H and W."""


def read_dicom(contents: Sequence[bytes], limits: Limits) -> Image:
    """Decode one file, or the files of one series.

    Args:
        contents: of the files, in any order.
        limits: sizes beyond which they are refused, before memory is taken.

    Returns:
        A slice where there is one frame: pixels (C, H, W) as displayed, float32 or uint8. Else a volume, turned as
        NIfTI volumes are.

    Raises:
        UnreadableCase: `damaged`, `truncated`, `no_decoder`, `not_mr`, `no_pixels`, `bad_rescale`, `decimal_comma`,
            `mosaic`, `mixed_series`, `missing_slices`, `no_positions`, `no_file_meta`, `several_volumes`, `too_large`,
            `unsupported_format`.
    """
    notes: list[str] = []
    voxels = 0
    frames: list[Frame] = []
    instances: list[Instance] = []
    windows = []
    for content in contents:
        data = parse(content)
        check_kind(data)
        check_mosaic(data, notes)
        voxels += checked_voxels(data, limits)
        if voxels > limits.max_voxels:
            raise UnreadableCase("too_large", f"more than {limits.max_voxels} voxels")
        note_oddities(data, notes)
        own = _frames(data, notes)
        frames += own
        instances += instances_of(data, [frame.position_mm for frame in own])
        windows.append(window_of(data))
    window = windows[len(windows) // 2]
    frames = _without_padding(frames)
    if len(frames) == 1:
        image, order = _slice(frames[0], tuple(notes), window), np.zeros(1, int)
    else:
        image, order = _volume(frames, tuple(notes), window)
    thickness = thickness_of(group(data, 0, "PixelMeasuresSequence"))
    source = _source(identity_of(data), frames[0], [instances[n] for n in order], thickness)
    return image._replace(dicom=source, sequence=sequence_of(data))


def _frames(data: Any, notes: list[str]) -> list[Frame]:
    stored = _decoded(data)
    if int(data.get("SamplesPerPixel", 1) or 1) > 1:
        colors = stored if stored.ndim == 4 else stored[None]
        if colors.dtype != np.uint8:
            raise UnreadableCase("unsupported_format", "color of more than 8 bits is not read")
        return [_placed(data, index, np.moveaxis(own, -1, 0)) for index, own in enumerate(colors)]
    images = stored if stored.ndim == 3 else stored[None]
    frames = []
    for index, own in enumerate(images):
        slope, intercept = rescale(data, index)
        if slope < 0 and "negative_slope" not in notes:
            notes.append("negative_slope")
        values = own.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        if is_inverted(data):
            values = -values  # not from the frame's maximum: a tissue stays equal through a volume, and the window fits
        values[_is_padding(data, own)] = np.nan
        frames.append(_placed(data, index, values))
    if is_inverted(data) and "monochrome1_inverted" not in notes:
        notes.append("monochrome1_inverted")
    return frames


def _is_padding(data: Any, stored: np.ndarray) -> np.ndarray:
    """Where a frame's stored values (H, W) are padding (PS3.3, C.7.5.1.1.2)."""
    if stored.dtype.kind not in "iu" or "PixelPaddingValue" not in data:
        return np.zeros(stored.shape, bool)
    found = [numbers(data, name, 1) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    ends = [int(own[0]) for own in found if own is not None]
    if not ends:
        return np.zeros(stored.shape, bool)
    ends = np.array(ends, np.int64).astype(stored.dtype).tolist()  # as bits: some give -2000 as 63536
    return (stored >= min(ends)) & (stored <= max(ends))


def _without_padding(frames: list[Frame]) -> list[Frame]:
    """Frames whose padding, NaN, is as dark as their darkest pixel."""
    lowest = [np.nanmin(own.pixels) for own in frames if not np.isnan(own.pixels).all()]
    filled = [np.isnan(own.pixels) for own in frames]
    if not any(own.any() for own in filled):
        return frames
    darkest = np.float32(min(lowest, default=0))
    return [
        own._replace(pixels=np.where(where, darkest, own.pixels)) for own, where in zip(frames, filled, strict=True)
    ]


def _decoded(data: Any) -> np.ndarray:
    syntax = UID(str(getattr(data.file_meta, "TransferSyntaxUID", "")))
    try:
        is_available = not syntax.is_compressed or get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        raise UnreadableCase("no_decoder", f"transfer syntax {syntax} is not known") from None
    if not is_available:
        raise UnreadableCase("no_decoder", f"no decoder for {syntax.name} is installed")
    try:
        return np.asarray(pixel_array(data))
    except (NotImplementedError, ImportError):
        raise UnreadableCase("no_decoder", f"{syntax.name} of this kind cannot be decoded") from None
    except Exception as error:
        short = "less than" in str(error) or "number of bytes" in str(error) or isinstance(error, EOFError)
        code = "truncated" if short else "damaged"
        raise UnreadableCase(code, f"the pixels could not be decoded ({type(error).__name__})") from None


def _placed(data: Any, index: int, pixels: np.ndarray) -> Frame:
    position = numbers(group(data, index, "PlanePositionSequence"), "ImagePositionPatient", 3)
    directions = numbers(group(data, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = numbers(group(data, index, "PixelMeasuresSequence"), "PixelSpacing", 2)
    usable = directions is not None and np.abs(np.linalg.norm(directions.reshape(2, 3), axis=1) - 1).max() < 0.01
    known = spacing is not None and (spacing > 0).all()
    return Frame(
        pixels,
        position,
        directions.reshape(2, 3) if directions is not None and usable else None,
        (float(spacing[0]), float(spacing[1])) if spacing is not None and known else None,
    )


def _source(
    identity: dict[str, str], frame: Frame, instances: Sequence[Instance], thickness_mm: float | None
) -> DicomSource:
    """Data that a segmentation copies; its position in space only if fully known."""
    positions = [own.position_mm for own in instances if own.position_mm is not None]
    if thickness_mm is None and len(positions) == len(instances) > 1:
        thickness_mm = float(np.linalg.norm(np.subtract(positions[-1], positions[0])) / (len(positions) - 1))
    known = len(positions) == len(instances) and thickness_mm and frame.spacing_mm
    if frame.directions is None or not known:
        instances = [own._replace(position_mm=None) for own in instances]
    rows, columns = frame.pixels.shape[-2:]
    cosines = tuple(float(v) for v in frame.directions.ravel()) if known and frame.directions is not None else None
    return DicomSource(identity, tuple(instances), rows, columns, cosines, frame.spacing_mm, thickness_mm)


def _slice(frame: Frame, notes: tuple[str, ...], window: tuple[float, float] | None) -> Image:
    pixels = frame.pixels if frame.pixels.ndim == 3 else frame.pixels[None]
    return Image(pixels, frame.spacing_mm, None, "slice", notes, window=window)


def _volume(
    frames: list[Frame], notes: tuple[str, ...], window: tuple[float, float] | None
) -> tuple[Image, np.ndarray]:
    """The volume, and the order in which its slices came."""
    if any(frame.pixels.shape != frames[0].pixels.shape or frame.pixels.ndim != 2 for frame in frames):
        raise UnreadableCase(
            "mixed_series", "images of one series differ in size or are in color; give them one by one"
        )
    positions = np.array([f.position_mm for f in frames if f.position_mm is not None])
    directions = np.array([f.directions for f in frames if f.directions is not None])
    spacings = np.array([f.spacing_mm for f in frames if f.spacing_mm is not None])
    found = {"ImagePositionPatient": positions, "ImageOrientationPatient": directions, "PixelSpacing": spacings}
    if lacking := [name for name, values in found.items() if len(values) < len(frames)]:
        raise UnreadableCase(
            "no_positions", f"some slices have no usable {', '.join(lacking)}; they cannot be put in order"
        )
    if np.abs(directions - directions[0]).max() > PARALLEL or np.abs(spacings - spacings[0]).max() > PARALLEL:
        raise UnreadableCase("mixed_series", "slices of one series are in different planes; give them one by one")
    places = positions @ np.cross(directions[0][0], directions[0][1])
    order = np.argsort(places, kind="stable")
    _check_steps(np.diff(places[order]))
    values = np.stack([frames[index].pixels for index in order])
    affine = _affine(positions[order], directions[0], spacings[0])
    return oriented(values.transpose(2, 1, 0), affine, notes)._replace(window=window), order


def _check_steps(steps: np.ndarray) -> None:
    usual = float(np.median(steps))
    if usual <= 0 or steps.min() < POSITION_TOLERANCE * usual:
        raise UnreadableCase(
            "several_volumes", "several slices have the same position (echoes or time points); give one of them"
        )
    if np.abs(steps - usual).max() > POSITION_TOLERANCE * usual:
        raise UnreadableCase("missing_slices", "the distance between slices is uneven: some are missing")


def _affine(positions: np.ndarray, directions: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(4, 4): indices along columns, rows and slices to millimeters right, anterior, superior."""
    affine = np.eye(4)
    affine[:3, 0] = directions[0] * spacing[1]
    affine[:3, 1] = directions[1] * spacing[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    affine[:3] = LPS_TO_RAS @ affine[:3]
    return affine
