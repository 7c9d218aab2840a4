"""NRRD and MetaImage volumes, as Slicer and ITK write them; the header is checked before ITK sees the file."""

import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monai_brain.io.dicom import LPS_TO_RAS
from monai_brain.io.orient import oriented
from monai_brain.io.record import Image, Limits, UnreadableCase

NRRD, META = b"NRRD", re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=", re.IGNORECASE)

LONGEST_HEADER = 64 * 1024
"""Bytes; those of scanners have one or two thousand."""

NUMBER_TYPES = re.compile(
    r"(signed |unsigned )?(char|short|short int|int|long long|long long int)|u?int(8|16|32|64)(_t)?|uchar|ushort|uint|"
    r"ulong|float|double|MET_(U?CHAR|U?SHORT|U?INT|U?LONG|U?LONG_LONG|FLOAT|DOUBLE)"
)


BYTES_OF_TYPE = {
    **{"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4},
    **{"MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8},
}
"""Of a MetaImage's voxel; ITK's longs have 4 bytes on every system."""

META_FIELDS = (
    "NDims",
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "ElementByteOrderMSB",
    "TransformMatrix",
    "Rotation",
    "Orientation",
    "Offset",
    "Position",
    "Origin",
    "CenterOfRotation",
    "AnatomicalOrientation",
    "ElementSpacing",
    "ElementSize",
    "DimSize",
    "ElementNumberOfChannels",
    "ElementType",
)
"""That say where voxels lie and what they are; all others are comments."""

META_VALUE = re.compile(r"[\w.+\- ]*", re.ASCII)


def is_nrrd(content: bytes) -> bool:
    """Whether a file begins as NRRD does."""
    return content.startswith(NRRD)


def is_meta(content: bytes) -> bool:
    """Whether a file begins as a MetaImage does."""
    return META.match(content[:200]) is not None


def data_file(content: bytes) -> str | None:
    """Name of the separate voxel file in a header; None if the voxels follow the header, or none is named."""
    try:
        if is_nrrd(content):
            fields = _nrrd_fields(content)
            name = fields.get("data file", fields.get("datafile"))
        else:
            name = _meta_fields(content)["elementdatafile"]
            name = None if name.upper() == "LOCAL" else name
    except UnreadableCase:  # decoding will report that
        return None
    return None if name is None else os.fsdecode(name.encode("latin-1"))


def read_itk(content: bytes, limits: Limits, voxels: bytes | None = None) -> Image:
    """Decode a NRRD or MetaImage volume.

    Args:
        content: of the file; ITK, which goes by names, reads a copy whose name is right.
        voxels: of the file that the header leads to, if it does.
        limits: sizes beyond which it is refused, before memory is taken.

    Returns:
        A volume, turned as NIfTI volumes are.

    Raises:
        UnreadableCase: `unsupported_format` (colors, not three axes), `too_large`, `damaged`.
    """
    fields = _nrrd_fields(content) if is_nrrd(content) else _meta_fields(content)
    _check(fields, limits)
    whole = _with_voxels(content, voxels) if is_nrrd(content) else _rewritten(content, voxels)
    import itk  # takes a second, and only these formats need it

    itk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / ("volume.nrrd" if is_nrrd(content) else "volume.mha")
            copy.write_bytes(whole)
            image = itk.imread(str(copy), itk.F)
        values = itk.array_from_image(image).astype(np.float32)
        directions = np.asarray(itk.array_from_matrix(image.GetDirection()), np.float64)
        spacing, origin = (np.array(list(own), np.float64) for own in (image.GetSpacing(), image.GetOrigin()))
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise UnreadableCase("damaged", f"ITK cannot decode the file ({type(error).__name__})") from None
    if values.ndim != 3:
        raise UnreadableCase("unsupported_format", f"{values.ndim} axes; a volume has three")
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ directions @ np.diag(spacing)
    affine[:3, 3] = LPS_TO_RAS @ origin
    known = "space directions" in fields or "elementspacing" in fields or "spacings" in fields
    found = oriented(values.transpose(2, 1, 0), affine, () if known else ("no_affine",))
    return found if known else found._replace(spacing_mm=None)


def _nrrd_fields(content: bytes) -> dict[str, str]:
    end = re.search(rb"\r?\n\r?\n", content[:LONGEST_HEADER])
    lines = content[: end.start() if end else LONGEST_HEADER].decode("latin-1").splitlines()[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
    fields = {name.strip().lower(): value.lstrip("=").strip() for name, value in pairs}
    if end is None and not {"data file", "datafile"} & set(fields):  # which needs no empty line at its end
        raise UnreadableCase("truncated", "the header has no end")
    return {**fields, "shape": fields.get("sizes", "")}


def _meta_fields(content: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value, _ in _meta_lines(content):
        if name in fields:
            raise UnreadableCase("damaged", f"the header says {name} twice")
        fields[name] = value
    return {**fields, "shape": fields.get("dimsize", ""), "type": fields.get("elementtype", "")}


def _meta_lines(content: bytes) -> Iterator[tuple[str, str, int]]:
    """Name in lower case, value and end of each line of a header; the last names the file of the voxels."""
    end = 0
    while end < LONGEST_HEADER:
        line, separator, _ = content[end:LONGEST_HEADER].partition(b"\n")
        if not separator:
            break
        end += len(line) + 1
        name, value, *_ = *re.split(r"[=:]", line.decode("latin-1"), maxsplit=1), ""
        yield name.strip().lower(), value.strip(), end
        if name.strip().lower() == "elementdatafile":
            return
    raise UnreadableCase("truncated", "the header has no end")


def _with_voxels(content: bytes, voxels: bytes | None) -> bytes:
    """A NRRD of one file: the same header without the line that leads to another."""
    if voxels is None:
        return content
    lines = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0].rstrip(b"\n").split(b"\n")
    kept = [line for line in lines if not re.match(rb"\s*data ?file\s*:", line, re.IGNORECASE)]
    return b"\n".join([*kept, b"", b""]) + voxels


def _rewritten(content: bytes, voxels: bytes | None) -> bytes:
    """A MetaImage of one file, with a header of known fields only, so that ITK reads what was checked.

    ITK takes names by their case and values after `=` or `:`; whatever it sees otherwise than `_meta_fields` could
    name another file, whose bytes would be shown.
    """
    fields = _meta_fields(content)
    if fields.get("headersize", "0") not in ("", "0"):
        raise UnreadableCase(
            "unsupported_format", "the voxels do not start at the beginning of their file (HeaderSize)"
        )
    for name in META_FIELDS:
        if not META_VALUE.fullmatch(fields.get(name.lower(), "")):
            raise UnreadableCase("damaged", f"the header's {name} is no number, no word and no list of these")
    lines = [f"{name} = {fields[name.lower()]}" for name in META_FIELDS if fields.get(name.lower())]
    header = "\n".join(["ObjectType = Image", *lines, "ElementDataFile = LOCAL", ""])
    if voxels is None:
        voxels = content[max(end for *_, end in _meta_lines(content)) :]
    if _is_true(fields.get("binarydata")):
        needed = int(np.prod([int(n) for n in fields["shape"].split()])) * BYTES_OF_TYPE[fields["type"]]
        voxels = _inflated(voxels, needed) if _is_true(fields.get("compresseddata")) else voxels
        if len(voxels) < needed:
            raise UnreadableCase("truncated", f"{len(voxels)} bytes of voxels; the header announces {needed}")
    return header.encode("ascii") + voxels


def _is_true(word: str | None) -> bool:
    """Values that ITK reads as true."""
    return (word or "")[:1].upper() in ("T", "1", "Y")


def _inflated(packed: bytes, needed: int) -> bytes:
    """Decompress voxels ourselves: if they are damaged, ITK continues with uninitialized memory."""
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip
    try:
        voxels = stream.decompress(packed, needed)
        stream.decompress(stream.unconsumed_tail, 1)  # to the end, so that its checksum counts
    except zlib.error as error:
        raise UnreadableCase("damaged", f"the compressed voxels are damaged ({error})") from None
    if not stream.eof:
        raise UnreadableCase("damaged", "the compressed voxels are more or fewer than the header announces")
    return voxels


def _check(fields: dict[str, str], limits: Limits) -> None:
    try:
        shape = [int(word) for word in fields["shape"].split()]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        raise UnreadableCase("damaged", "the header does not say how large the volume is")
    if len(shape) != 3 or int(fields.get("elementnumberofchannels", "1") or 1) > 1:
        raise UnreadableCase("unsupported_format", f"{len(shape)} axes or several channels; a volume has three, of one")
    if float(np.prod([float(n) for n in shape])) > limits.max_voxels:
        raise UnreadableCase("too_large", f"{shape} voxels; at most {limits.max_voxels} are read")
    if not NUMBER_TYPES.fullmatch(fields.get("type", "")):
        raise UnreadableCase("unsupported_format", "the voxels are not plain numbers")
