"""The scripts that write pages of docs, on run folders as far as they read them."""

import importlib
import json

import pytest

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
    write(tmp_path / "run.json", {"command": ["-m", "run", "training", "--output_dir", "/somewhere/run"]})
    commands = script("publish_segmentation").commands
    shown = commands("Commands", [tmp_path])
    assert all(word in shown for word in ("index-pairs", "run training", "run evaluating", "monai-brain pool"))
    shown = commands("The bundle's weights", [tmp_path], scored=False)
    assert "index-pairs" in shown and "run training" in shown
    assert "evaluat" not in shown and "pool" not in shown
