"""The weights that come with the bundle, as a user meets them."""

import csv
import shutil

import pytest
import torch
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.splits import load_datalist
from monai_brain.io.settings import read as read_settings
from monai_brain.io.weights import read_weights
from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES
from tests.conftest import BUNDLE, read

FILE = BUNDLE / "models" / "model.safetensors"
LARGEST_BYTES = 32_000_000


def test_weights_are_small_half_precision_and_described():
    assert FILE.stat().st_size <= LARGEST_BYTES
    weights = read_weights(FILE)
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float16}
    manifest = read(BUNDLE / "models" / "run.json")
    assert manifest["result"]["weights_sha256"] == sha256_of(FILE)
    assert manifest["options"]["training_part"] == "training+validation"
    assert read_settings(BUNDLE) == manifest["settings"]
    assert not [word for word in manifest["command"] if word.startswith("/")], "no path of the machine that trained"


@pytest.mark.slow
@pytest.mark.real_data
def test_predict_uses_them_by_default_and_is_right(real_data, frozen_split, tmp_path):
    items = load_datalist(frozen_split, real_data / "nickparvar_224" / "Training", "test")[::10]
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, item in enumerate(items):
        shutil.copy(item["image"], scans / f"{number:03d}.jpg")
    result = CliRunner().invoke(app, ["predict", str(scans), "-o", str(tmp_path / "out"), "--precision", "bf16"])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = {row["path"]: row["label"] for row in csv.DictReader(file)}
    right = [rows[f"{number:03d}.jpg"] == CLASS_NAMES[item["label"]] for number, item in enumerate(items)]
    assert sum(right) / len(right) >= 0.94
