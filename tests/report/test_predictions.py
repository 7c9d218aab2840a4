"""Predictions of any software, scored through the command line."""

import json

import cv2
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.evaluation.subgroups import subgroups
from monai_brain.io.tables import InvalidTable
from tests.conftest import read

NAMES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture
def tables(tmp_path):
    """40 patients with three slices each, in files of two programs that spell things differently."""
    random = np.random.default_rng(0)
    labels = ["Case-ID;True Class;Patient;sex;age"]
    first = ["path,status,label," + ",".join(f"prob_{name}" for name in NAMES)]
    second = ["file_name,Prediction"]
    for patient in range(40):
        index = patient % 4
        for number in range(3):
            name = f"p{patient:02d}_{number}"
            powers = np.exp(random.normal(size=4) + 2 * np.eye(4)[index])
            own = powers / powers.sum()
            sure = own.max() > 0.4
            label = ("Glioma", "Meningioma", "No Tumor", "pituitary_tumor")[index]
            labels.append(f"{name};{label};p{patient};{'FM'[patient % 2]};{20 + patient}")
            numbers = ",".join(f"{value:.6f}" for value in own)
            said = NAMES[own.argmax()] if sure else ""
            first.append(f"scans/{name}.png,{'ok' if sure else 'abstained'},{said},{numbers}")
            second.append(f"{name}.png,{NAMES[(own + random.random(4)).argmax()].upper()}")
    for name, lines in (("labels", labels), ("first", first), ("second", second)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def evaluate(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], env={"COLUMNS": "200"})


def scored(folder, *words, truth="True Class"):
    result = evaluate(*words, "-o", folder / "out", "--overwrite", "--label-column", truth)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return read(folder / "out" / "metrics.json"), result


def said(folder, *words):
    """The message of what is refused."""
    result = evaluate(*words, "-o", folder / "out")
    assert isinstance(result.exception, InvalidTable), result.output
    assert not (folder / "out").exists()
    return str(result.exception)


def rows(path):
    return [line.split(",") for line in path.read_text().splitlines()[1:]]


def test_answers_are_scored_and_abstentions_counted(tables):
    metrics, result = scored(tables, tables / "first.csv", tables / "labels.csv", "--by", "sex", "--by", "age")
    answered = [row for row in rows(tables / "first.csv") if row[1] == "ok"]
    right = sum(NAMES[int(row[0].split("/p")[1][:2]) % 4] == row[2] for row in answered)
    assert 0 < len(answered) < 120
    assert metrics["model"]["accuracy"]["value"] == pytest.approx(right / len(answered))
    assert metrics["answered"]["share"]["value"] == pytest.approx(len(answered) / 120)
    assert metrics["answered"]["accuracy_unanswered_wrong"]["value"] == pytest.approx(right / 120)
    assert metrics["flow"]["not answered: status abstained"] == 120 - len(answered)
    assert metrics["grouped_by"] == "Patient"
    assert metrics["majority_class"]["accuracy"]["value"] == 0.25
    assert [row["cases"] for row in metrics["subgroups"]["sex"]] == [60, 60]
    assert metrics["subgroups"]["age"][0]["value"].startswith("20 to ")
    shares = [own["cases"] for own in metrics["coverage"]]
    assert shares[0] == len(answered) and shares == sorted(shares, reverse=True)
    page = (tables / "out" / "report.html").read_text()
    assert "not answered: status abstained" in page and "By sex" in page
    for figure in ("confusion_matrix", "roc", "coverage", "reliability"):
        assert cv2.imread(str(tables / "out" / f"{figure}.png")) is not None
    assert "accuracy" in result.output


def test_labels_alone_are_enough_and_two_programs_are_compared(tables):
    metrics, result = scored(tables, tables / "second.csv", tables / "labels.csv", "--against", tables / "first.csv")
    assert "No probabilities" in result.stderr
    assert "calibration" not in metrics
    assert not (tables / "out" / "roc.png").exists()
    own = metrics["paired"]
    assert own["difference"]["value"] == pytest.approx(own["accuracy"] - own["other_accuracy"])
    only = own["mcnemar"]
    assert (only["only_first_right"] - only["only_second_right"]) / own["cases"] == pytest.approx(
        own["difference"]["value"]
    )


