"""DICOM Segmentations lie where the mask was planted, refer to the right files, and hold an allow-list only."""

import csv
import stat
import subprocess
import sys

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from monai_brain.io import Skipped, find_cases, read_case
from monai_brain.io.deidentify import DeidentificationKey, InvalidKey
from monai_brain.io.dicom_seg import NoSegmentation, write_segmentation
from tests.conftest import REPOSITORY
from tests.io.dicoms import CANARY, instance, picture, save

BRIGHT, BOX = 5000, (slice(5, 12), slice(20, 31))
DIRECTIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.97, 0.24310492, 0, -0.2, 0.79801097, 0.56850318),
}
START, SPACING, STEP = np.array([-20.0, -30.0, 11.0]), (0.8, 0.9), 6.0
STUDY = {"FrameOfReferenceUID": "1.2.9", "SliceThickness": 5.0}


def unit(directions):
    """Exactly orthogonal directions near these."""
    one, other = np.array(directions, float).reshape(2, 3)
    one /= np.linalg.norm(one)
    other -= one * (one @ other)
    return np.concatenate([one, other / np.linalg.norm(other)])


def slices(directions, lit, count=6, sign=1, **tags):
    """Slices of a volume, a bright box in those of `lit`, in the order of their places times `sign`."""
    directions = unit(directions)
    normal = np.cross(directions[:3], directions[3:])
    files = []
    for index in range(count):
        pixels = picture(index)
        if index in lit:
            pixels[BOX] = BRIGHT
        place = START + sign * index * STEP * normal
        own = {**STUDY, "SOPInstanceUID": generate_uid(), **tags}
        files.append(instance(pixels, place, "1.2.3.4", directions, SPACING, **own))
    return files


def centroid(files, lit):
    """Of the planted box, in patient coordinates, by the equation of PS3.3, C.7.6.2.1.1."""
    row, column = (np.mean(range(own.start, own.stop)) for own in BOX)
    points = []
    for index in lit:
        position, directions = (
            np.array(files[index].ImagePositionPatient),
            np.array(files[index].ImageOrientationPatient),
        )
        points.append(position + directions[:3] * column * SPACING[1] + directions[3:] * row * SPACING[0])
    return np.mean(points, axis=0)


def centroid_of(segmentation):
    """The same of what a reader finds, by the frames' own functional groups."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    spacing = [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    points = []
    for own, frame in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(own):
            points.append(position + directions[:3] * column * spacing[1] + directions[3:] * row * spacing[0])
    return np.mean(points, axis=0)


def segmented(folder, target, **options):
    (case,) = (entry for entry in find_cases(folder) if not isinstance(entry, Skipped))
    image = read_case(case)
    mask = image.pixels[0] == BRIGHT
    write_segmentation(target, mask, image.dicom, image.source, **options)
    return hd.seg.segread(target)


def referred(segmentation):
    """The source's files that each frame refers to."""
    return [
        [str(own.ReferencedSOPInstanceUID) for own in frame.DerivationImageSequence[0].SourceImageSequence]
        for frame in segmentation.PerFrameFunctionalGroupsSequence
    ]


