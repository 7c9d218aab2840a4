"""Several networks trained and compared, as a user does it with a YAML file."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.io.write import write_json
from monai_brain.report.comparison import COLUMNS, RunsDiffer, write_comparison
from monai_brain.report.folds import InvalidFolds
from monai_brain.training import study
from monai_brain.training.study import InvalidStudy, read_study, run_study
from tests.bundles.running import CONFIGS, workflow
from tests.conftest import BUNDLE, read

SMALL = {"image_size": 32, "batch_size": 16, "max_epochs": 2}
EPOCHS_KEPT, EPOCHS_UNTIL_KILLED = 3, 30
runner = CliRunner()


def write_plan(path, data, **more):
    networks = ["ann_baseline", {"cnn": {"learning_rate": 5.0e-4}}]
    path.write_text(yaml.safe_dump({**data, "networks": networks, "seeds": [0, 1], "options": SMALL, **more}))
    return path


@pytest.fixture(scope="module")
def studied(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    result = runner.invoke(app, ["study", str(write_plan(folder / "plan.yaml", data)), "-o", str(folder / "out")])
    assert result.exit_code == 0, result.output
    return folder


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_network_and_seed_has_its_run_and_a_row(studied):
    table = rows(studied / "out" / "comparison" / "comparison.csv")
    assert [(row["network"], row["seed"]) for row in table] == [
        ("ann_baseline", "0"),
        ("ann_baseline", "1"),
        ("cnn", "0"),
        ("cnn", "1"),
    ]
    assert list(table[0]) == list(COLUMNS)
    metrics = read(studied / "out" / "cnn" / "seed_1" / "evaluation_test" / "metrics.json")["model"]
    assert float(table[3]["macro_f1"]) == pytest.approx(metrics["macro_f1"])
    assert float(table[0]["parameters"]) == pytest.approx(
        (3 * 32 * 32 * 256 + 256 + 256 * 128 + 128 + 128 * 4 + 4) / 1e6
    )
    assert read(studied / "out" / "cnn" / "seed_0" / "run.json")["options"]["learning_rate"] == 5.0e-4


@pytest.mark.slow
def test_page_has_the_baseline_the_test_of_each_two_and_figures(studied):
    folder = studied / "out" / "comparison"
    text = (folder / "comparison.md").read_text()
    assert "1-nearest-neighbor on thumbnails" in text
    assert "| ann_baseline, seed 0 | cnn, seed 0 |" in text
    scored = rows(studied / "out" / "cnn" / "seed_0" / "evaluation_test" / "predictions.csv")
    right = [(row["reference"] == row["label"], row["reference"] == row["nearest_neighbor"]) for row in scored]
    only = f"{sum(a and not b for a, b in right)} | {sum(b and not a for a, b in right)}"
    assert f"| cnn, seed 0 | 1-nearest-neighbor on thumbnails | {only} |" in text
    assert "| cnn | 2 |" in text
    for name in ("macro_f1.png", "validation.png", "confusion_matrices.png"):
        assert (folder / name).stat().st_size > 5000
        assert name in (folder / "comparison.html").read_text()


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again(studied, data):
    before = {path: path.stat().st_mtime_ns for path in studied.rglob("model.safetensors")}
    lines = []
    run_study(read_study(studied / "plan.yaml", BUNDLE), studied / "out", lines.append)
    assert lines == []
    assert {path: path.stat().st_mtime_ns for path in studied.rglob("model.safetensors")} == before


@pytest.mark.slow
def test_study_killed_in_the_middle_of_a_training_ends_as_the_uninterrupted_one(data, tmp_path):
    options = {**SMALL, "max_epochs": EPOCHS_UNTIL_KILLED}
    plan = write_plan(tmp_path / "plan.yaml", data, networks=["ann_baseline"], options=options, seeds=[0])
    run = tmp_path / "killed" / "ann_baseline" / "seed_0"
    command = [sys.executable, "-m", "monai_brain", "study", str(plan), "-o", str(tmp_path / "killed")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for_checkpoint(run, process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the training that it started
            process.wait()
    before = rows(run / "metrics.csv")
    assert EPOCHS_KEPT <= len(before) < EPOCHS_UNTIL_KILLED
    assert "result" not in read(run / "run.json")
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    after = rows(run / "metrics.csv")
    assert after[:EPOCHS_KEPT] == before[:EPOCHS_KEPT]  # with their seconds: they were not trained again
    assert len(after) == EPOCHS_UNTIL_KILLED
    assert learned(run) == learned(run_study(read_study(plan, BUNDLE), tmp_path / "through").runs[0])


@pytest.fixture
def folds(data, tmp_path):
    """The datalist's images in three folds, every class in each."""
    images = [item for part in read(Path(data["datalist"])).values() if isinstance(part, list) for item in part]
    images = [item for item in images if isinstance(item, dict)]
    counts = Counter()
    for item in images:
        item["fold"] = counts[item["label"]] % 3 + 1
        item["group"] = item["image"]
        counts[item["label"]] += 1
    write_json(tmp_path / "folds.json", {"name": "toy", "items": images})
    return tmp_path / "folds.json"


