import csv

import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.evaluation.agreement import COLUMNS, InvalidReview, agreements, read_review

MODEL = ["glioma", "glioma", "meningioma", "meningioma", "notumor", "pituitary"]
ANNA = ["glioma", "meningioma", "meningioma", "meningioma", "notumor", ""]
BEN = ["glioma", "meningioma", "meningioma", "glioma", "notumor", "pituitary"]


def write(target, reader, labels, model=MODEL, **changes):
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "seconds"])
        writer.writeheader()
        for number, (own, theirs) in enumerate(zip(labels, model, strict=True)):
            decision = "reject" if not own else "accept" if own == theirs else "relabel"
            row = {"path": f"{number}.png", "model_label": theirs, "reader": reader, "decision": decision}
            writer.writerow({**row, "reader_label": own, "blinded": "true", "seconds": 1.5, **changes})
    return target


def test_agreement_counts_a_rejection_and_kappa_leaves_it_out(tmp_path):
    (pair,) = agreements([read_review(write(tmp_path / "a.csv", "anna", ANNA))])
    assert (pair.first, pair.second, pair.cases, pair.blinded) == ("anna", "model", 6, 6)
    assert pair.agreement == pytest.approx(4 / 6)
    # by hand, over five cases: observed 4/5; expected (1*2 + 3*2 + 1*1) / 25
    assert pair.kappa == pytest.approx((4 / 5 - 9 / 25) / (1 - 9 / 25))
    assert pair.disputed == [("1.png", "meningioma", "glioma"), ("5.png", "", "pituitary")]
    assert pair.kappa_interval.low < pair.kappa < pair.kappa_interval.high


def test_each_two_readers_are_compared(tmp_path):
    files = [write(tmp_path / "a.csv", "anna", ANNA), write(tmp_path / "b.csv", "ben", BEN)]
    pairs = agreements([read_review(file) for file in files])
    assert [(pair.first, pair.second) for pair in pairs] == [("anna", "model"), ("ben", "model"), ("anna", "ben")]
    assert pairs[2].agreement == pytest.approx(4 / 6)


def test_kappa_of_a_single_label_is_undefined(tmp_path):
    (pair,) = agreements([read_review(write(tmp_path / "a.csv", "anna", ["glioma"] * 3, ["glioma"] * 3))])
    assert (pair.agreement, pair.kappa) == (1.0, None)


def test_command_shows_the_table_and_writes_differences(tmp_path):
    result = CliRunner().invoke(
        app, ["agree", str(write(tmp_path / "a.csv", "anna", ANNA)), "-o", str(tmp_path / "d.csv")]
    )
    assert result.exit_code == 0, result.output
    assert "0.667" in result.output
    assert (tmp_path / "d.csv").read_text().splitlines()[1] == "anna,model,1.png,meningioma,glioma"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decision": "maybe"}, "line 2: decision 'maybe'"),
        ({"decision": "accept", "reader_label": ""}, "line 2: decision 'accept' with the label ''"),
        ({"path": "x.png"}, "line 3: x.png was answered above"),
    ],
)
def test_line_that_makes_no_sense_is_named(tmp_path, change, message):
    with pytest.raises(InvalidReview, match=message):
        read_review(write(tmp_path / "a.csv", "anna", ["glioma"] * 6, **change))


def test_other_files_and_reviews_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\na.png,glioma\n")
    with pytest.raises(InvalidReview, match="expected the columns path, model_label"):
        read_review(tmp_path / "t.csv")
    anna = read_review(write(tmp_path / "a.csv", "anna", ANNA))
    with pytest.raises(InvalidReview, match="two files of 'anna'"):
        agreements([anna, anna])
    other = read_review(write(tmp_path / "b.csv", "ben", BEN, ["notumor", *MODEL[1:]]))
    with pytest.raises(InvalidReview, match=r"0\.png: glioma in one review and notumor in another"):
        agreements([anna, other])
