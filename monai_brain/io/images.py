"""Decode JPEG, PNG, BMP and TIFF with correct orientation and bit depth, one frame, within size limits."""

import io
import logging
import warnings
from typing import Any, NoReturn

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from monai_brain.io.record import Image, Limits, UnreadableCase

END_OF_JPEG = b"\xff\xd9"
END_OF_JPEG2000 = b"\xff\xd9"
END_OF_PNG = b"IEND\xaeB`\x82"
TRAILER_BYTES = 4096
"""Some scanners' and cameras' files go on a little after their end."""

warnings.filterwarnings("ignore", module=r"PIL\..*")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
"""Hide Pillow's warnings about odd metadata, once, because threads read; what matters becomes a code."""

PHOTOMETRIC_TAG, BITS_TAG, WHITE_IS_ZERO = 262, 258, 0
SAMPLE_FORMAT_TAG, SIGNED = 339, 2
RLE8, RLE4 = 1, 2
"""A BMP's compressions."""
SUBFILE_TAG, REDUCED = 254, 1
"""NewSubfileType, and its bit for a reduced copy of another page (TIFF 6.0)."""
COMPRESSION_TAG, UNCOMPRESSED = 259, 1
OFFSETS_TAGS, BYTE_COUNTS_TAGS = (273, 324), (279, 325)
"""Of strips or of tiles: where they begin, and how long they are."""
ORIENTATION_TAG = 274
"""EXIF (and TIFF) tag of how the picture is to be turned."""


def read_jpeg(content: bytes, limits: Limits) -> Image:
    """Decode a JPEG."""
    _check_end(content, END_OF_JPEG)
    return _read(content, "JPEG", limits)


def read_png(content: bytes, limits: Limits) -> Image:
    """Decode a PNG; 16-bit color goes through OpenCV, because Pillow keeps only its upper 8 bits."""
    _check_end(content, END_OF_PNG)
    image = _read(content, "PNG", limits)
    bit_depth, color_type = content[24], content[25]
    if bit_depth == 16 and color_type in (2, 4, 6):
        deep = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if deep is None:
            raise UnreadableCase("damaged", "the 16-bit PNG could not be decoded")
        with Pillow.open(io.BytesIO(content)) as picture:
            turned = _turned(deep, _orientation(picture))
        return image._replace(pixels=_deep_channels(turned))
    return image


def read_bmp(content: bytes, limits: Limits) -> Image:
    """Decode a BMP.

    Of 16 colors in run lengths Pillow gets many pixels wrong: refused. Of 256 colors it makes up what run lengths
    leave over that do not fit their rows: where OpenCV makes up something else, the file is damaged.
    """
    has_compression = len(content) >= 34 and content[14] >= 40
    compression = int.from_bytes(content[30:34], "little") if has_compression else None
    if compression == RLE4:
        raise UnreadableCase("unsupported_format", "a BMP of 4 bits in run lengths; save it as PNG")
    starts, ends = int.from_bytes(content[10:14], "little"), 14 + int.from_bytes(content[14:18], "little")
    if starts < ends:  # decoders make different pictures of these
        raise UnreadableCase("damaged", "the pixels of this BMP begin inside its header; save it again")
    image = _read(content, "BMP", limits)
    if compression == RLE8:
        other = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if other is None or (np.moveaxis(other[..., ::-1], -1, 0) != image.pixels).any():
            raise UnreadableCase("damaged", "the run lengths of this BMP do not fit its rows; save it as PNG")
    return image


