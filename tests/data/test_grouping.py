"""Folds by the command line: by patient, and by what is known of public sets."""

import json

import cv2
import numpy as np
import pytest
from scipy.fft import idctn
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.folds import read_folds
from monai_brain.data.provenance import FREQUENCIES, _known
from monai_brain.io.write import write_png
from monai_brain.labels import CLASS_NAMES
from monai_brain.training.study import read_study
from tests.conftest import BUNDLE


def index(*words):
    result = CliRunner().invoke(app, ["index", *map(str, words), "--workers", "1"], env={"COLUMNS": "300"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def looks_like(packed):
    """A picture with a hash of a known slice: the package has the hashes of public slices and not their pixels."""
    spectrum = np.zeros((32, 32))
    spectrum[:FREQUENCIES, :FREQUENCIES] = np.unpackbits(packed).reshape(FREQUENCIES, FREQUENCIES) * 160.0 - 80
    spectrum[0, 0] = 32 * 128
    pixels = idctn(spectrum, norm="ortho").clip(0, 255).astype(np.uint8)
    return cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def public_folder(tmp_path):
    """Of two classes ten pictures of known slices, two of each patient fold, and ten others."""
    known = _known()
    for label, name in enumerate(("glioma", "meningioma")):
        for fold in range(1, 6):
            places = np.flatnonzero((known["folds"] == fold) & (known["numbers"] > 0))[10 + label * 40 :: 200][:2]
            for place in places:
                write_png(
                    tmp_path / "set" / "Training" / name / f"known_{fold}_{known['numbers'][place]}.png",
                    looks_like(known["hashes"][place]),
                )
        for number in range(10):
            texture = np.random.default_rng(100 * label + number).integers(0, 200, (8, 8), dtype=np.uint8)
            picture = cv2.resize(texture, (64, 64), interpolation=cv2.INTER_CUBIC)
            write_png(tmp_path / "set" / "Testing" / name / f"{number}.png", picture)
    return tmp_path / "set"


def test_folds_keep_patients_together_and_balance_classes(phantom_folder, tmp_path):
    words = [phantom_folder, "--patient-pattern", r"patient_(\d+)", "--folds", 5]
    assert index(*words, "-o", tmp_path / "folds.json").exit_code == 0
    items = read_folds(tmp_path / "folds.json")["items"]  # which refuses groups in two folds
    assert len(items) == 64
    counts = [
        sum((i["fold"], i["label"]) == (fold, label) for i in items) for fold in range(1, 6) for label in range(4)
    ]
    assert set(counts) == {2, 4}, "8 patients of 2 slices over 5 folds"


def test_folds_file_is_what_study_and_split_take(phantom_folder, tmp_path):
    words = [phantom_folder, "--patient-pattern", r"patient_(\d+)", "--folds", 5]
    index(*words, "-o", tmp_path / "folds.json")
    plan = {"dataset_dir": str(phantom_folder), "folds": "folds.json", "networks": ["cnn"]}
    (tmp_path / "study.yaml").write_text(json.dumps(plan))
    study = read_study(tmp_path / "study.yaml", BUNDLE)
    assert sorted(item["image"] for fold in study.datalists.values() for item in fold["test"]) == sorted(
        path.relative_to(phantom_folder).as_posix() for path in phantom_folder.rglob("*.png")
    )
    index(phantom_folder, "--split", tmp_path / "folds.json", "--fold", 2, "-o", tmp_path / "by_file.json")
    index(*words, "--fold", 2, "-o", tmp_path / "at_once.json")
    assert json.loads((tmp_path / "by_file.json").read_text()) == json.loads((tmp_path / "at_once.json").read_text())
    assert study.datalists[2] == json.loads((tmp_path / "by_file.json").read_text())


def test_known_slices_get_their_patients_fold_and_copies_are_left_out(public_folder, tmp_path):
    first = sorted((public_folder / "Training" / "glioma").iterdir())[0]
    mirrored = cv2.imread(str(first), cv2.IMREAD_GRAYSCALE)[:, ::-1]
    write_png(public_folder / "Training" / "glioma" / "z_again.png", np.ascontiguousarray(mirrored))
    words = [public_folder, "--provenance", "--classes", "glioma,meningioma"]
    result = index(*words, "--folds", 5, "-o", tmp_path / "folds.json")
    assert "21 images are slices of the Cheng set" in result.stdout
    assert "1 copies are left out" in result.stdout
    items = read_folds(tmp_path / "folds.json")["items"]
    known = [item for item in items if "known_" in item["image"]]
    assert [f"{item['fold']}_{item['cheng_index']}" for item in known] == [
        item["image"].partition("known_")[2].removesuffix(".png") for item in known
    ]
    (copy,) = [item for item in items if "copy_of" in item]
    original = next(item for item in items if item["image"] == copy["copy_of"])
    assert (copy["image"][-11:], original["image"]) == ("z_again.png", f"Training/glioma/{first.name}")
    assert copy["mirrored"] != original["mirrored"]
    assert {item["source"] for item in items} == {"cheng", "other"}
    index(*words, "--folds", 5, "--fold", 3, "-o", tmp_path / "fold.json")
    datalist = json.loads((tmp_path / "fold.json").read_text())
    assert {item["fold"] for item in datalist["test"]} == {3}
    assert len({item["image"] for part in ("training", "validation", "test") for item in datalist[part]}) == 40


def test_split_keeps_a_known_patients_fold_in_one_part(public_folder, tmp_path):
    for part in ("Training", "Testing"):
        for name in ("glioma", "meningioma"):
            (public_folder / name).mkdir(exist_ok=True)
            for path in (public_folder / part / name).iterdir():
                path.rename(public_folder / name / path.name)
            (public_folder / part / name).rmdir()
        (public_folder / part).rmdir()
    index(public_folder, "--provenance", "--classes", "glioma,meningioma", "-o", tmp_path / "list.json")
    datalist = json.loads((tmp_path / "list.json").read_text())
    parts_of = {}
    for part in ("training", "validation", "test"):
        for item in datalist[part]:
            if "known_" in item["image"]:
                fold = item["image"].partition("known_")[2][0]
                parts_of.setdefault((fold, item["label"]), set()).add(part)
    assert len(parts_of) == 10
    assert all(len(parts) == 1 for parts in parts_of.values())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--fold", "2"], "need a folds file"),
        (["--folds", "4", "--provenance"], "knows 5 patient folds"),
        (["--provenance", "--patient-pattern", "x"], "give either --patient-pattern or"),
        (["--folds", "5", "--keep-split"], "give either --folds or --keep-split"),
        (["--folds", "5", "--split", "x.json"], "leave out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(words, reason, phantom_folder, tmp_path):
    result = index(phantom_folder, "-o", tmp_path / "out.json", *words)
    assert result.exit_code == 2
    assert reason in result.output
    assert not (tmp_path / "out.json").exists()


def test_too_few_patients_for_the_folds_are_named(phantom_folder, tmp_path):
    words = ["index", str(phantom_folder), "-o", str(tmp_path / "out.json"), "--folds", "9", "--patient-pattern"]
    result = CliRunner().invoke(app, [*words, r"patient_(\d+)", "--workers", "1"])
    assert f"class {CLASS_NAMES[0]}: 8 group(s) for 9 parts" in str(result.exception)
