"""The shipped configs, run as users run them, on phantoms."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_brain.data.index import index_folder
from monai_brain.inference.apply import predict_folder
from monai_brain.io.settings import RECORDED_KEYS
from monai_brain.io.weights import UnusableWeights, read_checkpoint, read_weights
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES
from tests.conftest import BUNDLE, REPOSITORY, read

CONFIGS = BUNDLE / "configs"
SMALL = {"image_size": 32, "batch_size": 16, "num_workers": 0}
pytestmark = pytest.mark.slow


def workflow(*files, kind="train", **overrides):
    names = [str(CONFIGS / file) for file in files]
    run = ConfigWorkflow(config_file=names, workflow_type=kind, logging_file=False, **overrides)
    run.initialize()
    return run


def cause(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@pytest.fixture(scope="module")
def data(phantom_folder, phantom_datalist):
    return {"dataset_dir": str(phantom_folder), "datalist": str(phantom_datalist)}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of four epochs of the shipped CNN overlay."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = workflow("train.yaml", "networks/cnn.yaml", **data, **SMALL, max_epochs=4, output_dir=str(folder))
    run.run()
    return folder


def test_run_folder_holds_what_a_paper_needs(trained):
    names = {path.name for path in trained.iterdir()}
    assert names >= {
        "run.json",
        "datalist.json",
        "metrics.csv",
        "curves.png",
        "model.safetensors",
        "checkpoints",
        "tensorboard",
    }
    manifest = read(trained / "run.json")
    assert set(manifest["settings"]) == set(RECORDED_KEYS)
    assert manifest["settings"]["network_def"]["image_size"] == 32
    assert manifest["result"]["epochs"] == 4
    assert manifest["versions"]["torch"] == torch.__version__
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert len(list((trained / "checkpoints").glob("*.pt"))) == 2
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    assert {"train_loss", "val_macro_f1", "val_loss"} <= set(events.Tags()["scalars"])


def test_best_model_is_the_one_of_the_best_epoch(trained, data):
    with (trained / "metrics.csv").open() as file:
        scores = [float(row["val_macro_f1"]) for row in csv.DictReader(file)]
    result = read(trained / "run.json")["result"]
    assert result["best_epoch"] == scores.index(max(scores)) + 1
    assert result["best_val_macro_f1"] == pytest.approx(max(scores), abs=1e-6)
    run = workflow("train.yaml", "evaluate.yaml", **{**data, "run_dir": str(trained), "part": "validation"})
    run.run()
    assert read(trained / "evaluation_validation" / "metrics.json")["model"]["macro_f1"] == pytest.approx(
        max(scores), abs=1e-6
    )


def test_second_training_into_the_same_folder_is_refused(trained, data):
    before = (trained / "model.safetensors").read_bytes()
    run = workflow("train.yaml", **data, **SMALL, max_epochs=1, output_dir=str(trained))
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "--resume true" in str(cause(caught.value))
    assert (trained / "model.safetensors").read_bytes() == before


def test_resumed_training_equals_the_uninterrupted_one(trained, data, tmp_path):
    options = {**data, **SMALL, "output_dir": str(tmp_path / "run")}
    workflow("train.yaml", "networks/cnn.yaml", **options, max_epochs=2).run()
    workflow("train.yaml", "networks/cnn.yaml", **options, max_epochs=4, resume=True).run()
    one = read_checkpoint(trained / "checkpoints" / "epoch_0004.pt")
    two = read_checkpoint(tmp_path / "run" / "checkpoints" / "epoch_0004.pt")
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, two["model"][name]), name
    assert one["best_metric"] == two["best_metric"]
    with (trained / "metrics.csv").open() as a, (tmp_path / "run" / "metrics.csv").open() as b:
        rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(f)] for f in (a, b)]
    assert rows[0] == rows[1]


def test_finished_training_is_left_alone(trained, data):
    before = (trained / "model.safetensors").read_bytes(), (trained / "metrics.csv").read_text()
    run = workflow(
        "train.yaml", "networks/cnn.yaml", **data, **SMALL, max_epochs=4, output_dir=str(trained), resume=True
    )
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "raise --max_epochs" in str(cause(caught.value))
    assert before == ((trained / "model.safetensors").read_bytes(), (trained / "metrics.csv").read_text())


@pytest.mark.parametrize("change", ["datalist", "network", "seed"])
def test_resume_with_something_else_is_refused(trained, data, phantom_folder, tmp_path, change):
    options = {**data, **SMALL, "max_epochs": 5, "output_dir": str(trained), "resume": True}
    if change == "datalist":
        write_json(tmp_path / "other.json", index_folder(phantom_folder, workers=1, seed=9).datalist)
        options["datalist"] = str(tmp_path / "other.json")
    else:
        options |= {"network": {"image_size": 64}, "seed": {"seed": 8}}[change]
    with pytest.raises(RuntimeError) as caught:
        workflow("train.yaml", "networks/cnn.yaml", **options).run()
    assert f"begun with {'seed 0' if change == 'seed' else 'another ' + change}" in str(cause(caught.value))


def test_settings_that_could_not_be_handed_on_are_refused_before_training(data, tmp_path):
    chain = [{"_target_": "monai.transforms.LoadImaged", "keys": "image", "ensure_channel_first": True}]
    run = workflow("train.yaml", **data, deterministic_transforms=chain, output_dir=str(tmp_path / "run"))
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "LoadImaged' may not be handed on with weights" in str(cause(caught.value))
    assert not (tmp_path / "run" / "run.json").exists()


def test_setting_that_contradicts_the_weights_is_refused(trained, scans, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        predict_folder(scans, tmp_path / "out", weights=str(trained), image_size=48)
    assert "image_size is set to 48, but the weights were trained with 32" in str(cause(caught.value))


def test_layer_to_explain_can_be_chosen(trained, scans, tmp_path):
    for name, layer in (("a", None), ("b", "features.6")):
        predict_folder(scans, tmp_path / name, weights=str(trained), explain=True, cam_layer=layer)
    a, b = ((tmp_path / name / "overlays" / "0.png.png").read_bytes() for name in "ab")
    assert a != b


def test_moved_weight_file_is_preprocessed_as_it_was_trained(trained, scans, tmp_path):
    shutil.copy(trained / "model.safetensors", tmp_path / "moved.safetensors")
    for name, weights in (("a", trained), ("b", tmp_path / "moved.safetensors")):
        predict_folder(scans, tmp_path / name, weights=str(weights))
    assert table(tmp_path / "a") == table(tmp_path / "b")


def test_killed_training_resumes(data, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(CONFIGS / "train.yaml")]
    for key, value in {
        **data,
        **SMALL,
        "output_dir": str(tmp_path / "run"),
        "max_epochs": 200,
        "patience": 500,
    }.items():
        command += [f"--{key}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "run" / "checkpoints"
    while process.poll() is None and len(list(checkpoints.glob("*.pt"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = max(int(path.stem[-4:]) for path in checkpoints.glob("*.pt"))
    workflow(
        "train.yaml", **data, **SMALL, output_dir=str(tmp_path / "run"), max_epochs=last + 1, patience=500, resume=True
    ).run()
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, last + 2))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_an_option(data, tmp_path, precision):
    run = workflow("train.yaml", **data, **SMALL, max_epochs=1, precision=precision, output_dir=str(tmp_path / "run"))
    run.run()
    assert all(
        t.dtype == torch.float32
        for n, t in read_weights(tmp_path / "run" / "model.safetensors").items()
        if "num" not in n
    )


@pytest.fixture(scope="module")
def evaluated(trained, data):
    run = workflow("train.yaml", "evaluate.yaml", dataset_dir=data["dataset_dir"], run_dir=str(trained))
    run.run()
    return trained / "evaluation_test"


def test_evaluation_names_its_run_alone(evaluated):
    assert {path.name for path in evaluated.iterdir()} >= {
        "metrics.json",
        "confusion_matrix.png",
        "roc.png",
        "report.html",
    }
    metrics = read(evaluated / "metrics.json")
    model = metrics["model"]
    assert model["images"] == sum(map(sum, model["confusion_matrix"]))
    assert set(model["per_class"]) == set(CLASS_NAMES)
    low, high = model["intervals"]["macro_f1"]
    assert low <= model["macro_f1"] <= high
    assert 0 <= metrics["nearest_neighbor"]["macro_f1"] <= 1
    with (evaluated / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = [row["reference"] == row["label"] for row in rows]
    assert sum(right) / len(right) == pytest.approx(model["accuracy"])


@pytest.fixture
def scans(phantom_folder, tmp_path):
    """Ten good slices, one of them twice, three bad files, one that is no image, one odd name."""
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    for number, path in enumerate(sorted(phantom_folder.rglob("*.png"))[::7][:9]):
        shutil.copy(path, folder / f"{number}.png")
    shutil.copy(folder / "0.png", folder / "sub" / "0.png")
    shutil.copy(folder / "0.png", folder / "=1+1 <img onerror=x>.png")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>")
    (folder / "notes.txt").write_text("x")
    return folder


def table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_every_file_found_has_one_row(trained, scans, tmp_path):
    status = predict_folder(scans, tmp_path / "out", weights=str(trained), explain=True, batch_size=4)
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


def test_workers_and_batch_size_do_not_change_the_table(trained, scans, tmp_path):
    for name, options in (("a", {"batch_size": 32}), ("b", {"batch_size": 3, "num_workers": 2})):
        predict_folder(scans, tmp_path / name, weights=str(trained), **options)
    a, b = table(tmp_path / "a"), table(tmp_path / "b")
    assert a.keys() == b.keys()
    for path in a:
        assert a[path]["label"] == b[path]["label"]
        if a[path]["status"] == "ok":
            assert float(a[path]["prob_glioma"]) == pytest.approx(float(b[path]["prob_glioma"]), abs=2e-6)


@pytest.mark.parametrize(
    ("where", "message"), [("inside", "lie in one another"), ("around", "lie in one another"), ("again", "--overwrite")]
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
    assert isinstance(cause(caught.value), UnusableWeights)
    assert "monai.bundle run training" in str(cause(caught.value))


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ({"max_epoch": 3}, "max_epochs"),
        ({"train#dataset#sed": 1}, None),
        ({"validate#evaluatr": 1}, "validate::evaluator"),
    ],
)
def test_misspelt_override_is_refused_with_a_suggestion(data, tmp_path, override, suggestion):
    run = workflow("train.yaml", **data, **override, output_dir=str(tmp_path / "run"))
    if suggestion is None:  # inside of a _target_: its constructor knows its own arguments
        with pytest.raises(RuntimeError) as caught:
            run.run()
        assert "sed" in str(cause(caught.value))
        return
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert f"did you mean {suggestion}?" in str(cause(caught.value))
    assert not (tmp_path / "run").exists()


def test_properties_of_the_model_zoo_are_there(data):
    assert workflow("train.yaml", **data).check_properties() == []
    assert workflow("inference.yaml", kind="infer").check_properties() == []


def test_preprocessing_is_the_same_in_training_and_inference():
    train, inference = (ConfigParser.load_config_file(str(CONFIGS / f"{name}.yaml")) for name in ("train", "inference"))
    for key in RECORDED_KEYS:
        assert train[key] == inference[key], key
    assert not set(RECORDED_KEYS) & set(ConfigParser.load_config_file(str(CONFIGS / "evaluate.yaml")))


def test_overlays_set_only_what_train_yaml_declares(data):
    for overlay in (CONFIGS / "networks").glob("*.yaml"):
        train = ConfigParser.load_config_files([str(CONFIGS / "train.yaml")])
        for key in ConfigParser.load_config_file(str(overlay)):
            head, _, tail = key.lstrip("+").partition("::")
            assert head in train, (overlay, key)
            assert not tail or tail in train[head], (overlay, key)


@pytest.mark.parametrize("folder", [REPOSITORY, BUNDLE, CONFIGS], ids=["repository", "bundle", "configs"])
def test_command_line_works_from_any_folder(trained, data, scans, tmp_path, folder):
    config = os.path.relpath(CONFIGS / "inference.yaml", folder)
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring", "--config_file", config]
    command += ["--input_dir", str(scans), "--output_dir", str(tmp_path / "out"), "--weights", str(trained)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stderr
    assert len(table(tmp_path / "out")) == 15


def test_bundle_root_is_the_bundle_wherever_it_is_run_from(data, monkeypatch):
    for folder in (REPOSITORY, BUNDLE, CONFIGS):
        monkeypatch.chdir(folder)
        config = os.path.relpath(CONFIGS / "train.yaml", folder)
        run = ConfigWorkflow(config_file=config, logging_file=False, **data)
        run.initialize()
        assert run.bundle_root == str(BUNDLE)
