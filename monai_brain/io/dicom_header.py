"""What DICOM headers say: what belongs together, what is no image, numbers, and coded refusals.

No value of a header stands in a message or a warning.
"""

import contextlib
import io
import os
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from monai_brain.io.dicom_source import MULTI_FRAME_CLASSES
from monai_brain.io.record import Limits, UnreadableCase
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
"""Modalities of objects that hold no image."""

NO_FILE_META = (
    "DICOM without its preamble and file meta information, so that its transfer syntax is not known; export it again "
    "as DICOM files (part 10)"
)

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that nibabel's readers of DICOM are experimental: only one is used
    from nibabel.nicom import csareader

warnings.filterwarnings("ignore", module=r"pydicom\..*")
"""pydicom's words about odd values; they can hold what must not be shown. What matters becomes a code."""
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


class Header(NamedTuple):
    """What tells which files belong together."""

    series: str
    """Series UID; empty where there is none."""
    has_picture: bool
    """Whether it should hold an image."""


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
    """Whether a file should hold an image.

    Args:
        header: without the pixels.
        beyond: bytes from the file's end to where reading of the header stopped: none where the file has no pixels,
            some where it was cut, as pydicom skips values that it is not asked for.
    """
    if str(header.get("Modality", "")) in NO_PICTURE:
        return False
    return beyond > 0 or ("Rows" in header and beyond < 0)


def parse(content: bytes) -> Any:
    """A file as pydicom reads it.

    Raises:
        UnreadableCase: `no_file_meta`, `not_an_image`, `truncated`, `damaged`.
    """
    try:
        data = pydicom.dcmread(io.BytesIO(content))
        data.decode()
        return data
    except InvalidDicomError:
        if is_bare(content):
            raise UnreadableCase("no_file_meta", NO_FILE_META) from None
        raise UnreadableCase("not_an_image", "the content is not a DICOM file") from None
    except (EOFError, OSError) as error:
        raise UnreadableCase("truncated", f"the file ends too early ({type(error).__name__})") from None
    except Exception as error:
        raise UnreadableCase("damaged", f"the header cannot be parsed ({type(error).__name__})") from None


def check_kind(data: Any) -> None:
    """Refuse what is no MR image.

    Raises:
        UnreadableCase: `no_pixels`, `not_mr`.
    """
    modality = str(data.get("Modality", "MR") or "MR")
    if modality in NO_PICTURE or "Rows" not in data:
        raise UnreadableCase("no_pixels", "the file holds no image")
    if modality != "MR":
        raise UnreadableCase("not_mr", "the file is not an MR image; only those are read")
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableCase("no_pixels", "the file contains no pixels; were they removed?")


def check_mosaic(data: Any, notes: list[str]) -> None:
    """Refuse a sheet of tiles. The word in ImageType proves none: Siemens' enhanced objects carry it too."""
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
    """How many slices a Siemens file says that its sheet holds; 0 where it does not say."""
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


def checked_voxels(data: Any, limits: Limits) -> int:
    """How many pixels all frames have together.

    Raises:
        UnreadableCase: `damaged`, `too_large`.
    """
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


def note_oddities(data: Any, notes: list[str]) -> None:
    """Add codes of what is odd about a file to those that are noted already."""
    found = []
    if not data.get("SeriesInstanceUID") or not data.get("SOPInstanceUID"):
        found.append("no_uids")
    if str(data.get("BurnedInAnnotation", "")).upper() == "YES":
        found.append("burned_in_annotation")
    notes += [code for code in found if code not in notes]


def sequence_of(data: Any) -> str:
    """What a header says of its sequence; one word of our own, none of the file's."""
    said = " ".join(str(data.get(name, "") or "") for name in ("SeriesDescription", "ProtocolName"))
    found = named_sequence(said.replace("/", " "))
    return "t1c" if found == "t1" and data.get("ContrastBolusAgent") else found


def group(data: Any, index: int, name: str) -> Any:
    """A functional group of a frame of an enhanced object, or the object itself."""
    for sequence, place in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        groups = data.get(sequence)
        if groups and place < len(groups) and name in groups[place] and len(groups[place][name].value):
            return groups[place][name].value[0]
    return data


def numbers(source: Any, name: str, count: int) -> np.ndarray | None:
    """Finite numbers of an element, None where there are none.

    Raises:
        UnreadableCase: `decimal_comma`.
    """
    try:
        stored = np.atleast_1d(source.get(name))
        if any(isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip()) for value in stored):
            raise UnreadableCase(
                "decimal_comma",
                f"{name} {pydicom.tag.Tag(name)} has a decimal comma; write its numbers with a decimal point",
            )
        values = np.array([float(value) for value in stored], np.float64)
    except UnreadableCase:
        raise
    except (TypeError, ValueError, AttributeError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def rescale(data: Any, index: int) -> tuple[float, float]:
    """Slope and intercept of a frame's stored values.

    Raises:
        UnreadableCase: `bad_rescale`, `decimal_comma`.
    """
    source = group(data, index, "PixelValueTransformationSequence")
    if "RescaleSlope" not in source and "RescaleIntercept" not in source:
        return 1.0, 0.0
    slope, intercept = (numbers(source, name, 1) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope is None or intercept is None or slope[0] == 0:
        raise UnreadableCase("bad_rescale", "rescale slope and intercept are not usable numbers")
    return float(slope[0]), float(intercept[0])


def window_of(data: Any) -> tuple[float, float] | None:
    """Center and width that the file asks to be shown with, if it does and they are usable."""
    source = group(data, 0, "FrameVOILUTSequence")
    center, width = source.get("WindowCenter"), source.get("WindowWidth")
    try:
        first = (float(np.atleast_1d(center)[0]), float(np.atleast_1d(width)[0]))
    except (TypeError, ValueError, IndexError):
        return None
    if not np.isfinite(first).all() or first[1] < 1:
        return None
    return (-first[0], first[1]) if is_inverted(data) else first


def is_inverted(data: Any) -> bool:
    """Whether small values are bright."""
    return str(data.get("PhotometricInterpretation", "MONOCHROME2")) == "MONOCHROME1"
