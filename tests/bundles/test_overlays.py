"""One contract for every network that can be trained: the shipped overlay, on phantoms, from first to last."""

import csv
from pathlib import Path
from typing import NamedTuple

import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from monai_brain.io.weights import load_weights, read_weights, write_weights
from monai_brain.training.schedule import rates_by_parameter
from tests.bundles.running import CONFIGS, SMALL, workflow

pytestmark = pytest.mark.slow

OVERLAYS = sorted(path.stem for path in (CONFIGS / "networks").glob("*.yaml"))
EPOCHS = dict.fromkeys(OVERLAYS, 4) | {"resnet50": 7, "resnet50_scratch": 7}
"""ResNet50 needs some more until its loss falls on any processor: from nothing, or with a head on random features."""


def first_of_each_network():
    """Overlays without those that differ from an earlier one in training alone."""
    first = {}
    for name in OVERLAYS:
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / f"{name}.yaml")])
        first.setdefault(str(parser["network_def"]), name)
    return list(first.values())


def parsed(name, *keys):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / f"{name}.yaml")])
    parser["image_size"] = SMALL["image_size"]
    return [parser.get_parsed_content(key) for key in keys]


class Trained(NamedTuple):
    name: str
    start: Path
    run: Path
    pretrained: bool


@pytest.fixture(scope="module", params=OVERLAYS)
def trained(request, data, tmp_path_factory):
    """A short training of the overlay; where it starts from ImageNet, from a file with its keys."""
    folder, name = tmp_path_factory.mktemp(request.param), request.param
    torch.manual_seed(0)
    network, weights, phases = parsed(name, "network_def", "weights", "phases")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # as public weights do, and PyTorch's defaults do not, it keeps the scale
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    write_weights(network, folder / "start.safetensors")
    short = [{**phase, "epochs": 1} for phase in phases[:-1]] + [phases[-1]]
    options = {
        **data,
        **SMALL,
        "batch_size": 8,
        "phases": short,
        "num_views": 2,
        "features_dir": str(folder / "features"),
    }
    if weights != "none":
        options["weights"] = str(folder / "start.safetensors")
    if name.endswith("_scratch"):  # its rate is for thousands of slices and not for twenty steps
        options["phases"] = [{"layers": {"*": 2.0e-4 if name == "resnet50_scratch" else 5.0e-5}}]
    if name == "resnet50_scratch":  # so few steps in bfloat16 do not always lower its loss
        options["precision"] = "fp32"
    if name == "mobilenet_v2_t1c":
        options["train::sampler::slices_per_epoch"] = 160
    run = folder / "run"
    workflow("train.yaml", f"networks/{name}.yaml", **options, max_epochs=EPOCHS[name], output_dir=str(run)).run()
    yield Trained(name, folder / "start.safetensors", run, weights != "none")
    for path in folder.rglob("*.*"):  # hundreds of megabytes each
        if path.is_file() and path.suffix in (".pt", ".safetensors", ".npy", ".onnx"):
            path.unlink()


def test_loss_falls(trained):
    with (trained.run / "metrics.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert len(losses) == EPOCHS[trained.name]
    assert min(losses[1:]) < losses[0]  # a few steps with dropout, on a few slices: the last epoch may be worse


def test_frozen_parts_are_bit_equal_and_the_others_moved(trained):
    before, after = read_weights(trained.start), read_weights(trained.run / "model.safetensors")
    network, phases = parsed(trained.name, "network_def", "phases")
    names = {name for phase in phases for name in rates_by_parameter(network, phase["layers"])}
    frozen = [name for name, _ in network.named_parameters() if name not in names]
    assert bool(frozen) == trained.pretrained  # what starts from nothing learns everything
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in names)


@pytest.mark.parametrize("trained", first_of_each_network(), indirect=True)
def test_onnx_computes_the_same(trained):
    (network,) = parsed(trained.name, "network_def")
    load_weights(network, trained.run)
    network.eval()
    size = SMALL["image_size"]
    images = torch.randn(2, 3, size, size)
    path = trained.run / "network.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    options = {"input_names": ["image"], "output_names": ["pred"], "dynamic_shapes": ({0: batch},), "dynamo": True}
    torch.onnx.export(network, (images,), path, external_data=False, verbose=False, **options)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    more = torch.randn(5, 3, size, size)
    with torch.no_grad():
        expected = network(more)
    found = torch.from_numpy(session.run(["pred"], {"image": more.numpy()})[0])
    assert found.shape == (5, 4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
