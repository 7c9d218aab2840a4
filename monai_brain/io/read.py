"""Read a case: decide the format by content, refuse with a code, decode, check."""

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monai_brain.io.archive import check_archive
from monai_brain.io.dicom import read_dicom
from monai_brain.io.dicom_header import NO_FILE_META, is_bare
from monai_brain.io.formats import FORMATS, Format, format_of, titles
from monai_brain.io.nifti import GZIP
from monai_brain.io.paired_files import part_of
from monai_brain.io.record import DEFAULT_LIMITS, Case, Image, Limits, UnreadableCase
from monai_brain.io.sequences import check_geometry, stacked

__all__ = [
    "DEFAULT_LIMITS",
    "Image",
    "Limits",
    "UnreadableCase",
    "read_any_mask",
    "read_bytes",
    "read_case",
    "read_image",
    "read_mask",
    "read_volume_mask",
]

MOST_LABELS = {"slice": 16, "volume": 64}
"""Different values up to which an image is taken for a label map; heads have hundreds, slices of 8 bits some 200, but
those above a head have few. FreeSurfer's `aseg` has 45."""


def read_case(case: Case, *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Decode a case.

    Args:
        case: as found by `find_cases`.
        limits: maximum sizes; larger files are refused before they are decoded.

    Returns:
        A slice's pixels as stored (uint8, uint16 or float32), or a volume's as float32, reoriented; conversions are
        listed in `warnings`.

    Raises:
        UnreadableCase: with a stable code. No content of a file raises any other exception.
    """
    if case.refused is not None:
        raise UnreadableCase(*case.refused)
    image = _read(case, limits)
    return image._replace(warnings=(*image.warnings, *case.warnings)) if case.warnings else image


def _read(case: Case, limits: Limits) -> Image:
    if not case.sequences:
        return _read_file(case.files[0], limits, others=case.files[1:])
    volumes = {name: _read_volume(path, limits) for name, path in zip(case.sequences, case.files, strict=True)}
    return stacked(volumes)


def read_image(path: Path, *, limits: Limits = DEFAULT_LIMITS, constant: bool = False) -> Image:
    """Decode one 2D image file; see `read_case`.

    Args:
        path: the file.
        limits: as `read_case`.
        constant: take images of one value too: masks may be empty.
    """
    image = _read_file(path, limits, constant)
    if image.kind != "slice":
        raise UnreadableCase(
            "unsupported_format", "the content is a volume; a slice is expected here (PNG, JPEG, TIFF)"
        )
    return image


def _read_series(files: Sequence[Path], limits: Limits) -> Image:
    contents, size = [], 0
    for path in files:
        contents.append(read_bytes(path, limits))
        size += len(contents[-1])
        if size > limits.max_bytes:
            raise UnreadableCase("too_large", f"the series has more than {limits.max_bytes} bytes")
    image = read_dicom(contents, limits)
    _check_sides(image.pixels, limits)
    _check_signal(image.pixels)
    return _noted(image)


def _read_volume(path: Path, limits: Limits) -> Image:
    image = _read_file(path, limits)
    if image.kind != "volume":
        raise UnreadableCase("unsupported_format", "the content is a slice; a head in several sequences takes volumes")
    return image


def _read_file(path: Path, limits: Limits, constant: bool = False, others: Sequence[Path] = ()) -> Image:
    content = read_bytes(path, limits)
    name = format_of(content)
    found = FORMATS.get(name or "")
    if others and not (found and found.voxels_apart):
        return _read_series((path, *others), limits)
    if found is None:
        raise _refusal(path, content, name)
    image = _decoded(found, path, content, limits, others)
    _check_sides(image.pixels, limits)
    if not constant:
        _check_signal(image.pixels)
        image = _noted(image)
    if not path.name.lower().endswith(found.suffixes):
        image = image._replace(warnings=(*image.warnings, f"{name}_by_content"))
    return image


def _decoded(found: Format, path: Path, content: bytes, limits: Limits, others: Sequence[Path]) -> Image:
    may_be_packed = any(own.endswith(".gz") for own in found.suffixes)
    if may_be_packed and path.suffix.lower() == ".gz" and not content.startswith(GZIP):
        raise UnreadableCase("damaged", "is named .gz but not compressed; was it renamed?")
    if not found.voxels_apart:
        return found.read(content, limits)
    part = part_of(path, content, others)
    return found.read(content, limits, None if part is None else read_bytes(part, limits))


def _refusal(path: Path, content: bytes, name: str | None) -> UnreadableCase:
    """Why a file of no format that is read cannot be."""
    name = name or _voxels_of_pair(path)
    if name is None and is_bare(content):
        return UnreadableCase("no_file_meta", NO_FILE_META)
    if name is None:
        return UnreadableCase("not_an_image", "the content is not a known image format")
    if name == "zip":
        check_archive(path)
    *most, last = titles()
    return UnreadableCase("unsupported_format", f"the content is {name}; convert it to {', '.join(most)} or {last}")


def _voxels_of_pair(path: Path) -> str | None:
    """Voxels have no signature: what a file is, the header beside it says."""
    if path.suffix.lower() == ".img" and any(path.with_suffix(own).is_file() for own in (".hdr", ".HDR")):
        return "one half of an Analyze or NIfTI pair, whose other half (.hdr) is what can be opened"
    return None


def read_mask(path: Path) -> np.ndarray:
    """A mask as bool (H, W): its brighter value, or the brighter of its two colors.

    Raises:
        UnreadableCase: it cannot be read, has more than two values, or two colors of one brightness (`not_a_mask`).
    """
    pixels = read_image(path, constant=True).pixels
    one = pixels[:, 0, 0]
    differs = (pixels != one[:, None, None]).any(axis=0)
    if not differs.any():
        return np.full(differs.shape, bool(one.any()))
    other = pixels[:, differs][:, 0]
    if (pixels[:, differs] != other[:, None]).any():
        values = len(np.unique(pixels.reshape(len(pixels), -1), axis=1).T)
        raise UnreadableCase("not_a_mask", f"holds {values} values; a mask has two, such as 0 and 255")
    brighter = float(other.astype(float).sum() - one.astype(float).sum())
    if not brighter:
        raise UnreadableCase("not_a_mask", "has two colors of one brightness; make them 0 and 255")
    return differs if brighter > 0 else ~differs


def read_volume_mask(path: Path, image: Image) -> np.ndarray:
    """What is tumor in a volume, bool (D, H, W): every label above 0.

    Args:
        path: of the mask, on the grid of the image.
        image: as `read_case` gives it.

    Raises:
        UnreadableCase: it cannot be read, is no volume, or lies elsewhere (`geometry_mismatch`).
    """
    mask = _read_file(path, DEFAULT_LIMITS, constant=True)
    if mask.kind != "volume":
        raise UnreadableCase("not_a_mask", "is not a volume, but the mask of a volume must be one")
    check_geometry("the mask", mask, "its image", image)
    return mask.pixels[0] > 0


def read_any_mask(path: Path) -> Image:
    """A mask of a slice or a volume, with its grid; pixels bool, (1, H, W) or (1, D, H, W).

    Of a slice as `read_mask`; of a volume every label above 0.

    Raises:
        UnreadableCase: it cannot be read, or is no mask (`not_a_mask`).
    """
    image = _read_file(path, DEFAULT_LIMITS, constant=True)
    mask = read_mask(path)[None] if image.kind == "slice" else image.pixels[:1] > 0
    return image._replace(pixels=mask)


def read_bytes(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The whole file.

    Raises:
        UnreadableCase: `no_permission`, `vanished`, `empty_file`, `too_large`, `changed` or `unreadable`.
    """
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):  # a pipe would be waited for
            raise UnreadableCase("changed", "it was a file when the folder was listed, but is not one any more")
        if before.st_size > limits.max_bytes:
            raise UnreadableCase("too_large", f"{before.st_size} bytes; at most {limits.max_bytes} are read")
        content = path.read_bytes()
        after = path.stat()
    except PermissionError:
        raise UnreadableCase("no_permission", "no permission to read the file") from None
    except FileNotFoundError:
        raise UnreadableCase("vanished", "the file was there when the folder was listed, but is gone now") from None
    except OSError as error:
        raise UnreadableCase("unreadable", f"the system could not read the file ({error.strerror})") from None
    if not content:
        raise UnreadableCase("empty_file", "the file is empty")
    if not len(content) == before.st_size == after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise UnreadableCase("changed", "the file changed while it was read; is it still being copied?")
    return content


