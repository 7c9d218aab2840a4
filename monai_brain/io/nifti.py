"""NIfTI volumes: read with limits and checks, turned to one orientation; masks written back in the source's own."""

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from monai_brain.io.orient import VolumeSource, in_source_orientation, oriented
from monai_brain.io.record import Image, Limits, UnreadableCase
from monai_brain.io.write import atomic

GZIP = b"\x1f\x8b"
MAGIC = {b"n+1\x00": (nib.Nifti1Image, 344, 348), b"n+2\x00\r\n\x1a\n": (nib.Nifti2Image, 4, 540)}
"""Class, place of the magic and size of the header, of the two versions in one file."""

PAIRS = {b"ni1\x00": (nib.Nifti1Pair, 344), b"ni2\x00\r\n\x1a\n": (nib.Nifti2Pair, 4)}
"""Class and place of the magic, of the two versions in two files."""

ANALYZE_SIZES = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")
"""How Analyze's header of 348 bytes begins in either byte order; it has no magic."""

LONGEST_ANALYZE = 4096
"""Bytes of a file that is such a header, and perhaps its extension."""

MILLIMETERS = {1: 1000.0, 3: 0.001}
"""Of the header's codes for meter and micron; all others are taken to be millimeters, as everybody does."""

PLACING = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""Fields of a header that say where voxels lie; qform and sform may differ, and programs differ in which they take."""

CHUNK, BLOCK = 16 * 1024**2, 64 * 1024
"""Bytes that are unpacked, and read, at once."""

MOST_MEMBERS = 100_000
"""Parts of a gzip file; bgzip makes one for every 64 KB, nobody makes empty ones."""


def read_nifti(content: bytes, limits: Limits) -> Image:
    """Decode a NIfTI-1 or NIfTI-2 file, compressed or not.

    Args:
        content: the file.
        limits: sizes beyond which it is refused, before memory is taken.

    Returns:
        A volume: pixels (1, D, H, W) float32, D along the slices, turned as `PLANES` says; `source` for the way back.

    Raises:
        UnreadableCase: `truncated`, `damaged`, `too_large`, `several_volumes`, `unsupported_format`, `bad_affine`,
            `non_finite`.
    """
    if content.startswith(GZIP):
        content = decompressed(content, limits)
    kind, header = _header(content)
    return _volume(header, content, limits, lambda: kind.from_bytes(content))


def read_pair(content: bytes, limits: Limits, voxels: bytes | None = None) -> Image:
    """Decode a pair of files, NIfTI or Analyze, compressed or not.

    Args:
        content: of the header.
        limits: as `read_nifti`.
        voxels: of the other file.

    Returns:
        As `read_nifti`. Analyze says how far voxels lie apart, and not where left and right are (warning
        `left_right_unknown`); nibabel takes them to be stored from right to left. Voxels are as stored: what SPM takes
        for a scale, other programs leave to chance.

    Raises:
        UnreadableCase: as `read_nifti`.
    """
    content, voxels = (decompressed(own, limits) if own.startswith(GZIP) else own for own in (content, voxels or b""))
    kind = next((own for magic, (own, at) in PAIRS.items() if content[at : at + len(magic)] == magic), None)
    header = _parsed_header(kind or nib.AnalyzeImage, content)

    def load() -> Any:
        files = {"header": FileHolder(fileobj=io.BytesIO(content)), "image": FileHolder(fileobj=io.BytesIO(voxels))}
        return (kind or nib.AnalyzeImage).from_file_map(files)

    image = _volume(header, voxels, limits, load)
    return image if kind else image._replace(warnings=(*image.warnings, "left_right_unknown"))


def _volume(header: Any, content: bytes, limits: Limits, load: Callable[[], Any]) -> Image:
    """The volume of a header that was parsed, after checks.

    Args:
        header: nibabel's.
        content: of the file that holds the voxels.
        limits: as `read_nifti`.
        load: gives nibabel's image.
    """
    shape = _checked_shape(header, limits)
    _check_length(header, content, shape)
    try:
        with LoggingOutputSuppressor():
            stored = load()
            values = np.asarray(stored.dataobj, np.float32).reshape(shape)
            affine = np.asarray(stored.affine, np.float64)
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise UnreadableCase("damaged", f"the header makes no sense ({error})") from None
    if not np.isfinite(values).all():
        raise UnreadableCase("non_finite", "some voxels are NaN or infinite")
    if not isinstance(header, nib.Nifti1Header):
        return oriented(values, affine, shape=header.get_data_shape())
    is_placed = bool(header["qform_code"] or header["sform_code"])
    notes = (*(() if is_placed else ("no_affine",)), *(("negative_slope",) if stored.dataobj.slope < 0 else ()))
    in_mm = MILLIMETERS.get(int(header["xyzt_units"]) & 7, 1.0)  # the other bits are of time
    placing = {name: np.array(header[name]) for name in PLACING}
    image = oriented(values, affine, notes, unit_mm=in_mm, header=placing, shape=tuple(header.get_data_shape()))
    return image if is_placed else image._replace(spacing_mm=None)


def is_nifti(content: bytes) -> bool:
    """Whether a file, compressed or not, begins as NIfTI in one file does."""
    content = _beginning(content)
    return any(content[place : place + len(magic)] == magic for magic, (_, place, _) in MAGIC.items())


def is_pair_header(content: bytes) -> bool:
    """Whether a file, compressed or not, is the header of a NIfTI or Analyze pair."""
    content = _beginning(content)
    if any(content[place : place + len(magic)] == magic for magic, (_, place) in PAIRS.items()):
        return True
    return content.startswith(ANALYZE_SIZES) and len(content) <= LONGEST_ANALYZE and not is_nifti(content)


def _beginning(content: bytes) -> bytes:
    """A little more than the longest header; of a compressed file, unpacked, nothing where that fails."""
    if not content.startswith(GZIP):
        return content[: LONGEST_ANALYZE + 1]
    try:
        return zlib.decompressobj(wbits=31).decompress(content[: LONGEST_ANALYZE + 1], LONGEST_ANALYZE + 1)
    except zlib.error:
        return b""


def write_mask(path: Path, mask: np.ndarray, source: VolumeSource) -> None:
    """Write a mask with the affine, shape and axes of its source, atomically; equal masks give equal bytes.

    Of a NIfTI source it also takes qform, sform, their codes and the units, whatever they are: every program must put
    both in one place. Nothing else of a header, which may name a patient.

    Args:
        path: ends in `.nii.gz`.
        mask: bool or uint8, (D, H, W), as `read_nifti` turned it.
        source: of the image that it belongs to.
    """
    image = nib.Nifti1Image(in_source_orientation(mask.astype(np.uint8), source), source.affine_ras)
    if source.header is None:
        image.header.set_xyzt_units("mm")
        image.set_qform(source.affine_ras, code="scanner")
        image.set_sform(source.affine_ras, code="scanner")
    else:
        for name, value in source.header.items():
            image.header[name] = value
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(image.to_bytes())
    with atomic(path, "wb") as file:
        file.write(packed.getbuffer())


def decompressed(content: bytes, limits: Limits) -> bytes:
    """All members of a gzip file, to their ends, so that their checksums count.

    Raises:
        UnreadableCase: `truncated`, `damaged` or `too_large`.
    """
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
        raise UnreadableCase("not_an_image", "the content is not a NIfTI file")
    kind, _, size = found
    if len(content) < size:
        raise UnreadableCase("truncated", "the file ends inside its header")
    return kind, _parsed_header(kind, content)


def _parsed_header(kind: Any, content: bytes) -> Any:
    try:
        with LoggingOutputSuppressor():
            header = kind.header_class.from_fileobj(io.BytesIO(content))
            header.get_data_dtype()
    except (HeaderDataError, WrapStructError, ValueError, KeyError) as error:
        raise UnreadableCase("damaged", f"the header makes no sense ({error})") from None
    return header


def _checked_shape(header: Any, limits: Limits) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise UnreadableCase("damaged", f"the header gives the shape {shape}")
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise UnreadableCase(
            "several_volumes", f"contains {np.prod(shape[3:])} volumes; save the one you want as a separate file"
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
