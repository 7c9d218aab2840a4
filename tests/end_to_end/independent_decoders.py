"""Pixels of image files by decoders that the package does not use for them: tifffile, imagecodecs, OpenCV, ITK, numpy.

But for BMPs of 256 colors in run lengths, which the package holds against OpenCV itself, and for what pydicom too gives
to GDCM.
"""

import gzip
import re
import zlib
from pathlib import Path

import cv2
import imagecodecs
import itk
import numpy as np
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC

PNG, JPEG, BMP, TIFF = b"\x89PNG", b"\xff\xd8\xff", b"BM", (b"II*\0", b"MM\0*")
PICTURES = (PNG, JPEG, BMP, *TIFF)
"""First bytes of files."""

NUMBERS = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8", "MET_LONG": "i4", "MET_ULONG": "u4", "float": "f4", "double": "f8"},
    **{"signed char": "i1", "unsigned char": "u1", "uchar": "u1", "int8": "i1", "uint8": "u1", "short": "i2"},
    **{"signed short": "i2", "unsigned short": "u2", "ushort": "u2", "int16": "i2", "uint16": "u2"},
    **{"int": "i4", "signed int": "i4", "unsigned int": "u4", "uint": "u4", "int32": "i4", "uint32": "u4"},
}
"""numpy's names of MetaImage's and NRRD's types; of the two longs, as ITK reads them."""

TURNS = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}
"""Quarters by which an EXIF orientation turns, after a mirror image for 2, 4, 5 and 7."""


def decoded(path: Path) -> list[np.ndarray]:
    """What each decoder makes of one of `PICTURES`: float (C, H, W); nothing if none can decode it."""
    content = path.read_bytes()
    if content.startswith(TIFF):
        return [_of_tiff(path)]
    if content.startswith(PNG):
        pixels = imagecodecs.png_decode(content)
        channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
        if channels == 2:  # of one transparent color OpenCV knows among colors only
            return [_opaque(pixels)]
        if pixels.dtype == np.uint16 and channels > 2:  # these the package decodes by OpenCV
            return [_first(pixels) if channels == 3 else _opaque(pixels)]
        return of_opencv(content)
    if content.startswith(JPEG):
        return of_opencv(content)
    try:
        return [*of_opencv(content), _first(imagecodecs.bmp_decode(content, asrgb=True))]
    except (imagecodecs.BmpError, IndexError):
        return of_opencv(content)


def agree(image, other, path):
    """Whether the package's `Image` of a picture shows what another decoder gave, `decoded`."""
    pixels = image.pixels.astype(float)
    other = other // 256 if "upper_8_bits_only" in image.warnings else other
    if pixels.shape[1:] != other.shape[1:]:
        return False
    difference = np.abs(pixels - other)  # gray that one of them gives in three channels is gray
    if path.suffix == ".tif" and "jpeg" in path.name:  # half of the colors' rows: each decoder fills in its own way
        return difference.mean() <= 2
    return difference.max() <= (2 if path.read_bytes().startswith(JPEG) or "alpha_flattened" in image.warnings else 0)


def decoded_web(content: bytes) -> np.ndarray:
    """A WebP's or JPEG 2000's pixels, by imagecodecs: float (C, H, W)."""
    pixels = (imagecodecs.webp_decode if content.startswith(b"RIFF") else imagecodecs.jpeg2k_decode)(content)
    return _first(pixels if pixels.ndim == 3 else pixels[..., None])


