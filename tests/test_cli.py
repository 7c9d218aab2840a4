"""The command line as typed: exit codes, one-line errors, tables."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from monai_brain.cli import app, data, scans
from monai_brain.cli.shared import COMMAND_PANELS
from monai_brain.data.demo.writing import VOLUME_WRITERS
from monai_brain.data.slice_labels import SEQUENCES
from monai_brain.explain.methods import METHODS
from monai_brain.inference import apply
from monai_brain.inference.engines import ENGINES
from monai_brain.inference.options import FolderRunOptions, NoEffect, check_effect
from monai_brain.inference.sets import DEFAULT_COVERAGE
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES
from monai_brain.training import study
from tests.conftest import REPOSITORY, read

WIDE = {"COLUMNS": "300", "TERMINAL_WIDTH": "300"}
"""So that no message is broken into lines."""


def monai_brain(*words):
    command = [sys.executable, "-m", "monai_brain", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_the_commands():
    result = monai_brain("--help")
    assert result.returncode == 0
    assert all(name in result.stdout for name in ("demo-data", "index", "predict"))


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_panel_and_a_help_text(name):
    options = [own for own in COMMANDS[name].params if own.param_type_name == "option"]
    assert [own.name for own in options if not own.help] == []
    assert [own.name for own in options if own.rich_help_panel is None] == []
    assert COMMANDS[name].rich_help_panel in COMMAND_PANELS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_can_be_typed(name):
    examples = [line for line in COMMANDS[name].epilog.splitlines() if line.startswith("monai-brain ")]
    assert any(line.startswith(f"monai-brain {name}") for line in examples)
    for _, other, *words in map(shlex.split, examples):
        COMMANDS[other].make_context(other, words)


def test_names_that_can_be_chosen_are_those_of_the_library():
    assert (*ENGINES, "auto") == scans.ENGINES
    assert tuple(METHODS) == scans.METHODS
    assert {own for engine in ENGINES.values() for own in engine.precisions} | {"auto"} == set(scans.PRECISIONS)
    assert [own.value for own in data.MrSequence] == list(SEQUENCES)
    assert [own.value for own in data.Layout] == ["classes", *VOLUME_WRITERS]
    assert {own.value for own in data.Tumor} < set(CLASS_NAMES)
    assert [own.value for own in scans.PagePrecision] == list(ENGINES["torch"].precisions)


@pytest.mark.parametrize("bundle", ["brain_tumor_classification", "brain_tumor_segmentation"])
def test_defaults_in_the_help_are_those_of_the_bundles(bundle):
    config = yaml.safe_load((REPOSITORY / "bundles" / bundle / "configs" / "inference.yaml").read_text())
    shown = {own.name: own.show_default for own in COMMANDS["predict"].params if isinstance(own.show_default, str)}
    for name in ("method", "engine", "precision", "smallest_area", "smallest_volume"):
        assert shown[name] == str(config.get(name, shown[name])), name
    assert str(config["batch_size"]) in shown["batch_size"]
    assert shown["coverage"] == str(DEFAULT_COVERAGE)
    assert config["recursive"] is True


def test_completion_script_is_that_of_the_shell_asked_for():
    marks = {"bash": "complete -o default -F", "zsh": "#compdef monai-brain", "fish": "complete --command monai-brain"}
    for shell, mark in marks.items():
        result = CliRunner().invoke(app, ["--show-completion", shell])
        assert result.exit_code == 0, result.output
        assert mark in result.output
        assert "_MONAI_BRAIN_COMPLETE" in result.output


def test_names_are_completed_in_the_shell():
    typed = {
        "_MONAI_BRAIN_COMPLETE": "complete_bash",
        "COMP_WORDS": "monai-brain predict --engine o",
        "COMP_CWORD": "3",
    }
    result = CliRunner().invoke(app, [], prog_name="monai-brain", env=typed)
    assert result.output.split() == ["onnx", "openvino"]


def test_unknown_engine_is_refused_with_those_that_there_are(tmp_path):
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "-o", "out", "--engine", "tensorrt"], env=WIDE)
    assert result.exit_code == 2
    assert "'tensorrt' is not one of torch, onnx, openvino, auto" in result.output


WITHOUT_EFFECT = {
    "masks of a classifier": ("predict IN -o OUT --masks --threshold 0.5", "--masks, --threshold: brain_tumor_class"),
    "no masks of a classifier": ("predict IN -o OUT --no-masks", "--no-masks: brain_tumor_classification has no such"),
    "overlays of a classifier": ("predict IN -o OUT --overlays", "did you mean --bundle brain_tumor_segmentation?"),
    "force with a classifier": ("predict IN -o OUT --force", "--force: brain_tumor_classification has no such option"),
    "slices of a segmenter": (
        "predict IN -o OUT --bundle brain_tumor_segmentation --slices all --coverage 0.9",
        "--slices, --coverage: brain_tumor_segmentation has no such option; did you mean --bundle brain_tumor_class",
    ),
    "method alone": ("predict IN -o OUT --method occlusion", "--method: has no effect without --explain"),
    "resume and overwrite": ("predict IN -o OUT --resume --overwrite", "--resume cannot be combined with --overwrite"),
    "slices of volumes": ("demo-data OUT --layout nifti --slices 3", "--slices: applies to --layout classes only"),
    "folds of a file": ("index-pairs IN -o OUT --split IN --folds 5", "--folds: has no effect with --split"),
    "fold and institution": ("index-pairs IN -o OUT --leave-out CS --fold 1", "--fold: has no effect with"),
    "part of a table": ("evaluate IN IN -o OUT --part test", "--part: has no effect on predictions with LABELS"),
    "subgroups of a run": ("evaluate IN --dataset-dir IN --by sex", "--by: has an effect only on predictions with"),
    "runs against others": ("evaluate IN --dataset-dir IN --against IN", "--against: has no effect on a run"),
    "labels without a site": ("calibrate IN --labels IN", "--labels: has an effect with --site only"),
}


@pytest.mark.parametrize("case", WITHOUT_EFFECT)
def test_options_without_effect_are_refused(case, tmp_path):
    line, expected = WITHOUT_EFFECT[case]
    (tmp_path / "in").mkdir()
    words = [{"IN": str(tmp_path / "in"), "OUT": str(tmp_path / "out")}.get(word, word) for word in line.split()]
    result = CliRunner().invoke(app, words, env=WIDE)
    assert result.exit_code in (1, 2)  # 1: an error of the library, which `main` makes one line and exit code 2 of
    assert expected in (result.output if result.exit_code == 2 else str(result.exception))
    assert result.exit_code == 2 or isinstance(result.exception, NoEffect)
    assert not (tmp_path / "out").exists()


def test_what_a_bundle_only_records_is_warned_of():
    bundles = apply.repository_bundles()
    found = {
        name: check_effect(FolderRunOptions(weights=Path("w"), deidentify=True), place, bundles)
        for name, place in bundles.items()
    }
    warning = "warning: --deidentify: has no effect with brain_tumor_classification"
    assert found == {"brain_tumor_classification": [warning], "brain_tumor_segmentation": []}


@pytest.mark.parametrize(("status", "words"), [({}, "holds no files"), ({"skipped": 2}, "2 file(s) skipped")])
def test_empty_folder_is_said_in_words(tmp_path, monkeypatch, status, words):
    counts = {"cases": 0, "status": status, "label": {}, "code": {}, "warning": {}}
    write_json(tmp_path / "out" / "run.json", {"counts": counts})
    monkeypatch.setattr(apply, "predict_folder", lambda *_, **__: 2)
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "nothing to do" in result.stderr
    assert words in result.stderr


def test_wrong_use_is_exit_2():
    assert monai_brain("predict").returncode == 2


def test_missing_folder_is_one_line_and_exit_2(tmp_path):
    result = monai_brain("index", tmp_path / "nowhere", "-o", tmp_path / "d.json")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_predict_without_weights_is_one_line_and_exit_2(tmp_path, phantom_folder, bundle):
    shutil.copytree(bundle / "configs", tmp_path / "bundle" / "configs")
    result = monai_brain("predict", phantom_folder, "-o", tmp_path / "out", "--bundle", tmp_path / "bundle")
    assert result.returncode == 2, result.stderr
    assert "run training" in result.stderr
    assert "Traceback" not in result.stderr


def test_device_that_is_not_here_is_named_with_those_that_are(tmp_path, phantom_folder):
    result = monai_brain("predict", phantom_folder, "-o", tmp_path / "out", "--device", "cuda:77")
    assert result.returncode == 2
    assert "cuda:77" in result.stderr
    assert "cpu" in result.stderr
    assert not (tmp_path / "out").exists()


def test_index_writes_a_datalist_and_takes_it_back_as_a_split(tmp_path, phantom_folder):
    first = monai_brain("index", phantom_folder, "-o", tmp_path / "a.json", "--patient-pattern", r"patient_(\d+)")
    assert first.returncode == 0, first.stderr
    assert "16 (8)" in first.stdout
    again = monai_brain("index", phantom_folder, "-o", tmp_path / "b.json", "--split", tmp_path / "a.json")
    assert again.returncode == 0, again.stderr
    assert read(tmp_path / "a.json") == read(tmp_path / "b.json")


def test_split_that_does_not_fit_is_exit_3_and_writes_nothing(tmp_path, phantom_folder, phantom_datalist):
    shutil.copytree(phantom_folder, tmp_path / "set")
    changed = next((tmp_path / "set" / "glioma").iterdir())
    changed.write_bytes(b"x")
    result = monai_brain("index", tmp_path / "set", "-o", tmp_path / "b.json", "--split", phantom_datalist)
    assert result.returncode == 3
    assert changed.name in result.stderr
    assert not (tmp_path / "b.json").exists()


def test_too_few_patients_is_one_line_and_exit_2(tmp_path, phantom_folder):
    result = monai_brain("index", phantom_folder, "-o", tmp_path / "a.json", "--patient-pattern", "patient_")
    assert result.returncode == 2
    assert result.stderr.startswith("error: class ")


def test_evaluation_of_a_segmenter_says_dice_of_patients(tmp_path, monkeypatch):
    one = {"number": 30, "mean_dice": 0.8, "median_dice": 0.85, "mean_interval": [0.7, 0.9]}
    metrics = {"patients": {**one, "median_interval": [0.75, 0.95]}, "by_institution": {}, "bootstrap": "95%"}
    write_json(tmp_path / "metrics.json", metrics)
    monkeypatch.setattr(apply, "evaluate_run", lambda *_, **__: tmp_path)
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--dataset-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "0.800 (0.700 to 0.900)" in result.output
    assert "0.850 (0.750 to 0.950)" in result.output


def test_study_of_segmenters_leads_to_pooling(tmp_path, monkeypatch):
    write_json(tmp_path / "evaluation_test" / "metrics.json", {"patients": {}})
    monkeypatch.setattr(study, "read_study", lambda *_: None)
    monkeypatch.setattr(study, "run_study", lambda *_, **__: study.Outcome([tmp_path], []))
    result = CliRunner().invoke(app, ["study", "plan.yaml", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "monai-brain pool" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_demo_data_is_made(tmp_path):
    result = monai_brain("demo-data", tmp_path / "demo", "--patients", 4, "--slices", 1, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "demo").rglob("*.png"))) == 4


WRITING = {
    "demo-data": (["demo-data", "OUT"], "folder"),
    "index": (["index", "IN", "-o", "OUT"], "file"),
    "audit": (["audit", "IN", "-o", "OUT"], "folder"),
    "audit's split": (["audit", "IN", "-o", "FREE", "--split-to", "OUT"], "file"),
    "index-pairs": (["index-pairs", "IN", "-o", "OUT"], "file"),
    "label-slices": (["label-slices", "IN", "-o", "OUT", "--split", "IN"], "folder"),
    "slices": (["slices", "IN", "-o", "OUT"], "folder"),
    "explore": (["explore", "IN", "-o", "OUT", "--dataset-dir", "IN"], "folder"),
    "pool": (["pool", "IN", "-o", "OUT"], "folder"),
    "compare": (["compare", "IN", "-o", "OUT"], "folder"),
    "agree": (["agree", "IN", "-o", "OUT"], "file"),
    "evaluate": (["evaluate", "IN", "IN", "-o", "OUT"], "folder"),
    "report": (["report", "IN", "-o", "OUT"], "file"),
}


@pytest.mark.parametrize("command", WRITING)
def test_nothing_is_replaced_unasked(command, tmp_path):
    words, kind = WRITING[command]
    output = tmp_path / "out"
    kept = output if kind == "file" else output / "thesis.tex"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("x")
    (tmp_path / "in").mkdir()
    places = {"OUT": str(output), "IN": str(tmp_path / "in"), "FREE": str(tmp_path / "free")}
    words = [places.get(word, word) for word in words]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, FileExistsError), result.exception
    assert "--overwrite" in str(result.exception)
    assert kept.read_text() == "x"
    assert not (tmp_path / "free").exists()
    # with it, the command goes on to what is wrong with its input, or to work
    if command != "demo-data":
        assert not isinstance(CliRunner().invoke(app, [*words, "--overwrite"]).exception, FileExistsError)


def test_index_warns_of_groups_in_two_parts_of_the_split_that_it_keeps(tmp_path, phantom_folder):
    for path in sorted(phantom_folder.rglob("*.png")):
        for part in ("Training", "Testing") if path.name == "patient_00_0.png" else ("Training",):
            target = tmp_path / "set" / part / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    words = ["index", str(tmp_path / "set"), "-o", str(tmp_path / "d.json"), "--patient-pattern", r"patient_(\d+)"]
    refused = CliRunner().invoke(app, words)
    assert "--keep-split" in str(refused.exception)
    result = CliRunner().invoke(app, [*words, "--keep-split", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "1 group(s) are in two parts" in result.stderr
    assert [item["image"] for item in read(tmp_path / "d.json")["test"]] == ["Testing/glioma/patient_00_0.png"]
    words += ["--overwrite", "--split", str(tmp_path / "d.json"), "--classes", "a,b"]
    mixed = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    assert mixed.exit_code == 2
    assert "leave out --keep-split, --classes" in mixed.output
