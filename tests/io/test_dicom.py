"""DICOM: pixels equal to a reference, geometry equal to NIfTI's, coded refusals, no patient data."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEG2000MC, MPEG2MPML, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from monai_brain.io import Limits, Skipped, UnreadableCase, find_cases, read_case
from monai_brain.io.dicom_header import read_header
from monai_brain.io.nifti import write_mask
from monai_brain.transforms.load import as_8_bits, to_8_bits
from tests.io.dicoms import CANARY, instance, picture, save, save_series

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def only(folder):
    (case,) = (entry for entry in find_cases(folder) if not isinstance(entry, Skipped))
    return case


def read(folder, **options):
    return read_case(only(folder), **options)


def refusal(folder):
    with pytest.raises(UnreadableCase) as caught:
        read(folder)
    assert CANARY not in str(caught.value)
    return caught.value.code


@pytest.mark.bad_input(51)
@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
def test_compressed_pixels_equal_the_uncompressed_ones(name):
    expected = read_case(only(SAMPLES / "MR_small.dcm")).pixels
    assert expected.shape == (1, 64, 64)
    assert np.array_equal(read_case(only(SAMPLES / name)).pixels, expected)


@pytest.mark.bad_input(61)
@pytest.mark.parametrize("spacing", [None, [0.0, 0.9], [0.8]], ids=["none", "zero", "one number"])
def test_single_slice_without_spacing_is_read(tmp_path, spacing):
    save(instance(picture(), PixelSpacing=spacing), tmp_path / "a.dcm")
    image = read(tmp_path)
    assert (image.kind, image.spacing_mm) == ("slice", None)
    assert np.array_equal(image.pixels[0], picture())


def test_single_slice_has_its_spacing_and_no_need_of_a_position(tmp_path):
    save(instance(picture(), ImagePositionPatient=None, ImageOrientationPatient=None), tmp_path / "a.dcm")
    image = read(tmp_path)
    assert (image.kind, image.spacing_mm, image.warnings) == ("slice", (0.8, 0.9), ())
    assert np.array_equal(image.pixels[0], picture())


def test_series_equals_the_same_volume_as_nifti(tmp_path):
    save_series(tmp_path / "dicom")
    image = read(tmp_path / "dicom")
    values = np.stack([picture(index) for index in range(5)], axis=-1).astype(np.float32).transpose(1, 0, 2)
    affine = np.diag([-0.9, -0.8, 6.0, 1.0])
    affine[:3, 3] = (20, 30, 0)
    (tmp_path / "nifti").mkdir()
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "nifti" / "a.nii.gz")
    same = read(tmp_path / "nifti")
    assert image.kind == "volume"
    assert np.array_equal(image.pixels, same.pixels)
    np.testing.assert_allclose(image.affine_ras, same.affine_ras, atol=1e-5)
    assert image.spacing_mm == pytest.approx((6.0, 0.8, 0.9))
    write_mask(tmp_path / "mask.nii.gz", image.pixels[0] > 500, image.source)
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == (44, 40, 5)
    assert np.array_equal(np.asarray(mask.dataobj) > 0, values > 500)
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)


def test_oblique_sagittal_series_is_turned_like_any_volume(tmp_path):
    c, s = np.cos(0.2), np.sin(0.2)
    directions = (0, c, s, 0, s, -c)
    for index in range(4):
        save(instance(picture(index), (index * 5.0, -30, 40), directions=directions), tmp_path / f"{index}.dcm")
    image = read(tmp_path)
    assert image.source.plane == "sagittal"
    assert image.pixels.shape == (1, 4, 40, 44)
    assert image.affine_ras[0, 0] == pytest.approx(-5), "from right to left"


@pytest.mark.bad_input(55)
def test_mixed_folder_gives_one_case_a_series_and_every_file_one_place(tmp_path):
    save_series(tmp_path, series="1.2.3")
    save_series(tmp_path, count=3, series="1.2.4")
    save(instance(picture(), series="1.2.5", Modality="SR"), tmp_path / "report.dcm")
    save(instance(picture(), series="1.2.6", Modality="RTPLAN"), tmp_path / "plan.dcm")
    save(instance(picture(), series="1.2.7", PixelData=None), tmp_path / "stripped.dcm")
    found = list(find_cases(tmp_path))
    cases = [entry for entry in found if not isinstance(entry, Skipped)]
    assert sorted(len(case.files) for case in cases) == [3, 5]
    assert {entry.id: entry.code for entry in found if isinstance(entry, Skipped)} == dict.fromkeys(
        ("report.dcm", "plan.dcm", "stripped.dcm"), "no_pixels"
    )


@pytest.mark.bad_input(53)
def test_monochrome1_is_inverted_and_rescaled(tmp_path):
    tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "2", "RescaleIntercept": "-10"}
    save(instance(picture(), **tags), tmp_path / "a.dcm")
    image = read(tmp_path)
    values = picture() * 2.0 - 10
    assert image.warnings == ("monochrome1_inverted",)
    assert np.array_equal(image.pixels[0], (-values).astype(np.float32))


@pytest.mark.bad_input(53)
def test_monochrome1_looks_like_the_same_picture_stored_the_other_way(tmp_path):
    values = [np.minimum(picture(index), 500) for index in range(4)]
    values[2][5, 5] = 4000  # a vessel in one slice only
    for index, own in enumerate(values):
        place = (-20.0, -30.0, 6.0 * index)
        save(instance(own, place, WindowCenter="300", WindowWidth="600"), tmp_path / "usual" / f"{index}.dcm")
        tags = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "3795", "WindowWidth": "600"}
        save(instance(4095 - own, place, **tags), tmp_path / "inverted" / f"{index}.dcm")
    usual, inverted = (as_8_bits(read(tmp_path / name)).pixels for name in ("usual", "inverted"))
    assert usual.std() > 20
    assert np.abs(usual.astype(int) - inverted).max() <= 1


def test_deflated_file_is_not_inflated_where_headers_are_read(tmp_path):
    data = instance(np.zeros((40, 44), np.uint16))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert read_header(save(data, tmp_path / "a.dcm")) is None


def test_window_of_the_file_makes_the_gray_values(tmp_path):
    save(instance(picture(), WindowCenter="500", WindowWidth="200"), tmp_path / "a.dcm")
    gray = as_8_bits(read(tmp_path)).pixels[0]
    assert (gray[picture() <= 400] == 0).all()
    assert (gray[picture() >= 600] == 255).all()
    assert 120 <= gray[np.abs(picture() - 500) < 2].mean() <= 135


def test_window_that_shows_nothing_is_not_taken():
    values = np.arange(2000, 3000, dtype=np.float32).reshape(20, 50)
    assert np.array_equal(to_8_bits(values, (40.0, 400.0)), to_8_bits(values))


@pytest.mark.bad_input(57)
@pytest.mark.parametrize("value", ["nan", "0", "text"])
def test_rescale_that_is_no_number_is_refused(tmp_path, value):
    data = instance(picture(), RescaleIntercept="0")
    data.add_new(0x00281053, "LO", value)
    save(data, tmp_path / "a.dcm")
    assert refusal(tmp_path) == "bad_rescale"


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        pytest.param({"PixelData": bytes(100)}, "truncated", marks=pytest.mark.bad_input(56)),
        pytest.param({"Modality": "CT"}, "not_mr", marks=pytest.mark.bad_input(59)),
        pytest.param({"Modality": "SEG"}, "not_mr", marks=pytest.mark.bad_input(59)),
        pytest.param({"Modality": "RTDOSE"}, "not_mr", marks=pytest.mark.bad_input(59)),
    ],
)
def test_other_refusals(tmp_path, tags, code):
    save(instance(picture(), **tags), tmp_path / "a.dcm")
    assert refusal(tmp_path) == code


@pytest.mark.parametrize("place", ["before the size", "after the size", "in the pixels"])
def test_file_that_was_cut_is_an_error_and_not_skipped(tmp_path, place):
    data = instance(picture(), ImageComments="x" * 600, RequestedProcedureDescription="y" * 600)
    content = save(data, tmp_path / "a.dcm").read_bytes()
    end = {"before the size": content.index(b"x" * 600) + 9, "after the size": content.index(b"y" * 600) + 9}
    (tmp_path / "a.dcm").write_bytes(content[: end.get(place, -10)])
    assert refusal(tmp_path) == {"in the pixels": "truncated"}.get(place, "no_pixels")


@pytest.mark.bad_input(52)
@pytest.mark.parametrize(
    ("syntax", "name"),
    [(MPEG2MPML, MPEG2MPML), (JPEG2000MC, JPEG2000MC), (JPEG2000, "JPEG 2000 Image Compression")],
    ids=["film", "of several components", "not installed"],
)
def test_pixels_that_nothing_here_decodes_are_refused_naming_their_syntax(tmp_path, monkeypatch, syntax, name):
    data = instance(picture())
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([bytes(100)])
    save(data, tmp_path / "a.dcm")
    monkeypatch.setattr(type(get_decoder(JPEG2000)), "is_available", False)
    with pytest.raises(UnreadableCase, match=name) as caught:
        read(tmp_path)
    assert caught.value.code == "no_decoder"


@pytest.mark.bad_input(60)
def test_file_without_preamble_is_refused(tmp_path):
    content = save(instance(picture()), tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[132:])
    assert refusal(tmp_path) == "no_file_meta"


@pytest.mark.bad_input(60)
def test_directory_of_a_disc_is_skipped_and_leads_nowhere(tmp_path):
    save(instance(picture()), tmp_path / "outside" / "a.dcm")
    record = pydicom.Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["..", "outside", "a.dcm"]
    directory = instance(picture(), SeriesInstanceUID=None, Rows=None, PixelData=None)
    directory.file_meta.MediaStorageSOPClassUID = directory.SOPClassUID = MediaStorageDirectoryStorage
    directory.DirectoryRecordSequence = [record]
    for name in ("DICOMDIR", "other.dcm"):
        save(directory, tmp_path / "disc" / name)
    assert list(find_cases(tmp_path / "disc")) == [Skipped("DICOMDIR", "sidecar"), Skipped("other.dcm", "no_pixels")]


@pytest.mark.bad_input(61)
def test_series_that_is_no_volume_is_refused(tmp_path):
    save_series(tmp_path / "gap", skip=(2,))
    assert refusal(tmp_path / "gap") == "missing_slices"
    for index in range(3):
        save(instance(picture(index), (0, 0, 5.0 * (index // 2))), tmp_path / "echoes" / f"{index}.dcm")
    assert refusal(tmp_path / "echoes") == "several_volumes"
    save_series(tmp_path / "places", ImagePositionPatient=None)
    assert refusal(tmp_path / "places") == "no_positions"
    save_series(tmp_path / "planes", count=3)
    save(instance(picture(9), (0, 0, 99), directions=(0, 1, 0, 0, 0, -1)), tmp_path / "planes" / "z.dcm")
    assert refusal(tmp_path / "planes") == "mixed_series"
    save_series(tmp_path / "sizes", count=3)
    save(instance(picture(9, (48, 48)), (0, 0, 18)), tmp_path / "sizes" / "z.dcm")
    assert refusal(tmp_path / "sizes") == "mixed_series"


def test_header_that_announces_too_much_is_refused_before_memory_is_taken(tmp_path):
    save(instance(picture(), Rows=60000, Columns=60000), tmp_path / "a.dcm")
    assert refusal(tmp_path) == "too_large"
    save_series(tmp_path / "series")
    with pytest.raises(UnreadableCase, match="voxels"):
        read(tmp_path / "series", limits=Limits(max_voxels=4000))


@pytest.mark.bad_input(58)
def test_what_is_missing_or_declared_becomes_a_warning(tmp_path):
    save(instance(picture(), SeriesInstanceUID=None, BurnedInAnnotation="YES"), tmp_path / "a.dcm")
    assert set(read(tmp_path).warnings) == {"no_uids", "burned_in_annotation"}


@pytest.mark.bad_input(54)
def test_enhanced_multi_frame_object_is_a_volume(tmp_path):
    count = 4
    data = instance(picture())
    data.NumberOfFrames = count
    data.PixelData = np.stack([picture(index) for index in range(count)]).astype("<u2").tobytes()
    frames = []
    for index in range(count):
        plane, frame = pydicom.Dataset(), pydicom.Dataset()
        plane.ImagePositionPatient = [0.0, 0.0, 6.0 * index]
        frame.PlanePositionSequence = pydicom.Sequence([plane])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    del data.ImagePositionPatient
    save(data, tmp_path / "a.dcm")
    image = read(tmp_path)
    assert image.kind == "volume"
    assert image.pixels.shape == (1, 4, 40, 44)
    assert image.spacing_mm == pytest.approx((6.0, 0.8, 0.9))


def test_every_sample_of_pydicom_is_read_or_has_a_code():
    places = 0
    for entry in find_cases(SAMPLES):
        places += 1 if isinstance(entry, Skipped) else len(entry.files)
        if not isinstance(entry, Skipped):
            try:
                assert np.isfinite(read_case(entry).pixels).all()
            except UnreadableCase as found:
                assert found.code
    assert places == sum(path.is_file() for path in SAMPLES.rglob("*"))
