"""What is no slice of a head, or would be read as another one, is refused, warned about or read right."""

import io
import struct

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from pydicom.uid import EnhancedMRImageStorage, ImplicitVRLittleEndian

from monai_brain.inference.preparation import Preparer
from monai_brain.io import Case, Skipped, UnreadableCase, find_cases, read_case
from monai_brain.transforms.load import as_8_bits
from tests.io.dicoms import CANARY, instance, picture, save, save_series


def read(folder):
    (case,) = (entry for entry in find_cases(folder) if not isinstance(entry, Skipped))
    return read_case(case)


def refusal(folder):
    with pytest.raises(UnreadableCase) as caught:
        read(folder)
    assert CANARY not in str(caught.value)
    return caught.value


def head(level=600):
    """A round head in air, (48, 48) uint16."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    noise = np.random.default_rng(0).integers(0, 100, x.shape)
    return np.where(x**2 + y**2 < 0.6, level + noise, noise // 10).astype(np.uint16)


def csa(**fields):
    """A CSA2 header of Siemens with these fields."""
    content = b"SV10\4\3\2\1" + struct.pack("<2I", len(fields), 77)
    for name, text in fields.items():
        value = text.encode() + b"\0"
        content += struct.pack("<64si4s3i", name.encode(), 1, b"US", 6, 6, 77)
        content += struct.pack("<4i", 0, len(value), 77, 0) + value + bytes(-len(value) % 4)
        content += struct.pack("<4i", 0, 0, 77, 0) * 5
    return content


@pytest.mark.bad_input(86)
@pytest.mark.parametrize("place", ["element", "CSA header"])
@pytest.mark.parametrize("word", ["MOSAIC", "OTHER"])
def test_86_sheet_of_tiles_is_refused(tmp_path, place, word):
    data = instance(picture(), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", word])
    if place == "element":
        data.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 16)
    else:
        block = data.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa(EchoLinePosition="32", NumberOfImagesInMosaic="16"))
    save(data, tmp_path / "a.IMA")
    error = refusal(tmp_path)
    assert error.code == "mosaic"
    assert "16 slices" in str(error)


@pytest.mark.bad_input(86)
def test_86_word_alone_is_a_warning_but_for_enhanced_objects(tmp_path):
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}
    for name, kind in (("classic", None), ("enhanced", EnhancedMRImageStorage)):
        save(instance(picture(), **tags, **({"SOPClassUID": kind} if kind else {})), tmp_path / name / "a.dcm")
    assert read(tmp_path / "classic").warnings == ("mosaic_possible",)
    assert read(tmp_path / "enhanced").warnings == ()


@pytest.mark.bad_input(87)
def test_87_label_map_is_a_warning(tmp_path):
    labels = (np.random.default_rng(0).integers(0, 45, (40, 40, 36)) * 7).astype(np.float32)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "aseg.nii")
    assert read(tmp_path).warnings == ("few_values",)
    (tmp_path / "slice").mkdir()
    PIL.Image.fromarray((labels[..., 0] % 4 * 60).astype(np.uint8)).save(tmp_path / "slice" / "a.png")
    assert read(tmp_path / "slice").warnings == ("few_values",)
    nib.save(nib.Nifti1Image(labels + np.float32(0.5), np.eye(4)), tmp_path / "aseg.nii")
    assert read(tmp_path / "aseg.nii").warnings == ()


@pytest.mark.bad_input(88)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("padding", [{"PixelPaddingValue": 65000}, {"PixelPaddingValue": 64000, "range": 65000}])
def test_88_padding_is_as_dark_as_the_darkest_pixel(tmp_path, padding, photometric):
    stored = head() if photometric == "MONOCHROME2" else 1000 - head()
    outside = np.hypot(*np.mgrid[-1:1:48j, -1:1:48j]) > 1
    padded = np.where(outside, np.random.default_rng(0).integers(64000, 65001, outside.shape), stored)
    if "range" not in padding:
        padded = np.where(outside, 65000, stored)
    for name, pixels in (("padded", padded), ("dark", np.where(outside, stored[~outside].min(), stored))):
        data = instance(pixels, RescaleSlope="2", RescaleIntercept="-7", PhotometricInterpretation=photometric)
        if name == "padded":
            data.PixelPaddingValue = padding["PixelPaddingValue"]
            if "range" in padding:
                data.PixelPaddingRangeLimit = padding["range"]
        elif photometric == "MONOCHROME1":
            data.PixelData = np.where(outside, stored[~outside].max(), stored).astype("<u2").tobytes()
        save(data, tmp_path / name / "a.dcm")
    np.testing.assert_array_equal(read(tmp_path / "padded").pixels, read(tmp_path / "dark").pixels)


@pytest.mark.bad_input(88)
def test_88_padding_of_signed_pixels_and_of_a_whole_slice(tmp_path):
    for index in range(4):
        pixels = np.full((48, 48), -2000, "<i2") if index == 3 else head().astype("<i2")
        pixels[:5] = -2000
        data = instance(pixels, (0, 0, 5.0 * index), PixelRepresentation=1, PixelPaddingValue=-2000)
        save(data, tmp_path / f"{index}.dcm")
    values = read(tmp_path).pixels
    assert values.min() == 0
    assert (values[:, 3] == 0).all() or (values[:, 0] == 0).all()


@pytest.mark.bad_input(89)
@pytest.mark.parametrize(
    "window", [(40, 1), (40, 400), (0, 4000), (5000, 100), (2048, 40000)], ids=["width 1", "CT", "air", "above", "wide"]
)
def test_89_window_that_is_not_the_picture_s_is_ignored(tmp_path, window):
    tags = {"WindowCenter": str(window[0]), "WindowWidth": str(window[1])}
    save(instance(head(), **tags), tmp_path / "a" / "a.dcm")
    save(instance(head()), tmp_path / "b" / "a.dcm")
    image, expected = as_8_bits(read(tmp_path / "a")), as_8_bits(read(tmp_path / "b"))
    assert (image.warnings, expected.warnings) == (("window_ignored",), ())
    np.testing.assert_array_equal(image.pixels, expected.pixels)


@pytest.mark.bad_input(90)
def test_90_negative_slope_is_a_warning_and_an_inverted_head_another(tmp_path):
    right = {"RescaleSlope": "-1", "RescaleIntercept": "1000"}
    for name, pixels, tags in (("right", 1000 - head(), right), ("inverted", head(), right)):
        save(instance(pixels, **tags), tmp_path / name / "a.dcm")
    volume = np.stack([head(500 + 20 * n) for n in range(20)], -1).astype(np.int16)
    content = bytearray(nib.Nifti1Image(volume, np.diag([2, 2, 5, 1.0])).to_bytes())
    content[112:120] = struct.pack("<ff", -1, 1000)
    (tmp_path / "v.nii").write_bytes(content)
    prepare = Preparer(lambda item: {"image": item["image"].pixels}, lambda volume: [0])
    found = [
        prepare(Case("a", (tmp_path / name,), "slice")).warnings for name in ("right/a.dcm", "inverted/a.dcm", "v.nii")
    ]
    assert found == [("negative_slope",), ("negative_slope", "bright_border"), ("negative_slope", "bright_border")]


@pytest.mark.bad_input(91)
@pytest.mark.parametrize("name", ["PixelSpacing", "ImagePositionPatient", "RescaleSlope"])
def test_91_decimal_comma_is_named_with_its_tag(tmp_path, name):
    data = instance(picture(), (1.5, 2.5, 3.5), RescaleIntercept="0", RescaleSlope="1.5")
    content = save(data, tmp_path / "a.dcm").read_bytes()
    written = {"PixelSpacing": b"0.8\\0.9", "ImagePositionPatient": b"1.5\\2.5\\3.5", "RescaleSlope": b"1.5 "}[name]
    assert written in content
    (tmp_path / "a.dcm").write_bytes(content.replace(written, written.replace(b".", b",")))
    error = refusal(tmp_path)
    assert error.code == "decimal_comma"
    assert name in str(error)


@pytest.mark.bad_input(61)
def test_61_missing_places_are_named(tmp_path):
    save_series(tmp_path, PixelSpacing=None)
    error = refusal(tmp_path)
    assert error.code == "no_positions"
    assert "PixelSpacing" in str(error)
    assert "ImagePositionPatient" not in str(error)


@pytest.mark.bad_input(92)
def test_92_series_in_two_folders_is_a_warning_of_both(tmp_path):
    save_series(tmp_path / "a", count=3, series="1.2.3")
    save_series(tmp_path / "b", count=4, series="1.2.3")
    save_series(tmp_path / "c", count=3, series="1.2.4")
    found = {case.id[0]: read_case(case).warnings for case in find_cases(tmp_path)}
    assert found == {"a": ("series_in_two_folders",), "b": ("series_in_two_folders",), "c": ()}


@pytest.mark.bad_input(93)
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_93_series_without_file_meta_is_one_coded_case(tmp_path, syntax):
    for index in range(4):
        data = instance(picture(index), (0, 0, 5.0 * index))
        if syntax == "implicit":
            data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        whole = io.BytesIO()
        data.save_as(whole, enforce_file_format=True)
        content = whole.getvalue()
        length = int.from_bytes(content[140:144], "little")
        (tmp_path / f"{index}.dcm").write_bytes(content[144 + length :])
    (case,) = find_cases(tmp_path)
    assert len(case.files) == 4
    assert refusal(tmp_path).code == "no_file_meta"
    assert refusal(tmp_path / "0.dcm").code == "no_file_meta"
