"""Formats beside the usual ones: read, or refused by name."""

import bz2
import gzip
import io

import nibabel as nib
import numpy as np
import PIL.Image
import pytest

from monai_brain.io import Case, UnreadableCase
from monai_brain.io.read import read_case


def read(folder, name, content):
    (folder / name).write_bytes(content)
    return read_case(Case(name, (folder / name,), "slice"))


def code(folder, name, content):
    with pytest.raises(UnreadableCase) as caught:
        read(folder, name, content)
    return caught.value.code, str(caught.value)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def head():
    """(34, 40, 36) int16."""
    return (np.arange(34 * 40 * 36) % 30011).astype(np.int16).reshape(34, 40, 36)


@pytest.mark.bad_input(77)
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [("a.webp", "WEBP", {"lossless": True}), ("a.jp2", "JPEG2000", {}), ("a.j2k", "JPEG2000", {"no_jp2": True})],
)
def test_77_webp_and_jpeg_2000_are_read(tmp_path, phantom, name, kind, options):
    picture = phantom(0, 1)
    content = encoded(picture, kind, **options)
    image = read(tmp_path, name, content)
    assert image.kind == "slice"
    assert image.warnings == ()
    np.testing.assert_array_equal(image.pixels[0], picture)
    assert read(tmp_path, "b.png", content).warnings == (f"{'webp' if kind == 'WEBP' else 'jpeg2000'}_by_content",)
    assert code(tmp_path, name, content[: len(content) // 2])[0] in ("truncated", "damaged")


@pytest.mark.bad_input(77)
@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_77_mgh_is_read_as_its_nifti(tmp_path, head, name, dtype):
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -40], [0, -2, 0, 50], [0, 0, 0, 1]])
    values = (head % 200).astype(dtype)
    packed = nib.MGHImage(values, affine.astype(np.float32)).to_bytes()
    content = gzip.compress(packed) if name.endswith("z") else packed
    image = read(tmp_path, name, content)
    expected = read(tmp_path, "a.nii", nib.Nifti1Image(values, affine).to_bytes())
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    np.testing.assert_allclose(image.affine_ras, expected.affine_ras, atol=1e-4)
    np.testing.assert_allclose(image.spacing_mm, expected.spacing_mm, rtol=1e-5)


@pytest.mark.bad_input(77)
def test_77_mgh_without_an_orientation_has_no_affine(tmp_path, head):
    packed = bytearray(nib.MGHImage(head, np.eye(4, dtype=np.float32)).to_bytes())
    packed[28:30] = b"\x00\x00"
    image = read(tmp_path, "a.mgh", bytes(packed))
    assert (image.warnings, image.spacing_mm) == (("no_affine",), None)


@pytest.mark.bad_input(77)
def test_77_damaged_mgh_is_refused(tmp_path, head):
    packed = nib.MGHImage(head, np.eye(4, dtype=np.float32)).to_bytes()
    huge = packed[:4] + b"\x00\x00\x75\x30" * 3 + packed[16:]
    assert code(tmp_path, "a.mgh", packed[:-2000])[0] == "truncated"
    assert code(tmp_path, "a.mgh", huge)[0] == "too_large"
    assert code(tmp_path, "a.mgz", gzip.compress(packed)[:-100])[0] == "truncated"
    frames = nib.MGHImage(np.stack([head, head], -1), np.eye(4, dtype=np.float32)).to_bytes()
    assert code(tmp_path, "a.mgh", frames)[0] == "several_volumes"


@pytest.mark.bad_input(78)
@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(200), "MATLAB"),
        ("a.mat", b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(600), "MATLAB"),
        ("a.h5", b"\x89HDF\r\n\x1a\n".ljust(200), "HDF5"),
        ("a.npy", b"\x93NUMPY\x01\x00".ljust(200), "NumPy"),
        ("a.nii.bz2", bz2.compress(b"x" * 500), "bzip2"),
        ("a.heic", b"\x00\x00\x00\x18ftypheic".ljust(200), "HEIC"),
        ("a.PAR", b"# === DATA DESCRIPTION FILE ====".ljust(200), "PAR/REC"),
    ],
)
def test_78_other_formats_are_refused_by_name(tmp_path, name, content, word):
    found, message = code(tmp_path, name, content)
    assert found == "unsupported_format"
    assert word in message


@pytest.mark.bad_input(79)
def test_79_tiff_with_a_reduced_copy_is_one_page(tmp_path, phantom):
    tifffile = pytest.importorskip("tifffile")
    picture = phantom(0, 1)
    for name, reduced in (("one.tif", True), ("two.tif", False)):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(picture)
            file.write(np.ascontiguousarray(picture[::2, ::2]), subfiletype=1 if reduced else 0)
    image = read(tmp_path, "one.tif", (tmp_path / "one.tif").read_bytes())
    np.testing.assert_array_equal(image.pixels[0], picture)
    assert code(tmp_path, "two.tif", (tmp_path / "two.tif").read_bytes())[0] == "several_pages"
