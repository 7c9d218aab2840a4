"""What a resumed run takes over of the rows that are there, and what it does again."""

import os

from monai_brain.inference.journal import Journal
from monai_brain.inference.prediction import Prediction
from monai_brain.io import Case


def written(path, cases, rows):
    journal = Journal(path, cases)
    journal.begin(keep=False)
    journal.add(rows)
    journal.end()


def resumed(path, cases):
    journal = Journal(path, cases)
    again = journal.begin(keep=True)
    done = [row.path for row in journal.done()]
    journal.end()
    return done, [row.path for row in again]


def make(folder, *names):
    for name in names:
        (folder / name).write_bytes(name.encode())
    return tuple(folder / name for name in names)


def test_case_whose_files_are_the_same_is_done(tmp_path):
    case = Case("a.png", make(tmp_path, "a.png"), "slice")
    written(tmp_path / "journal", [case], [Prediction("a.png", "ok")])
    assert resumed(tmp_path / "journal", [case]) == (["a.png"], [])


def test_series_that_has_grown_is_done_again(tmp_path):
    half, whole = make(tmp_path, "1.dcm", "2.dcm"), make(tmp_path, "1.dcm", "2.dcm", "3.dcm")
    for path in whole:
        os.utime(path, (5, 5))
    written(tmp_path / "journal", [Case("1.dcm", half, "volume")], [Prediction("1.dcm", "error", "missing_slices")])
    assert resumed(tmp_path / "journal", [Case("1.dcm", whole, "volume")]) == ([], ["1.dcm"])


def test_file_that_was_replaced_is_done_again(tmp_path):
    case = Case("a.png", make(tmp_path, "a.png"), "slice")
    written(tmp_path / "journal", [case], [Prediction("a.png", "ok")])
    case.files[0].write_bytes(b"another content")
    assert resumed(tmp_path / "journal", [case]) == ([], ["a.png"])


def test_case_that_could_not_be_reached_is_tried_again_and_the_last_row_counts(tmp_path):
    case = Case("a.png", make(tmp_path, "a.png"), "slice")
    written(tmp_path / "journal", [case], [Prediction("a.png", "error", "unreadable")])
    assert resumed(tmp_path / "journal", [case]) == ([], ["a.png"])
    written(
        tmp_path / "journal", [case], [Prediction("a.png", "error", "unreadable"), Prediction("a.png", "ok", label="x")]
    )
    assert resumed(tmp_path / "journal", [case]) == (["a.png"], [])


def test_files_of_a_case_that_is_done_again_are_named():
    row = Prediction("a.nii", "ok", values={"mask": "masks/a.nii.gz", "dicom_mask": ""}, overlay="overlays/a.png")
    assert row.files == ["overlays/a.png", "masks/a.nii.gz"]
