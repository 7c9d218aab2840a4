"""DICOM: headers for gathering series, slices and volumes with their geometry, and coded refusals.

Messages and warnings never contain header values. Patient identifiers leave this module only in `Image.dicom`, for
segmentations that reference their source (`io.dicom_seg`).
"""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID

from monai_brain.io.dicom_source import (
    MULTI_FRAME_CLASSES,
    DicomSource,
    Instance,
    identity_of,
    instances_of,
    thickness_of,
)
from monai_brain.io.orient import oriented
from monai_brain.io.record import Image, Limits, UnreadableCase
from monai_brain.io.sequences import named_sequence

MAGIC = b"DICM"
MAGIC_AT = 128

BARE = (b"\x02\0", b"\x08\0")
"""The first group, little-endian, of a file that lacks them: file meta, or the object itself."""

STORAGE_CLASSES = "1.2.840.10008.5.1.4.1.1."
"""How UIDs of stored objects begin (PS3.4, B.5)."""

HEADER_TAGS = [
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
]

NO_PICTURE = {
    "SR": "structured report",
    "KO": "key object note",
    "PR": "presentation state",
    "RTPLAN": "treatment plan",
    "RTSTRUCT": "structure set",
    "RTRECORD": "treatment record",
    "REG": "registration",
    "DOC": "document",
    "AU": "sound",
    "ECG": "curve",
    "HD": "curve",
    "PLAN": "plan",
    "RWV": "value map",
    "FID": "fiducials",
}
"""Modalities of objects that contain no image."""

POSITION_TOLERANCE = 0.1
"""Of the distance between slices: how uneven it may be before a slice is taken to be missing."""

PARALLEL = 1e-3
"""Largest difference of direction cosines within one volume."""

NO_FILE_META = (
    "DICOM without its preamble and file meta information, so that its transfer syntax is not known; export it again "
    "as DICOM files (part 10)"
)

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that nibabel's readers of DICOM are experimental: only one is used
    from nibabel.nicom import csareader

warnings.filterwarnings("ignore", module=r"pydicom\..*")
"""pydicom's warnings about odd values can contain header values, so they are hidden; what matters becomes a code."""
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


class Header(NamedTuple):
    """Header fields that determine which files belong together."""

    series: str
    """Series UID; empty where there is none."""
    has_picture: bool
    """Whether it should contain an image."""


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


def is_dicom(content: bytes) -> bool:
    """Whether a file has the preamble and prefix of DICOM part 10."""
    return content[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


def is_bare(content: bytes) -> bool:
    """Whether a file holds a DICOM object without the preamble, and mostly without the file meta information."""
    return _bare_header(io.BytesIO(content)) is not None


def _bare_header(file: BinaryIO) -> Header | None:
    """Series of such a file, read as pydicom guesses its syntax; None where it is none."""
    beginning = file.read(2)
    file.seek(0)
    if beginning not in BARE:
        return None
    try:
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=HEADER_TAGS)
        is_storage = str(header.get("SOPClassUID", "")).startswith(STORAGE_CLASSES)
        return Header(str(header.get("SeriesInstanceUID") or ""), True) if is_storage else None
    except Exception:  # whatever bytes that are no DICOM make pydicom do
        return None


def read_header(path: Path) -> Header | None:
    """Series and kind of a file; None where it is no DICOM file, damaged, or deflated.

    A deflated file would be inflated whole by pydicom, here where no limit of memory holds: it is a case of its own.
    """
    try:
        with path.open("rb") as file:
            if not is_dicom(file.read(MAGIC_AT + len(MAGIC))):
                file.seek(0)
                return _bare_header(file)
            syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")
            if UID(str(syntax)).is_deflated:
                return None
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=HEADER_TAGS)
            beyond = file.tell() - os.fstat(file.fileno()).st_size
            return Header(str(header.get("SeriesInstanceUID") or ""), _has_picture(header, beyond))
    except Exception:  # whatever a damaged header makes pydicom do; reading the case will say what it is
        return None