def test_perfect_and_one_class_and_few_patients_are_said_in_words(tables):
    lines = (tables / "labels.csv").read_text().splitlines()
    few = [lines[0], *(line for line in lines[1:] if line.split(";")[2] in ("p0", "p4", "p8"))]
    (tables / "few.csv").write_text("\n".join(few))
    metrics, result = scored(tables, tables / "first.csv", tables / "few.csv")
    assert 'All labels are "glioma"' in result.stderr
    assert "3 groups: too few for an interval" in result.stderr
    assert "predictions have no label" in result.stderr
    assert metrics["model"]["accuracy"]["interval"] is None
    assert metrics["model"]["per_class"]["glioma"]["auc"]["value"] is None
    assert "(no interval)" in (tables / "out" / "report.html").read_text()


def test_cases_without_patient_are_warned_about(tables):
    text = (tables / "labels.csv").read_text().replace("Patient", "Remark")
    (tables / "labels.csv").write_text(text)
    metrics, result = scored(tables, tables / "first.csv", tables / "labels.csv")
    assert metrics["groups"] == metrics["model"]["images"]
    assert "--group-by" in result.stderr


def test_sets_are_held_against_their_labels(tables):
    lines = ["id,label,set", "a,x,x|y", "b,y,x", "c,y,", "d,x,x or y"]
    (tables / "sets.csv").write_text("\n".join(lines))
    (tables / "truth.csv").write_text("id,class\na,x\nb,y\nc,y\nd,y\n")
    metrics, _ = scored(tables, tables / "sets.csv", tables / "truth.csv", truth="class")
    assert metrics["sets"]["coverage"]["value"] == 0.5
    assert metrics["sets"]["mean_size"] == 1.25
    assert metrics["sets"]["empty"] == 1


