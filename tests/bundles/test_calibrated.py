"""Calibrated probabilities, sets and patients, from the commands that users give."""

import csv
import shutil

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.evaluation.calibration import scaled
from monai_brain.evaluation.calibration_file import CALIBRATION, InvalidCalibration
from monai_brain.inference.apply import predict_folder
from monai_brain.inference.merging import merge_parts
from monai_brain.inference.session import Session, cases_in
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES
from monai_brain.report.evaluation import FOLD, GROUP
from monai_brain.report.labeled import InvalidTable
from tests.bundles.running import cause, table
from tests.conftest import draw_phantom, read
from tests.io.dicoms import CANARY, save_series

pytestmark = pytest.mark.slow
PROBABILITIES = [f"prob_{name}" for name in CLASS_NAMES]
SIZE = 15
"""Slices of each class in `labeled`."""


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Class folders of new phantoms, three slices of a patient."""
    folder = tmp_path_factory.mktemp("labeled") / "scans"
    for index, name in enumerate(CLASS_NAMES):
        (folder / name).mkdir(parents=True)
        for number in range(SIZE):
            path = folder / name / f"patient_{index}{number // 3}_{number % 3}.png"
            cv2.imwrite(str(path), draw_phantom(index, 100 + number))
    return folder


@pytest.fixture(scope="module")
def raw(trained, labeled, tmp_path_factory):
    output = tmp_path_factory.mktemp("raw") / "out"
    assert predict_folder(labeled, output, weights=str(trained), workers=0) == 0
    return output


@pytest.fixture(scope="module")
def calibrated(trained, raw, tmp_path_factory):
    """The trained weights, with a calibration beside them by `monai-brain calibrate` on pooled folds."""
    weights, pooled = (tmp_path_factory.mktemp(name) for name in ("weights", "pooled"))
    shutil.copy(trained / "model.safetensors", weights)
    rows = []
    for path, row in table(raw).items():
        name, patient = path.split("/")
        fold = int(patient.split("_")[1][-1]) % 3 + 1
        rows.append({**{key: row[key] for key in ("path", *PROBABILITIES)}, "reference": name})
        rows[-1] |= {GROUP: patient[:-6], FOLD: fold}
    with (pooled / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    network = read(trained / "run.json")["settings"]["network_def"]
    write_json(pooled / "run.json", {"kind": "pooling", "options": {"runs": [], "network_def": network}})
    result = CliRunner().invoke(app, ["calibrate", str(pooled), "--weights", str(weights)])
    assert result.exit_code == 0, result.output
    assert "calibration error" in result.output
    return weights


def values(row):
    return np.array([float(row[name]) for name in PROBABILITIES])


def test_probabilities_are_scaled_and_sets_follow_the_coverage(calibrated, raw, labeled, tmp_path):
    content = read(calibrated / CALIBRATION)
    tables = {}
    for coverage in (None, 0.6):
        output = tmp_path / str(coverage)
        predict_folder(labeled, output, weights=str(calibrated), coverage=coverage, workers=0)
        tables[coverage] = table(output)
    before = table(raw)
    for path, row in tables[0.6].items():
        expected = scaled(values(before[path])[None], content["temperature"])[0]
        assert values(row) == pytest.approx(expected, abs=2e-4)
        assert values(row) == pytest.approx(values(tables[None][path]))
        least = [content["least_probability"]["slices"][name][10] for name in CLASS_NAMES]  # 0.5, 0.51, ... 0.6
        wanted = set(filter(None, row["set"].split("|")))
        for name, own, low in zip(CLASS_NAMES, values(row), least, strict=True):
            assert (name in wanted) == (own >= low) or own == pytest.approx(low, abs=1e-4)  # tables round
        assert int(row["set_size"]) == len(wanted)
        assert (row["status"], row["code"]) == (("ok", "") if wanted else ("abstained", "empty_set"))
        assert bool(row["label"]) == bool(wanted)
        assert int(tables[None][path]["set_size"]) >= len(wanted)
    assert "set" not in next(iter(before.values()))


def test_empty_set_gives_no_class_unless_it_is_asked_for(calibrated, labeled, tmp_path):
    content = read(calibrated / CALIBRATION)
    for own in content["least_probability"].values():
        for name in CLASS_NAMES:
            own[name] = [1.0] * len(own[name])
    write_json(tmp_path / "strict.json", content)
    options = {"weights": str(calibrated), "calibration": str(tmp_path / "strict.json"), "workers": 0}
    predict_folder(labeled, tmp_path / "out", **options)
    assert {(row["status"], row["code"], row["label"]) for row in table(tmp_path / "out").values()} == {
        ("abstained", "empty_set", "")
    }
    predict_folder(labeled, tmp_path / "anyway", answer_anyway=True, **options)
    rows = table(tmp_path / "anyway").values()
    assert {row["status"] for row in rows} == {"ok"}
    assert all("empty_set" in row["warnings"] and row["label"] in CLASS_NAMES for row in rows)


def test_coverage_is_pinned_and_wants_a_calibration(calibrated, trained, labeled, tmp_path):
    predict_folder(labeled, tmp_path / "out", weights=str(calibrated), coverage=0.8, workers=0)
    options = {"weights": str(calibrated), "resume": True, "workers": 0}
    assert predict_folder(labeled, tmp_path / "out", coverage=0.8, **options) == 0
    with pytest.raises(RuntimeError) as caught:
        predict_folder(labeled, tmp_path / "out", coverage=0.9, **options)
    assert "another coverage" in str(cause(caught.value))
    with pytest.raises(RuntimeError) as caught:
        predict_folder(labeled, tmp_path / "new", weights=str(trained), coverage=0.9, workers=0)
    assert isinstance(cause(caught.value), InvalidCalibration)


def test_calibration_of_other_weights_is_not_used(calibrated, raw, labeled, tmp_path, caplog):
    content = read(calibrated / CALIBRATION) | {"weights_sha256": "0" * 64}
    write_json(tmp_path / "run" / CALIBRATION, content)
    shutil.copy(calibrated / "model.safetensors", tmp_path / "run")
    predict_folder(labeled, tmp_path / "out", weights=str(tmp_path / "run"), workers=0)
    assert table(tmp_path / "out") == table(raw)
    assert "other weights" in caplog.text


def test_patients_are_put_together_in_one_run_and_in_parts(calibrated, labeled, tmp_path):
    options = {"weights": str(calibrated), "patient_pattern": r"(patient_\d+)", "workers": 0}
    predict_folder(labeled, tmp_path / "whole", **options)
    patients = rows_of(tmp_path / "whole" / "patients.csv")
    assert [row["patient"] for row in patients] == list(dict.fromkeys(row["patient"] for row in patients))
    assert {row["cases"] for row in patients} == {"3"}
    assert len(patients) == 4 * SIZE / 3
    rows = table(tmp_path / "whole")
    for patient in patients:
        own = [row for row in rows.values() if row["patient"] == patient["patient"]]
        assert len(own) == 3
        called = [CLASS_NAMES[int(values(row).argmax())] for row in own]
        assert float(patient["agreement"]) == pytest.approx(called.count(patient["label"]) / 3, abs=1e-3)
        assert int(patient["set_size"]) == len(list(filter(None, patient["set"].split("|"))))
    page = (tmp_path / "whole" / "report.html").read_text()
    assert f"Patients: {len(patients)}" in page
    assert "in 90% of the cases" in page
    for part in ("1/2", "2/2"):
        predict_folder(labeled, tmp_path / "parts", part=part, **options)
    merge_parts(tmp_path / "parts")
    for name in ("predictions.csv", "patients.csv"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_dicom_patients_are_numbers(calibrated, tmp_path):
    for name in ("a", "b"):
        save_series(tmp_path / "scans" / name, PatientID=f"{CANARY}{name}", PatientName=CANARY)
    predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(calibrated), workers=0)
    patients = rows_of(tmp_path / "out" / "patients.csv")
    assert [row["patient"] for row in patients] == ["patient 1", "patient 2"]
    assert all(CANARY not in path.read_text() for path in (tmp_path / "out").glob("*.[cj]s*"))


def test_page_gets_the_set_of_a_folder_run(calibrated, labeled, tmp_path):
    predict_folder(labeled, tmp_path / "out", weights=str(calibrated), workers=0)
    expected = table(tmp_path / "out")
    session = Session(weights=calibrated)
    try:
        case = cases_in(labeled, tmp_path)[0]
        result = session.predict(case, tmp_path / "result")
    finally:
        session.close()
    assert result.coverage == 0.9
    assert result.prediction.values["set"] == expected[case.id]["set"]


def test_site_gets_a_calibration_of_its_own_from_a_folder_or_from_tables(trained, raw, labeled, tmp_path):
    command = ["calibrate", "--site", str(labeled), "--weights", str(trained), "-o", str(tmp_path / "folder.json")]
    result = CliRunner().invoke(app, [*command, "--patient-pattern", r"(patient_\d+)"])
    assert result.exit_code == 0, result.output
    assert "positive" in result.output
    found = read(tmp_path / "folder.json")["fitted_on"]
    assert (found["slices"], found["groups"]) == (4 * SIZE, 4 * SIZE // 3)
    own = found["figures"]["site"]["glioma"]
    assert own["prevalence"] == 0.25
    low, high = own["sensitivity"][1:]
    assert 0 <= low <= own["sensitivity"][0] <= high <= 1
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f"{path},{path.split('/')[0]}\n" for path in table(raw)))
    command = ["calibrate", "--site", str(raw / "predictions.csv"), "--labels", str(labels)]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "tables.json")])
    assert result.exit_code == 0, result.output
    temperatures = [read(tmp_path / name)["temperature"] for name in ("folder.json", "tables.json")]
    assert temperatures[0] == pytest.approx(temperatures[1], rel=1e-3)
    # what is calibrated already is calibrated anew, not once more
    options = {"weights": str(trained), "calibration": str(tmp_path / "tables.json"), "workers": 0}
    predict_folder(labeled, tmp_path / "out", answer_anyway=True, **options)
    command[2] = str(tmp_path / "out" / "predictions.csv")
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "again.json")])
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "again.json")["temperature"] == pytest.approx(temperatures[1], rel=0.02)


def test_site_of_few_cases_is_refused_in_words(raw, tmp_path):
    few = list(table(raw))[::2]
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f"{path},{path.split('/')[0]}\n" for path in few))
    command = ["calibrate", "--site", str(raw / "predictions.csv"), "--labels", str(labels)]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "c.json")])
    assert isinstance(result.exception, InvalidTable)
    assert "30 labeled cases; at least 50" in str(result.exception)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
