"""The weights that come with the bundle, as a user meets them."""

import csv
import shutil

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from typer.testing import CliRunner

from monai_brain.app.analysis import EXAMPLE_SEED
from monai_brain.cli import app
from monai_brain.data import splits
from monai_brain.data.demo import write_demo_slices
from monai_brain.data.pairs import find_pairs
from monai_brain.evaluation.input_check import find_input_check
from monai_brain.evaluation.segmentation import overlap
from monai_brain.io.read import read_mask
from monai_brain.io.settings import read as read_settings
from monai_brain.io.weights import read_weights
from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES
from monai_brain.training.run import warn_of_seen
from tests.conftest import BUNDLE, read

SEGMENTER = BUNDLE.with_name("brain_tumor_segmentation")
TRAINED = {BUNDLE: ("training+validation", 5_000_000), SEGMENTER: ("training+validation", 40_000_000)}
"""Part that a bundle's weights were trained on, and how many bytes they may take."""


@pytest.mark.parametrize("bundle", TRAINED, ids=lambda bundle: bundle.name)
def test_weights_are_small_half_precision_and_described(bundle):
    part, largest_bytes = TRAINED[bundle]
    file = bundle / "models" / "model.safetensors"
    assert file.stat().st_size <= largest_bytes
    floats = {name: t for name, t in read_weights(file).items() if t.is_floating_point()}
    single = [name for name, t in floats.items() if t.dtype != torch.float16]
    assert all(".running_" in name for name in single)
    manifest = read(bundle / "models" / "run.json")
    assert manifest["result"]["weights_sha256"] == sha256_of(file)
    assert manifest["options"]["training_part"] == part
    assert read_settings(bundle) == manifest["settings"]
    assert not [word for word in manifest.get("command", []) if word.startswith("/")], (
        "no path of the machine that trained"
    )


@pytest.mark.slow
@pytest.mark.real_data
def test_predict_uses_them_by_default_and_warns_of_what_they_learned(real_data, tmp_path):
    scans = tmp_path / "scans"
    for name in CLASS_NAMES:
        (scans / name).mkdir(parents=True)
        for number, image in enumerate(sorted((real_data / "nickparvar_224" / "Testing" / name).iterdir())[::20]):
            shutil.copy(image, scans / name / f"{number}.jpg")
    result = CliRunner().invoke(app, ["predict", str(scans), "-o", str(tmp_path / "out"), "--answer-anyway"])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.mean(["learned_slice" in row["warnings"] for row in rows]) >= 0.9, (
        "the others are copies, slightly changed"
    )
    right = [row["path"].split("/")[0] == row["label"] for row in rows]
    assert sum(right) / len(right) >= 0.9, "they learned from these slices: no figure of merit"


@pytest.fixture(scope="module")
def tumors(real_data, tmp_path_factory):
    """A folder of slices with a tumor, and their reference masks in the order of their names."""
    lgg = real_data / "lgg_mri_segmentation" / "kaggle_3m"
    slices = find_pairs(lgg).pairs
    chosen = sorted((pair for pair in slices if pair.tumor_pixels > 1000), key=lambda pair: pair.image)[::20]
    scans = tmp_path_factory.mktemp("tumors")
    for number, pair in enumerate(chosen):
        shutil.copy(lgg / pair.image, scans / f"{number:02d}.tif")
    assert len(chosen) >= 10
    return scans, [read_mask(lgg / pair.mask) for pair in chosen]


def segmented(scans, output, *options):
    """Masks by the bundle's own weights."""
    command = ["predict", str(scans), "-o", str(output), "--bundle", str(SEGMENTER), "--masks", *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return [read_mask(path) for path in sorted((output / "masks").iterdir())]


def dice(masks, others):
    """Of each pair."""
    return [overlap(*pair).dice for pair in zip(masks, others, strict=True)]


@pytest.mark.slow
@pytest.mark.real_data
def test_masks_by_the_segmenters_own_weights(tumors, tmp_path):
    """Of slices that they were trained on: that they are found and used, and not how good they are."""
    scans, references = tumors
    assert np.mean(dice(segmented(scans, tmp_path / "out"), references)) >= 0.8


@pytest.mark.slow
@pytest.mark.real_data
def test_every_tumor_that_the_segmenter_finds_has_an_explanation(tumors, tmp_path):
    scans, _ = tumors
    segmented(scans, tmp_path / "out", "--explain", "--glob", "0[0-4].tif")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["label"] == "tumor"]
    assert len(found) >= 4
    assert not [row for row in found if "evidence_empty" in row["warnings"]]
    assert np.mean([float(row["evidence_in_mask"]) for row in found]) >= 0.6


@pytest.mark.slow
@pytest.mark.real_data
def test_masks_in_eight_bits_are_those_of_torch(tumors, tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path / "cache"))
    scans, references = tumors
    by_torch = segmented(scans, tmp_path / "torch")
    in_int8 = segmented(scans, tmp_path / "int8", "--engine", "openvino", "--precision", "int8")
    assert np.mean(dice(in_int8, by_torch)) >= 0.98
    assert np.mean(dice(in_int8, references)) == pytest.approx(np.mean(dice(by_torch, references)), abs=0.005)


@pytest.mark.slow
def test_anybody_can_score_them_on_slices_of_their_own(phantom_folder, phantom_datalist, tmp_path, caplog, monkeypatch):
    words = ["--dataset-dir", str(phantom_folder), "--datalist", str(phantom_datalist), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["evaluate", str(BUNDLE), *words])
    assert result.exit_code == 0, result.output
    assert "say nothing about others" not in caplog.text
    metrics = read(tmp_path / "out" / "metrics.json")
    assert metrics["model"]["images"] == len(read(phantom_datalist)["test"])
    assert "nearest_neighbor" not in metrics, "what they learned from is not at hand"
    assert "1-nearest-neighbor" not in result.output + (tmp_path / "out" / "report.html").read_text()
    assert not (BUNDLE / "evaluation_test").exists()
    items = read(phantom_datalist)["test"]
    seen = next(iter(read(BUNDLE / "models" / "run.json")["learned_from"].split()))
    monkeypatch.setattr(splits, "_digest", lambda word: seen if word == items[0]["sha256"] else word)
    warn_of_seen(phantom_datalist, "test", BUNDLE)
    assert "was trained on 1 images of the test part: the figures say nothing about others" in caplog.text


@pytest.mark.bad_input(38)
def test_input_check_lies_beside_the_weights_and_tells_heads_from_other_things(tmp_path):
    check = find_input_check(BUNDLE / "models" / "model.safetensors")
    assert check is not None
    assert check.path.stat().st_size < 1_000_000
    write_demo_slices(tmp_path, patients=4, slices_per_patient=2, seed=EXAMPLE_SEED, workers=1)
    heads = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(tmp_path.glob("*/*.png"))]
    assert sum(check.reason(own[None]).code == "" for own in check(heads)) >= 7
    others = [cv2.cvtColor(load_sample_image(name), cv2.COLOR_RGB2GRAY) for name in ("china.jpg", "flower.jpg")]
    others += [np.random.default_rng(n).integers(0, 255, (200, 200), np.uint8) for n in range(3)]
    assert [check.reason(own[None]).code for own in check(others)] == ["not_a_head"] * 5
