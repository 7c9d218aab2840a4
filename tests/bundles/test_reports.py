"""Reports with a checklist, on a run of the shipped configs."""

import shutil

import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.cli.evaluation import ChecklistName
from monai_brain.report.checklists import CHECKLISTS
from monai_brain.report.run_facts import InvalidRun
from tests.conftest import read


def report(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)], env={"COLUMNS": "200"})


def test_command_line_names_every_checklist():
    assert [name.value for name in ChecklistName] == list(CHECKLISTS)
    assert len(CHECKLISTS["claim2024"].items) == 44
    assert len({item.number.rstrip("abcdefg") for item in CHECKLISTS["tripod-ai"].items}) == 27


@pytest.mark.parametrize("checklist", CHECKLISTS)
def test_report_is_one_page_with_every_item(checklist, evaluated, tmp_path):
    page = tmp_path / "page.html"
    result = report(evaluated.parent, "--checklist", checklist, "-o", page)
    assert result.exit_code == 0, result.output + repr(result.exception)
    text = page.read_text(encoding="utf-8")
    items = CHECKLISTS[checklist].items
    assert all(f"<td>{item.number}</td>" in text for item in items)
    number = text.count("for the authors</span>")
    assert f"{len(items) - number} of {len(items)} items filled from the run" in result.output
    assert 0 < number < len(items)
    metrics = read(evaluated / "metrics.json")
    assert f"Accuracy {metrics['model']['accuracy']:.3f}" in text
    assert "No group is in two parts." in text
    assert 'src="data:image/png;base64,' in text and 'src="evaluation' not in text
    assert str(evaluated.parent.parent) not in text  # nothing of this computer
    assert ("Learning curves" in text and "Errors with the highest" in text) or metrics["model"]["accuracy"] == 1


def test_groups_in_two_parts_are_said(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated.parent, run, ignore=shutil.ignore_patterns("checkpoints", "tensorboard", "*.safetensors"))
    datalist = (run / "datalist.json").read_text()
    group = read(run / "datalist.json")["test"][0]["group"]
    other = read(run / "datalist.json")["training"][0]["group"]
    (run / "datalist.json").write_text(datalist.replace(f'"{group}"', f'"{other}"'))
    assert report(run).exit_code == 0
    assert "groups are in two parts or more" in (run / "report_claim2024.html").read_text()
    again = report(run)
    assert isinstance(again.exception, FileExistsError)


def test_what_is_no_evaluated_run_is_refused_with_the_way_out(trained, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(InvalidRun, match=r"no run\.json"):
        raise report(tmp_path / "run").exception
    for name in ("run.json", "datalist.json"):
        shutil.copy(trained / name, tmp_path / "run" / name)
    with pytest.raises(InvalidRun, match="monai-brain evaluate"):
        raise report(tmp_path / "run").exception
    assert report(trained, "--checklist", "claim2020").exit_code == 2
