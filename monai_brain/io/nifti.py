"""NIfTI volumes: read with limits and checks, turned to one orientation; masks written back in the source's own."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from monai_brain.io.record import Image, Limits, UnreadableCase
from monai_brain.io.write import atomic

GZIP = b"\x1f\x8b"
MAGIC = {b"n+1\x00": (nib.Nifti1Image, 344, 348), b"n+2\x00\r\n\x1a\n": (nib.Nifti2Image, 4, 540)}
"""Class, place of the magic and size of the header, of the two versions in one file."""

PLANES = {2: ("axial", "SPL"), 1: ("coronal", "AIL"), 0: ("sagittal", "LIP")}
"""By the world axis (right, anterior, superior) that the slices follow: the plane, and where index 1 lies from index 0
along slices, rows and columns. Heads look up or to the left, and their right is at the left, as radiologists read."""

THICK = 1.3
"""Slices follow the axis whose spacing is this many times the next larger one; otherwise they are axial."""

MILLIMETERS = {"meter": 1000.0, "micron": 0.001}
"""Of the header's units; files that name none are taken to be in millimeters, as everybody does."""

CHUNK, BLOCK = 16 * 1024**2, 64 * 1024
"""Bytes that are unpacked, and read, at once."""

MOST_MEMBERS = 100_000
"""Parts of a gzip file; bgzip makes one for every 64 KB, nobody makes empty ones."""


class VolumeSource(NamedTuple):
    """What brings an array of `Image.pixels`' orientation back to the file's."""

    shape: tuple[int, ...]
    affine_ras: np.ndarray
    orientation: np.ndarray
    """nibabel's (3, 2), of the file's first three axes."""
    codes: tuple[int, int]
    """qform and sform code."""
    plane: str
    """`axial`, `coronal` or `sagittal`."""


def read_nifti(content: bytes, limits: Limits, *, named_gz: bool = False) -> Image:
    """Decode a NIfTI-1 or NIfTI-2 file, compressed or not.

    Args:
        content: the file.
        limits: sizes beyond which it is refused, before memory is taken.
        named_gz: its name ends in `.gz`, so it must be compressed.

    Returns:
        A volume: pixels (1, D, H, W) float32, D along the slices, turned as `PLANES` says; `source` for the way back.

    Raises:
        UnreadableCase: `truncated`, `damaged`, `too_large`, `several_volumes`, `unsupported_format`, `bad_affine`,
            `non_finite`.
    """
    if content.startswith(GZIP):
        content = _decompressed(content, limits)
    elif named_gz:
        raise UnreadableCase("damaged", "is named .gz and is not compressed; was it renamed?")
    kind, header = _header(content)
    shape = _checked_shape(header, limits)
    _check_length(header, content, shape)
    try:
        with LoggingOutputSuppressor():
            image = kind.from_bytes(content)
            values = np.asarray(image.dataobj, np.float32).reshape(shape)
            affine = np.asarray(image.affine, np.float64)
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise UnreadableCase("damaged", f"the header makes no sense ({error})") from None
    if not np.isfinite(values).all():
        raise UnreadableCase("non_finite", "some voxels are NaN or infinite")
    codes = (int(header["qform_code"]), int(header["sform_code"]))
    if not _is_usable(affine):
        raise UnreadableCase("bad_affine", "the affine is singular or not finite; which way is up is not known")
    warnings = [] if any(codes) else ["no_affine"]
    oriented, turned_affine, orientation, plane = _oriented(values, affine)
    if len(oriented) == 1:
        warnings.append("single_slice")
    turned_affine[:3] *= MILLIMETERS.get(header.get_xyzt_units()[0], 1.0)
    spacing = tuple(float(v) for v in np.linalg.norm(turned_affine[:3, :3], axis=0))
    source = VolumeSource(tuple(header.get_data_shape()), affine, orientation, codes, plane)
    known = spacing if any(codes) else None
    return Image(oriented[None], known, turned_affine, "volume", tuple(warnings), source=source)


def is_nifti(content: bytes) -> bool:
    """Whether a file, compressed or not, begins as NIfTI in one file does."""
    if content.startswith(GZIP):
        try:
            content = zlib.decompressobj(wbits=31).decompress(content[:4096], 1024)
        except zlib.error:
            return False
    return any(content[place : place + len(magic)] == magic for magic, (_, place, _) in MAGIC.items())


def in_source_orientation(array: np.ndarray, source: VolumeSource) -> np.ndarray:
    """An array (D, H, W) as the file has its axes, of the file's shape."""
    back = ornt_transform(axcodes2ornt(_codes(source.plane)), source.orientation)
    return apply_orientation(array, back).reshape(source.shape)