@pytest.mark.parametrize("plane", DIRECTIONS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("lit", [(1, 2, 3), (4,), (0,), (5,)])
def test_series_mask_lies_where_it_was_planted_and_refers_to_its_files(tmp_path, plane, sign, lit):
    files = slices(DIRECTIONS[plane], lit, sign=sign)
    for index, data in enumerate(files):
        save(data, tmp_path / "in" / f"{(index * 5) % 6}.dcm")
    found = segmented(tmp_path / "in", tmp_path / "out.dcm")
    assert found.NumberOfFrames == len(lit)
    assert found.pixel_array.sum() == len(lit) * 77
    np.testing.assert_allclose(centroid_of(found), centroid(files, lit), atol=0.01)
    assert sorted(referred(found)) == sorted([files[index].SOPInstanceUID] for index in lit)
    for frame, (uid,) in zip(found.PerFrameFunctionalGroupsSequence, referred(found), strict=True):
        (source,) = (data for data in files if data.SOPInstanceUID == uid)
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(np.array(position, float), np.array(source.ImagePositionPatient), atol=1e-3)
    assert found.FrameOfReferenceUID == "1.2.9"


def test_highdicoms_own_volume_has_the_mask_at_the_same_place(tmp_path):
    files = slices(DIRECTIONS["oblique"], (2, 3))
    for index, data in enumerate(files):
        save(data, tmp_path / "in" / f"{index}.dcm")
    volume = segmented(tmp_path / "in", tmp_path / "out.dcm").get_volume(combine_segments=True)
    middle = np.argwhere(volume.array).mean(axis=0)
    place = volume.affine @ np.append(middle, 1)
    np.testing.assert_allclose(place[:3], centroid(files, (2, 3)), atol=0.01)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_multi_frame_mask_refers_to_the_right_frames(tmp_path, order):
    files = slices(DIRECTIONS["coronal"], (1,), count=4)
    data = files[0]
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    data.NumberOfFrames = 4
    data.PixelData = b"".join(files[index].PixelData for index in order)
    frames = []
    for index in order:
        plane, frame = pydicom.Dataset(), pydicom.Dataset()
        plane.ImagePositionPatient = files[index].ImagePositionPatient
        frame.PlanePositionSequence = pydicom.Sequence([plane])
        frames.append(frame)
    expected = centroid(files, (1,))
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    del data.ImagePositionPatient
    save(data, tmp_path / "in" / "a.dcm")
    found = segmented(tmp_path / "in", tmp_path / "out.dcm")
    np.testing.assert_allclose(centroid_of(found), expected, atol=0.01)
    (frame,) = found.PerFrameFunctionalGroupsSequence
    (source,) = frame.DerivationImageSequence[0].SourceImageSequence
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == (
        data.SOPInstanceUID,
        order.index(1) + 1,
    )


def test_single_slice_with_its_place_keeps_it(tmp_path):
    (data,) = slices(DIRECTIONS["oblique"], (0,), count=1)
    save(data, tmp_path / "in" / "a.dcm")
    found = segmented(tmp_path / "in", tmp_path / "out.dcm")
    np.testing.assert_allclose(centroid_of(found), centroid([data], (0,)), atol=0.01)
    assert referred(found) == [[data.SOPInstanceUID]]


@pytest.mark.parametrize("missing", ["PixelSpacing", "ImagePositionPatient", "SliceThickness"])
def test_single_slice_without_its_place_refers_to_its_file_and_claims_none(tmp_path, missing):
    (data,) = slices(DIRECTIONS["axial"], (0,), count=1)
    delattr(data, missing)
    save(data, tmp_path / "in" / "a.dcm")
    found = segmented(tmp_path / "in", tmp_path / "out.dcm")
    assert referred(found) == [[data.SOPInstanceUID]]
    assert "FrameOfReferenceUID" not in found
    assert "PlanePositionSequence" not in found.PerFrameFunctionalGroupsSequence[0]
    expected = np.zeros((40, 44), bool)
    expected[BOX] = True
    assert np.array_equal(found.pixel_array.reshape(40, 44) > 0, expected)


def test_what_is_segmented_and_by_whom_is_coded(tmp_path):
    for index, data in enumerate(slices(DIRECTIONS["axial"], (2,))):
        save(data, tmp_path / "in" / f"{index}.dcm")
    found = segmented(tmp_path / "in", tmp_path / "out.dcm")
    assert list(found.segment_numbers) == [1]
    assert found.get_segment_numbers(algorithm_type="AUTOMATIC") == [1]
    segment = found.get_segment_description(1)
    assert segment.segmented_property_category.value == "49755003"
    assert segment.segmented_property_type.value == "108369006"
    assert segment.algorithm_identification.family.value == "123110"
    assert (found.Modality, found.BodyPartExamined) == ("SEG", "BRAIN")
    assert "research use only" in found.SeriesDescription
    assert found.SeriesInstanceUID != "1.2.3.4"
    assert (found.StudyInstanceUID, found.PatientName) == ("1.2", CANARY)
    assert [str(series) for series in {own.SeriesInstanceUID for own in found.ReferencedSeriesSequence}] == ["1.2.3.4"]


def test_nothing_beyond_the_allow_list_is_taken_over(tmp_path):
    planted = "PLANTED"
    tags = {name: planted for name in ("StudyDescription", "InstitutionName", "ImageComments", "PatientComments")}
    tags |= {"OtherPatientIDs": planted, "PatientAddress": planted, "ReferringPhysicianName": planted}
    tags |= {"SeriesDescription": planted, "Manufacturer": planted, "DeviceSerialNumber": planted}
    files = slices(DIRECTIONS["axial"], (2,), **tags)
    for index, data in enumerate(files):
        data.add_new(0x00091001, "LO", planted)
        save(data, tmp_path / "in" / f"{index}.dcm")
    segmented(tmp_path / "in", tmp_path / "out.dcm")
    content = (tmp_path / "out.dcm").read_bytes()
    assert planted.encode() not in content
    assert CANARY.encode() in content, "a mask that cannot be found by its patient is of no use"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Ann=Bo=Cy=Di=Eve", "Ann"])
def test_odd_names_are_kept_and_not_talked_about(tmp_path, name):
    (data,) = slices(DIRECTIONS["axial"], (0,), count=1, PatientName=name)
    save(data, tmp_path / "in" / "a.dcm")
    code = "import sys; from pathlib import Path; from tests.io.test_dicom_seg import segmented; "
    code += "segmented(Path(sys.argv[1]) / 'in', Path(sys.argv[1]) / 'out.dcm')"
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found = pydicom.dcmread(tmp_path / "out.dcm")
    assert str(found.PatientName).rstrip("^") == name.rstrip("^")
    assert "Ann" not in result.stdout + result.stderr


def test_values_that_the_standard_forbids_are_left_empty(tmp_path):
    tags = {"PatientSex": "WEIBLICH", "StudyTime": "noon", "StudyID": "x" * 40, "AccessionNumber": "a\\b"}
    (data,) = slices(DIRECTIONS["axial"], (0,), count=1, **tags)
    data.add_new(0x00100030, "LO", "yesterday")
    save(data, tmp_path / "in" / "a.dcm")
    found = segmented(tmp_path / "in", tmp_path / "out.dcm")
    values = [found.PatientSex, found.StudyTime, found.StudyID, found.PatientBirthDate, found.AccessionNumber]
    assert [str(value or "") for value in values] == ["", "", "", "", "a"]


@pytest.mark.parametrize("broken", ["uids", "same", "frames"])
def test_source_that_nothing_can_refer_to_is_refused(tmp_path, broken):
    files = slices(DIRECTIONS["axial"], (2,))
    for index, data in enumerate(files):
        if broken == "uids":
            data.StudyInstanceUID = ""
        if broken == "same":
            data.SOPInstanceUID = files[0].SOPInstanceUID
        save(data, tmp_path / "in" / f"{index}.dcm")
    if broken == "frames":
        for path in (tmp_path / "in").iterdir():
            data = pydicom.dcmread(path)
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
            data.save_as(path)
    with pytest.raises(NoSegmentation) as caught:
        segmented(tmp_path / "in", tmp_path / "out.dcm")
    assert CANARY not in str(caught.value)
    assert not (tmp_path / "out.dcm").exists()


def deidentified(folder, target, key):
    (case,) = find_cases(folder)
    image = read_case(case)
    dicom = key.replaced(image.dicom)
    write_segmentation(target, image.pixels[0] == BRIGHT, dicom, image.source, deidentified=True)
    return hd.seg.segread(target)


def test_deidentified_segmentations_name_nobody_and_stay_consistent(tmp_path):
    dates = {"PatientBirthDate": "19500101", "StudyDate": "20200304", "StudyTime": "101112", "StudyID": "V-4711"}
    for name in ("one", "two"):
        files = slices(DIRECTIONS["axial"], (1, 2), **dates)
        for index, data in enumerate(files):
            data.SeriesInstanceUID = f"1.2.3.{len(name)}.{ord(name[0])}"
            save(data, tmp_path / name / f"{index}.dcm")
    place = tmp_path / "key.csv"
    one = deidentified(tmp_path / "one", tmp_path / "one.dcm", DeidentificationKey(place))
    again = DeidentificationKey(place)  # as after a resumed run
    two = deidentified(tmp_path / "two", tmp_path / "two.dcm", again)
    originals = ["CANARY", "19500101", "20200304", "V-4711", "1.2.3.3", *(str(data.SOPInstanceUID) for data in files)]
    for name in ("one.dcm", "two.dcm"):
        content = (tmp_path / name).read_bytes()
        assert not [word for word in originals if word.encode() in content]
    assert (one.PatientID, one.StudyInstanceUID) == (two.PatientID, two.StudyInstanceUID)
    assert one.ReferencedSeriesSequence[0].SeriesInstanceUID != two.ReferencedSeriesSequence[0].SeriesInstanceUID
    assert (one.PatientIdentityRemoved, one.StudyDate or "") == ("YES", "")
    assert str(one.ContentDate) == "1900-01-01" or str(one.ContentDate) == "19000101"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    with place.open(newline="") as file:
        back = {row["replacement"]: row["original"] for row in csv.DictReader(file)}
    assert [back[uid] for (uid,) in sorted(referred(two))]
    assert {back[uid] for (uid,) in referred(two)} == {str(files[1].SOPInstanceUID), str(files[2].SOPInstanceUID)}
    assert CANARY in back[one.PatientID]
    assert len(back) == len(place.read_text().splitlines()) - 1, "no line twice"


def test_another_key_gives_other_names_and_a_damaged_one_is_refused(tmp_path):
    (data,) = slices(DIRECTIONS["axial"], (0,), count=1)
    save(data, tmp_path / "in" / "a.dcm")
    found = [deidentified(tmp_path / "in", tmp_path / f"{n}.dcm", DeidentificationKey(tmp_path / n)) for n in "ab"]
    assert found[0].PatientID != found[1].PatientID
    (tmp_path / "broken").write_text("kind,original,replacement\n")
    with pytest.raises(InvalidKey, match="move it away"):
        deidentified(tmp_path / "in", tmp_path / "c.dcm", DeidentificationKey(tmp_path / "broken"))
