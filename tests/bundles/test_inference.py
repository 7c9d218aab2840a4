"""Inference by the shipped configs, run as users run it, on phantoms."""

import csv
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from urllib.parse import quote

import cv2
import nibabel as nib
import numpy as np
import pytest
import torch

from monai_brain.explain.trust import removal_drop
from monai_brain.inference import apply
from monai_brain.inference.session import Session
from monai_brain.io import Case
from monai_brain.io.weights import InvalidWeights
from monai_brain.labels import CLASS_NAMES
from tests.bundles.running import CONFIGS, cause, table
from tests.conftest import BUNDLE, REPOSITORY, draw_phantom, read

pytestmark = pytest.mark.slow

predict_folder = partial(apply.predict_folder, workers=0)
"""Without the seconds that a process takes to start; one test here, and those of the command line, have it."""


def test_setting_that_contradicts_the_weights_is_refused(trained, scans, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        predict_folder(scans, tmp_path / "out", weights=str(trained), image_size=48)
    assert "image_size is set to 48, but the weights were trained with 32" in str(cause(caught.value))


def test_layer_to_explain_can_be_chosen(trained, scans, tmp_path):
    for name, layer in (("a", None), ("b", "features.6")):
        predict_folder(scans, tmp_path / name, weights=str(trained), explain=True, cam_layer=layer)
    a, b = ((tmp_path / name / "overlays" / "0.png.png").read_bytes() for name in "ab")
    assert a != b


def test_slices_that_the_weights_learned_from_are_warned_of(trained, scans, tmp_path):
    weights, datalist = tmp_path / "weights", tmp_path / "learned.json"
    weights.mkdir()
    shutil.copy(trained / "model.safetensors", weights)
    datalist.write_text(json.dumps({"training": [{"image": "0.png", "label": 0}]}))
    publish = [sys.executable, str(REPOSITORY / "scripts" / "publish_learned.py"), str(BUNDLE), str(datalist)]
    words = [*publish, str(scans), "--weights", str(weights), "--part", "training"]
    subprocess.run(words, check=True, capture_output=True)
    cv2.imwrite(str(scans / "mirrored.png"), cv2.imread(str(scans / "0.png"))[:, ::-1])
    predict_folder(scans, tmp_path / "out", weights=str(weights))
    rows = table(tmp_path / "out")
    warned = {path for path, row in rows.items() if "learned_slice" in row["warnings"]}
    assert warned == {"0.png", "sub/0.png", "mirrored.png", "'=1+1 <img onerror=x>.png"}
    assert rows["1.png"]["status"] == "ok"


def test_moved_weight_file_is_preprocessed_as_it_was_trained(trained, scans, tmp_path):
    shutil.copy(trained / "model.safetensors", tmp_path / "moved.safetensors")
    for name, weights in (("a", trained), ("b", tmp_path / "moved.safetensors")):
        predict_folder(scans, tmp_path / name, weights=str(weights))
    assert table(tmp_path / "a") == table(tmp_path / "b")


@pytest.mark.bad_input(1, 2, 15, 16, 19)
def test_every_file_found_has_one_row(trained, scans, tmp_path):
    status = predict_folder(scans, tmp_path / "out", weights=str(trained), explain=True, batch_size=4, workers=1)
    rows = table(tmp_path / "out")
    assert status == 3
    assert len(rows) == sum(path.is_file() for path in scans.rglob("*"))
    codes = {path: (row["status"], row["code"]) for path, row in rows.items() if row["status"] != "ok"}
    assert codes == {
        "cut.png": ("error", "truncated"),
        "empty.jpg": ("error", "empty_file"),
        "page.jpg": ("error", "not_an_image"),
        "notes.txt": ("skipped", "sidecar"),
    }
    for row in rows.values():
        if row["status"] == "ok":
            probabilities = {name: float(row[f"prob_{name}"]) for name in CLASS_NAMES}
            assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
            assert row["label"] == max(probabilities, key=probabilities.get)
            assert (tmp_path / "out" / row["overlay"]).is_file()
    assert rows["0.png"]["prob_glioma"] == rows["sub/0.png"]["prob_glioma"]
    assert rows["0.png"]["overlay"] != rows["sub/0.png"]["overlay"]
    assert "'=1+1 <img onerror=x>.png" in rows
    assert "<img onerror" not in (tmp_path / "out" / "report.html").read_text()
    assert read(tmp_path / "out" / "run.json")["counts"]["status"] == {"ok": 11, "error": 3, "skipped": 1}


@pytest.mark.bad_input(15, 17, 18)
def test_odd_names_get_their_row_and_overlay(trained, phantom_folder, tmp_path):
    source = next((phantom_folder / "glioma").iterdir())
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in (os.fsdecode(b"caf\xe9.png"), "x" * 251 + ".png", "neu\nline %2F#?.png", "größe.png"):
        shutil.copy(source, folder / name)
    assert predict_folder(folder, tmp_path / "out", weights=str(trained), explain=True) == 0
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {path.name for path in folder.iterdir()}
    assert all((tmp_path / "out" / row["overlay"]).is_file() for row in rows)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8", errors="surrogateescape")
    assert all(quote(os.fsencode(row["overlay"])) in page for row in rows)


def test_prediction_equals_the_evaluation_of_the_same_image(trained, evaluated, data, tmp_path):
    with (evaluated / "predictions.csv").open() as file:
        expected = list(csv.DictReader(file))
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, row in enumerate(expected):
        shutil.copy(row["path"], folder / f"{number}.png")
    assert predict_folder(folder, tmp_path / "out", weights=str(trained)) == 0
    rows = table(tmp_path / "out")
    for number, row in enumerate(expected):
        for name in CLASS_NAMES:
            assert float(rows[f"{number}.png"][f"prob_{name}"]) == pytest.approx(float(row[f"prob_{name}"]), abs=2e-6)


def test_batch_size_does_not_change_the_table(trained, scans, tmp_path):
    for name, options in (("a", {"batch_size": 32}), ("b", {"batch_size": 3})):
        predict_folder(scans, tmp_path / name, weights=str(trained), **options)
    a, b = table(tmp_path / "a"), table(tmp_path / "b")
    assert a.keys() == b.keys()
    for path in a:
        assert a[path]["label"] == b[path]["label"]
        if a[path]["status"] == "ok":
            assert float(a[path]["prob_glioma"]) == pytest.approx(float(b[path]["prob_glioma"]), abs=2e-6)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param("inside", "contains the other", marks=pytest.mark.bad_input(70)),
        pytest.param("around", "contains the other", marks=pytest.mark.bad_input(70)),
        ("again", "--overwrite"),
    ],
)
def test_output_that_would_mix_is_refused(trained, scans, tmp_path, where, message):
    output = {"inside": scans / "out", "around": scans.parent, "again": tmp_path / "out"}[where]
    if where == "again":
        predict_folder(scans, output, weights=str(trained))
    with pytest.raises(RuntimeError) as caught:
        predict_folder(scans, output, weights=str(trained))
    assert message in str(cause(caught.value))
    if where == "again":
        assert predict_folder(scans, output, weights=str(trained), overwrite=True) == 3