def write_mask(path: Path, mask: np.ndarray, source: VolumeSource) -> None:
    """Write a mask with the affine, shape and axes of its source, atomically; equal masks give equal bytes.

    Args:
        path: ends in `.nii.gz`.
        mask: bool or uint8, (D, H, W), as `read_nifti` turned it.
        source: of the image that it belongs to.
    """
    image = nib.Nifti1Image(in_source_orientation(mask.astype(np.uint8), source), source.affine_ras)
    image.set_qform(source.affine_ras, code=source.codes[0])
    image.set_sform(source.affine_ras, code=source.codes[1] or (0 if source.codes[0] else 1))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(image.to_bytes())
    with atomic(path, "wb") as file:
        file.write(packed.getbuffer())


def _decompressed(content: bytes, limits: Limits) -> bytes:
    """All members, to their ends, so that their checksums count."""
    parts: list[bytes] = []
    size, members, stream = 0, 0, None
    for start in range(0, len(content), BLOCK):
        block = content[start : start + BLOCK]
        while block:
            if stream is None:
                block = block.lstrip(b"\0") if members else block  # some tapes pad with zeros
                if not block:
                    break
                members, stream = members + 1, zlib.decompressobj(wbits=31)
                if members > MOST_MEMBERS:
                    raise UnreadableCase("damaged", f"the compressed file has more than {MOST_MEMBERS} parts")
            try:
                parts.append(stream.decompress(block, CHUNK))
            except zlib.error as error:
                raise UnreadableCase("damaged", f"the compressed file is damaged ({error})") from None
            size += len(parts[-1])
            if size > limits.max_bytes_unpacked:
                raise UnreadableCase("too_large", f"unpacks to more than {limits.max_bytes_unpacked} bytes")
            block = stream.unconsumed_tail
            if stream.eof:
                block, stream = stream.unused_data, None
    if stream is not None:
        raise UnreadableCase("truncated", "the compressed file ends too early")
    return b"".join(parts)


def _header(content: bytes) -> tuple[Any, Any]:
    found = next((entry for magic, entry in MAGIC.items() if content[entry[1] : entry[1] + len(magic)] == magic), None)
    if found is None:
        if content[344:348] == b"ni1\x00":
            message = "is a header whose voxels lie in another file; convert both to one .nii.gz"
            raise UnreadableCase("unsupported_format", message)
        raise UnreadableCase("not_an_image", "the content is no NIfTI file")
    kind, _, size = found
    if len(content) < size:
        raise UnreadableCase("truncated", "the file ends inside its header")
    try:
        with LoggingOutputSuppressor():
            header = kind.header_class.from_fileobj(io.BytesIO(content))
            header.get_data_dtype()
    except (HeaderDataError, WrapStructError, ValueError, KeyError) as error:
        raise UnreadableCase("damaged", f"the header makes no sense ({error})") from None
    return kind, header


def _checked_shape(header: Any, limits: Limits) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise UnreadableCase("damaged", f"the header gives the shape {shape}")
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise UnreadableCase(
            "several_volumes", f"holds {np.prod(shape[3:])} volumes; write the one that is meant alone"
        )
    voxels = float(np.prod([float(n) for n in shape]))
    if voxels > limits.max_voxels:
        raise UnreadableCase("too_large", f"{shape} are {voxels:.3g} voxels; at most {limits.max_voxels} are read")
    if header.get_data_dtype().kind not in "uif":
        raise UnreadableCase(
            "unsupported_format", f"voxels of type {header.get_data_dtype()}; one number each is expected"
        )
    height, width, depth = (*shape[:3], 1, 1)[:3]
    return height, width, depth


def _check_length(header: Any, content: bytes, shape: tuple[int, ...]) -> None:
    if not np.isfinite(float(header["vox_offset"])) or header["vox_offset"] < 0:
        raise UnreadableCase("damaged", "the header does not say where the voxels begin")
    needed = int(header["vox_offset"]) + int(np.prod(shape)) * header.get_data_dtype().itemsize
    if len(content) < needed:
        raise UnreadableCase("truncated", f"{len(content)} bytes of {needed}")


def _oriented(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    orientation = io_orientation(affine)
    world_axis = [int(axis) for axis in orientation[:, 0]]
    plane, codes = PLANES[_slice_axis(values.shape, affine, world_axis)]
    turn = ornt_transform(orientation, axcodes2ornt(codes))
    turned = np.ascontiguousarray(apply_orientation(values, turn))
    return turned, affine @ inv_ornt_aff(turn, values.shape), orientation, plane


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
