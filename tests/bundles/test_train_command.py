"""`monai-brain train`, and what `python -m monai.bundle run` says last."""

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from monai_brain import workflow as workflows
from monai_brain.cli import app
from tests.bundles.running import CONFIGS, SMALL, workflow
from tests.conftest import read


def train(*words):
    return CliRunner().invoke(app, ["train", *map(str, words)], env={"COLUMNS": "200"})


def test_training_ends_with_best_epoch_folder_and_next_command(data, tmp_path):
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    words = ["--network", "cnn", "--data", data["dataset_dir"], "--datalist", data["datalist"], "--epochs", 1]
    result = train(*words, "-o", tmp_path / "run", *settings)
    assert result.exit_code == 0, result.output + repr(result.exception)
    best = read(tmp_path / "run" / "run.json")["result"]["best_val_macro_f1"]
    assert f"Best epoch: 1 of 1, validation macro f1 {best:.4f}" in result.output
    assert f"Next: monai-brain evaluate {tmp_path / 'run'} --dataset-dir {data['dataset_dir']}" in result.output
    again = train(*words, "-o", tmp_path / "run", *settings)
    assert isinstance(again.exception, FileExistsError) and "--resume" in str(again.exception)


def test_mistakes_are_named_before_anything_starts(data, tmp_path):
    near = train("--network", "cn", "--data", data["dataset_dir"], "--datalist", data["datalist"])
    assert near.exit_code == 2 and "did you mean cnn?" in near.output and "resnet50" in near.output
    nowhere = train("--network", "cnn", "--data", tmp_path / "nowhere")
    assert isinstance(nowhere.exception, FileNotFoundError) and "--data" in str(nowhere.exception)
    without = train("--network", "cnn", "--data", tmp_path)
    assert f"monai-brain index {tmp_path} -o" in str(without.exception)
    words = ["--network", "cnn", "--data", data["dataset_dir"], "--datalist", data["datalist"]]
    assert "KEY=VALUE" in train(*words, "--set", "epochs 3").output
    misspelt = train(*words, "--set", "batchsize=3", "-o", tmp_path / "run")
    assert "did you mean batch_size?" in (workflows.message_for_users(misspelt.exception) or "")
    assert not (tmp_path / "run").exists()


MISTAKES = {
    "misspelt key": ({"max_epohs": 3}, "did you mean max_epochs?"),
    "no datalist": ({"datalist": "nowhere.json"}, "monai-brain index"),
    "no weights": ({"weights": "nowhere.pt"}, "nowhere.pt"),
    "existing run": ({}, "contains a run; add --resume true"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_last_line_of_the_bundle_is_the_message(mistake, data, tmp_path, capsys):
    overrides, expected = MISTAKES[mistake]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"options": {}}))
    given = {**data, **SMALL, "output_dir": str(tmp_path / "run"), **overrides}
    with pytest.raises(RuntimeError) as caught:
        workflow("train.yaml", "networks/cnn.yaml", **given).run()
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        workflows._in_one_line(type(caught.value), caught.value, caught.tb)
    assert end.value.code == 2
    written = capsys.readouterr().err
    assert written.startswith("error: ") and expected in written


@pytest.mark.slow
def test_command_of_the_bundle_ends_with_the_message(data, tmp_path):
    words = ["run", "training", "--config_file", str(CONFIGS / "train.yaml"), "--max_epohs", "3"]
    words += ["--dataset_dir", data["dataset_dir"], "--datalist", data["datalist"]]
    command = [sys.executable, "-m", "monai.bundle", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "max_epohs (did you mean max_epochs?)" in result.stderr.strip().splitlines()[-2]


def test_other_errors_keep_their_traceback(capsys):
    try:
        raise RuntimeError("a bug")
    except RuntimeError as error:
        workflows._in_one_line(RuntimeError, error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


def test_folder_that_is_not_there_is_answered_before_heavy_imports(tmp_path):
    code = "import sys; from monai_brain.cli import main; sys.argv = ['monai-brain', *sys.argv[1:]]\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n"
    code += "    print(end.code, {'torch', 'monai', 'numpy'} & set(sys.modules))"
    for words in (["predict", "nowhere", "-o", "out"], ["evaluate", "nowhere"], ["report", "nowhere"]):
        command = [sys.executable, "-c", code, *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert result.stdout.strip() == "2 set()", result.stderr
        assert result.stderr.startswith("error: nowhere: no such file or folder")


def test_run_goes_into_its_bundle_unless_it_is_told_another_place(data, tmp_path):
    shutil.copytree(CONFIGS, tmp_path / "bundle" / "configs")
    words = ["--network", "cnn", "--data", data["dataset_dir"], "--datalist", data["datalist"], "--epochs", 1]
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    result = train(*words, *settings, "--bundle", tmp_path / "bundle")
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert [path.name for path in (tmp_path / "bundle").iterdir() if path.name != "configs"] == ["runs"]
    assert f"--bundle {tmp_path / 'bundle'}" in result.output
