"""Small files of every format that the package reads, always the same bytes: what the fuzz run damages."""

import gzip
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import imagecodecs
import itk
import nibabel as nib
import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

HEIGHT, WIDTH, DEPTH = 44, 40, 6
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 3, 0, -40], [0, 0, 5, 50], [0, 0, 0, 1]])
ROOT_UID = "1.2.826.0.1.3680043.8.498.1"


class Seed(NamedTuple):
    """A file, or the files of one case."""

    name: str
    files: dict[str, bytes]


def seeds() -> list[Seed]:
    """All of them."""
    made = [Seed(name, {f"{name}{suffix}": content}) for name, suffix, content in (*_pictures(), *_volumes())]
    made += [Seed(f"dicom_{name}", {f"{name}.dcm": content}) for name, content in _dicoms()]
    made += [Seed(name, dict(files)) for name, files in (*_pairs(), *_several())]
    return made


def slice_of(index: int = 0) -> np.ndarray:
    """A head in air, (H, W) uint16 below 4096."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    noise = np.random.default_rng(index).integers(0, 60, x.shape)
    inside = np.hypot(x / 0.8, y / 0.9) < 1
    lesion = np.hypot(x - 0.2, y - 0.1 * index + 0.2) < 0.25
    return np.where(inside, 1500 + 1800 * lesion + 8 * noise, noise).astype(np.uint16)


def volume() -> np.ndarray:
    """(x, y, z) int16."""
    return np.stack([slice_of(index).T for index in range(DEPTH)], -1).astype(np.int16)


def _pictures() -> Iterator[tuple[str, str, bytes]]:
    deep = slice_of()
    gray = (deep >> 4).astype(np.uint8)
    color = np.stack([gray, gray // 2, gray // 3], -1)
    picture, rgb = Image.fromarray(gray), Image.fromarray(color)
    opacity = Image.fromarray((gray > 20).astype(np.uint8) * 255)
    turned = Image.Exif()
    turned[274] = 6
    for name, image, options in (
        ("gray", picture, {}),
        ("rgb", rgb, {}),
        ("progressive", picture, {"progressive": True}),
        ("exif", picture, {"exif": turned}),
        ("cmyk", rgb.convert("CMYK"), {}),
    ):
        yield f"jpeg_{name}", ".jpg", _saved(image, "JPEG", quality=95, **options)
    alpha = rgb.copy()
    alpha.putalpha(opacity)
    gray_alpha = picture.copy()
    gray_alpha.putalpha(opacity)
    for name, image in (
        ("gray", picture),
        ("deep", Image.fromarray(deep)),
        ("rgb", rgb),
        ("rgba", alpha),
        ("palette", rgb.quantize(64)),
        ("la", gray_alpha),
        ("bit", picture.convert("1")),
    ):
        yield f"png_{name}", ".png", _saved(image, "PNG")
    yield "png_deep_rgb", ".png", cv2.imencode(".png", color.astype(np.uint16) * 257)[1].tobytes()
    for name, image in (("gray", picture), ("rgb", rgb), ("bit", picture.convert("1")), ("palette", rgb.quantize(64))):
        yield f"bmp_{name}", ".bmp", _saved(image, "BMP")
    for name, pixels, options in (
        ("raw", gray, {}),
        ("deep", deep, {"byteorder": ">"}),
        ("float", deep.astype(np.float32), {}),
        ("lzw", gray, {"compression": "lzw"}),
        ("deflate", deep, {"compression": "zlib", "predictor": True}),
        ("packbits", gray, {"compression": "packbits"}),
        ("tiles", np.kron(gray, np.ones((2, 2), np.uint8)), {"tile": (32, 32)}),
        ("strips", gray, {"rowsperstrip": 8}),
        ("rgb", color, {"photometric": "rgb"}),
        ("big", gray, {"bigtiff": True}),
        ("white_is_zero", gray, {"photometric": "miniswhite"}),
    ):
        file = io.BytesIO()
        with tifffile.TiffWriter(
            file, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", "<")
        ) as own:
            own.write(pixels, software=None, metadata=None, **{"photometric": "minisblack", **options})
        yield f"tiff_{name}", ".tif", file.getvalue()
    yield "webp_lossless", ".webp", _saved(rgb, "WEBP", lossless=True)
    yield "webp_lossy", ".webp", _saved(rgb, "WEBP")
    yield "jpeg2000", ".jp2", _saved(picture, "JPEG2000")
    yield "jpeg2000_stream", ".j2k", _saved(rgb, "JPEG2000", no_jp2=True)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _volumes() -> Iterator[tuple[str, str, bytes]]:
    voxels = volume()
    plain = nib.Nifti1Image(voxels, AFFINE)
    yield "nifti", ".nii", plain.to_bytes()
    yield "nifti_gz", ".nii.gz", gzip.compress(nib.Nifti1Image(voxels.astype(np.float32), AFFINE).to_bytes(), mtime=0)
    yield "nifti2", ".nii", nib.Nifti2Image(voxels, AFFINE).to_bytes()
    yield "nifti_bytes", ".nii", nib.Nifti1Image((voxels >> 4).astype(np.uint8), AFFINE).to_bytes()
    swapped = nib.Nifti1Image(voxels.astype(">i2"), AFFINE, plain.header.as_byteswapped(">"))
    yield "nifti_big_endian", ".nii", swapped.to_bytes()
    scaled = nib.Nifti1Image(voxels, AFFINE)
    scaled.header.set_slope_inter(0.5, 10)
    yield "nifti_scaled", ".nii", scaled.to_bytes()
    yield "mgh", ".mgh", nib.MGHImage(voxels.astype(np.float32), AFFINE.astype(np.float32)).to_bytes()
    packed = nib.MGHImage((voxels >> 4).astype(np.uint8), AFFINE.astype(np.float32)).to_bytes()
    yield "mgz", ".mgz", gzip.compress(packed, mtime=0)
    for name, suffix, compression in (("nrrd", ".nrrd", False), ("nrrd_gz", ".nrrd", True)):
        yield name, suffix, _of_itk(voxels, suffix, compression)[f"v{suffix}"]
    for name, suffix, compression in (("mha", ".mha", False), ("mha_z", ".mha", True)):
        yield name, suffix, _of_itk(voxels, suffix, compression)[f"v{suffix}"]


def _of_itk(voxels: np.ndarray, suffix: str, compression: bool = False) -> dict[str, bytes]:
    """Files that ITK writes."""
    image = itk.image_from_array(voxels.transpose(2, 1, 0).copy())
    image.SetSpacing([2, 3, 5])
    with tempfile.TemporaryDirectory() as folder:
        itk.imwrite(image, str(Path(folder) / f"v{suffix}"), compression=compression)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _pairs() -> Iterator[tuple[str, dict[str, bytes]]]:
    voxels = volume()
    for name, kind in (("nifti_pair", nib.Nifti1Pair), ("nifti2_pair", nib.Nifti2Pair), ("analyze", nib.AnalyzeImage)):
        image = kind(voxels, np.diag([-2.0, 3, 5, 1]))
        files = {key: nib.FileHolder(fileobj=io.BytesIO()) for key in ("header", "image")}
        image.to_file_map(files)
        header, pixels = (files[key].fileobj.getvalue() for key in ("header", "image"))
        yield name, {"v.hdr": header, "v.img": pixels}
        if name == "nifti_pair":
            yield (
                f"{name}_gz",
                {
                    "v.hdr.gz": gzip.compress(header, mtime=0),
                    "v.img.gz": gzip.compress(pixels, mtime=0),
                },
            )
    yield "mhd", _of_itk(voxels, ".mhd")
    yield "mhd_z", _of_itk(voxels, ".mhd", compression=True)
    yield "nhdr", _of_itk(voxels, ".nhdr")


def _dicoms() -> Iterator[tuple[str, bytes]]:
    pixels = slice_of()
    for name, syntax in (
        ("explicit", ExplicitVRLittleEndian),
        ("implicit", ImplicitVRLittleEndian),
        ("big_endian", ExplicitVRBigEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("rle", RLELossless),
        ("jpeg", JPEGLosslessSV1),
        ("jpeg_ls", JPEGLSLossless),
        ("jpeg2000", JPEG2000Lossless),
    ):
        yield name, _dicom(pixels, syntax)
    yield "monochrome1", _dicom(4095 - pixels, PhotometricInterpretation="MONOCHROME1")
    yield "scaled", _dicom(pixels, RescaleSlope="2", RescaleIntercept="-10", WindowCenter="3000", WindowWidth="6000")
    gray = (pixels >> 4).astype(np.uint8)
    tags = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    color = np.stack([gray, gray // 2, gray // 3], -1).tobytes()
    yield "rgb", _dicom(pixels, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=color, **tags)
    yield "enhanced", _enhanced()


def _dicom(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, index: int = 0, **tags: object) -> bytes:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, f"{ROOT_UID}.{index + 1}"
    data.Modality, data.SeriesInstanceUID, data.StudyInstanceUID = "MR", f"{ROOT_UID}.100", f"{ROOT_UID}.200"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelSpacing, data.ImagePositionPatient = [3.0, 2.0], [-30.0, -40.0, 5.0 * index]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if syntax == RLELossless:
        low, high = ((pixels >> shift & 255).astype(np.uint8).tobytes() for shift in (0, 8))
        rows = [imagecodecs.packbits_encode(own) for own in (high, low)]
        rows = [own + b"\0" * (len(own) % 2) for own in rows]
        ends = np.array([2, 64, 64 + len(rows[0]), *[0] * 13], "<u4").tobytes()
        data.PixelData = encapsulate([ends + b"".join(rows)])
    elif syntax == JPEGLosslessSV1:
        data.PixelData = encapsulate([imagecodecs.ljpeg_encode(pixels, bitspersample=12)])
    elif syntax == JPEGLSLossless:
        data.PixelData = encapsulate([imagecodecs.jpegls_encode(pixels)])
    elif syntax == JPEG2000Lossless:
        data.PixelData = encapsulate(
            [imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, bitspersample=12)]
        )
    else:
        data.PixelData = pixels.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data["PixelData"].VR = "OB" if data.BitsAllocated == 8 or syntax.is_encapsulated else "OW"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _enhanced() -> bytes:
    frames = []
    for index in range(DEPTH):
        plane, frame = Dataset(), Dataset()
        plane.ImagePositionPatient = [-30.0, -40.0, 5.0 * index]
        frame.PlanePositionSequence = [plane]
        frames.append(frame)
    pixels = np.stack([slice_of(index) for index in range(DEPTH)]).astype("<u2").tobytes()
    tags = {"NumberOfFrames": DEPTH, "PerFrameFunctionalGroupsSequence": frames, "PixelData": pixels}
    return _dicom(slice_of(), SOPClassUID=EnhancedMRImageStorage, **tags)


def _several() -> Iterator[tuple[str, dict[str, bytes]]]:
    series = {
        name: {f"{index}.dcm": _dicom(slice_of(index), syntax, index) for index in range(DEPTH)}
        for name, syntax in (("series", ExplicitVRLittleEndian), ("series_jpeg2000", JPEG2000Lossless))
    }
    yield from series.items()
    pictures = {f"{name}{suffix}": content for name, suffix, content in list(_pictures())[::6]}
    for name, files in (("zip", pictures), ("zip_series", series["series"])):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for own, content in files.items():
                archive.writestr(zipfile.ZipInfo(own), content)
        yield name, {f"{name}.zip": packed.getvalue()}
