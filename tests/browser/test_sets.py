"""The page with calibrated weights, and the page of a folder run, in a real browser."""

import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from monai_brain.evaluation.calibration_file import CALIBRATION, PATIENTS, SLICES, Calibration, write_calibration
from monai_brain.evaluation.conformal import COVERAGES
from monai_brain.inference.apply import predict_folder
from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES
from tests.browser.test_app import give
from tests.conftest import BUNDLE, REPOSITORY, draw_phantom

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The shipped network, made to take every slice for glioma or meningioma."""
    folder = tmp_path_factory.mktemp("weights")
    shutil.copy(BUNDLE / "models" / "model.safetensors", folder)
    least = np.tile([0.0, 0.0, 1.0, 1.0], (len(COVERAGES), 1))
    digest = sha256_of(folder / "model.safetensors")
    write_calibration(folder / CALIBRATION, Calibration(CLASS_NAMES, digest, 1.5, {SLICES: least, PATIENTS: least}, {}))
    return folder


@pytest.fixture(scope="module")
def address(weights):
    command = [sys.executable, "-m", "monai_brain", "app", "--port", "0", "--bundle", str(BUNDLE)]
    command += ["--weights", str(weights)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    yield next(line.split()[1] for line in process.stdout if line.startswith("Page: "))
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def test_classes_that_cannot_be_told_apart_are_said_in_words(page, address, tmp_path):
    cv2.imwrite(str(tmp_path / "slice.png"), draw_phantom(0, 1, size=256))
    page.goto(address)
    page.wait_for_selector("#mb-files", state="attached")
    give(page, tmp_path / "slice.png")
    heading = page.inner_text(".mb-answer h2").lower()
    assert heading in ("glioma or meningioma", "meningioma or glioma")
    words = page.inner_text(".mb-answer")
    assert "None of these classes can be ruled out" in words
    assert "90% coverage" in words
    assert page.locator(".mb-answer .mb-figure").count() == 0  # no single probability stands for both
    assert page.locator(".mb-bar").count() == 4


def test_worklist_shows_sets_and_patients(page, weights, tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "scans" / f"p{number // 2}_{number}.png"), draw_phantom(number, 1, size=256))
    predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(weights), patient_pattern=r"(p\d)_", workers=0)
    page.goto((tmp_path / "out" / "report.html").as_uri())
    rows = page.locator("#cases tbody tr")
    assert rows.count() == 4
    assert all(" or " in rows.nth(number).inner_text() for number in range(4))
    assert "holds the true class in 90% of the cases" in page.inner_text(".numbers")
    patients = page.locator("#patients tbody tr")
    assert [patients.nth(number).locator("td").first.inner_text() for number in range(2)] == ["p0", "p1"]
    page.get_by_role("button", name="set", exact=True).click()  # sorts
    assert rows.count() == 4
