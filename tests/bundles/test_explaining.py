"""Explanations of a whole part, through the shipped config."""

import csv
import shutil

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from monai_brain.data.pairs import find_pairs, segmentation_datalist
from monai_brain.io.write import sha256_of, write_json
from monai_brain.labels import CLASS_NAMES
from monai_brain.report.localization import write_localization
from monai_brain.report.slice_figures import ExplainedSlice
from monai_brain.training.explaining import CollectExplanations, CollectLocalization
from monai_brain.transforms.spatial import PadToSquared, ResizeSliced
from tests.bundles.running import cause, workflow
from tests.conftest import draw_phantom, read

pytestmark = pytest.mark.slow


def test_every_image_of_the_part_has_its_figures(trained, data, tmp_path):
    files = ("train.yaml", "evaluate.yaml", "explain.yaml")
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(trained), "output_dir": str(tmp_path)}
    workflow(*files, **options, checked_images=8, cam_layer="features.3").run()
    assert read(tmp_path / "run.json")["options"]["layer"] == "features.3"
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
    assert 0 < shuffled["number"] <= 8  # maps that are the same everywhere are left out
    assert shuffled["median"] < 0.9
    page = (tmp_path / "explanations.html").read_text()
    assert "looking outside the head" in page
    for name in {row["predicted"] for row in rows}:
        assert f'src="examples_{name}.png"' in page
        assert cv2.imread(str(tmp_path / f"examples_{name}.png")).std() > 5
        assert (tmp_path / f"examples_{name}.svg").read_text().startswith("<?xml")


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


def test_explanations_of_another_data_set_are_kept_apart(trained, data, tmp_path):
    own = read(trained / "datalist.json")
    items = [{**item, "image": f"elsewhere/{item['image']}"} for item in own["validation"][:3]]
    (tmp_path / "elsewhere").symlink_to(data["dataset_dir"])
    write_json(tmp_path / "others.json", {"class_names": own["class_names"], "test": items})
    run = shutil.copytree(trained, tmp_path / "run")
    options = {"dataset_dir": data["dataset_dir"], "run_dir": str(run), "checked_images": 1}
    external = {"external": str(tmp_path / "others.json"), "external_dir": str(tmp_path)}
    workflow("train.yaml", "evaluate.yaml", "explain.yaml", **options, **external).run()
    done = read(run / "explanation_others_test_gradcam" / "run.json")["options"]
    assert (done["external"], done["datalist_sha256"]) == ("others", sha256_of(tmp_path / "others.json"))
    assert not (run / "explanation_test_gradcam").exists()
    output = workflow("train.yaml", "evaluate.yaml", "explain.yaml", **options).parser.get_parsed_content("output_dir")
    assert output == str(run / "explanation_test_gradcam")


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


def test_map_without_evidence_has_no_figures():
    """Blackened pixels of an empty map, and ranks of one value, would say 0: no effect, and a check that was passed."""
    network = Corner().eval()
    collect = CollectExplanations(network, layer="layer", checked=2)
    collect._kept, collect._every = [], 1
    images = torch.stack([torch.rand(3, 16, 16), torch.zeros(3, 16, 16)])
    output = {"image": images, "pred": network(images).detach()}
    collect(type("Engine", (), {"state": type("State", (), {"output": output})}))
    one, empty = collect.rows
    assert one["removal_drop"] > 0
    assert [empty[name] for name in ("inside_head", "removal_drop", "random_drop")] == [None] * 3
    assert collect.agreement_with_shuffled() == [pytest.approx(1.0), None]


