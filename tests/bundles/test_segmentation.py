"""Training and evaluation of the segmenter by the shipped configs, on phantoms with masks."""

import csv
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.pairs import find_pairs, split_pairs
from monai_brain.evaluation.segmentation import THRESHOLDS
from monai_brain.io.settings import CHOSEN_FILE
from monai_brain.io.weights import read_checkpoint, read_weights, write_weights
from monai_brain.io.write import write_csv, write_json
from monai_brain.networks.vgg import VGG
from monai_brain.report.segmentation import InvalidFolds, write_pooled
from monai_brain.training.run import trained_part
from tests.bundles.running import cause
from tests.conftest import REPOSITORY, draw_phantom, read

pytestmark = pytest.mark.slow

BUNDLE = REPOSITORY / "bundles" / "brain_tumor_segmentation"
SMALL = {"precision": "fp32", "image_size": 32, "batch_size": 8, "max_epochs": 4, "learning_rate": 1.0e-3}


def workflow(*files, **overrides):
    names = [str(BUNDLE / "configs" / file) for file in files]
    run = ConfigWorkflow(config_file=names, workflow_type="train", logging_file=False, **overrides)
    run.initialize()
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve patients of two institutions, four slices each, one of them without tumor; and weights to start from."""
    folder = tmp_path_factory.mktemp("lgg")
    for number in range(12):
        patient = f"TCGA_{('CS', 'DU')[number % 2]}_{4000 + number}_19970222"
        (folder / patient).mkdir()
        for index in range(4):
            image = draw_phantom(0 if index else 2, 10 * number + index)
            mask = ((image >= 230) * 255).astype(np.uint8)
            cv2.imwrite(str(folder / patient / f"{patient}_{index}.tif"), np.repeat(image[..., None], 3, axis=2))
            cv2.imwrite(str(folder / patient / f"{patient}_{index}_mask.tif"), mask)
    write_json(folder / "datalist.json", split_pairs(find_pairs(folder).pairs, folds=4))
    torch.manual_seed(0)
    encoder = VGG(16, 1000, "pooled")
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    write_weights(encoder, folder / "vgg16.safetensors", dtype=torch.float16)
    return {"dataset_dir": str(folder), "weights": str(folder / "vgg16.safetensors")}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentation") / "run"
    workflow("train.yaml", **data, **SMALL, output_dir=str(folder)).run()
    return folder


@pytest.fixture(scope="module")
def evaluated(trained, data):
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(trained)}
    workflow("train.yaml", "evaluate.yaml", **options).run()
    return trained / "evaluation_test"


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_loss_falls_and_dice_of_patients_chooses_the_model(trained):
    history = rows(trained / "metrics.csv")
    assert float(history[-1]["train_loss"]) < float(history[0]["train_loss"])
    scores = [float(row["val_patient_dice"]) for row in history]
    result = read(trained / "run.json")["result"]
    assert result["best_val_patient_dice"] == pytest.approx(max(scores), abs=1e-6)
    assert (trained / "curves.png").stat().st_size > 5000


def test_evaluation_scores_patients_slices_and_institutions(evaluated, data):
    metrics = read(evaluated / "metrics.json")
    patients = rows(evaluated / "patients.csv")
    assert metrics["patients"]["number"] == len(patients) == 3
    assert metrics["patients"]["mean_dice"] == pytest.approx(np.mean([float(row["dice"]) for row in patients]))
    assert metrics["patients"]["mean_interval"] is None  # three patients
    assert set(metrics["by_institution"]) == {row["institution"] for row in patients}
    assert metrics["slices"]["number"] == len(rows(evaluated / "slices.csv")) == 12
    assert "empty" in metrics["empty_masks"]
    page = (evaluated / "report.html").read_text()
    assert all(row["patient"] in page for row in patients)
    assert len(list((evaluated / "pictures").glob("*.png"))) == 3


def test_threshold_and_smallest_component_are_options(trained, data, tmp_path):
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(trained), "output_dir": str(tmp_path / "out")}
    workflow("train.yaml", "evaluate.yaml", **options, smallest_pixels=10_000).run()
    assert all(int(row["predicted_pixels"]) == 0 for row in rows(tmp_path / "out" / "patients.csv"))


def test_resumed_training_equals_the_uninterrupted_one(trained, data, tmp_path):
    options = {**data, **SMALL, "output_dir": str(tmp_path / "run")}
    workflow("train.yaml", **{**options, "max_epochs": 2}).run()
    workflow("train.yaml", **options, resume=True).run()
    one, other = (read_checkpoint(run / "checkpoints" / "epoch_0004.pt") for run in (trained, tmp_path / "run"))
    assert all(torch.equal(tensor, other["model"][name]) for name, tensor in one["model"].items())


def test_misspelt_option_is_refused(data, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        workflow("train.yaml", **data, max_epoch=1, output_dir=str(tmp_path / "run")).run()
    assert "did you mean max_epochs?" in str(cause(caught.value))


def test_properties_of_the_model_zoo_are_there(data):
    assert workflow("train.yaml", **data).check_properties() == []


def test_folds_are_pooled_and_no_patient_counts_twice(evaluated, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "other")
    with pytest.raises(InvalidFolds, match="was tested by another run too"):
        write_pooled(tmp_path / "out", [trained, tmp_path / "other"])
    table = tmp_path / "other" / "evaluation_test" / "patients.csv"
    table.write_text(table.read_text().replace("TCGA_", "OTHER_"))
    metrics = write_pooled(tmp_path / "out", [trained, tmp_path / "other"])
    one = read(evaluated / "metrics.json")["patients"]
    assert metrics["patients"]["number"] == 2 * one["number"]
    assert metrics["patients"]["mean_dice"] == pytest.approx(one["mean_dice"])
    pooled = rows(tmp_path / "out" / "patients.csv")
    assert len(pooled) == metrics["patients"]["number"]
    assert sum(int(row["lesions"]) for row in pooled) == metrics["patients"]["lesions"] == 2 * one["lesions"] > 0
    assert metrics["patients"]["with_hd95"] == sum(row["hd95_pixels"] != "" for row in pooled)
    older = [{key: value for key, value in row.items() if key not in ("lesions", "hd95_pixels")} for row in pooled[:3]]
    write_csv(table, list(older[0]), [{**row, "patient": f"OTHER_{place}"} for place, row in enumerate(older)])
    metrics = write_pooled(tmp_path / "out", [trained, tmp_path / "other"])
    assert "lesions" not in metrics["patients"], "not known of all"
    assert len(read(tmp_path / "out" / "run.json")["options"]["runs"]) == 2
    with pytest.raises(InvalidFolds, match="evaluating workflow"):
        write_pooled(tmp_path / "out", [tmp_path])


def test_threshold_comes_from_the_validation_patients(evaluated):
    threshold = read(evaluated / "run.json")["options"]["threshold"]
    assert threshold in THRESHOLDS


def test_predictions_of_a_run_go_by_what_its_evaluation_chose(trained, evaluated, data, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(run), "output_dir": str(tmp_path / "evaluation")}

    def used():
        scans = Path(data["dataset_dir"]) / "TCGA_CS_4000_19970222"
        words = ["predict", str(scans), "-o", str(tmp_path / "out"), "--bundle", str(BUNDLE), "--weights", str(run)]
        result = CliRunner().invoke(app, [*words, "--workers", "0", "--overwrite", "--glob", "*_1.tif"])
        assert result.exit_code == 0, result.output
        return read(tmp_path / "out" / "run.json")["options"]["threshold"]

    assert used() == read(evaluated / "run.json")["options"]["threshold"]
    # a trial with a threshold of one's own, or on other weights or patients, changes nothing
    elsewhere = {**options, "output_dir": str(tmp_path / "trial")}
    before = read(run / CHOSEN_FILE)
    workflow("train.yaml", "evaluate.yaml", **elsewhere, threshold=0.6).run()
    checkpoint = max((run / "checkpoints").glob("*.pt"))
    workflow("train.yaml", "evaluate.yaml", **elsewhere, trained_weights=str(checkpoint)).run()
    other = {**read(run / "datalist.json"), "note": "another"}
    write_json(tmp_path / "other.json", other)
    workflow("train.yaml", "evaluate.yaml", **elsewhere, datalist=str(tmp_path / "other.json")).run()
    assert read(run / CHOSEN_FILE) == before
    # weights that have changed since have chosen nothing
    write_json(run / CHOSEN_FILE, {**before, "weights_sha256": "0" * 64})
    assert used() == 0.5


def test_recipe_of_the_shipped_weights_learns_standardizes_and_balances(data, tmp_path):
    options = {**data, **SMALL, "max_epochs": 3, "image_size": 64, "output_dir": str(tmp_path / "run")}
    run = workflow("train.yaml", "networks/unet_vgg16_flair.yaml", **options)
    run.run()
    history = rows(tmp_path / "run" / "metrics.csv")
    assert float(history[-1]["train_loss"]) < float(history[0]["train_loss"])
    manifest = read(tmp_path / "run" / "run.json")
    assert manifest["options"]["name"] == "unet_vgg16_flair"
    sampler = manifest["options"]["recipe"]["train::sampler"]
    assert "BalancedSlices" in sampler["_target_"]
    assert sampler["items"] == "@training_items", "no list of files, with their folders, in a manifest that is shipped"
    names = [one["_target_"].rpartition(".")[2] for one in manifest["settings"]["intensity_transforms"]]
    assert names == ["ScaleToUnitd", "StandardizeSliced", "NormalizeChannelsd"]
    assert (
        manifest["settings"]["intensity_transforms"]
        == read(BUNDLE / "models" / "run.json")["settings"]["intensity_transforms"]
    ), "as the shipped weights are used"
    other = read(Path(data["dataset_dir"]) / "datalist.json")
    other["training"], other["test"] = other["test"], other["training"]
    write_json(tmp_path / "other.json", other)
    with pytest.raises(RuntimeError) as caught:
        elsewhere = {**options, "output_dir": str(tmp_path / "other"), "datalist": str(tmp_path / "other.json")}
        workflow(
            "train.yaml", "networks/unet_vgg16_flair.yaml", **{**elsewhere, "weights": str(tmp_path / "run")}
        ).run()
    assert re.search(r"was trained on \d+ images of this datalist's (test|validation) part", str(cause(caught.value)))


def test_final_model_is_trained_on_every_patient_and_is_that_of_the_last_epoch(data, tmp_path, caplog):
    run = tmp_path / "run"
    final_run = workflow(
        "train.yaml",
        "networks/unet_vgg16_flair.yaml",
        "final.yaml",
        **data,
        **{**SMALL, "max_epochs": 3},
        output_dir=str(run),
    )
    final_run.run()
    parts = read(run / "datalist.json")
    items = final_run.parser.get_parsed_content("training_items")
    assert len(items) == sum(len(parts[name]) for name in ("training", "validation", "test"))
    last = read_checkpoint(run / "checkpoints" / "epoch_0003.pt")["model"]
    best = read_weights(run / "model.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in last.items())
    assert trained_part(run) == "training+validation+test"
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(run), "threshold": 0.5}
    workflow("train.yaml", "evaluate.yaml", **options).run()
    assert "images of the test part: the figures say nothing about others" in caplog.text
    assert not (run / CHOSEN_FILE).exists()
    with pytest.raises(InvalidFolds, match="was trained on its test part too"):
        write_pooled(tmp_path / "pooled", [run])
