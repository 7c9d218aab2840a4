"""Explanations of a whole part, through the shipped config."""

import csv

import pytest
import torch
from torch import nn

from monai_brain.labels import CLASS_NAMES
from monai_brain.training.explaining import CollectExplanations
from tests.bundles.running import workflow
from tests.conftest import read

pytestmark = pytest.mark.slow


def test_every_image_of_the_part_has_its_figures(trained, data, tmp_path):
    files = ("train.yaml", "evaluate.yaml", "explain.yaml")
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(trained), "output_dir": str(tmp_path)}
    workflow(*files, **options, checked_images=8).run()
    with (tmp_path / "explanations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = len(read(trained / "datalist.json")["test"])
    assert len(rows) == images
    assert all(0 <= float(row["inside_head"] or 0) <= 1 for row in rows)
    found = read(tmp_path / "explanations.json")
    assert found["all"]["images"] == images
    assert found["right"]["images"] == sum(row["reference"] == row["predicted"] for row in rows)
    assert sum(own["images"] for own in found["by_predicted_class"].values()) == images
    shuffled = found["rank_correlation_with_shuffled_weights"]
    assert shuffled["number"] == 8
    assert shuffled["median"] < 0.9
    assert "looking outside the head" in (tmp_path / "explanations.html").read_text()


def test_what_was_explained_before_does_not_change_the_network(trained, evaluated, data, tmp_path):
    """A network left in training mode would drop features out, and take over the statistics of altered slices."""
    files = ("train.yaml", "evaluate.yaml", "explain.yaml")
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(trained), "output_dir": str(tmp_path)}
    run = workflow(*files, **options, checked_images=1)
    run.parser["evaluate::dataloader::batch_size"] = 3
    run.run()
    with (tmp_path / "explanations.csv").open(newline="") as file:
        found = [float(row["probability"]) for row in csv.DictReader(file)]
    with (evaluated / "predictions.csv").open(newline="") as file:
        expected = [max(float(row[f"prob_{name}"]) for name in CLASS_NAMES) for row in csv.DictReader(file)]
    assert found == pytest.approx(expected, abs=1e-3)


class Corner(nn.Module):
    """Its evidence is the brightness of one corner, whatever its weights."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images):
        seen = self.layer(images)[:, 0, :8, :8].mean(dim=(1, 2))
        return torch.stack([4 * seen, torch.zeros_like(seen)], dim=1)


def test_map_that_does_not_depend_on_the_weights_is_found_out():
    """Permuting equal weights changes nothing, so every map must agree with itself."""
    collect = CollectExplanations(Corner().eval(), layer="layer", checked=2)
    images = torch.rand(2, 3, 16, 16)
    collect._kept = []
    with torch.no_grad():
        logits = collect.network(images)
    state = type("State", (), {"output": {"image": images, "pred": logits}})
    collect._every = 1
    collect(type("Engine", (), {"state": state}))
    assert collect.agreement_with_shuffled() == pytest.approx([1.0, 1.0])
    assert [own.predicted for own in collect.explained] == [0, 0]
