"""The scripts that write pages of docs, on run folders as far as they read them."""

import importlib
import json

import numpy as np
import pytest

from monai_brain.evaluation.intervals import quartiles
from monai_brain.labels import CLASS_NAMES
from monai_brain.report.evaluation import score_classes
from monai_brain.report.explanations import FIGURES
from tests.conftest import REPOSITORY


@pytest.fixture
def script(monkeypatch):
    """Import one of `scripts` by its name."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    return importlib.import_module


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def scored(folder, engine, dice):
    """As `monai-brain evaluate` leaves it, with as many patients as Dices."""
    group = {"number": len(dice), "mean_dice": 0.7, "median_dice": 0.7, "mean_interval": [0.6, 0.8]}
    group["median_interval"] = [0.6, 0.8]
    sizes = {"number": 1, "reference_pixels": [5, 9], "mean_dice": 0.7, "mean_interval": [0.6, 0.8]}
    metrics = {"patients": group, "by_institution": {"CS": group}, "bootstrap": "95%", "empty_masks": ""}
    metrics["by_size"] = {"small": {**sizes, "mean_size_bias": -0.1}}
    metrics["areas"] = {"number": 4, "bias": 12.4, "low": -50.0, "high": 75.0, "unit": "pixels"}
    metrics["paired"] = {"patients": 2, "mean": 0.05, "interval": [0.01, 0.09], "mean_dice": 0.75}
    metrics["paired"] |= {"other_mean_dice": 0.7, "better": 2}
    write(folder / "metrics.json", metrics)
    write(folder / "run.json", {"options": {"engine": engine, "precision": "fp32"}})
    fields = ("dice", "sensitivity", "precision", "iou")
    rows = [f"p{number},CS,3," + ",".join([str(own)] * 4) for number, own in enumerate(dice)]
    (folder / "patients.csv").write_text("\n".join([f"patient,institution,slices,{','.join(fields)}", *rows]))
    return folder


def test_engines_are_compared_on_the_patients_that_all_of_them_segmented(script, tmp_path):
    folders = [scored(tmp_path / "a", "torch", [0.9, 0.7, 0.1]), scored(tmp_path / "b", "onnx", [0.9, 0.8])]
    text = script("publish_segmentation").page(folders[0], folders[1:])
    assert "Dice over the 2 patients, each segmented with every engine" in text
    assert "| torch fp32 | 0.8000 | 0.8000 |" in text and "| onnx fp32 | 0.8500 | 0.8500 |" in text
    assert "| 2 | 0.750 | 0.700 | +0.050 (+0.010 to +0.090) | 2 |" in text
    assert "| small | 1 | 5 to 9 | 0.700 (0.600 to 0.800) | -0.100 |" in text
    assert "| 4 | +12 | -50 to 75 |" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"part": "test", "external": "br35h"}, "cnn, seed 0, gradcam, on test of br35h"),
        ({"part": "validation", "external": None}, "cnn, seed 0, gradcam, on the validation part"),
        ({"part": "test"}, "cnn, seed 0, gradcam"),
    ],
)
def test_heading_of_explanations_names_what_was_explained(script, tmp_path, options, words):
    write(tmp_path / "run.json", {"options": {"name": "cnn", "seed": 0}})
    write(tmp_path / "explained" / "run.json", {"options": {"method": "gradcam", **options}})
    figures = {"images": 0, "looking_outside": None, **{name: quartiles([]) for name in FIGURES}}
    parts = {name: figures for name in ("right", "wrong", "all")}
    shuffled = {"rank_correlation_with_shuffled_weights": quartiles([])}
    write(tmp_path / "explained" / "explanations.json", {**parts, "by_predicted_class": {}, **shuffled})
    text = script("publish_explanations").section(tmp_path / "explained")
    assert f"## {words}\n" in text


def evaluated(folder, correct, source="lgg"):
    """As an evaluation of a classifier leaves it: `correct` tenths of twenty slices."""
    labels = np.array([0, 2] * 10)
    predicted = np.where(np.arange(20) < 2 * correct, labels, 1)
    items = [{"image": f"{n}.png", "label": int(label), "source": source} for n, label in enumerate(labels)]
    for item, own in zip(items, labels, strict=True):
        item["group"] = f"{item['image']}{own}"
    metrics = score_classes(items, np.eye(4)[predicted], labels, "test", CLASS_NAMES)
    write(folder / "metrics.json", metrics)
    return folder


def test_page_of_patients_apart_has_every_protocol_and_the_last_one_class_by_class(script, tmp_path, monkeypatch):
    module = script("publish_patients_apart")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(module, "FIGURE", tmp_path / "optimism.png")
    folders = {name: evaluated(tmp_path / name, correct) for name, correct in (("public", 10), ("apart", 6))}
    words = [word for name, folder in folders.items() for word in ("--protocol", f"{name}={folder}")]
    held_out = ["--held-out", f"before={folders['apart']}", "--held-out", f"after={folders['public']}"]
    monkeypatch.setattr("sys.argv", ["publish_patients_apart.py", *words, *held_out])
    module.main()
    text = (tmp_path / "page.md").read_text()
    assert "| public | 20 | 1.000 (" in text
    assert "| apart | 20 | 0.600 (" in text
    assert "| glioma | 10 | 0.600 |" in text
    assert "| before | 0.600 of 10 | 1.000 of 10 |" in text
    assert "| after | 1.000 of 10 | 1.000 of 10 |" in text
    assert (tmp_path / "optimism.png").stat().st_size > 5000


def table_with_groups(folder):
    """As `pool` leaves it: three slices of each patient, of which the network is too sure."""
    random = np.random.default_rng(0)
    names = [f"prob_{name}" for name in CLASS_NAMES]
    lines = [",".join(["path", "reference", "label", *names, "nearest_neighbor", "group", "fold"])]
    for number in range(360):
        group = number // 3
        logits = random.normal(0, 1, 4)
        logits[group % 4] += 1.5
        probabilities = np.exp(3 * logits) / np.exp(3 * logits).sum()
        cells = [f"{number}.png", CLASS_NAMES[group % 4], CLASS_NAMES[int(probabilities.argmax())]]
        lines.append(",".join([*cells, *(f"{own:.6f}" for own in probabilities), "", f"g{group}", str(group % 5 + 1)]))
    folder.mkdir()
    (folder / "predictions.csv").write_text("\n".join(lines))
    write(folder / "run.json", {"kind": "pooling", "options": {"runs": []}})
    return folder


def test_page_of_calibration_has_figures_before_and_after_sets_and_verdicts(script, tmp_path, monkeypatch):
    module = script("publish_calibration")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(module, "FIGURE", tmp_path / "reliability.png")
    pooled = table_with_groups(tmp_path / "pooled")
    monkeypatch.setattr("sys.argv", ["publish_calibration.py", str(pooled), "--heads", str(pooled)])
    module.main()
    text = (tmp_path / "page.md").read_text()
    assert "360 slices of 120 groups in 5 folds" in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    before, after = (float(own[1]) for own in cells if own[0] in ("before", "after"))
    assert after < before
    assert "glioma (30 groups)" in text
    assert [own[0] for own in cells if own[0].endswith("%")] == ["80%", "90%", "95%"] * 2
    assert sum(own[0] == "mean log-probability" for own in cells) == 2
    assert (tmp_path / "reliability.png").stat().st_size > 5000


def test_outline_of_a_mirrored_slice_lies_on_its_other_side(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts" / "benchmarks"))
    outlines = script("outlines")
    corners = [[64, 128], [128, 128], [128, 256], [64, 256]]  # of 512: left of the middle
    write(tmp_path / "outlines.jsonl", {"index": 7, "outline": corners})
    outline = outlines.read_outlines(tmp_path / "outlines.jsonl")[7]
    mask, mirrored = (outlines.mask_of(outline, flipped, (64, 64)) for flipped in (False, True))
    assert mask[16:33, 8:17].all() and mask.sum() == 17 * 9
    assert mirrored[16:33, 48:57].all() and mirrored.sum() == 17 * 9


def test_explanations_count_warnings_of_right_answers_only(script):
    row = {"method": "gradcam", "layer": "features.18", "group": "a", "label": 0, "answer": 0, "warnings": []}
    row |= {"inside_outline": 0.5, "outline_of_head": 0.1, "peak_in_outline": True, "iou": 0.25, "drop": 0.5}
    outside = {"warnings": ["evidence_outside_head"]}
    rows = [row, row | outside | {"inside_outline": 0.3}, row | outside | {"answer": 1, "inside_outline": 0.1}]
    found = {"rows": rows, "part": "test", "run": "fold_1", "slices": 3, "per_class": 5, "class_names": CLASS_NAMES}
    (shown,) = script("publish_explanations").choice_table(found).rows
    assert shown == ["Grad-CAM", "features.18", "3", "0.300", "0.100", "1.000", "0.250", "0.500", "50.0% of 2"]
    by_class = script("publish_explanations").class_table(found).rows
    assert [own[1] for own in by_class] == [*CLASS_NAMES, "all"]
    assert by_class[0][3].startswith("0.300 (")


def test_evidence_of_the_segmenter_replaces_its_own_section_only(script, tmp_path):
    module = script("publish_segmentation")
    shares = dict.fromkeys(("inside_reference", "reference_of_head", "inside_found", "inside_head"), 0.5)
    row = {"image": "a", "group": "p", "found": True, "method": "gradcam", **shares, "peak_in_reference": True}
    rows = [row | {"warnings": []}, {"image": "b", "group": "p", "found": False}]
    write(tmp_path / "evidence.json", {"layer": "decoder.1", "rows": rows})
    page = tmp_path / "page.md"
    page.write_text("# Segmentation\n\n## Before\nx\n\n## Pictures\ny\n")
    module.replace_evidence(page, tmp_path / "evidence.json")
    once = page.read_text()
    module.replace_evidence(page, tmp_path / "evidence.json")
    assert page.read_text() == once
    assert "2 slices with tumor" in once and "in 1 of them no tumor is found" in once
    assert "| Grad-CAM | 1 | 0 | 0.500" in once
    assert once.startswith("# Segmentation\n\n## Before\nx\n") and once.endswith("\n## Pictures\ny\n")
