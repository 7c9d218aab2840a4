"""The scripts that write pages of docs, on run folders as far as they read them."""

import importlib
import json

import pytest

from monai_brain.evaluation.intervals import quartiles
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


def test_model_that_was_trained_on_every_patient_is_not_scored(script, tmp_path):
    write(tmp_path / "run.json", {"command": ["__main__.py", "run", "training", "--output_dir", "/somewhere/run"]})
    scored = {"command": ["__main__.py", "run", "evaluating", "--run_dir", "/somewhere/run", "--threshold", "0.5"]}
    write(tmp_path / "evaluation_test" / "run.json", scored)
    commands = script("publish_segmentation").commands
    shown = commands("Commands", [tmp_path])
    assert all(word in shown for word in ("index-pairs", "run training --output_dir RUN\n", "monai-brain pool"))
    assert "run evaluating --run_dir RUN --threshold 0.5\n" in shown  # as it was scored
    evaluated = {"command": ["/bin/monai-brain", "evaluate", "/somewhere/run", "--dataset-dir", "/somewhere/lgg"]}
    write(tmp_path / "evaluation_test" / "run.json", evaluated)
    assert "\nmonai-brain evaluate RUN --dataset-dir SLICES\n" in commands("Commands", [tmp_path])
    write(tmp_path / "run.json", {"command": ["__main__.py", "run", "training", "--weights", "/runs/tuned"]})
    assert "run training --weights FIRST\n" in commands("Commands", [tmp_path], [tmp_path.with_name("tuned")])
    settings = {"image_size": 128, "threshold": 0.2}
    shown = commands("The bundle's weights", [tmp_path], published=settings)
    assert "publish_weights.py RUN bundles/brain_tumor_segmentation --threshold 0.2\n" in shown
    assert "index-pairs" in shown and "run training" in shown
    assert "evaluat" not in shown and "pool" not in shown


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


def test_results_have_a_baseline_for_every_part_that_was_trained_on(script):
    published = script("publish_run")

    def run(part, nearest):
        model = {**dict.fromkeys(("macro_f1", "accuracy", "macro_auc"), 0.9), "intervals": {"macro_f1": [0.8, 1.0]}}
        result = {"seconds": 60, "epochs": 1, "best_val_macro_f1": 0.9}
        metrics = {"model": model, "nearest_neighbor": {"macro_f1": nearest, "accuracy": nearest}}
        return published.Run(part, 0, {"options": {"training_part": part}, "result": result}, {}, metrics, [])

    lines = published.table([run("training", 0.5), run("training+validation", 0.75), run("training", 0.5)])
    assert [line for line in lines if "neighbor" in line] == [
        "| 1-nearest-neighbor on thumbnails | | | | | 0.5000 | 0.5000 | undefined |",
        "| 1-nearest-neighbor on thumbnails, trained on training+validation | | | | | 0.7500 | 0.7500 | undefined |",
    ]
