"""What file formats are read: one entry each, and a reader in a module of its own."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from monai_brain.extensions import Registry
from monai_brain.io import images
from monai_brain.io.dicom import read_dicom
from monai_brain.io.dicom_header import is_dicom
from monai_brain.io.itk_volumes import is_meta, is_nrrd, read_itk
from monai_brain.io.mgh import is_mgh, read_mgh
from monai_brain.io.nifti import is_nifti, is_pair_header, read_nifti, read_pair
from monai_brain.io.record import Image, Limits


class Format(NamedTuple):
    """How files of one format are called, recognized and read."""

    title: str
    """For people."""
    suffixes: tuple[str, ...]
    """Usual endings of names, in lower case; a file named otherwise is read with the warning `NAME_by_content`."""
    recognizes: Callable[[bytes], bool]
    """Whether a file with this content is one. Asked of every file, so only its first bytes should be looked at."""
    read: Callable[..., Image]
    """Image from content and `Limits`, within these; raises `UnreadableCase`, whatever the content is."""
    is_volume: bool = False
    """Whether such names announce a volume."""
    voxels_apart: bool = False
    """Whether voxels may lie in a second file, whose content `read` takes as a third argument, None without one."""


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda content: content.startswith(signatures)


def _is_webp(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def _read_one_dicom(content: bytes, limits: Limits) -> Image:
    return read_dicom([content], limits)


JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
JPEG2000_SIGNATURES = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
JPEG2000_SUFFIXES = (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc")

FORMATS = Registry(
    "formats",
    Format,
    {
        "dicom": Format("DICOM", ("",), is_dicom, _read_one_dicom),
        "nifti": Format("NIfTI", (".nii", ".nii.gz"), is_nifti, read_nifti, is_volume=True),
        "pair": Format("Analyze", (".hdr", ".hdr.gz"), is_pair_header, read_pair, is_volume=True, voxels_apart=True),
        "nrrd": Format("NRRD", (".nrrd", ".nhdr"), is_nrrd, read_itk, is_volume=True, voxels_apart=True),
        "meta": Format("MHA", (".mha", ".mhd"), is_meta, read_itk, is_volume=True, voxels_apart=True),
        "mgh": Format("MGH/MGZ", (".mgh", ".mgz", ".mgh.gz"), is_mgh, read_mgh, is_volume=True),
        "jpeg": Format("JPEG", JPEG_SUFFIXES, _starts(b"\xff\xd8\xff"), images.read_jpeg),
        "png": Format("PNG", (".png",), _starts(b"\x89PNG\r\n\x1a\n"), images.read_png),
        "bmp": Format("BMP", (".bmp", ".dib"), _starts(b"BM"), images.read_bmp),
        "tiff": Format("TIFF", (".tif", ".tiff"), _starts(*TIFF_SIGNATURES), images.read_tiff),
        "webp": Format("WebP", (".webp",), _is_webp, images.read_webp),
        "jpeg2000": Format("JPEG 2000", JPEG2000_SUFFIXES, _starts(*JPEG2000_SIGNATURES), images.read_jpeg2000),
    },
)
"""What is read, by the names that warnings have; the first that recognizes a file reads it. DICOM comes first, since
its files may begin like any other."""

UNREAD = (
    (b"GIF8", "gif"),
    (b"MATLAB 5.0 MAT-file", "MATLAB (version 5)"),
    (b"MATLAB 7.3 MAT-file", "MATLAB (version 7.3)"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"BZh", "bzip2"),
    (b"# === DATA DESCRIPTION FILE", "PAR/REC"),
    (b"%!PS", "eps"),
    (b"%PDF", "pdf"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
)
"""First bytes of what people also have in such folders, to name it in the refusal."""

HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif")
"""What stands behind `ftyp` in files of phones and browsers."""


def format_of(content: bytes) -> str | None:
    """Name of the format that the first bytes show: of `FORMATS`, or of one that is not read; None for neither."""
    read = next((name for name, own in FORMATS.items() if own.recognizes(content)), None)
    return read or _unread(content)


def titles() -> list[str]:
    """What is read, for people."""
    return [own.title for own in FORMATS.values()]


@functools.cache
def usual_suffixes(*, volumes_only: bool = False) -> tuple[str, ...]:
    """Endings of names, in lower case, of all formats but DICOM, whose files are called anything."""
    found = [own for own in FORMATS.values() if own.is_volume or not volumes_only]
    return tuple(suffix for own in found for suffix in own.suffixes if suffix)


def _unread(content: bytes) -> str | None:
    for signature, name in UNREAD:
        if content.startswith(signature):
            return name
    if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS:
        return "HEIC or AVIF"
    return "svg" if b"<svg" in content[:1024] else None
