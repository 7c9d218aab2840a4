"""Transfer learning by the shipped configs: two phases, cached features, exact resume, refusals."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from monai_brain.io import settings
from monai_brain.io.weights import read_checkpoint, read_weights, write_weights
from monai_brain.io.write import sha256_of, write_json
from monai_brain.networks.vgg import VGG
from monai_brain.training.run import TrainingRun, read_history, trained_part
from tests.bundles.running import SMALL, cause, workflow
from tests.conftest import REPOSITORY, read

pytestmark = pytest.mark.slow

FILES = ("train.yaml", "networks/vgg11_refined.yaml")
PHASES = [
    {"epochs": 2, "layers": {"refinement": 1.0e-3, "classifier": 1.0e-3}},
    {"layers": {"features.16+": 1.0e-4, "refinement": 1.0e-3, "classifier": 1.0e-3}},
]


@pytest.fixture(scope="module")
def options(data, tmp_path_factory):
    """VGG11 from a file in torchvision's keys, as a user without internet has it."""
    folder = tmp_path_factory.mktemp("transfer")
    torch.manual_seed(0)
    write_weights(VGG(11, 1000, "pooled"), folder / "vgg11.safetensors", dtype=torch.float16)
    own = {"phases": PHASES, "weights": str(folder / "vgg11.safetensors"), "features_dir": str(folder / "features")}
    return {**data, **SMALL, **own, "num_views": 2}


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer_runs") / "run"
    workflow(*FILES, **options, max_epochs=4, output_dir=str(folder)).run()
    return folder


def final(run):
    return read_checkpoint(run / "checkpoints" / "epoch_0004.pt")


def test_frozen_layers_are_those_of_the_file_to_the_bit(finished, options):
    source = read_weights(Path(options["weights"]))
    for name, tensor in final(finished)["model"].items():
        if name.startswith("features."):
            assert torch.equal(tensor, source[name].float()) == (int(name.split(".")[1]) < 16), name


def test_run_notes_its_phases_and_rates(finished):
    assert read(finished / "run.json")["options"]["phases"] == PHASES
    with (finished / "metrics.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates[1] < rates[0]
    assert rates[3] < rates[2]


def test_cache_changes_speed_alone(finished, options, tmp_path):
    run = tmp_path / "run"
    workflow(*FILES, **options, max_epochs=4, output_dir=str(run), cache_features=False).run()
    with (finished / "metrics.csv").open() as one, (run / "metrics.csv").open() as other:
        for with_cache, without in zip(csv.DictReader(one), csv.DictReader(other), strict=True):
            assert float(with_cache["train_loss"]) == pytest.approx(float(without["train_loss"]), rel=0.03)
            assert float(with_cache["val_loss"]) == pytest.approx(float(without["val_loss"]), rel=0.03)


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_resume_is_exact_within_and_across_the_phases(finished, options, tmp_path, monkeypatch, stopped_after):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:  # max_epochs would not do: annealed rates depend on it
        patch.setattr(TrainingRun, "begin", begin_and_stop_after(stopped_after))
        with pytest.raises(RuntimeError):
            workflow(*FILES, **options, max_epochs=4, output_dir=str(run)).run()
    assert read_history(run)[-1]["epoch"] == stopped_after
    began = read(run / "run.json")
    elsewhere = {**options, "weights": str(shutil.copy(options["weights"], tmp_path / "same.safetensors"))}
    workflow(*FILES, **elsewhere, max_epochs=4, output_dir=str(run), resume=True).run()
    manifest = read(run / "run.json")
    assert (manifest["command"], manifest["options"]["weights"]) == (began["command"], began["options"]["weights"])
    assert len(manifest["resumed"]) == 1
    one, other = final(finished), final(run)
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, other["model"][name]), name
    assert (one["best_metric"], one["best_metric_epoch"]) == (other["best_metric"], other["best_metric_epoch"])


def begin_and_stop_after(epoch):
    begin = TrainingRun.begin

    def stop(engine):
        if engine.state.epoch > epoch:
            raise InterruptedError

    def begun(run, trainer):
        begin(run, trainer)
        trainer.add_event_handler(Events.EPOCH_STARTED, stop)

    return begun