def read_tiff(content: bytes, limits: Limits) -> Image:
    """Decode a single-page TIFF, correcting what Pillow gets wrong.

    It inverts white-is-zero images of 8 bits only, takes signed pixels of 8 bits for unsigned and unsigned ones of 32
    bits for signed, and keeps the upper 8 bits of deeper colors.
    """
    image = _read(content, "TIFF", limits)
    with Pillow.open(io.BytesIO(content), formats=["TIFF"]) as picture:
        tags = getattr(picture, "tag_v2", {})
        if image.pixels.dtype == np.float32:
            if picture.mode == "I" and tags.get(SAMPLE_FORMAT_TAG, (1,))[0] != SIGNED and image.pixels.min() < 0:
                raise UnreadableCase("unsupported_format", "numbers above 2147483647; save it with 16 bits")
            return image
        if image.pixels.dtype == np.uint8:
            return _of_8_bits(image, tags)
        if tags.get(PHOTOMETRIC_TAG) != WHITE_IS_ZERO:
            return image
        white = np.uint16(2 ** tags.get(BITS_TAG, (16,))[0] - 1)
    return image._replace(pixels=white - image.pixels, warnings=(*image.warnings, "white_is_zero_inverted"))


def read_webp(content: bytes, limits: Limits) -> Image:
    """Decode a WebP of one frame."""
    if len(content) < int.from_bytes(content[4:8], "little") + 8:
        raise UnreadableCase("truncated", "the file is shorter than its header says: it was cut")
    return _read(content, "WEBP", limits)


def read_jpeg2000(content: bytes, limits: Limits) -> Image:
    """Decode a JPEG 2000 file or code stream."""
    _check_end(content, END_OF_JPEG2000)
    return _read(content, "JPEG2000", limits)


def _of_8_bits(image: Image, tags: Any) -> Image:
    """Restore signed values, and warn about lost bits."""
    bits = max(tags.get(BITS_TAG, (1,)))
    if bits > 8:
        return image._replace(warnings=(*image.warnings, "upper_8_bits_only"))
    if bits == 8 and tags.get(SAMPLE_FORMAT_TAG, (1,))[0] == SIGNED:
        if len(image.pixels) > 1:
            raise UnreadableCase("unsupported_format", "color of signed numbers; save it unsigned")
        return image._replace(pixels=image.pixels.view(np.int8).astype(np.float32))
    return image


def _check_end(content: bytes, marker: bytes) -> None:
    """Pillow reads a file silently when only its end is missing."""
    if marker not in content[-TRAILER_BYTES:]:
        raise UnreadableCase("truncated", "the end marker is missing: the file was cut")


def _read(content: bytes, format_name: str, limits: Limits) -> Image:
    notes: list[str] = []
    try:
        with Pillow.open(io.BytesIO(content), formats=[format_name]) as picture:
            _check_size(picture.size, limits)
            _check_frames(picture, format_name, notes)
            if format_name == "TIFF":
                _check_strips(picture)
            if _orientation(picture) != 1:
                notes.append("exif_orientation_applied")
            picture.load()  # this rotates TIFFs only
            turned = ImageOps.exif_transpose(picture) if _orientation(picture) != 1 else picture
            pixels = _pixels(turned, notes)
    except UnreadableCase:
        raise
    except Exception as error:
        _refuse(error)
    return Image(pixels, spacing_mm=None, affine_ras=None, kind="slice", warnings=tuple(notes))


def _refuse(error: Exception) -> NoReturn:
    if isinstance(error, Pillow.DecompressionBombError):
        raise UnreadableCase("too_large", "the header announces far more pixels than any MR slice has") from None
    code = "truncated" if "truncated" in str(error).lower() else "damaged"
    raise UnreadableCase(code, f"the image could not be decoded ({type(error).__name__})") from None


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise UnreadableCase("too_large", f"{height}x{width} pixels; at most {limits.max_pixels} are decoded")
    if min(size) < limits.min_side_pixels:
        least = limits.min_side_pixels
        raise UnreadableCase("too_small", f"{height}x{width} pixels; at least {least}x{least} are needed")


def _check_frames(picture: Pillow.Image, format_name: str, notes: list[str]) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames == 1:
        return
    if format_name == "TIFF":
        if _full_pages(picture) == 1:
            return
        raise UnreadableCase("several_pages", f"{frames} pages; split it into one file per slice")
    if format_name in ("PNG", "WEBP"):
        raise UnreadableCase("animated", f"an animation of {frames} frames; save the slice you want as a separate file")
    notes.append("extra_pictures_ignored")  # cameras hide previews behind a JPEG's picture


