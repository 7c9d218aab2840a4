"""Tiny data: phantoms whose class can be seen, written where a test may write."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from monai_brain.data.index import index_folder
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLE = REPOSITORY / "bundles" / "brain_tumor_classification"

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture
def phantom() -> Callable[..., np.ndarray]:
    """Make a head of 64x64 with a bright spot whose place and size show the class."""
    return draw_phantom


def draw_phantom(class_index: int, seed: int, size: int = 64) -> np.ndarray:
    random = np.random.default_rng([class_index, seed])
    image = random.integers(0, 25, (size, size), dtype=np.uint8)
    center = size // 2 + int(random.integers(-3, 4))
    cv2.ellipse(image, (center, center), (size // 3, size // 3 + 3), 0, 0, 360, 110 + int(random.integers(30)), -1)
    spot = {0: (-9, -7, 7), 1: (13, 9, 5), 3: (0, 13, 4)}.get(class_index)
    if spot:
        cv2.circle(image, (center + spot[0], center + spot[1]), spot[2], 230 + int(random.integers(25)), -1)
    return image


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 16 phantoms each, two for each of 8 patients."""
    folder = tmp_path_factory.mktemp("phantoms")
    for index, name in enumerate(CLASS_NAMES):
        (folder / name).mkdir()
        for number in range(16):
            path = folder / name / f"patient_{index}{number // 2}_{number % 2}.png"
            cv2.imwrite(str(path), draw_phantom(index, number))
    return folder


@pytest.fixture(scope="session")
def phantom_datalist(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("datalist") / "datalist.json"
    write_json(path, index_folder(phantom_folder, patient_pattern=r"patient_(\d+)", workers=1).datalist)
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    folder = Path(os.environ.get("MONAI_BRAIN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "nickparvar_224" / "Training").is_dir():
        pytest.skip(f"real images are not in {folder}; set MONAI_BRAIN_DATA")
    return folder


@pytest.fixture(scope="session")
def frozen_split(real_data: Path) -> Path:
    return real_data.parent / "splits" / "classification_v1.json"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fail-on-skip", action="store_true", help="a skipped test fails the run: for CI, where nothing may be absent"
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--fail-on-skip") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
