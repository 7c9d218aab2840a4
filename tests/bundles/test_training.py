"""Training and evaluation by the shipped configs, run as users run them, on phantoms."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.index import index_folder
from monai_brain.io.settings import RECORDED_KEYS
from monai_brain.io.weights import read_checkpoint, read_weights
from monai_brain.io.write import sha256_of, write_json
from monai_brain.labels import CLASS_NAMES
from tests.bundles.running import CONFIGS, SMALL, cause, workflow
from tests.conftest import BUNDLE, REPOSITORY, read

pytestmark = pytest.mark.slow


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
    run = workflow("train.yaml", "networks/cnn.yaml", **data, **SMALL, max_epochs=1, output_dir=str(trained))
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


@pytest.mark.parametrize("change", ["datalist", "network", "seed", "val_interval"])
def test_resume_with_something_else_is_refused(trained, data, phantom_folder, tmp_path, change):
    options = {**data, **SMALL, "max_epochs": 5, "output_dir": str(trained), "resume": True}
    if change == "datalist":
        write_json(
            tmp_path / "other.json",
            index_folder(phantom_folder, patient_pattern=r"patient_(\d+)", workers=1, seed=9).datalist,
        )
        options["datalist"] = str(tmp_path / "other.json")
    else:
        options |= {"network": {"image_size": 64}, "seed": {"seed": 8}, "val_interval": {"val_interval": 2}}[change]
    with pytest.raises(RuntimeError) as caught:
        workflow("train.yaml", "networks/cnn.yaml", **options).run()
    begun = {"seed": "seed 0", "val_interval": "val_interval 1"}.get(change, f"another {change}")
    assert f"started with {begun}" in str(cause(caught.value))


def test_settings_that_could_not_be_handed_on_are_refused_before_training(data, tmp_path):
    chain = [{"_target_": "monai.transforms.LoadImaged", "keys": "image", "ensure_channel_first": True}]
    options = {**data, "deterministic_transforms": chain, "output_dir": str(tmp_path / "run")}
    run = workflow("train.yaml", "networks/cnn.yaml", **options)
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "LoadImaged' is not allowed in the settings of weights" in str(cause(caught.value))
    assert not (tmp_path / "run" / "run.json").exists()


def test_killed_training_resumes(data, tmp_path):
    files = f"['{CONFIGS / 'train.yaml'}','{CONFIGS / 'networks' / 'cnn.yaml'}']"
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", files]
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
    more = {"output_dir": str(tmp_path / "run"), "max_epochs": last + 1, "patience": 500, "resume": True}
    workflow("train.yaml", "networks/cnn.yaml", **data, **SMALL, **more).run()
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, last + 2))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_an_option(data, tmp_path, precision):
    options = {**data, **SMALL, "max_epochs": 1, "precision": precision, "output_dir": str(tmp_path / "run")}
    workflow("train.yaml", "networks/cnn.yaml", **options).run()
    assert all(
        t.dtype == torch.float32
        for n, t in read_weights(tmp_path / "run" / "model.safetensors").items()
        if "num" not in n
    )


def test_last_batch_of_one_slice_is_left_out_for_batch_norm(data, tmp_path):
    items = len(read(Path(data["datalist"]))["training"])
    options = {**data, **SMALL, "batch_size": items - 1, "max_epochs": 1, "output_dir": str(tmp_path / "run")}
    workflow("train.yaml", "networks/ann_optimized.yaml", **options).run()
    assert (tmp_path / "run" / "model.safetensors").is_file()


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
    assert model["intervals"]["macro_f1"] is None  # four patients
    assert f"{model['macro_f1']:.3f} (no interval)" in (evaluated / "report.html").read_text()
    assert 0 <= metrics["nearest_neighbor"]["macro_f1"] <= 1
    with (evaluated / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = [row["reference"] == row["label"] for row in rows]
    assert sum(right) / len(right) == pytest.approx(model["accuracy"])
    neighbor = [row["reference"] == row["nearest_neighbor"] for row in rows]
    assert sum(neighbor) / len(neighbor) == pytest.approx(metrics["nearest_neighbor"]["accuracy"])


def test_run_is_scored_on_another_data_set(trained, data, tmp_path):
    """By the command line; the baseline still looks its neighbors up in the run's own training part."""
    own = read(trained / "datalist.json")
    items = [{**item, "image": f"elsewhere/{item['image']}"} for item in own["validation"]]
    (tmp_path / "elsewhere").symlink_to(data["dataset_dir"])
    write_json(tmp_path / "external.json", {"class_names": own["class_names"], "test": items})
    words = ["evaluate", str(trained), "--dataset-dir", data["dataset_dir"]]
    words += ["--external", str(tmp_path / "external.json"), "--external-dir", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    folder = trained / "evaluation_external_test"
    assert read(folder / "metrics.json")["model"]["images"] == len(items)
    assert read(folder / "run.json")["options"]["datalist_sha256"] == sha256_of(tmp_path / "external.json")
    with (trained / "metrics.csv").open() as file:
        best = max(float(row["val_macro_f1"]) for row in csv.DictReader(file))
    assert read(folder / "metrics.json")["model"]["macro_f1"] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ({"max_epoch": 3}, "max_epochs"),
        ({"train#dataset#sed": 1}, None),
        ({"validate#evaluatr": 1}, "validate::evaluator"),
    ],
)
def test_misspelt_override_is_refused_with_a_suggestion(data, tmp_path, override, suggestion):
    run = workflow("train.yaml", "networks/cnn.yaml", **data, **override, output_dir=str(tmp_path / "run"))
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
    assert workflow("train.yaml", **data, weights="none", phases=[{"layers": {"*": 1.0}}]).check_properties() == []
    assert workflow("inference.yaml", kind="infer").check_properties() == []


def test_preprocessing_is_the_same_in_training_and_inference():
    train, inference = (ConfigParser.load_config_file(str(CONFIGS / f"{name}.yaml")) for name in ("train", "inference"))
    for key in set(RECORDED_KEYS) - {"class_names"}:  # which are the datalist's there, and the weights' here
        assert train[key] == inference[key], key
    assert not set(RECORDED_KEYS) & set(ConfigParser.load_config_file(str(CONFIGS / "evaluate.yaml")))


def test_overlays_set_only_what_train_yaml_declares(data):
    for overlay in (CONFIGS / "networks").glob("*.yaml"):
        train = ConfigParser.load_config_files([str(CONFIGS / "train.yaml")])
        for key in ConfigParser.load_config_file(str(overlay)):
            head, _, tail = key.lstrip("+").partition("::")
            assert head in train, (overlay, key)
            assert not tail or tail in train[head], (overlay, key)


def test_guide_has_a_row_for_every_overlay_and_each_is_named_as_its_file():
    table = "".join(
        line
        for line in (REPOSITORY / "docs" / "guides" / "train.md").read_text().splitlines()
        if line.startswith("| `")
    )
    for overlay in (CONFIGS / "networks").glob("*.yaml"):
        assert f"`{overlay.stem}`" in table, overlay
        assert ConfigParser.load_config_file(str(overlay))["name"] == overlay.stem


def test_bundle_root_is_the_bundle_wherever_it_is_run_from(data, monkeypatch):
    for folder in (REPOSITORY, BUNDLE, CONFIGS):
        monkeypatch.chdir(folder)
        config = os.path.relpath(CONFIGS / "train.yaml", folder)
        run = ConfigWorkflow(config_file=config, logging_file=False, **data)
        run.initialize()
        assert run.bundle_root == str(BUNDLE)