@pytest.fixture
def here(monkeypatch):
    """Trainings and evaluations in this process: each would take seconds to start."""

    def run(what, files, options, log):
        log.touch()
        names = [Path(file).relative_to(CONFIGS) for file in files]
        workflow(
            *names, **{key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
        ).run()

    monkeypatch.setattr(study, "_bundle", run)


@pytest.mark.slow
def test_folds_of_a_study_score_every_image_once(data, folds, here, tmp_path):
    another = tmp_path / "another_set"  # the same one
    shutil.copytree(data["dataset_dir"], another)
    shutil.copy(folds, another)
    plan = {"dataset_dir": data["dataset_dir"], "folds": str(folds), "also": [str(another / folds.name)]}
    options = {**SMALL, "max_epochs": 1}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**plan, "networks": ["ann_baseline"], "options": options}))
    result = runner.invoke(app, ["study", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    pooled = tmp_path / "out" / "ann_baseline" / "pooled_seed_0"
    scored = rows(pooled / "predictions.csv")
    wanted = {item["image"] for item in read(folds)["items"]}
    assert len(scored) == len(wanted)
    assert {row["path"] for row in scored} == wanted
    metrics = read(pooled / "metrics.json")
    right = [row["reference"] == row["label"] for row in scored]
    assert metrics["model"]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert metrics["nearest_neighbor"]["tumor_classes"]["images"] == metrics["tumor_classes"]["images"]
    # the other set trains, but for its test fold
    datalist = read(tmp_path / "out" / "fold_1.json")
    assert {item["fold"] for item in datalist["training"]} == {3}
    assert len(datalist["training"]) == 2 * sum(item["fold"] == 3 for item in read(folds)["items"])
    # what is needed to calibrate weights of the same network
    assert {row["path"]: int(row["fold"]) for row in scored} == {i["image"]: i["fold"] for i in read(folds)["items"]}
    weights = tmp_path / "out" / "ann_baseline" / "fold_1" / "seed_0"
    fitted = runner.invoke(app, ["calibrate", str(pooled), "--weights", str(weights)])
    assert fitted.exit_code == 0, fitted.output
    about = read(weights / "calibration.json")["fitted_on"]
    assert (about["slices"], about["groups"]) == (len(scored), len({row["group"] for row in scored}))
    # one fold twice is no cross-validation
    run = tmp_path / "out" / "ann_baseline" / "fold_1" / "seed_0"
    twice = runner.invoke(app, ["pool", str(run), str(run), "-o", str(tmp_path / "twice")])
    assert isinstance(twice.exception, InvalidFolds)


@pytest.mark.parametrize("more", [{}, {"folds": "f.json", "datalist": "d.json"}])
def test_study_wants_a_datalist_or_folds(more, tmp_path):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"dataset_dir": ".", "networks": ["cnn"], **more}))
    with pytest.raises(InvalidStudy, match="either datalist or folds"):
        read_study(tmp_path / "plan.yaml", BUNDLE)


def number_of(checkpoint):
    return int(checkpoint.stem.removeprefix("epoch_"))