def decoded_mgh(content: bytes) -> np.ndarray:
    """An MGH's or MGZ's voxels, by numpy: float, in the order in which they are stored."""
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    *shape, kind = np.frombuffer(content, ">i4", 5, 4)
    return np.frombuffer(content, {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2"}[int(kind)], int(np.prod(shape)), 284).astype(
        float
    )


def decoded_text_header(content: bytes, voxels: bytes | None = None) -> np.ndarray:
    """A NRRD's or MetaImage's voxels, by numpy: float, in the order in which they are stored.

    Args:
        content: of the header, and what stands behind it.
        voxels: of the other file, if there is one.
    """
    if content.startswith(b"NRRD"):
        head, _, behind = content.partition(b"\n\n")
        fields = dict(re.findall(r"(?m)^([^#:\n]+?) *: *(.*?) *$", head.decode("latin-1").replace("\r", "")))
        shape, kind = fields["sizes"], fields["type"]
        is_packed, is_big = fields["encoding"] in ("gzip", "gz"), fields.get("endian") == "big"
    else:
        end = re.search(rb"ElementDataFile.*\n", content).end()
        head, behind = content[:end], content[end:]
        fields = dict(re.findall(r"(?m)^ *(\w+) *[=:] *(.*?) *$", head.decode("latin-1").replace("\r", "")))
        shape, kind = fields["DimSize"], fields["ElementType"]
        is_packed = fields.get("CompressedData", "False").upper() in ("TRUE", "1")
        is_big = fields.get("BinaryDataByteOrderMSB", "False").upper() in ("TRUE", "1")
    raw = behind if voxels is None else voxels
    raw = zlib.decompressobj(wbits=47).decompress(raw) if is_packed else raw
    dtype = np.dtype(NUMBERS[kind]).newbyteorder(">" if is_big else "<")
    return np.frombuffer(raw, dtype, int(np.prod([int(n) for n in shape.split()]))).astype(float)


def decoded_dicom(path: Path) -> np.ndarray:
    """GDCM's pixels by way of ITK, rescaled: float (frames, H, W), or (frames, H, W, C) of color."""
    pixels = itk.array_from_image(itk.imread(str(path), imageio=itk.GDCMImageIO.New()))
    return pixels.astype(float)


def decoded_nifti(path: Path) -> np.ndarray:
    """ITK's voxels, scaled: float (x, y, z) in the order in which they are stored."""
    return itk.array_from_image(itk.imread(str(path), itk.D, imageio=itk.NiftiImageIO.New())).T


def of_opencv(content: bytes) -> list[np.ndarray]:
    """OpenCV's pixels of a picture, flattened and turned: none, or one (C, H, W)."""
    raw = np.frombuffer(content, np.uint8)
    stored, shown = (cv2.imdecode(raw, how) for how in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH))
    if stored is None:
        return []
    if stored.shape[:2] != shown.shape[:2] or stored.ndim == 2 or stored.shape[-1] == 3:
        return [_first(shown[..., ::-1])]  # which is turned as its orientation asks
    return [_opaque(stored[..., [2, 1, 0, 3]])]


def _opaque(array: np.ndarray) -> np.ndarray:
    """(H, W, C and alpha) on black."""
    return _first(array[..., :-1] * (array[..., -1:] / np.iinfo(array.dtype).max))


def _first(array: np.ndarray) -> np.ndarray:
    """(H, W, C) as float (C, H, W)."""
    return np.moveaxis(array, -1, 0).astype(float)


def _of_tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        samples = page.asarray().astype(float)
        samples = np.moveaxis(samples, page.axes.index("S"), 0) if "S" in page.axes else samples[None]
        extra, bits = page.extrasamples, page.bitspersample
        photometric, colors = page.photometric, page.colormap
        orientation = page.tags[274].value if 274 in page.tags else 1
    alpha = samples[-1] / (2**bits - 1) if EXTRASAMPLE.UNASSALPHA in extra else 1.0
    if photometric == PHOTOMETRIC.PALETTE:
        gray = colors[:, samples[0].astype(int)] // 256
    elif photometric == PHOTOMETRIC.SEPARATED:
        cyan_magenta_yellow, black = samples[:3], samples[3]
        top = 2**bits - 1
        gray = (top - cyan_magenta_yellow) * (top - black) / top
    else:
        gray = samples[: 3 if photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1]
    if bits < 8 and photometric != PHOTOMETRIC.PALETTE:
        gray = np.floor(gray * 255 / (2**bits - 1))
    if photometric == PHOTOMETRIC.MINISWHITE and page.dtype.kind != "f":
        gray = (255 if bits < 8 else 2**bits - 1) - gray
    return _turned(gray * alpha, orientation)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    mirrored = pixels[:, :, ::-1] if orientation in (2, 4, 5, 7) else pixels
    return np.rot90(mirrored, TURNS[orientation], axes=(1, 2))