MASKS = ("train.yaml", "evaluate.yaml", "explain_masks.yaml")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Three patients of four slices: the mask is everything, a quarter of the head, and (two slices) nothing."""
    folder = tmp_path_factory.mktemp("pairs")
    for patient, rows in (("a", 64), ("b", 32), ("c", 32)):
        (folder / patient).mkdir()
        for number in range(4):
            mask = np.zeros((64, 64), np.uint8)
            if patient != "c" or number < 2:
                mask[:rows, :rows] = 255
            image = draw_phantom(0, number)
            image[0, 0] = ord(patient)  # no two patients have one image
            cv2.imwrite(str(folder / patient / f"{number}.png"), image)
            cv2.imwrite(str(folder / patient / f"{number}_mask.png"), mask)
    write_json(folder / "pairs.json", segmentation_datalist(find_pairs(folder).pairs, ["c"], name="pairs"))
    return folder


def test_evidence_is_compared_with_reference_masks_by_patient(trained, pairs, tmp_path):
    options = {"external": str(pairs / "pairs.json"), "external_dir": str(pairs), "run_dir": str(trained)}
    workflow(*MASKS, **options, output_dir=str(tmp_path)).run()
    assert read(tmp_path / "run.json")["options"]["layer"] == "features.10"  # as recorded
    with (tmp_path / "localization.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["patient"] for row in rows) == ["a"] * 4 + ["b"] * 4 + ["c"] * 2
    for row in rows:
        if row["inside_mask"]:
            expected = 1.0 if row["patient"] == "a" else 0.25
            assert float(row["mask_of_head"]) == pytest.approx(expected, abs=0.08)
        if row["patient"] == "a":
            assert row["inside_mask"] in ("1.0000", "")
    explained = [row for row in rows if row["inside_mask"]]
    found = read(tmp_path / "localization.json")["by_answer"]
    assert found["all"]["slices"] == len(explained) == 10 - found["all"]["empty_maps"]
    mean = float(np.mean([float(row["inside_mask"]) for row in explained]))
    assert found["all"]["inside_mask"]["mean"] == pytest.approx(mean, abs=1e-3)
    assert found["all"]["inside_mask"]["interval"] is None  # two patients
    tumors = [row for row in explained if row["predicted"] != "notumor"]
    assert found["any tumor"]["slices"] == len(tumors)
    assert "examples_" in (tmp_path / "localization.html").read_text()


def test_evidence_of_own_classes_is_measured_by_their_names(pairs, tmp_path):
    items = [{"image": f"{number}.png", "group": str(number)} for number in range(3)]
    own = {"probability": 0.9, "inside_head": 1.0, "inside_mask": 0.5, "peak_in_mask": True, "mask_of_head": 0.1}
    rows = [{**own, "predicted": label} for label in (1, 0, 1)]
    picture = ExplainedSlice(np.zeros((8, 8), np.uint8), np.zeros((8, 8)))
    options = {"picture": lambda _: picture, "options": {"method": "gradcam"}}
    found = write_localization(tmp_path / "a", items, rows, class_names=("healthy", "b"), **options)["by_answer"]
    assert {name: own["slices"] for name, own in found.items()} == {"healthy": 1, "b": 2, "any tumor": 2, "all": 3}
    found = write_localization(tmp_path / "b", items, rows, class_names=("a", "b"), **options)["by_answer"]
    assert set(found) == {"a", "b", "all"}


def test_slices_without_masks_are_refused(trained, data, tmp_path):
    def message(**options):
        run = workflow(*MASKS, run_dir=str(trained), output_dir=str(tmp_path / "out"), **options)
        with pytest.raises(RuntimeError) as caught:
            run.run()
        return str(cause(caught.value))

    assert "--external" in message()
    of_classes = {"external": data["datalist"], "external_dir": data["dataset_dir"], "part": "test"}
    assert "has slices without masks" in message(**of_classes)
    assert not (tmp_path / "out").exists()


def test_evidence_is_brought_back_to_where_it_lies_in_the_slice_as_it_was_read(tmp_path):
    """Of a slice of twice the width, padded and shrunk, the evidence is its only bright part."""
    gray, mask = np.full((40, 80), 60, np.uint8), np.zeros((40, 80), np.uint8)
    gray[4:12, 60:72] = mask[4:12, 60:72] = 255
    cv2.imwrite(str(tmp_path / "slice.png"), gray)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    transforms = [PadToSquared("image"), ResizeSliced("image", 40)]
    image = {"image": np.where(gray == 255, gray, 0)[None]}
    for transform in transforms:
        image = transform(image)
    images = torch.from_numpy(image["image"]).float().expand(1, 3, -1, -1) / 255
    items = [{"image": str(tmp_path / "slice.png"), "label": str(tmp_path / "mask.png")}]
    collect = CollectLocalization(Corner().eval(), items, transforms, layer="layer")
    output = {"image": images, "pred": torch.tensor([[1.0, 0.0]])}
    collect._dataset = [{"image": images[0]}]
    collect(type("Engine", (), {"state": type("State", (), {"output": output})}))
    (row,) = collect.rows
    assert row["inside_mask"] > 0.6
    assert row["peak_in_mask"] is True
    assert row["mask_of_head"] == pytest.approx(8 * 12 / (40 * 80))
    picture = collect.picture(0)
    assert picture.heat.shape == picture.gray.shape == picture.mask.shape == (40, 80)
    assert picture.heat[6:10, 62:70].min() > 0.9
    assert picture.heat[14:].max() == 0
