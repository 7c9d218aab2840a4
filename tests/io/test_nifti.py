import gzip
import itertools

import itk
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import inv_ornt_aff

from monai_brain.io import find_cases, read_case
from monai_brain.io.nifti import is_nifti, read_nifti, write_mask
from monai_brain.io.orient import in_source_orientation
from monai_brain.io.record import DEFAULT_LIMITS, UnreadableCase

ORDERS = [
    np.array([[axis, flip] for axis, flip in zip(axes, flips, strict=True)])
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
"""All 48 ways to store a volume."""

SPACING = (0.9, 1.1, 5.0)


def head(shape=(12, 14, 6)):
    """A volume in which no two voxels are alike."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def straight(spacing=SPACING):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-20, 30, 40)
    return affine


def oblique(degrees=17):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[c, -s], [s, c]]
    return turn @ tilt @ straight()


def halfway(axis):
    """Turned by 45 degrees about a world axis, so that two others are equally near."""
    others = [other for other in range(3) if other != axis]
    turn = np.eye(4)
    turn[np.ix_(others, others)] = np.sqrt(0.5) * np.array([[1, -1], [1, 1]])
    return turn @ straight()


def stored(values, affine, order):
    """The same volume in world space with its axes in another order."""
    return nib.orientations.apply_orientation(values, order), affine @ inv_ornt_aff(order, values.shape)


def packed(values, affine, compress=True, dtype=None, **header):
    image = nib.Nifti1Image(values.astype(dtype or values.dtype), affine)
    for key, value in header.items():
        image.header[key] = value
    content = image.to_bytes()
    return gzip.compress(content) if compress else content


def holding(value):
    """The head with one voxel of this value."""
    return packed(np.where(head() == 7, value, head()), straight())


def refusal(content):
    with pytest.raises(UnreadableCase) as caught:
        read_nifti(content, DEFAULT_LIMITS)
    return caught.value.code


@pytest.mark.parametrize(
    "affine",
    [straight(), oblique(), oblique(45), halfway(0), halfway(1), halfway(2)],
    ids=["straight", "oblique", "45-twice", "45-right", "45-anterior", "45-superior"],
)
@pytest.mark.parametrize(
    "order", ORDERS, ids=lambda order: "".join(f"{a}{'-' if f < 0 else '+'}" for a, f in order.tolist())
)
def test_all_48_axis_orders_give_the_same_slices_and_the_same_mask_in_the_world(affine, order, tmp_path):
    reference = read_nifti(packed(head(), affine), DEFAULT_LIMITS)
    values, own_affine = stored(head(), affine, order)
    image = read_nifti(packed(values, own_affine), DEFAULT_LIMITS)
    assert np.array_equal(image.pixels, reference.pixels)
    np.testing.assert_allclose(image.affine_ras, reference.affine_ras, atol=1e-4)
    mask = image.pixels[0] > 500
    write_mask(tmp_path / "mask.nii.gz", mask, image.source)
    written = nib.load(tmp_path / "mask.nii.gz")
    assert written.shape == values.shape
    np.testing.assert_allclose(written.affine, own_affine, atol=1e-4)
    assert np.array_equal(np.asarray(written.dataobj), values > 500)


def test_axial_slices_look_as_radiologists_read_them():
    """Rows from anterior to posterior, columns from the patient's right to the left, slices from the feet up."""
    image = read_nifti(packed(head(), straight()), DEFAULT_LIMITS)
    assert image.pixels.shape == (1, 6, 14, 12)
    assert image.spacing_mm == pytest.approx((5.0, 1.1, 0.9))
    assert image.source.plane == "axial"
    assert image.pixels[0, 0, 0, 0] == head()[-1, -1, 0]
    right_anterior_inferior = image.affine_ras @ [0, 0, 0, 1]
    np.testing.assert_allclose(right_anterior_inferior[:3], (straight() @ [11, 13, 0, 1])[:3], atol=1e-4)


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((5, 1, 1), "sagittal"),
        ((1, 5, 1), "coronal"),
        ((1, 1, 5), "axial"),
        ((1, 1, 1), "axial"),
        ((1.1, 1, 1), "axial"),
    ],
)
def test_slices_follow_the_thickest_axis(spacing, plane):
    assert read_nifti(packed(head(), straight(spacing)), DEFAULT_LIMITS).source.plane == plane


@pytest.mark.bad_input(41)
@pytest.mark.parametrize(
    ("shape", "plane"), [((1, 14, 12), "sagittal"), ((12, 1, 14), "coronal"), ((12, 14, 1), "axial")]
)
def test_single_slice_is_said_and_its_plane_found(shape, plane):
    image = read_nifti(packed(head(shape), straight((1, 1, 1))), DEFAULT_LIMITS)
    assert image.pixels.shape[1] == 1
    assert image.warnings == ("single_slice",)
    assert image.source.plane == plane
    assert in_source_orientation(image.pixels[0], image.source).shape == shape


