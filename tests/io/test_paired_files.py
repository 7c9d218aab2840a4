"""Volumes in two files: read as their NIfTI, one case a pair, and no way to a file elsewhere."""

import gzip

import itk
import nibabel as nib
import numpy as np
import pytest

from monai_brain.io import Case, UnreadableCase, find_cases, read_case

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 3, 0, -40], [0, 0, 4, 50], [0, 0, 0, 1]])


@pytest.fixture
def head():
    """(34, 40, 36) int16."""
    return (np.arange(34 * 40 * 36) % 30011).astype(np.int16).reshape(34, 40, 36)


def only(folder):
    (case,) = find_cases(folder)
    return case


def refusal(path):
    with pytest.raises(UnreadableCase) as caught:
        read_case(only(path))
    return caught.value.code


def expected(folder, head, affine=AFFINE):
    nib.save(nib.Nifti1Image(head, affine), folder / "expected.nii")
    return read_case(Case("expected.nii", (folder / "expected.nii",), "volume"))


def write(folder, head, kind):
    """The volume in two files; names of both."""
    folder.mkdir(exist_ok=True)
    if kind in ("ni1", "ni2"):
        nib.save((nib.Nifti1Pair if kind == "ni1" else nib.Nifti2Pair)(head, AFFINE), folder / "v.img")
        return "v.hdr", "v.img"
    if kind == "gz":
        nib.save(nib.Nifti1Pair(head, AFFINE), folder / "v.img.gz")
        return "v.hdr.gz", "v.img.gz"
    names = ("v.mhd", "v.raw") if kind == "mhd" else ("v.mhd", "v.zraw") if kind == "zraw" else ("v.nhdr", "v.raw")
    image = itk.image_from_array(head.transpose(2, 1, 0).copy())
    image.SetDirection(itk.matrix_from_array(np.diag([1.0, -1, 1])))
    image.SetSpacing([2, 3, 4])
    image.SetOrigin([-30, 40, 50])
    itk.imwrite(image, str(folder / names[0]), compression=kind == "zraw")
    return names


@pytest.mark.bad_input(94, 95)
@pytest.mark.parametrize("kind", ["ni1", "ni2", "gz", "mhd", "zraw", "nhdr"])
def test_94_95_volume_in_two_files_is_one_case_and_read_as_its_nifti(tmp_path, head, kind):
    header, part = write(tmp_path / "scans", head, kind)
    case = only(tmp_path / "scans")
    assert (case.id, [path.name for path in case.files]) == (header, [header, part])
    image, same = read_case(case), expected(tmp_path, head)
    assert image.warnings == ()
    np.testing.assert_array_equal(image.pixels, same.pixels)
    np.testing.assert_allclose(image.affine_ras, same.affine_ras, atol=1e-4)
    alone = read_case(only(tmp_path / "scans" / header))
    np.testing.assert_array_equal(alone.pixels, same.pixels)


@pytest.mark.bad_input(94)
@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Spm2AnalyzeImage])
def test_94_analyze_is_read_and_says_that_left_and_right_are_not_known(tmp_path, head, kind):
    nib.save(kind(head, np.diag([-2.0, 3, 4, 1])), tmp_path / "a.img")
    (tmp_path / "a.mat").unlink(missing_ok=True)
    image = read_case(only(tmp_path))
    assert image.warnings == ("left_right_unknown",)
    assert image.spacing_mm == pytest.approx((4, 3, 2))
    np.testing.assert_array_equal(image.pixels, expected(tmp_path, head, np.diag([-2.0, 3, 4, 1])).pixels)


@pytest.mark.bad_input(94)
def test_94_half_a_pair_is_refused(tmp_path, head):
    for name, kept in (("header", "v.hdr"), ("voxels", "v.img")):
        for other in {"v.hdr", "v.img"} - {kept}:
            write(tmp_path / name, head, "ni1")
            (tmp_path / name / other).unlink()
    assert refusal(tmp_path / "header") == "missing_part"
    assert refusal(tmp_path / "voxels") == "not_an_image"
    write(tmp_path / "cut", head, "ni1")
    (tmp_path / "cut" / "v.img").write_bytes(b"\1" * 2000)
    assert refusal(tmp_path / "cut") == "truncated"
    assert refusal(tmp_path / "cut" / "v.img") == "unsupported_format"


