"""Files that nobody here wrote, from the test sets of libraries, in one folder: each has one row, none does harm.

`MONAI_BRAIN_ODD_FILES` may name a folder with more of them, such as `Tests/images` of Pillow's source distribution.
"""

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from monai_brain.inference.preparing import SECONDS_PER_CASE
from monai_brain.io import Case, Skipped, UnreadableCase, find_cases, read_case
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CODES_OF_HARM = {"decoder_died", "out_of_memory", "unreadable"}
"""A process died or hung, or an error came that nobody foresaw."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd") / "files"
    nibabels = Path(nib.__file__).parent
    shutil.copytree(Path(pydicom.__file__).parent / "data" / "test_files", folder / "pydicom")
    shutil.copytree(nibabels / "tests" / "data", folder / "nibabel")
    shutil.copytree(nibabels / "nicom" / "tests" / "data", folder / "nicom")
    if more := os.environ.get("MONAI_BRAIN_ODD_FILES"):
        shutil.copytree(more, folder / "more")
    return folder


def test_every_file_has_one_row_and_no_process_dies(odd, tmp_path):
    command = [sys.executable, "-m", "monai_brain", "predict", str(odd), "-o", str(tmp_path / "out"), "--workers", "2"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert not [(row["path"], row["code"]) for row in rows if row["code"] in CODES_OF_HARM]
    found = list(find_cases(odd))
    assert sorted(row["path"] for row in rows) == sorted(entry.id for entry in found)
    sizes = {entry.id: 1 if isinstance(entry, Skipped) else len(entry.files) for entry in found}
    assert sum(sizes[row["path"]] for row in rows) == sum(path.is_file() for path in odd.rglob("*"))
    assert all(np.isfinite(float(row[name])) for row in rows for name in row if name.startswith("prob_") and row[name])
    assert all(row["code"] for row in rows if row["status"] != "ok")


def test_what_is_accepted_is_finite_and_quickly_read(odd):
    accepted, slowest = 0, 0.0
    for case in find_cases(odd):
        if isinstance(case, Skipped):
            continue
        began = time.monotonic()
        try:
            pixels = read_case(case).pixels
        except UnreadableCase as refusal:
            assert refusal.code not in CODES_OF_HARM, case.id
        else:
            accepted += 1
            assert np.isfinite(pixels).all(), case.id
        slowest = max(slowest, time.monotonic() - began)
    assert accepted >= 5
    assert slowest < SECONDS_PER_CASE


def test_dicom_pixels_are_those_of_an_independent_reading(odd):
    """pydicom's array with its rescale, of files that are read as one slice of gray, each for itself."""
    compared = 0
    for path in sorted((odd / "pydicom").rglob("*")):
        if not path.is_file():
            continue
        try:
            image = read_case(Case(path.name, (path,), "slice"))
            data = pydicom.dcmread(path)
        except (UnreadableCase, InvalidDicomError):
            continue
        if image.kind != "slice" or data.get("PhotometricInterpretation") != "MONOCHROME2":
            continue
        slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
        np.testing.assert_allclose(image.pixels[0], data.pixel_array * slope + intercept, rtol=1e-6, err_msg=path.name)
        compared += 1
    assert compared >= 8


def test_nifti_voxels_are_those_of_nibabel(odd):
    """By their sorted values and at their places in the world, whatever the order of axes."""
    compared = 0
    for case in find_cases(odd / "nibabel"):
        if isinstance(case, Skipped) or not case.files[0].name.endswith((".nii", ".nii.gz")):
            continue
        try:
            image = read_case(case)
        except UnreadableCase:
            continue
        source = nib.load(case.files[0])
        values = source.get_fdata().reshape((*source.shape, 1, 1)[:3])
        back = np.linalg.inv(source.affine) @ image.affine_ras
        for index in np.random.default_rng(0).integers(0, image.pixels.shape[1:], (50, 3)):
            there = tuple(np.rint(back @ [*index, 1])[:3].astype(int))
            assert image.pixels[0][tuple(index)] == pytest.approx(values[there], rel=1e-5), case.id
        assert np.allclose(np.sort(image.pixels, axis=None), np.sort(values, axis=None), rtol=1e-5)
        compared += 1
    assert compared >= 1
