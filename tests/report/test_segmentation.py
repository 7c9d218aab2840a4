import pytest

from monai_brain.io.write import write_csv, write_json
from monai_brain.report.segmentation import PATIENT_COLUMNS, InvalidFolds, write_pooled


def write_fold(folder, patient, *, part="training", result=True, scored="a" * 64):
    """A run folder as far as pooling reads it: one patient was tested."""
    result = {"result": {"weights_sha256": "a" * 64}} if result else {}
    write_json(folder / "run.json", {"options": {"training_part": part}, **result})
    write_json(folder / "evaluation_test" / "run.json", {"options": {"weights_sha256": scored}})
    row = {"patient": patient, "institution": "CS", "slices": 1, "dice": 0.5}
    write_csv(folder / "evaluation_test" / "patients.csv", PATIENT_COLUMNS, [row])
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "training+validation+test"}, "was trained on its test part too"),
        ({"result": False}, "not a finished training"),
        ({"scored": "b" * 64}, "was trained on after its evaluation; evaluate it again"),
    ],
)
def test_run_that_is_no_fold_is_refused(tmp_path, options, message):
    good = write_fold(tmp_path / "good", "P1")
    assert write_pooled(tmp_path / "out", [good])["patients"]["number"] == 1
    bad = write_fold(tmp_path / "bad", "P2", **options)
    with pytest.raises(InvalidFolds, match=message):
        write_pooled(tmp_path / "refused", [good, bad])
    assert not (tmp_path / "refused").exists()