def test_two_dimensions_and_a_trailing_one_come_back_as_they_were(tmp_path):
    for shape in ((12, 14), (12, 14, 6, 1)):
        image = read_nifti(packed(head(shape), straight()), DEFAULT_LIMITS)
        write_mask(tmp_path / "mask.nii.gz", image.pixels[0] > 50, image.source)
        written = nib.load(tmp_path / "mask.nii.gz")
        assert written.shape == shape
        assert np.array_equal(np.asarray(written.dataobj), head(shape) > 50)


def with_registration():
    """A scan whose scanner's place (qform) and registered place (sform) differ."""
    image = nib.Nifti1Image(head(), straight())
    image.set_qform(oblique(), code="scanner")
    image.set_sform(straight(), code="mni")
    return image


def without_a_place():
    image = nib.Nifti1Image(head(), None)
    image.header.set_zooms((0.9, 1.1, 5.0))
    image.set_qform(None)
    image.set_sform(None)
    return image


def in_meters():
    image = nib.Nifti1Image(head(), np.diag([0.0009, 0.0011, 0.005, 1]))
    image.header.set_xyzt_units("meter")
    return image


@pytest.mark.parametrize("scan", [with_registration, without_a_place, in_meters])
def test_mask_lies_where_its_scan_does_whichever_field_a_program_takes(scan, tmp_path):
    source = scan()
    nib.save(source, tmp_path / "scan.nii.gz")
    image = read_nifti((tmp_path / "scan.nii.gz").read_bytes(), DEFAULT_LIMITS)
    write_mask(tmp_path / "mask.nii.gz", image.pixels[0] > 500, image.source)
    written = nib.load(tmp_path / "mask.nii.gz")
    for name in ("qform", "sform"):
        (one, code), (other, own) = (getattr(i, f"get_{name}")(coded=True) for i in (source, written))
        assert own == code
        assert (one is None and other is None) or np.allclose(one, other, atol=1e-4)
    assert written.header.get_xyzt_units()[0] == source.header.get_xyzt_units()[0]
    scan_itk, mask_itk = (itk.imread(str(tmp_path / f"{name}.nii.gz"), itk.F) for name in ("scan", "mask"))
    np.testing.assert_allclose(mask_itk.GetOrigin(), scan_itk.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask_itk.GetSpacing(), scan_itk.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(*(np.asarray(i.GetDirection()) for i in (mask_itk, scan_itk)), atol=1e-6)


def test_unit_that_nobody_knows_is_taken_as_millimeters():
    content = packed(head(), straight(), xyzt_units=7)
    assert read_nifti(content, DEFAULT_LIMITS).spacing_mm == pytest.approx((5.0, 1.1, 0.9))


def test_nothing_of_a_scans_header_but_its_place_reaches_the_mask(tmp_path):
    source = nib.Nifti1Image(head(), straight())
    source.header["descrip"] = b"DOE^JANE"
    source.header["db_name"] = b"12345"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    image = read_nifti(source.to_bytes(), DEFAULT_LIMITS)
    write_mask(tmp_path / "mask.nii.gz", image.pixels[0] > 500, image.source)
    content = gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())
    assert b"DOE" not in content
    assert b"12345" not in content


def test_scaled_integers_are_read_as_what_they_mean():
    content = packed(head() % 100, straight(), dtype=np.int16, compress=False)
    scaled = content[:112] + np.array([2, 10], np.float32).tobytes() + content[120:]  # scl_slope, scl_inter
    plain, found = (read_nifti(c, DEFAULT_LIMITS).pixels for c in (content, scaled))
    np.testing.assert_allclose(found, plain * 2 + 10)


def test_nifti_2_and_uncompressed_files_are_read():
    image = nib.Nifti2Image(head(), straight())
    plain = read_nifti(packed(head(), straight(), compress=False), DEFAULT_LIMITS)
    assert np.array_equal(read_nifti(image.to_bytes(), DEFAULT_LIMITS).pixels, plain.pixels)
    assert is_nifti(image.to_bytes())
    assert is_nifti(packed(head(), straight()))
    assert not is_nifti(gzip.compress(b"text"))