MISTAKES = {
    "missing column": (
        "id,colour\na,x\n",
        "id,class\na,x\nb,y\n",
        ["neither a class", "prob_x", "--prediction-column"],
    ),
    "no label column": (
        "id,label\na,x\n",
        "id,remark\na,x\n",
        ["no column with the reference class", "--label-column"],
    ),
    "nothing matches": ("id,label\na,x\n", "id,class\nb,x\n", ["no case in common", "'a' against 'b'", "--id-column"]),
    "duplicate": ("id,label\na,x\na,y\n", "id,class\na,x\nb,y\n", ["'a'", "2 times (line 2, line 3)"]),
    "unknown class": ("id,label\na,z\nb,x\n", "id,class\na,x\nb,y\n", ["line 2: unknown class 'z'", "--classes"]),
    "logits": ("id,prob_x,prob_y\na,3.1,-2\n", "id,class\na,x\nb,y\n", ["add up to 1.100", "softmax"]),
    "no rows": ("id,label\n", "id,class\na,x\n", ["no rows"]),
    "two names": ("id,label,label\na,x,y\n", "id,class\na,x\n", ["two columns are called 'label'"]),
    "all unanswered": ("id,label\na,\nb,abstain\n", "id,class\na,x\nb,y\n", ["no case has an answer"]),
    "no id": ("id,label\n,x\n", "id,class\na,x\n", ["line 2: no id"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_the_way_out(mistake, tmp_path):
    first, second, expected = MISTAKES[mistake]
    (tmp_path / "predictions.csv").write_text(first)
    (tmp_path / "labels.csv").write_text(second)
    message = said(tmp_path, tmp_path / "predictions.csv", tmp_path / "labels.csv")
    assert all(words in message for words in expected), message


def test_predictions_without_labels_or_output_are_asked_for(tables):
    alone = evaluate(tables / "first.csv")
    assert alone.exit_code == 2 and "as a second CSV" in alone.output
    nowhere = evaluate(tables / "first.csv", tables / "labels.csv")
    assert nowhere.exit_code == 2 and "-o" in nowhere.output


def test_subgroups_by_a_name_of_each_case_are_refused():
    with pytest.raises(InvalidTable, match="too many"):
        subgroups({"name": [f"case {number}" for number in range(30)]}, "Name")
    with pytest.raises(InvalidTable, match="no column 'plane'"):
        subgroups({"sex": ["F"]}, "plane")


def disk(radius, size=48):
    y, x = np.mgrid[:size, :size]
    return ((y - 24) ** 2 + (x - 24) ** 2 < radius**2).astype(np.uint8)


@pytest.fixture
def masks(tmp_path):
    """12 patients with two slices each; the second slice of every third patient is empty."""
    for patient in range(12):
        for number in range(2):
            radius = 0 if number and patient % 3 == 0 else 6 + patient % 4
            for kind, name, own in (
                ("reference", f"p{patient}_{number}_mask", radius),
                ("predicted", f"p{patient}_{number}", max(0, radius - 1)),
            ):
                path = tmp_path / kind / f"{name}.png"
                path.parent.mkdir(exist_ok=True)
                cv2.imwrite(str(path), 255 * disk(own))
    return tmp_path


def test_folders_of_masks_are_scored_by_patient(masks):
    words = [
        masks / "predicted",
        masks / "reference",
        "--patient-pattern",
        r"p(\d+)_",
        "--against",
        masks / "reference",
    ]
    result = evaluate(*words, "-o", masks / "out")
    assert result.exit_code == 0, result.output + repr(result.exception)
    metrics = read(masks / "out" / "metrics.json")
    assert metrics["patients"]["number"] == 12 and metrics["masks"]["number"] == 24
    pixels = [2 * disk(5).sum(), 2 * disk(6).sum()]
    first = 2 * pixels[0] / sum(pixels)
    assert f"{first:.6f}"[:6] in (masks / "out" / "patients.csv").read_text()
    low, high = metrics["patients"]["dice"]["interval"]
    assert low < metrics["patients"]["dice"]["value"] < high
    assert metrics["presence"]["without_tumor"] == 4 and metrics["presence"]["specificity"]["value"] == 1
    assert metrics["paired"]["difference"]["value"] < 0
    assert "references are empty" in result.stderr
    assert len(list((masks / "out" / "pictures").iterdir())) == 6


def test_missing_and_misfitting_masks_are_not_answered(masks):
    (masks / "predicted" / "p0_0.png").unlink()
    cv2.imwrite(str(masks / "predicted" / "p1_0.png"), 255 * disk(5, 50))
    result = evaluate(masks / "predicted", masks / "reference", "-o", masks / "out")
    assert result.exit_code == 0, result.output
    flow = read(masks / "out" / "metrics.json")["flow"]
    assert flow["not answered: no mask"] == 1
    assert flow["not answered: mask geometry_mismatch"] == 1
    assert "References without a usable mask: 2" in result.stderr


def test_volumes_named_in_tables_are_scored_in_millimeters(tmp_path):
    lines = {"reference": ["id,mask,patient,grade"], "predicted": ["id,mask"]}
    for number in range(3):
        for kind, own in (("reference", 8), ("predicted", 7)):
            volume = np.zeros((40, 40, 40), np.uint8)
            volume[10 : 10 + own, 10:20, 10 : 10 + 2 * number] = 1 + number
            nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 2, 1])), tmp_path / f"{kind}_{number}.nii.gz")
            lines[kind].append(f"{number},{kind}_{number}.nii.gz" + (f",p{number},2" if kind == "reference" else ""))
    for kind, own in lines.items():
        (tmp_path / f"{kind}.csv").write_text("\n".join(own))
    words = [tmp_path / "predicted.csv", tmp_path / "reference.csv", "-o", tmp_path / "out", "--by", "grade"]
    result = evaluate(*words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    metrics = read(tmp_path / "out" / "metrics.json")
    assert metrics["hd95_unit"] == "mm"
    assert metrics["masks"]["hd95"]["value"] == 1.0
    assert metrics["patients"]["dice"]["value"] == pytest.approx((1 + 2 * 14 / 15) / 3)
    assert json.dumps(metrics["subgroups"]["grade"]).count('"value": "2"') == 1
    assert "too few for an interval" in result.stderr
