"""Two processes on a CPU (gloo) train one network."""

import csv
import json
import subprocess
import sys

import pytest
import torch

from monai_brain.io.weights import read_weights, write_weights
from monai_brain.networks.vgg import VGG
from tests.bundles.running import SMALL, workflow
from tests.bundles.test_transfer import PHASES
from tests.conftest import REPOSITORY, read

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_by_two(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_ranks")
    torch.manual_seed(0)
    write_weights(VGG(11, 1000, "pooled"), folder / "vgg11.safetensors", dtype=torch.float16)
    options = {**data, **SMALL, "phases": PHASES, "max_epochs": 4, "num_views": 2, "batch_size": 8}
    options |= {"weights": str(folder / "vgg11.safetensors"), "features_dir": str(folder / "features")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517"]
    command += ["--module", "tests.bundles.on_two_ranks", str(folder), json.dumps(options)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


def weights(folder, rank):
    return torch.load(folder / f"rank_{rank}.pt", weights_only=True)


def test_both_ranks_hold_the_same_weights(trained_by_two):
    zero, one = weights(trained_by_two, 0), weights(trained_by_two, 1)
    for name, tensor in zero.items():
        assert torch.equal(tensor, one[name]), name


def test_frozen_layers_did_not_move_and_the_others_did(trained_by_two):
    source = read_weights(trained_by_two / "vgg11.safetensors")
    for name, tensor in weights(trained_by_two, 1).items():
        if name.startswith("features."):
            assert torch.equal(tensor, source[name].float()) == (int(name.split(".")[1]) < 16), name


def test_metrics_are_those_of_one_process_on_the_same_data(trained_by_two, data):
    zero, one = (read(trained_by_two / f"rank_{rank}.json") for rank in (0, 1))
    assert zero == one
    run = trained_by_two / "run"
    best = read(run / "run.json")["result"]["best_val_macro_f1"]
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(run), "part": "validation", "precision": "bf16"}
    workflow("train.yaml", "evaluate.yaml", **options).run()
    metrics = read(run / "evaluation_validation" / "metrics.json")["model"]
    assert metrics["macro_f1"] == pytest.approx(best, abs=1e-6)


def test_one_run_was_written(trained_by_two):
    with (trained_by_two / "run" / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert len(list((trained_by_two / "run" / "tensorboard").rglob("events*"))) == 2  # training and validation
