"""Data sets with other classes than the default ones, from their folders to the page."""

import csv
import json
import re
import shutil
from html import escape, unescape

import cv2
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from monai_brain.app.widgets import answer
from monai_brain.cli import app
from monai_brain.data.demo import write_demo_slices
from monai_brain.inference.session import Session, cases_in, result_as_json
from monai_brain.io.settings import SettingsConflict
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES, colors_of
from monai_brain.training.run import CannotResume
from tests.bundles.running import SMALL, cause, table, workflow
from tests.conftest import BUNDLE, read

pytestmark = pytest.mark.slow

OWN = {
    2: ("tumor", "no tumor"),
    5: ("Schwannoma T1C+", "Ependimoma (baixo grau, anaplásico)", "meningioma", "_A&B", "c"),
}
"""Whatever was rendered: what is tested is whose names come out where."""


def monai_brain(*words):
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo_slices(folder, patients=20, slices_per_patient=2, workers=1)
    return sorted(folder.rglob("*.png"))


@pytest.fixture(scope="module", params=OWN)
def names(request):
    return OWN[request.param]


@pytest.fixture(scope="module")
def own(names, demo, tmp_path_factory):
    """Images in folders of their own classes and of another one, their datalist, and a run of one epoch."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "images" / "left over").mkdir(parents=True)
    for path in demo:
        target = folder / "images" / names[int(path.name.split("_")[2]) % len(names)] / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    (folder / "classes.txt").write_text("\n".join(names), encoding="utf-8")
    words = ["index", folder / "images", "-o", folder / "datalist.json", "--classes", folder / "classes.txt"]
    indexed = monai_brain(*words, "--patient-pattern", r"patient_(\d+)", "--workers", 1)
    assert indexed.exit_code == 0, indexed.output
    assert "left out: left over/ (other_class)" in indexed.output
    data = {"dataset_dir": str(folder / "images"), "datalist": str(folder / "datalist.json")}
    options = {**data, **SMALL, "max_epochs": 1, "output_dir": str(folder / "run")}
    workflow("train.yaml", "networks/cnn.yaml", **options).run()
    return folder


@pytest.fixture(scope="module")
def evaluated(own):
    """As the command line does it."""
    words = ["evaluate", own / "run", "--dataset-dir", own / "images"]
    result = monai_brain(*words)
    assert result.exit_code == 0, result.output
    again = monai_brain(*words)
    assert isinstance(again.exception, FileExistsError)
    assert monai_brain(*words, "--overwrite").exit_code == 0
    return own / "run" / "evaluation_test"


@pytest.fixture(scope="module")
def scans(own, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for number, path in enumerate(sorted((own / "images").rglob("*.png"))[:6]):
        shutil.copy(path, folder / f"{number}.png")
    return folder


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_classes_travel_with_the_weights(own, names):
    with safe_open(own / "run" / "model.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["settings"])
    assert tuple(settings["class_names"]) == names
    assert tuple(read(own / "run" / "run.json")["settings"]["class_names"]) == names
    assert settings["network_def"]["num_classes"] == len(names)


def test_evaluation_has_the_datalists_classes(own, names, evaluated):
    metrics = read(evaluated / "metrics.json")
    assert tuple(metrics["model"]["per_class"]) == names
    assert len(metrics["model"]["confusion_matrix"]) == len(names)
    assert bool(metrics["tumor_classes"]) == ("no tumor" in names)
    scored = rows(evaluated / "predictions.csv")
    assert [column for column in scored[0] if column.startswith("prob_")] == [f"prob_{name}" for name in names]
    assert {row["reference"] for row in scored} == set(names)
    for figure in ("confusion_matrix.png", "roc.png"):
        assert cv2.imread(str(evaluated / figure)).std() > 5


def test_runs_with_own_classes_are_compared(own, names, evaluated, tmp_path):
    result = monai_brain("compare", own / "run", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(tmp_path / "out" / "confusion_matrices.png")).std() > 5


def test_data_with_own_classes_is_explored(own, names, tmp_path):
    result = monai_brain("explore", own / "datalist.json", "--dataset-dir", own / "images", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    page = unescape((tmp_path / "out" / "exploration.html").read_text())
    assert "".join(f"<th>{name}</th>" for name in names) in re.sub(r"<th[^>]*>", "<th>", page)


def test_explanations_name_the_own_classes(own, names, tmp_path):
    files = ("train.yaml", "evaluate.yaml", "explain.yaml")
    options = {"dataset_dir": str(own / "images"), "run_dir": str(own / "run"), "output_dir": str(tmp_path)}
    workflow(*files, **options, checked_images=1).run()
    assert tuple(read(tmp_path / "explanations.json")["by_predicted_class"]) == names
    explained = rows(tmp_path / "explanations.csv")
    assert {row["reference"] for row in explained} == set(names)
    for name in {row["predicted"] for row in explained if row["inside_head"]}:
        assert (tmp_path / f"examples_{name}.png").is_file()


def test_folder_run_whole_and_in_parts_has_the_own_columns(own, names, scans, tmp_path):
    words = ["predict", scans, "--weights", own / "run", "--explain", "--review", "--workers", 0]
    assert monai_brain(*words, "-o", tmp_path / "whole").exit_code == 0
    found = table(tmp_path / "whole")
    assert len(found) == 6
    for row in found.values():
        shares = {name: float(row[f"prob_{name}"]) for name in names}
        assert [column for column in row if column.startswith("prob_")] == [f"prob_{name}" for name in names]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert shares[row["label"]] == max(shares.values())
    review = unescape((tmp_path / "whole" / "review.html").read_text())
    assert re.findall(r'class="relabel" data-label="([^"]+)"', review) == list(names)
    for name, color in colors_of(names).items():
        assert f'style="background:{color}"></span>{name}</button>' in review
    for part in ("1/2", "2/2"):
        assert monai_brain(*words, "-o", tmp_path / "parts", "--part", part).exit_code == 0
    assert monai_brain("merge", tmp_path / "parts").exit_code == 0
    assert table(tmp_path / "parts") == found


def test_page_shows_and_saves_the_own_classes(own, names, scans, tmp_path):
    session = Session(BUNDLE, own / "run")
    try:
        result = session.predict(cases_in(scans, tmp_path / "unpacked")[0], tmp_path / "results")
        heat = session.heat(result, 0, "gradcam")
    finally:
        session.close()
    assert heat.shape == (SMALL["image_size"],) * 2
    shown = answer(result)
    bars = re.findall(r'<div class="mb-bar"><span>([^<]*)</span>.*?background: (#\w+)', shown)
    assert [(unescape(name), color) for name, color in bars] == list(colors_of(names).items())
    assert all(escape(name) in shown for name in names)
    row = json.loads(result_as_json(result, session.columns))
    assert [key for key in row if key.startswith("prob_")] == [f"prob_{name}" for name in names]
    assert row["label"] in names


def test_weights_and_datalist_of_other_classes_name_both(own, names, data, trained):
    for run, images, datalist in (
        (trained, own / "images", own / "datalist.json"),
        (own / "run", data["dataset_dir"], data["datalist"]),
    ):
        words = ["evaluate", run, "--dataset-dir", images, "--external", datalist, "--external-dir", images]
        message = str(cause(monai_brain(*words).exception))
        assert all(", ".join(classes) in message for classes in (names, CLASS_NAMES)), message
    words = ["evaluate", BUNDLE, "--dataset-dir", own / "images", "--datalist", own / "datalist.json"]
    message = str(cause(monai_brain(*words).exception))
    assert all(", ".join(classes) in message for classes in (names, CLASS_NAMES)), message
    assert not (BUNDLE / "evaluation_test").exists()


def test_classes_named_beside_the_weights_may_not_contradict_them(own, names, scans, tmp_path):
    files = {"weights": str(own / "run"), "input_dir": str(scans), "output_dir": str(tmp_path / "out")}
    with pytest.raises(RuntimeError) as caught:
        workflow("inference.yaml", kind="infer", **files, class_names=[*names[1:], names[0]]).run()
    assert isinstance(cause(caught.value), SettingsConflict)
    assert "class_names" in str(cause(caught.value))


def test_run_of_before_classes_were_recorded_goes_on(own, tmp_path):
    run = shutil.copytree(own / "run", tmp_path / "run")
    manifest = read(run / "run.json")
    del manifest["settings"]["class_names"]
    write_json(run / "run.json", manifest)
    options = {"dataset_dir": str(own / "images"), "datalist": str(own / "datalist.json"), "output_dir": str(run)}
    workflow("train.yaml", "networks/cnn.yaml", **options, **SMALL, max_epochs=2, resume=True).run()
    assert len(rows(run / "metrics.csv")) == 2


def test_run_does_not_go_on_with_other_classes(own, names, tmp_path):
    datalist = read(own / "datalist.json")
    write_json(tmp_path / "renamed.json", datalist | {"class_names": [*names[:-1], "renamed"]})
    run = shutil.copytree(own / "run", tmp_path / "run")
    options = {"dataset_dir": str(own / "images"), "datalist": str(tmp_path / "renamed.json"), "output_dir": str(run)}
    with pytest.raises(RuntimeError) as caught:
        workflow("train.yaml", "networks/cnn.yaml", **options, **SMALL, max_epochs=2, resume=True).run()
    assert isinstance(cause(caught.value), CannotResume)