def test_evaluation_and_inference_take_the_refined_network_up(finished, data, tmp_path):
    run = workflow("train.yaml", "evaluate.yaml", dataset_dir=data["dataset_dir"], run_dir=str(finished))
    run.run()
    assert read(finished / "evaluation_test" / "metrics.json")["model"]["images"] > 0
    inference = workflow(
        "inference.yaml",
        kind="infer",
        input_dir=data["dataset_dir"],
        output_dir=str(tmp_path / "out"),
        weights=str(finished),
        explain=True,
    )
    inference.run()
    assert (tmp_path / "out" / "predictions.csv").is_file()
    assert len(list((tmp_path / "out" / "overlays").rglob("*.png"))) == 64


def test_frozen_phases_without_weights_are_refused_before_anything_is_written(options, tmp_path):
    run = workflow(*FILES, **{**options, "weights": "none"}, output_dir=str(tmp_path / "run"))
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "at random values; give weights" in str(cause(caught.value))
    assert not (tmp_path / "run" / "run.json").exists()


def test_resume_with_other_phases_is_refused(finished, options):
    changed = [{**PHASES[0], "epochs": 1}, PHASES[1]]
    run = workflow(*FILES, **{**options, "phases": changed}, max_epochs=5, output_dir=str(finished), resume=True)
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "was started with phases" in str(cause(caught.value))


@pytest.mark.parametrize("option", [{"batch_size": 8}, {"label_smoothing": 0.2}, {"train#random_transforms": []}])
def test_resume_with_another_recipe_is_refused(finished, options, option):
    run = workflow(*FILES, **{**options, **option}, max_epochs=5, output_dir=str(finished), resume=True)
    with pytest.raises(RuntimeError) as caught:
        run.run()
    assert "was started with" in str(cause(caught.value))


def test_run_that_was_killed_before_it_wrote_its_result_gets_it_by_resuming(finished, options, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    manifest = read(run / "run.json")
    result = manifest.pop("result")
    write_json(run / "run.json", manifest)
    (run / "curves.png").unlink()
    workflow(*FILES, **options, max_epochs=4, output_dir=str(run), resume=True).run()
    assert read(run / "run.json")["result"] == result
    assert (run / "curves.png").is_file()
    assert [row["epoch"] for row in read_history(run)] == [1, 2, 3, 4]


def test_features_are_kept_where_the_environment_says(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path / "elsewhere"))
    run = workflow(*FILES, **data)
    assert run.parser.get_parsed_content("features_dir") == os.fspath(tmp_path / "elsewhere")


def test_final_model_is_trained_on_both_parts_and_is_that_of_the_last_epoch(options, tmp_path):
    run = tmp_path / "run"
    final_run = workflow(*FILES, "final.yaml", **options, max_epochs=3, output_dir=str(run))
    final_run.run()
    parts = read(run / "datalist.json")
    items = final_run.parser.get_parsed_content("training_items")
    assert len(items) == len(parts["training"]) + len(parts["validation"])
    assert read(run / "run.json")["result"]["best_epoch"] == 3
    last = read_checkpoint(run / "checkpoints" / "epoch_0003.pt")["model"]
    best = read_weights(run / "model.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in last.items())
    assert trained_part(run) == "training+validation"


def test_published_weights_are_half_precision_with_settings_and_manifest(finished, tmp_path):
    (tmp_path / "models").mkdir()
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    settings.keep_chosen(run, run, run / "datalist.json", {"threshold": 0.7})
    script = [sys.executable, str(REPOSITORY / "scripts" / "publish_weights.py"), str(run), str(tmp_path)]
    subprocess.run([*script, "--threshold", "0.2"], check=True, capture_output=True)
    file = tmp_path / "models" / "model.safetensors"
    own, published = read_weights(finished / "model.safetensors"), read_weights(file)
    assert all(
        torch.equal(own[name].half() if own[name].is_floating_point() and ".running_" not in name else own[name], t)
        for name, t in published.items()
    )
    carried = {**settings.read(finished), "threshold": 0.2}
    assert settings.read(tmp_path) == carried
    manifest = read(tmp_path / "models" / "run.json")
    assert manifest["result"]["weights_sha256"] == sha256_of(file)
    assert manifest["settings"] == carried
    assert str(finished.parent) not in (tmp_path / "models" / "run.json").read_text()