def _has_picture(header: Any, beyond: int) -> bool:
    """Whether a file should contain an image.

    Args:
        header: without the pixels.
        beyond: bytes from the file's end to where reading of the header stopped: none where the file has no pixels,
            some where it was cut, as pydicom skips values that it is not asked for.
    """
    if str(header.get("Modality", "")) in NO_PICTURE:
        return False
    return beyond > 0 or ("Rows" in header and beyond < 0)


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
        data = _parsed(content)
        _check_kind(data)
        _check_mosaic(data, notes)
        voxels += _checked_voxels(data, limits)
        if voxels > limits.max_voxels:
            raise UnreadableCase("too_large", f"more than {limits.max_voxels} voxels")
        _note(data, notes)
        own = _frames(data, notes)
        frames += own
        instances += instances_of(data, [frame.position_mm for frame in own])
        windows.append(_window(data))
    window = windows[len(windows) // 2]
    frames = _without_padding(frames)
    if len(frames) == 1:
        image, order = _slice(frames[0], tuple(notes), window), np.zeros(1, int)
    else:
        image, order = _volume(frames, tuple(notes), window)
    thickness = thickness_of(_group(data, 0, "PixelMeasuresSequence"))
    source = _source(identity_of(data), frames[0], [instances[n] for n in order], thickness)
    return image._replace(dicom=source, sequence=_sequence(data))


def _sequence(data: Any) -> str:
    """What a header says of its sequence; one word of our own, none of the file's."""
    said = " ".join(str(data.get(name, "") or "") for name in ("SeriesDescription", "ProtocolName"))
    found = named_sequence(said.replace("/", " "))
    return "t1c" if found == "t1" and data.get("ContrastBolusAgent") else found


def _parsed(content: bytes) -> Any:
    try:
        data = pydicom.dcmread(io.BytesIO(content))
        data.decode()
        return data
    except InvalidDicomError:
        if is_bare(content):
            raise UnreadableCase("no_file_meta", NO_FILE_META) from None
        raise UnreadableCase("not_an_image", "the content is no DICOM file") from None
    except (EOFError, OSError) as error:
        raise UnreadableCase("truncated", f"the file ends too early ({type(error).__name__})") from None
    except Exception as error:
        raise UnreadableCase("damaged", f"the header cannot be parsed ({type(error).__name__})") from None


def _check_kind(data: Any) -> None:
    modality = str(data.get("Modality", "MR") or "MR")
    if modality in NO_PICTURE or "Rows" not in data:
        raise UnreadableCase("no_pixels", "the file holds no image")
    if modality != "MR":
        raise UnreadableCase("not_mr", "the file is no MR image; only those are read")
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableCase("no_pixels", "the file holds no pixels; were they removed?")


def _check_mosaic(data: Any, notes: list[str]) -> None:
    """Refuse a mosaic. ImageType alone does not prove one: Siemens' enhanced objects have the same value."""
    if str(data.get("SOPClassUID", "")) in MULTI_FRAME_CLASSES:
        return
    tiles = _tiles(data)
    if tiles > 1:
        raise UnreadableCase(
            "mosaic", f"a Siemens mosaic: {tiles} slices as tiles of one picture; export single slices, or NIfTI"
        )
    if "MOSAIC" in np.atleast_1d(data.get("ImageType") or "") and "mosaic_possible" not in notes:
        notes.append("mosaic_possible")


def _tiles(data: Any) -> int:
    """Number of slices in a Siemens mosaic, according to the file; 0 if it gives none."""
    found: Any = None
    with contextlib.suppress(KeyError):
        found = data.private_block(0x0019, "SIEMENS MR HEADER")[0x0A].value
    if not found:
        with contextlib.suppress(Exception):  # whatever a damaged private header makes nibabel do
            content = data.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value
            found = csareader.get_scalar(csareader.read(content), "NumberOfImagesInMosaic")
    try:
        return int(found)
    except (TypeError, ValueError):
        return 0


def _checked_voxels(data: Any, limits: Limits) -> int:
    try:
        rows, columns = int(data.Rows), int(data.Columns)
        count = rows * columns * max(1, int(data.get("NumberOfFrames", 1) or 1))
    except (TypeError, ValueError, AttributeError):
        raise UnreadableCase("damaged", "the header does not say how large the image is") from None
    if count < 1:
        raise UnreadableCase("damaged", f"the header gives {rows}x{columns} pixels")
    if rows * columns > limits.max_pixels or count > limits.max_voxels:
        raise UnreadableCase("too_large", f"{rows}x{columns} pixels, {count} in all")
    return count


def _note(data: Any, notes: list[str]) -> None:
    found = []
    if not data.get("SeriesInstanceUID") or not data.get("SOPInstanceUID"):
        found.append("no_uids")
    if str(data.get("BurnedInAnnotation", "")).upper() == "YES":
        found.append("burned_in_annotation")
    notes += [code for code in found if code not in notes]


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
        slope, intercept = _rescale(data, index)
        if slope < 0 and "negative_slope" not in notes:
            notes.append("negative_slope")
        values = own.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        if _is_inverted(data):
            values = -values  # not from the frame's maximum: a tissue stays equal through a volume, and the window fits
        values[_is_padding(data, own)] = np.nan
        frames.append(_placed(data, index, values))
    if _is_inverted(data) and "monochrome1_inverted" not in notes:
        notes.append("monochrome1_inverted")
    return frames


def _is_padding(data: Any, stored: np.ndarray) -> np.ndarray:
    """Where a frame's stored values (H, W) are padding (PS3.3, C.7.5.1.1.2)."""
    if stored.dtype.kind not in "iu" or "PixelPaddingValue" not in data:
        return np.zeros(stored.shape, bool)
    found = [_numbers(data, name, 1) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
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


def _is_inverted(data: Any) -> bool:
    """Whether small values are bright."""
    return str(data.get("PhotometricInterpretation", "MONOCHROME2")) == "MONOCHROME1"


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


def _group(data: Any, index: int, name: str) -> Any:
    """A functional group of a frame of an enhanced object, or the object itself."""
    for sequence, place in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        groups = data.get(sequence)
        if groups and place < len(groups) and name in groups[place] and len(groups[place][name].value):
            return groups[place][name].value[0]
    return data


def _numbers(source: Any, name: str, count: int) -> np.ndarray | None:
    """Finite numbers of an element, or None.

    Raises:
        UnreadableCase: `decimal_comma`.
    """
    try:
        stored = np.atleast_1d(source.get(name))
        if any(isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip()) for value in stored):
            raise UnreadableCase(
                "decimal_comma", f"{name} {pydicom.tag.Tag(name)} has a decimal comma; write its numbers with a point"
            )
        values = np.array([float(value) for value in stored], np.float64)
    except UnreadableCase:
        raise
    except (TypeError, ValueError, AttributeError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _rescale(data: Any, index: int) -> tuple[float, float]:
    source = _group(data, index, "PixelValueTransformationSequence")
    if "RescaleSlope" not in source and "RescaleIntercept" not in source:
        return 1.0, 0.0
    slope, intercept = (_numbers(source, name, 1) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope is None or intercept is None or slope[0] == 0:
        raise UnreadableCase("bad_rescale", "rescale slope and intercept are no usable numbers")
    return float(slope[0]), float(intercept[0])


def _window(data: Any) -> tuple[float, float] | None:
    """The file's display window, center and width, if usable."""
    source = _group(data, 0, "FrameVOILUTSequence")
    center, width = source.get("WindowCenter"), source.get("WindowWidth")
    try:
        first = (float(np.atleast_1d(center)[0]), float(np.atleast_1d(width)[0]))
    except (TypeError, ValueError, IndexError):
        return None
    if not np.isfinite(first).all() or first[1] < 1:
        return None
    return (-first[0], first[1]) if _is_inverted(data) else first


def _placed(data: Any, index: int, pixels: np.ndarray) -> Frame:
    position = _numbers(_group(data, index, "PlanePositionSequence"), "ImagePositionPatient", 3)
    directions = _numbers(_group(data, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = _numbers(_group(data, index, "PixelMeasuresSequence"), "PixelSpacing", 2)
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
        raise UnreadableCase("mixed_series", "images of one series differ in size or have colors; give them one by one")
    positions = np.array([f.position_mm for f in frames if f.position_mm is not None])
    directions = np.array([f.directions for f in frames if f.directions is not None])
    spacings = np.array([f.spacing_mm for f in frames if f.spacing_mm is not None])
    found = {"ImagePositionPatient": positions, "ImageOrientationPatient": directions, "PixelSpacing": spacings}
    if lacking := [name for name, values in found.items() if len(values) < len(frames)]:
        raise UnreadableCase(
            "no_positions", f"some slices have no usable {', '.join(lacking)}; they cannot be put in order"
        )
    if np.abs(directions - directions[0]).max() > PARALLEL or np.abs(spacings - spacings[0]).max() > PARALLEL:
        raise UnreadableCase("mixed_series", "slices of one series lie in different planes; give them one by one")
    places = positions @ np.cross(directions[0][0], directions[0][1])
    order = np.argsort(places, kind="stable")
    _check_steps(np.diff(places[order]))
    values = np.stack([frames[index].pixels for index in order])
    affine = _affine(positions[order], directions[0], spacings[0])
    return oriented(values.transpose(2, 1, 0), affine, notes)._replace(window=window), order


def _check_steps(steps: np.ndarray) -> None:
    usual = float(np.median(steps))
    if usual <= 0 or steps.min() < POSITION_TOLERANCE * usual:
        raise UnreadableCase("several_volumes", "several slices lie at one place: echoes or times; give one of them")
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