def _check_strips(picture: Pillow.Image) -> None:
    """Refuse a TIFF with missing or too small lengths of its parts, for which decoders guess."""
    tags: Any = getattr(picture, "tag_v2", {})
    offsets, counts = (
        next((tags[tag] for tag in pair if tag in tags), ()) for pair in (OFFSETS_TAGS, BYTE_COUNTS_TAGS)
    )
    bits = picture.width * picture.height * sum(tags.get(BITS_TAG, (1,)))
    is_short = tags.get(COMPRESSION_TAG, UNCOMPRESSED) == UNCOMPRESSED and sum(counts) * 8 < bits
    if len(counts) != len(offsets) or min(counts, default=0) < 1 or is_short:
        raise UnreadableCase("damaged", "this TIFF's lengths of strips or tiles are missing or wrong; save it again")


def _full_pages(picture: Pillow.Image) -> int:
    """Pages of a TIFF, whose first one must be whole, without reduced copies of another."""
    number = 0
    for page in range(getattr(picture, "n_frames", 1)):
        picture.seek(page)
        is_reduced = bool(getattr(picture, "tag_v2", {}).get(SUBFILE_TAG, 0) & REDUCED)
        number += 2 if is_reduced and page == 0 else int(not is_reduced)
    picture.seek(0)
    return number


def _orientation(picture: Pillow.Image) -> int:
    if "exif" not in picture.info and ORIENTATION_TAG not in getattr(picture, "tag_v2", ()):
        return 1
    return picture.getexif().get(ORIENTATION_TAG, 1)


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Apply the EXIF orientation to an (H, W, ...) array."""
    flipped = array[:, ::-1] if orientation in (2, 4, 5, 7) else array
    return np.rot90(flipped, {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0))


def _pixels(picture: Pillow.Image, notes: list[str]) -> np.ndarray:
    """(C, H, W) pixels of any of Pillow's modes; color stays color, depth stays depth."""
    mode = picture.mode
    clear = picture.info.get("transparency") if mode in ("1", "L", "I;16", "RGB") else None  # the one color, of PNGs
    if mode in ("P", "RGBA", "LA", "PA", "La", "RGBa"):
        picture, mode = _flattened(picture, notes)
    if mode == "1":
        notes.append("one_bit")
        picture = picture.convert("L")
    elif mode not in ("L", "RGB", "F", "I") and not mode.startswith("I;16"):
        notes.append(f"{mode.lower()}_converted")
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    if clear is not None:
        notes.append("alpha_flattened")
        is_clear = array == clear
        array = np.where(is_clear.all(-1, keepdims=True) if array.ndim == 3 else is_clear, 0, array)
    if array.ndim == 3:
        return np.moveaxis(array, -1, 0)
    if array.dtype.kind == "f":
        notes.append("range_unknown")  # such files do not say what is black and what is white
    return _integers_of_16_bits(array)[None] if array.dtype.kind in "iu" else array[None].astype(np.float32)


def _integers_of_16_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max:
        return array.astype(np.uint16)
    return array.astype(np.float32)


def _flattened(picture: Pillow.Image, notes: list[str]) -> tuple[Pillow.Image, str]:
    """Palettes become colors; what is transparent becomes black, the background of an MR image."""
    if picture.mode == "P" and "transparency" not in picture.info:
        notes.append("palette_converted")
        return picture.convert("RGB"), "RGB"
    notes.append("alpha_flattened")
    colored = picture.convert("RGBA")
    black = Pillow.new("RGBA", colored.size, (0, 0, 0, 255))
    return Pillow.alpha_composite(black, colored).convert("RGB"), "RGB"


def _deep_channels(decoded: np.ndarray) -> np.ndarray:
    """OpenCV's 16-bit (H, W, BGR or BGRA) as (C, H, W) RGB, its alpha multiplied in."""
    if decoded.ndim == 2:
        return decoded[None]
    color = decoded[..., 2::-1]
    if decoded.shape[-1] == 4:
        color = (color * (decoded[..., 3:] / np.float64(65535))).round().astype(np.uint16)
    return np.moveaxis(color, -1, 0)