@pytest.mark.bad_input(71)
def test_empty_folder_is_nothing_to_do(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    assert predict_folder(tmp_path / "empty", tmp_path / "out", weights=str(trained)) == 2
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"x")
    assert predict_folder(tmp_path / "empty", tmp_path / "out", weights=str(trained), overwrite=True) == 2


def test_without_weights_the_way_to_get_some_is_said(scans, tmp_path):
    bare = tmp_path / "bundle"
    shutil.copytree(CONFIGS, bare / "configs")
    with pytest.raises(RuntimeError) as caught:
        predict_folder(scans, tmp_path / "out", bundle=bare)
    assert isinstance(cause(caught.value), InvalidWeights)
    assert "monai.bundle run training" in str(cause(caught.value))


@pytest.mark.parametrize("folder", [REPOSITORY, BUNDLE, CONFIGS], ids=["repository", "bundle", "configs"])
def test_command_line_works_from_any_folder(trained, data, scans, tmp_path, folder):
    config = os.path.relpath(CONFIGS / "inference.yaml", folder)
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring", "--config_file", config]
    command += ["--input_dir", str(scans), "--output_dir", str(tmp_path / "out"), "--weights", str(trained)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stderr
    assert len(table(tmp_path / "out")) == 15


def test_volume_gets_one_row_with_its_rule(trained, tmp_path):
    slices = [draw_phantom(0, number) for number in range(5)]
    small = np.zeros_like(slices[0])
    small[30:36, 30:36] = 200
    volume = np.stack([small, *slices], axis=-1).transpose(1, 0, 2)[:, ::-1]
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(volume.astype(np.float32), np.diag([1, 1, 5, 1])), tmp_path / "scans" / "head.nii")
    assert predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(trained), explain=True) == 0
    row = table(tmp_path / "out")["head.nii"]
    assert row["slices"] == "5"
    assert row["deciding_slice"] in {"1", "2", "3", "4", "5"}
    assert 0.2 <= float(row["agreement"]) <= 1
    assert "volume_experimental" in row["warnings"]
    assert sum(float(row[f"prob_{name}"]) for name in CLASS_NAMES) == pytest.approx(1, abs=1e-5)
    assert (tmp_path / "out" / row["overlay"]).is_file()


def test_drop_is_that_of_the_probability_without_the_hottest_pixels(trained, scans, tmp_path):
    """Made again from files that the command writes: the network without them, one slice at a time."""
    session = Session(weights=trained)
    try:
        for batch_size in (32, 2):
            output = tmp_path / str(batch_size)
            predict_folder(scans, output, weights=str(trained), explain=True, batch_size=batch_size)
            for path, row in table(output).items():
                if row["status"] != "ok" or path.startswith("'"):
                    continue
                result = session.predict(Case(path, (scans / path,), "slice"), tmp_path / "one")
                label = torch.tensor([CLASS_NAMES.index(row["label"])])
                heat = torch.from_numpy(session.heat(result, 0, "gradcam"))[None, None]
                drop = removal_drop(session.network, result.inputs[0][None], heat, label)
                assert float(row["evidence_drop"] or 0) == pytest.approx(float(drop), abs=2e-3), path
                assert row["evidence_drop"] == result.prediction.values.get("evidence_drop", "")
    finally:
        session.close()


@pytest.mark.parametrize("method", ["gradcam++", "occlusion"])
def test_explanations_say_how_far_they_can_be_trusted(trained, scans, tmp_path, method):
    predict_folder(scans, tmp_path / "out", weights=str(trained), explain=True, method=method)
    rows = [row for row in table(tmp_path / "out").values() if row["status"] == "ok"]
    for row in rows:
        assert 0 <= float(row["evidence_at_border"]) <= 1
        outside = float(row["evidence_in_head"]) < 0.5
        assert ("evidence_outside_head" in row["warnings"]) == outside
        assert (tmp_path / "out" / row["overlay"]).is_file()


def test_explanation_that_the_network_cannot_be_given_is_refused_before_the_run(trained, scans, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        predict_folder(scans, tmp_path / "out", weights=str(trained), explain=True, method="attention")
    assert "makes no attention map" in str(cause(caught.value))
    assert not (tmp_path / "out" / "predictions.csv").exists()