@pytest.mark.bad_input(94)
def test_94_damaged_pairs_are_refused(tmp_path, head):
    write(tmp_path, head, "ni1")
    content = bytearray((tmp_path / "v.hdr").read_bytes())
    for place, value, code in ((42, 30000, "too_large"), (42, -5, "damaged"), (70, 999, "damaged")):
        damaged = bytearray(content)
        damaged[place : place + 2] = np.int16(value).tobytes()
        if code == "too_large":
            damaged[44:48] = np.int16([30000, 30000]).tobytes()
        (tmp_path / "v.hdr").write_bytes(damaged)
        assert refusal(tmp_path) == code


@pytest.mark.bad_input(96)
@pytest.mark.parametrize("name", ["../v.raw", "/etc/passwd", "..\\v.raw", "C:v.raw", "sub/v.raw", ".."])
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_96_header_that_leads_elsewhere_is_refused(tmp_path, head, kind, name):
    header, part = write(tmp_path / "scans", head, kind)
    for place in (tmp_path, tmp_path / "scans" / "sub"):
        place.mkdir(exist_ok=True)
        (place / part).write_bytes((tmp_path / "scans" / part).read_bytes())
    content = (tmp_path / "scans" / header).read_bytes()
    assert part.encode() in content
    (tmp_path / "scans" / header).write_bytes(content.replace(part.encode(), name.encode()))
    assert refusal(tmp_path / "scans" / header) == "part_elsewhere"


@pytest.mark.bad_input(96)
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_96_part_that_is_a_link_or_no_part_is_refused(tmp_path, head, kind):
    header, part = write(tmp_path / "scans", head, kind)
    (tmp_path / "scans" / part).rename(tmp_path / part)
    (tmp_path / "scans" / part).symlink_to(tmp_path / part)
    found = {entry.id: entry for entry in find_cases(tmp_path / "scans")}
    assert found[part].code == "link_out"
    assert refusal(tmp_path / "scans" / header) == "missing_part"
    followed = only_followed(tmp_path / "scans")
    np.testing.assert_array_equal(read_case(followed).pixels, expected(tmp_path, head).pixels)
    content = (tmp_path / "scans" / header).read_bytes()
    (tmp_path / "scans" / header).write_bytes(content.replace(part.encode(), b"scan.png"))
    assert refusal(tmp_path / "scans" / header) == "unsupported_format"


def only_followed(folder):
    (case,) = find_cases(folder, follow_links=True)
    return case


@pytest.mark.bad_input(95)
def test_95_headers_of_several_files_and_offsets_are_refused(tmp_path, head):
    header, part = write(tmp_path, head, "mhd")
    content = (tmp_path / header).read_text()
    (tmp_path / header).write_text(content.replace("ElementType", "HeaderSize = 352\nElementType"))
    assert refusal(tmp_path) == "unsupported_format"
    (tmp_path / header).write_text(content.replace(part, "LIST"))
    assert refusal(tmp_path / header) == "unsupported_format"
    (tmp_path / header).write_text(content.replace(part, "v%03d.raw"))
    assert refusal(tmp_path / header) == "unsupported_format"


@pytest.mark.bad_input(95)
def test_95_two_headers_of_one_part_are_two_cases_and_the_part_is_none(tmp_path, head):
    write(tmp_path, head, "mhd")
    write(tmp_path, head, "nhdr")
    found = list(find_cases(tmp_path))
    assert sorted(len(case.files) for case in found) == [1, 2]
    first, second = (read_case(case).pixels for case in found)
    np.testing.assert_array_equal(first, second)


@pytest.mark.bad_input(94)
def test_94_pair_that_unpacks_to_too_much_is_refused(tmp_path, head, monkeypatch):
    write(tmp_path, head, "gz")
    from monai_brain.io import Limits

    with pytest.raises(UnreadableCase, match="unpacks") as caught:
        read_case(only(tmp_path), limits=Limits(max_bytes_unpacked=10_000))
    assert caught.value.code == "too_large"
    (tmp_path / "v.hdr.gz").write_bytes(gzip.compress(b"\x5c\x01\0\0" + bytes(344)))
    assert refusal(tmp_path) == "damaged"
