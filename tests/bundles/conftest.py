"""A run of the shipped configs on phantoms, shared by all tests of the bundle."""

import shutil

import pytest

from tests.bundles.running import SMALL, workflow


@pytest.fixture(scope="session")
def data(phantom_folder, phantom_datalist):
    return {"dataset_dir": str(phantom_folder), "datalist": str(phantom_datalist)}


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A run of four epochs of the shipped CNN overlay."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = workflow("train.yaml", "networks/cnn.yaml", **data, **SMALL, max_epochs=4, output_dir=str(folder))
    run.run()
    return folder


@pytest.fixture(scope="session")
def evaluated(trained, data):
    run = workflow("train.yaml", "evaluate.yaml", dataset_dir=data["dataset_dir"], run_dir=str(trained))
    run.run()
    return trained / "evaluation_test"


@pytest.fixture
def scans(phantom_folder, tmp_path):
    """Ten good slices, one of them twice, three bad files, one that is no image, one odd name."""
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    for number, path in enumerate(sorted(phantom_folder.rglob("*.png"))[::7][:9]):
        shutil.copy(path, folder / f"{number}.png")
    shutil.copy(folder / "0.png", folder / "sub" / "0.png")
    shutil.copy(folder / "0.png", folder / "=1+1 <img onerror=x>.png")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>")
    (folder / "notes.txt").write_text("x")
    return folder
