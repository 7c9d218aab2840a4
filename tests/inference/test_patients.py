"""Cases of a patient put together when the input check refused some of them."""

import pytest

from monai_brain.inference.patients import FOLDER_REFUSED, PATIENT_REFUSED, Verdicts, refused_folders, with_doubt
from monai_brain.inference.prediction import ABSTAINED, BY_FILE, SEQUENCE_SOURCE, Prediction
from monai_brain.inference.sets import EMPTY_SET
from monai_brain.labels import CLASS_NAMES


def case(number, code="", patient="p1", *, by_file=False):
    values = {f"prob_{name}": f"{share:.6f}" for name, share in zip(CLASS_NAMES, (0.1, 0.2, 0.6, 0.1), strict=True)}
    if by_file:
        values[SEQUENCE_SOURCE] = BY_FILE
    status = ABSTAINED if code else "ok"
    return Prediction(f"{patient}/{number}.png", status, code, "" if code else "notumor", 0.6, values)


@pytest.mark.parametrize(
    ("codes", "cases", "refused", "label"),
    [
        (["", "", ""], 3, 0, "notumor"),
        (["", "other_sequence"], 1, 1, "notumor"),
        (["", "other_sequence", "not_a_head"], 1, 2, ""),
        (["other_sequence"], 0, 1, ""),
        ([EMPTY_SET, EMPTY_SET, "other_sequence"], 2, 1, "notumor"),
    ],
)
def test_patient_has_no_class_where_most_cases_were_refused(codes, cases, refused, label):
    rows = [case(number, code) for number, code in enumerate(codes)]
    verdicts = Verdicts(CLASS_NAMES, None, r"^p\d+")
    names = verdicts.names(rows)
    assert names == {row.path: "p1" for row in rows}
    (found,) = verdicts.verdicts(rows, names)
    assert (found.cases, found.refused, found.label) == (cases, refused, label)


def test_other_sequences_that_the_files_state_do_not_cost_a_patient_its_class():
    rows = [case(0, by_file=True), *(case(number, "other_sequence", by_file=True) for number in (1, 2, 3))]
    verdicts = Verdicts(CLASS_NAMES, None, r"^p\d+")
    (found,) = verdicts.verdicts(rows, verdicts.names(rows))
    assert (found.cases, found.refused, found.label) == (1, 3, "notumor")
    (found,) = verdicts.verdicts(rows[1:], verdicts.names(rows))
    assert (found.cases, found.refused, found.label) == (0, 3, "")


def test_answered_cases_of_a_refused_patient_carry_a_warning():
    rows = [case(0), case(1, "other_sequence"), case(0, patient="p2")]
    patients = {row.path: row.path.split("/")[0] for row in rows}
    warnings = [with_doubt(row, patients, {"p1"}, {"p2"}).warnings for row in rows]
    assert warnings == [(PATIENT_REFUSED,), (), ()]


def test_answered_cases_of_unknown_patients_are_doubted_by_folder():
    rows = [case(0), case(1, "other_sequence"), case(2, "not_a_head"), case(0, patient="p2"), case(1, patient="p2")]
    rows += [case(0, patient="p3"), *(case(number, "other_sequence", "p3", by_file=True) for number in (1, 2))]
    folders = refused_folders(rows, {})
    assert folders == {"p1"}
    warned = [row.path for row in rows if with_doubt(row, {}, set(), folders).warnings == (FOLDER_REFUSED,)]
    assert warned == ["p1/0.png"]
    known = {row.path: "someone" for row in rows}
    assert not refused_folders(rows, known)
