"""A folder run and a session whose input check refuses everything, or says nothing."""

import json

import cv2
import pytest
import torch
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.evaluation.input_check import INPUT_CHECK, KINDS, PLANES
from monai_brain.inference.classification import NO_CHECK
from monai_brain.inference.prediction import ABSTAINED
from monai_brain.inference.session import Session, cases_in
from monai_brain.io.weights import write_weights
from monai_brain.networks.input_check import InputCheckNet
from tests.bundles.running import table
from tests.conftest import BUNDLE, draw_phantom

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The shipped weights, and beside them a check that takes every picture for FLAIR."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "model.safetensors").write_bytes((BUNDLE / "models" / "model.safetensors").read_bytes())
    network = InputCheckNet(len(KINDS), len(PLANES))
    torch.nn.init.constant_(network.kind.bias, 0)
    network.kind.bias.data[KINDS.index("flair")] = 50
    write_weights(network, folder / INPUT_CHECK)
    return folder


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), draw_phantom(0, number, size=128))
    return folder


def predict(scans, output, weights, *options):
    command = ["predict", str(scans), "-o", str(output), "--weights", str(weights), "--workers", "0", *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return list(table(output).values()), json.loads((output / "run.json").read_text(encoding="utf-8"))


def test_abstention_has_a_reason_and_probabilities_and_no_class(weights, scans, tmp_path):
    rows, run = predict(scans, tmp_path / "out", weights, "--explain", "--review")
    for row in rows:
        assert (row["status"], row["code"], row["label"], row["overlay"]) == (ABSTAINED, "other_sequence", "", "")
        assert (row["sequence"], row["sequence_source"]) == ("flair", "picture")
        assert row["plane"] in PLANES
        assert sum(float(row[name]) for name in row if name.startswith("prob_")) == pytest.approx(1, abs=1e-5)
    assert run["counts"]["status"] == {ABSTAINED: 2}
    assert run["counts"]["code"] == {"other_sequence": 2}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "an MR sequence other than T1 with contrast" in page
    assert len(list((tmp_path / "out" / "thumbnails").iterdir())) == 2


def test_answer_anyway_gives_the_class_and_keeps_the_reason_as_a_warning(weights, scans, tmp_path):
    rows, _ = predict(scans, tmp_path / "out", weights, "--answer-anyway")
    for row in rows:
        assert (row["status"], row["code"]) == ("ok", "")
        assert row["label"]
        assert "other_sequence" in row["warnings"].split()


def test_weights_without_a_check_answer_and_say_so_once(weights, scans, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("rich.console.Console.print", lambda console, *words, **options: said.extend(words))
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((weights / "model.safetensors").read_bytes())
    rows, run = predict(scans, tmp_path / "out", bare)
    assert [(row["status"], row["sequence"]) for row in rows] == [("ok", "")] * 2
    assert run["options"]["input_check"] is None
    assert said.count(NO_CHECK) == 1


def test_session_gives_an_abstention_as_a_result(weights, scans, tmp_path):
    session = Session(BUNDLE, weights, workers=0)
    result = session.predict(cases_in(scans, tmp_path / "unpacked")[0], tmp_path / "results")
    session.close()
    assert (result.prediction.status, result.prediction.code) == (ABSTAINED, "other_sequence")
    assert len(result.grays) == 1