@pytest.mark.bad_input(42)
def test_no_affine_is_said():
    image = nib.Nifti1Image(head(), None)
    image.header["pixdim"][1:4] = SPACING
    assert read_nifti(image.to_bytes(), DEFAULT_LIMITS).warnings == ("no_affine",)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(holding(np.nan), "non_finite", marks=pytest.mark.bad_input(39)),
        pytest.param(holding(np.inf), "non_finite", marks=pytest.mark.bad_input(39)),
        pytest.param(packed(head((4, 4, 4, 3)), straight()), "several_volumes", marks=pytest.mark.bad_input(40)),
        pytest.param(
            packed(head().astype(np.complex64), straight()), "unsupported_format", marks=pytest.mark.bad_input(49)
        ),
        pytest.param(packed(head(), straight())[:-100], "truncated", marks=pytest.mark.bad_input(44)),
        pytest.param(packed(head(), straight())[:-4], "truncated", marks=pytest.mark.bad_input(44)),
        (packed(head(), straight(), compress=False)[:-100], "truncated"),
        (packed(head(), straight(), compress=False)[:300], "not_an_image"),
        (packed(head(), straight(), compress=False)[:346], "not_an_image"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_code(content, code):
    assert refusal(content) == code


@pytest.mark.bad_input(45)
@pytest.mark.parametrize("place", [50, 200, -6])
def test_flipped_bit_in_a_compressed_file_is_noticed(place):
    content = bytearray(packed(head(), straight()))
    content[place] ^= 4
    assert refusal(bytes(content)) in ("damaged", "truncated")


@pytest.mark.parametrize(
    ("place", "value"),
    [(108, np.nan), (108, np.inf), (108, -5.0), (116, np.nan), (256, 5.0)],
    ids=["offset NaN", "offset infinite", "offset negative", "intercept NaN", "impossible quaternion"],
)
def test_header_that_makes_no_sense_is_refused_with_a_code(place, value):
    content = bytearray(packed(head(), straight(), compress=False))
    content[112:116] = np.float32(1).tobytes()  # a slope, so that the intercept counts
    content[252:256] = np.array([1, 0], np.int16).tobytes()  # the quaternion counts
    content[place : place + 4] = np.float32(value).tobytes()
    assert refusal(bytes(content)) == "damaged"


def test_units_of_the_header_count():
    affine = straight()
    affine[:3] /= 1000
    image = nib.Nifti1Image(head(), affine)
    image.header.set_xyzt_units("meter")
    found = read_nifti(image.to_bytes(), DEFAULT_LIMITS)
    assert found.spacing_mm == pytest.approx((5.0, 1.1, 0.9), rel=1e-4)
    np.testing.assert_allclose(found.source.affine_ras, affine, atol=1e-6)


def test_many_members_are_one_file_and_endless_ones_are_refused():
    content = packed(head(), straight(), compress=False)
    members = b"".join(gzip.compress(content[start : start + 100]) for start in range(0, len(content), 100))
    assert np.array_equal(read_nifti(members, DEFAULT_LIMITS).pixels, read_nifti(content, DEFAULT_LIMITS).pixels)
    assert refusal(gzip.compress(content) + gzip.compress(b"") * 150_000) == "damaged"


@pytest.mark.bad_input(50)
def test_renamed_uncompressed_file_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(packed(head(), straight(), compress=False))
    with pytest.raises(UnreadableCase, match="renamed") as caught:
        read_case(next(iter(find_cases(tmp_path))))
    assert caught.value.code == "damaged"


@pytest.mark.bad_input(46)
def test_bomb_is_refused_before_it_is_unpacked():
    content = gzip.compress(packed(head(), straight(), compress=False) + b"\0" * 50_000_000)
    with pytest.raises(UnreadableCase) as caught:
        read_nifti(content, DEFAULT_LIMITS._replace(max_bytes_unpacked=20_000_000))
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("dims", "code"),
    [
        pytest.param((30000, 30000, 30000), "too_large", marks=pytest.mark.bad_input(47)),
        pytest.param((-5, 10, 10), "damaged", marks=pytest.mark.bad_input(48)),
        pytest.param((0, 10, 10), "damaged", marks=pytest.mark.bad_input(48)),
        ((13, 14, 6), "truncated"),
    ],
)
def test_header_that_lies_about_the_size_is_refused_before_memory_is_taken(dims, code):
    content = bytearray(packed(head(), straight(), compress=False))
    content[42:48] = np.array(dims, np.int16).tobytes()
    assert refusal(bytes(content)) == code


@pytest.mark.bad_input(48)
def test_unknown_datatype_is_refused():
    content = bytearray(packed(head(), straight(), compress=False))
    content[70:72] = np.int16(9999).tobytes()
    assert refusal(bytes(content)) == "damaged"


@pytest.mark.bad_input(43)
@pytest.mark.parametrize("wrong", [0.0, np.nan])
def test_singular_or_nan_affine_is_refused(wrong):
    content = packed(head(), straight(), compress=False)
    codes = np.array([0, 1], np.int16).tobytes()  # at 252: qform_code, sform_code; at 280: the sform
    content = content[:252] + codes + content[256:280] + np.full(12, wrong, np.float32).tobytes() + content[328:]
    assert refusal(content) == "bad_affine"


def test_equal_masks_give_equal_bytes(tmp_path):
    image = read_nifti(packed(head(), straight()), DEFAULT_LIMITS)
    for name in ("a", "b"):
        write_mask(tmp_path / f"{name}.nii.gz", image.pixels[0] > 500, image.source)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
