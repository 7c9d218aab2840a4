import itk
import nibabel as nib
import numpy as np
import pytest

from monai_brain.io import Limits, UnreadableCase, find_cases, read_case


def image():
    made = itk.image_from_array(np.random.default_rng(0).random((6, 40, 44)).astype(np.float32))  # z, y, x
    c, s = np.cos(0.3), np.sin(0.3)
    made.SetDirection(itk.matrix_from_array(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])))
    made.SetSpacing([0.9, 0.8, 5.0])
    made.SetOrigin([10.0, -20.0, 30.0])
    return made


def read(path, **options):
    (case,) = find_cases(path)
    return read_case(case, **options)


def refusal(path):
    with pytest.raises(UnreadableCase) as caught:
        read(path)
    return caught.value.code


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_volume_equals_the_same_one_as_nifti(tmp_path, suffix):
    for name in (f"a{suffix}", "b.nii.gz"):
        itk.imwrite(image(), str(tmp_path / name))
    found, expected = read(tmp_path / f"a{suffix}"), read(tmp_path / "b.nii.gz")
    assert np.array_equal(found.pixels, expected.pixels)
    np.testing.assert_allclose(found.affine_ras, expected.affine_ras, atol=1e-4)
    assert found.spacing_mm == pytest.approx((5.0, 0.8, 0.9), abs=1e-5)
    np.testing.assert_allclose(found.source.affine_ras, nib.load(tmp_path / "b.nii.gz").affine, atol=1e-4)


def test_format_is_decided_by_content(tmp_path):
    itk.imwrite(image(), str(tmp_path / "a.nrrd"))
    (tmp_path / "a.nrrd").rename(tmp_path / "scan.dat")
    assert read(tmp_path / "scan.dat").warnings == ("nrrd_by_content",)


def test_header_that_leads_to_another_file_is_refused(tmp_path):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"\1" * 40 * 44 * 6)
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 44 40 6\nencoding: raw\ndata file: {}\n\n"
    (tmp_path / "a.nrrd").write_text(head.format(secret))
    (tmp_path / "a.mha").write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = 44 40 6\nElementType = MET_UCHAR\nElementDataFile = {secret}\n"
    )
    assert refusal(tmp_path / "a.nrrd") == refusal(tmp_path / "a.mha") == "part_elsewhere"


@pytest.mark.parametrize(
    "lines",
    [
        "elementdatafile = LOCAL\nElementDataFile = {}",
        "ElementDataFile: {}\nElementDataFile = LOCAL",
        "x = y\rElementDataFile = {}\nElementDataFile = LOCAL",
    ],
)
def test_no_spelling_of_a_header_leads_itk_to_another_file(tmp_path, lines):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(1, 201)) * 53)
    head = "ObjectType = Image\nNDims = 3\nDimSize = 44 40 6\nElementType = MET_UCHAR\n" + lines.format(secret) + "\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(44 * 40 * 6))
    try:
        shown = read(tmp_path / "a.mha").pixels
    except UnreadableCase as error:
        assert error.code in ("part_elsewhere", "damaged", "no_signal")
    else:
        assert np.count_nonzero(shown) < 200, "the other file's bytes came out"


def test_compressed_metaimage_is_read(tmp_path):
    itk.imwrite(image(), str(tmp_path / "a.mha"), compression=True)
    itk.imwrite(image(), str(tmp_path / "b.nii.gz"))
    assert np.array_equal(read(tmp_path / "a.mha").pixels, read(tmp_path / "b.nii.gz").pixels)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"sizes: 44 40 6", b"sizes: 30000 30000 30000", "too_large"),
        (b"sizes: 44 40 6", b"sizes: 44 40 -6", "damaged"),
        (b"sizes: 44 40 6", b"sizes: 44 40", "unsupported_format"),
        (b"type: float", b"type: block", "unsupported_format"),
        (b"encoding: raw", b"encoding: what", "damaged"),
    ],
)
def test_headers_that_make_no_sense_are_refused(tmp_path, old, new, code):
    itk.imwrite(image(), str(tmp_path / "a.nrrd"))
    content = (tmp_path / "a.nrrd").read_bytes()
    assert old in content
    (tmp_path / "a.nrrd").write_bytes(content.replace(old, new))
    assert refusal(tmp_path / "a.nrrd") == code


@pytest.mark.bad_input(98)
@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"CompressedDataSize", b"ElSize", ""),
        (b"DimSize = 44 40 6", b"DimSize = 44 40 7", "truncated"),
        (b"DimSize = 44 40 6", b"DimSize = 44 40 5", "damaged"),
        (b"LOCAL\n", b"LOCAL\n?", "damaged"),
    ],
)
def test_98_compressed_voxels_are_whole_or_refused(tmp_path, old, new, code):
    itk.imwrite(image(), str(tmp_path / "a.mha"), compression=True)
    content = (tmp_path / "a.mha").read_bytes()
    expected = read(tmp_path / "a.mha").pixels
    assert old in content
    (tmp_path / "a.mha").write_bytes(content.replace(old, new))
    if code:
        assert refusal(tmp_path / "a.mha") == code
    else:  # ITK would go by the size, and fill the voxels with what is in memory
        assert np.array_equal(read(tmp_path / "a.mha").pixels, expected)


def test_cut_file_is_refused(tmp_path):
    for suffix in (".nrrd", ".mha"):
        itk.imwrite(image(), str(tmp_path / f"a{suffix}"))
        content = (tmp_path / f"a{suffix}").read_bytes()
        (tmp_path / f"a{suffix}").write_bytes(content[:-5000])
        assert refusal(tmp_path / f"a{suffix}") in ("truncated", "damaged")


def test_limits_hold(tmp_path):
    itk.imwrite(image(), str(tmp_path / "a.mha"))
    with pytest.raises(UnreadableCase, match="at most 1000"):
        read(tmp_path / "a.mha", limits=Limits(max_voxels=1000))
