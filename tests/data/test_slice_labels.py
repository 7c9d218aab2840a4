import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.folds import read_folds
from tests.conftest import read

SIZE = 40
PATIENTS = {"TCGA_CS_4001_19970222": 0, "TCGA_DU_4002_19970222": 1, "TCGA_DU_4003_19970222": 2}
HELD_OUT = "TCGA_FG_4004_19970222"
TUMORS = {5: 100, 6: 4}
"""Pixels of tumor by slice, of ten: the second is under 1 % of 1,600."""


def head(patient, folder, *, copied=False):
    random = np.random.default_rng(len(patient) + sum(map(ord, patient)))
    for number in range(10):
        t1, flair, t1c = random.integers(60, 255, (3, SIZE, SIZE)).astype(np.uint8)
        if number == 9:
            t1c[:] = 0  # above the head
            t1c[0, 0] = 255
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask.ravel()[: TUMORS.get(number, 0)] = 255
        channels = np.stack([t1, flair, flair if copied else t1c], axis=-1)
        folder.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / f"{patient}_{number}.tif"), channels[..., ::-1])
        cv2.imwrite(str(folder / f"{patient}_{number}_mask.tif"), mask)


@pytest.fixture
def heads(tmp_path):
    for patient in (*PATIENTS, HELD_OUT):
        head(patient, tmp_path / "heads" / patient, copied=patient.endswith("4003_19970222"))
    (tmp_path / "split.json").write_text(json.dumps({"folds": PATIENTS, "test": [HELD_OUT]}))
    return tmp_path


def label(heads, *more):
    words = ["label-slices", str(heads / "heads"), "-o", str(heads / "out"), "--split", str(heads / "split.json")]
    return CliRunner().invoke(app, [*words, *more])


def test_only_slices_whose_class_is_certain_are_labeled(heads):
    result = label(heads)
    assert result.exit_code == 0, result.output
    items = read_folds(heads / "out" / "folds.json")["items"]
    own = {item["image"]: item for item in items if item["group"] == "TCGA_CS_4001_19970222"}
    # neither the small tumor, nor neighbors of a tumor, nor air
    assert sorted(own) == [
        "glioma/TCGA_CS_4001_19970222_5.png",
        *(f"notumor/TCGA_CS_4001_19970222_{number}.png" for number in (0, 1, 2, 3, 8)),
    ]
    assert {item["fold"] for item in own.values()} == {1}
    assert {(item["source"], item["sequence"]) for item in items} == {("lgg", "t1c")}
    assert own["glioma/TCGA_CS_4001_19970222_5.png"]["tumor"] is True


def test_image_is_the_channel_of_the_sequence(heads):
    label(heads)
    name = "TCGA_CS_4001_19970222_5"
    written = cv2.imread(str(heads / "out" / "glioma" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    original = cv2.imread(str(heads / "heads" / "TCGA_CS_4001_19970222" / f"{name}.tif"))
    np.testing.assert_array_equal(written, original[..., 0])  # blue: the third of red, green, blue


def test_held_out_patients_are_in_no_fold(heads):
    label(heads)
    held_out = read(heads / "out" / "held_out.json")
    assert {item["group"] for item in held_out["test"]} == {HELD_OUT}
    assert HELD_OUT not in {item["group"] for item in read(heads / "out" / "folds.json")["items"]}


def test_patient_without_the_sequence_is_left_out_and_said(heads):
    assert "left out, patients without t1c: 1" in label(heads).output
    assert not list((heads / "out").rglob("*4003*"))
    assert list((heads / "out").rglob("*4002*"))


@pytest.mark.parametrize(("more", "reason"), [(["--sequence", "t2"], "'flair'"), (["--tumor", "cyst"], "'meningioma'")])
def test_unknown_words_are_refused_with_the_known_ones(heads, more, reason):
    result = label(heads, *more)
    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())


def test_folder_in_use_is_not_touched(heads):
    assert label(heads).exit_code == 0
    before = sorted((heads / "out").rglob("*"))
    assert label(heads).exit_code != 0
    assert sorted((heads / "out").rglob("*")) == before
