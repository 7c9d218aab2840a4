"""Cases of a patient put together when the input check refused some of them."""

import pytest

from monai_brain.inference.patients import PATIENT_REFUSED, Verdicts, with_doubt
from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.sets import EMPTY_SET
from monai_brain.labels import CLASS_NAMES


def case(number, code="", patient="p1"):
    values = {f"prob_{name}": f"{share:.6f}" for name, share in zip(CLASS_NAMES, (0.1, 0.2, 0.6, 0.1), strict=True)}
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


def test_answered_cases_of_a_refused_patient_carry_a_warning():
    rows = [case(0), case(1, "other_sequence"), case(0, patient="p2")]
    patients = {row.path: row.path.split("/")[0] for row in rows}
    warnings = [with_doubt(row, {"p1"}, patients).warnings for row in rows]
    assert warnings == [(PATIENT_REFUSED,), (), ()]