def wait_for_checkpoint(run, process):
    until = time.monotonic() + 300
    while not any(number_of(path) >= EPOCHS_KEPT for path in run.glob("checkpoints/epoch_*.pt")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


def learned(run):
    """Weights, and what metrics.csv says of every epoch but for its seconds."""
    epochs = [{key: value for key, value in row.items() if key != "seconds"} for row in rows(run / "metrics.csv")]
    return read(run / "run.json")["result"]["weights_sha256"], epochs


@pytest.mark.slow
def test_failed_training_names_its_log_and_the_others_go_on(data, tmp_path):
    networks = [{"cnn": {"max_epochs": "$1 / 0"}}, "ann_baseline"]
    plan = write_plan(tmp_path / "plan.yaml", data, networks=networks, options={**SMALL, "max_epochs": 1}, seeds=[0])
    found = run_study(read_study(plan, BUNDLE), tmp_path / "out")
    assert found.runs == [tmp_path / "out" / "ann_baseline" / "seed_0"]
    assert re.search(r"exit code 1.*seed_0_training\.log", found.failures[0])


class LossElsewhere(torch.nn.CrossEntropyLoss):
    """Its class weights are on another device until it is moved, as those of a loss on a GPU are."""

    def __init__(self):
        super().__init__(weight=torch.ones(4, device="meta"))

    def cpu(self):
        self.weight = torch.ones(4)
        return self


def test_trial_computes_the_loss_where_it_computes_the_network(data, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(study, "_train", lambda plan, training, run: trained.append(run))
    monkeypatch.setattr(study, "_evaluate", lambda plan, run: None)
    loss = {"loss": {"_target_": "tests.bundles.test_study.LossElsewhere"}}
    plan = write_plan(tmp_path / "plan.yaml", data, networks=[{"ann_baseline": loss}], seeds=[0])
    found = run_study(read_study(plan, BUNDLE), tmp_path / "out")
    assert found.failures == []
    assert found.runs == trained == [tmp_path / "out" / "ann_baseline" / "seed_0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rat": 1}, r"learning_rat .*did you mean learning_rate"),
        ({"network_def::num_classes": 3}, r"network_def: .*3x32x32"),
        ({"network_def::image_size": 64}, r"network_def: .*3x32x32"),
        ({"network_def::depth": 16}, r"network: .*depth"),
        ({"loss::weigth": 1}, r"loss: .*weigth"),
        ({"phases": [{"layers": {"encoder": 1.0e-3}}]}, r"optimizer: .*encoder"),
    ],
)
def test_broken_overlay_is_left_out_before_any_training_naming_file_and_key(data, tmp_path, change, message):
    lines = []
    plan = write_plan(tmp_path / "plan.yaml", data, networks=[{"cnn": change}], seeds=[0])
    found = run_study(read_study(plan, BUNDLE), tmp_path / "out", lines.append)
    assert found.runs == []
    (failure,) = found.failures
    assert "networks/cnn.yaml" in failure
    assert re.search(message, failure, re.DOTALL), failure
    assert lines == [f"left out: {failure}"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": ["vgg61"]}, "no overlay 'vgg61'.*vgg16"),
        ({"seed": [1]}, "unknown key 'seed'"),
        ({"networks": ["cnn", {"cnn": {"batch_size": 8}}]}, "cnn is there twice"),
        ({"networks": [{"cnn": {}, "vgg16": {}}]}, "expected a name, or one name"),
        ({"networks": {"cnn": {}}}, "networks is not a list"),
        ({"networks": ["cnn"], "seeds": 3}, "expected a list of numbers"),
        ({"networks": ["cnn"], "options": ["a"]}, "options are not keys with values"),
        ({"networks": ["cnn"], "options": {"output_dir": "x"}}, "output_dir cannot be set for a network"),
    ],
)
def test_plan_that_cannot_be_carried_out_is_refused(tmp_path, change, message):
    plan = write_plan(tmp_path / "plan.yaml", {"dataset_dir": ".", "datalist": "d.json"}, **change)
    with pytest.raises(InvalidStudy, match=message):
        read_study(plan, BUNDLE)


@pytest.mark.slow
def test_runs_that_cannot_stand_in_one_table_are_refused(trained, studied, tmp_path):
    with pytest.raises(RunsDiffer, match="not a finished training"):
        write_comparison(tmp_path, [tmp_path])
    run = studied / "out" / "cnn" / "seed_0"
    other = tmp_path / "other"
    other.mkdir()
    for path in run.glob("*.*"):
        (other / path.name).write_bytes(path.read_bytes())
    with pytest.raises(RunsDiffer, match="was not evaluated on the test part"):
        write_comparison(tmp_path / "out", [run, other])


@pytest.mark.slow
def test_study_with_other_options_into_the_same_folder_is_refused(studied, data):
    changed = write_plan(studied / "changed.yaml", data, options={**SMALL, "max_epochs": 9})
    with pytest.raises(InvalidStudy, match="was started with other options"):
        run_study(read_study(changed, BUNDLE), studied / "out")


@pytest.mark.slow
def test_evaluation_of_other_weights_and_the_same_run_twice_are_refused(studied, tmp_path):
    run = studied / "out" / "cnn" / "seed_0"
    with pytest.raises(RunsDiffer, match="cnn, seed 0 is there twice"):
        write_comparison(tmp_path, [run, run])
    with pytest.raises(RunsDiffer, match="have one name and another learning_rate"):
        other = shutil.copytree(studied / "out" / "cnn" / "seed_1", tmp_path / "other")
        manifest = read(other / "run.json")
        manifest["options"]["learning_rate"] = 1.0
        write_json(other / "run.json", manifest)
        write_comparison(tmp_path, [run, other])
    del manifest["options"]["learning_rate"]  # as a version that did not note it yet wrote it
    write_json(other / "run.json", manifest)
    write_comparison(tmp_path / "out", [run, other])
    table = rows(tmp_path / "out" / "comparison.csv")
    assert [row["seed"] for row in table] == ["0", "1"]
    assert all(float(row["images_per_second"]) > 0 for row in table)
    shutil.copytree(run, tmp_path / "run")
    manifest = read(tmp_path / "run" / "run.json")
    manifest["result"]["weights_sha256"] = "0" * 64
    write_json(tmp_path / "run" / "run.json", manifest)
    with pytest.raises(RunsDiffer, match="trained on after its evaluation"):
        write_comparison(tmp_path / "out", [tmp_path / "run"])
