"""Masks that a folder run wrote, scored against references."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.io.write import write_csv, write_json
from monai_brain.report.predicted_masks import InvalidPredictions, score_predictions
from tests.conftest import read


def draw(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)


def predicted(folder, slices, shift):
    """A folder run whose masks lie `shift` pixels off; of slice 1 of patient c it has none."""
    rows = []
    for patient, number, reference in slices:
        name = f"{patient}/{number}.png"
        draw(folder / "masks" / name, np.roll(reference, shift, axis=1))
        rows.append({"path": name, "status": "ok", "mask": "" if name == "c/1.png" else f"masks/{name}"})
    write_csv(folder / "predictions.csv", ["path", "status", "mask"], rows)
    write_json(folder / "run.json", {"options": {"threshold": 0.4, "engine": "torch"}, "command": ["monai-brain"]})
    return folder


@pytest.fixture
def case(tmp_path):
    """Three patients with two slices each, their references, and two runs: one exact, one 5 pixels off."""
    slices, items = [], []
    for place, patient in enumerate("abc"):
        for number in range(2):
            reference = np.zeros((40, 40), bool)
            reference[10 : 20 + place, 10:20] = number == 0
            draw(tmp_path / "data" / patient / f"{number}.png", np.eye(40))
            draw(tmp_path / "data" / patient / f"{number}_mask.png", reference)
            slices.append((patient, number, reference))
            items.append(
                {"image": f"{patient}/{number}.png", "label": f"{patient}/{number}_mask.png", "group": patient}
            )
    write_json(tmp_path / "datalist.json", {"name": "x", "test": items})
    for name, shift in (("exact", 0), ("off", 5)):
        predicted(tmp_path / name, slices, shift)
    return tmp_path


def test_masks_are_scored_by_patient_and_incomplete_patients_left_out_by_name(case, caplog):
    metrics = score_predictions(case / "off", case / "datalist.json", case / "data", case / "out")
    assert metrics["patients"]["number"] == 2
    assert metrics["patients"]["mean_dice"] == pytest.approx(0.5)
    assert metrics["left_out"] == ["c"]
    assert "not every slice has a mask: c" in caplog.text
    assert metrics["areas"]["bias"] == 0 and metrics["areas"]["number"] == 2
    assert sum(own["number"] for own in metrics["by_size"].values()) == 2
    assert (case / "out" / "areas.png").stat().st_size > 5000
    assert read(case / "out" / "run.json")["options"]["threshold"] == 0.4


def test_two_runs_are_compared_by_patient_on_the_command_line(case):
    words = ["--dataset-dir", str(case / "data"), "--datalist", str(case / "datalist.json")]
    first = CliRunner().invoke(app, ["evaluate", str(case / "off"), *words])
    assert first.exit_code == 0, first.output
    against = str(case / "off" / "evaluation_test")
    result = CliRunner().invoke(app, ["evaluate", str(case / "exact"), *words, "--against", against])
    assert result.exit_code == 0, result.output
    assert "2 patients: mean Dice +0.500 (no interval), 2 better" in result.output
    without = CliRunner().invoke(app, ["evaluate", str(case / "exact"), *words[:2]])
    assert without.exit_code == 2
    (case / "exact" / "predictions.csv").unlink()
    with pytest.raises(InvalidPredictions, match=r"has no predictions\.csv"):
        score_predictions(case / "exact", case / "datalist.json", case / "data", case / "out")