def _check_sides(volume: np.ndarray, limits: Limits) -> None:
    height, width = volume.shape[-2:]
    if min(height, width) < limits.min_side_pixels:
        least = limits.min_side_pixels
        raise UnreadableCase("too_small", f"slices of {height}x{width} pixels; at least {least}x{least} are needed")


def _check_signal(pixels: np.ndarray) -> None:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnreadableCase("non_finite", "some pixels are NaN or infinite")
    coarse = pixels[..., ::8, ::8]  # nearly every slice shows its signal here already
    if not (_varies(coarse) or _varies(pixels)):
        raise UnreadableCase("no_signal", "every pixel has the same value")


def _noted(image: Image) -> Image:
    """The image, with a word if it looks like a label map; a picture of one bit has its own."""
    if "one_bit" in image.warnings or not _has_few_values(image.pixels, MOST_LABELS[image.kind]):
        return image
    return image._replace(warnings=(*image.warnings, "few_values"))


def _has_few_values(pixels: np.ndarray, most: int) -> bool:
    """Whether an image holds only so many values as label maps do, and whole ones."""
    coarse = np.unique(pixels[..., ::8, ::8])  # nearly every image shows more here already
    if len(coarse) > most or (coarse != np.rint(coarse)).any():
        return False
    values = np.unique(pixels)
    return len(values) <= most and bool((values == np.rint(values)).all())


def _varies(pixels: np.ndarray) -> bool:
    """Whether any channel holds more than one value."""
    return bool((pixels != pixels[..., :1, :1]).any())
