"""Files that nobody here wrote, from the test sets of libraries, in one folder: each has one row, none does harm.

All files of pydicom's, nibabel's and scikit-image's wheels, and the test images of Pillow's source distribution where
the package index is reached. `MONAI_BRAIN_ODD_FILES` may name a folder with more.
"""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_brain.inference.preparation import SECONDS_PER_CASE
from monai_brain.io import Case, Skipped, UnreadableCase, find_cases, read_case
from tests.conftest import REPOSITORY
from tests.end_to_end.independent_decoders import PICTURES, agree, decoded, decoded_dicom, decoded_nifti

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CODES_OF_HARM = {"decoder_died", "out_of_memory", "unreadable"}
"""A process died or hung, or an error came that nobody foresaw."""

WHEELS = ("pydicom", "nibabel", "skimage")

OTHER_COLORS = "lab_converted"
"""Color spaces that decoders bring to RGB by formulas of their own."""

SHOWS_WHAT_PAL8_SHOWS = ("pal8os2.bmp", "pal8os2sp.bmp", "mmap_error.bmp")
"""Of Pillow's BMPs: no decoder of `independent_decoders` gets the color table, or the missing last byte, right."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd") / "files"
    for name in WHEELS:
        package = Path(importlib.util.find_spec(name).origin).parent
        shutil.copytree(package, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    add_tests_of_pillow(folder / "pillow")
    if more := os.environ.get("MONAI_BRAIN_ODD_FILES"):
        shutil.copytree(more, folder / "more")
    return folder


def add_tests_of_pillow(folder):
    """From the source distribution of the version that is installed, if it can be had."""
    sources = folder.parent.parent / "sources"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--no-deps", "--no-binary"]
    command = [*download, "pillow", "--dest", str(sources), f"pillow=={version('pillow')}"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return
    shutil.unpack_archive(next(sources.glob("*.tar.gz")), sources)
    shutil.move(next(sources.glob("*/Tests")), folder)


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
    assert accepted >= 20
    assert slowest < SECONDS_PER_CASE


def test_pixels_of_pictures_are_those_of_an_independent_decoder(odd):
    """PNG, BMP and TIFF to the last value (with transparency: to rounding), JPEG as far as its decoders agree."""
    compared, wrong = 0, []
    for case in find_cases(odd):
        if isinstance(case, Skipped) or len(case.files) > 1 or case.files[0].name in SHOWS_WHAT_PAL8_SHOWS:
            continue
        path = case.files[0]
        try:
            image = read_case(case)
        except UnreadableCase:
            continue
        if path.read_bytes().startswith(PICTURES) and OTHER_COLORS not in image.warnings:
            compared += 1
            if not any(agree(image, other, path) for other in decoded(path)):
                wrong.append(case.id)
    assert not wrong
    assert compared >= (400 if (odd / "pillow").is_dir() else 20)


def test_bmps_that_others_get_wrong_show_the_picture_of_their_kind(odd):
    folder = odd / "pillow" / "images"
    if not folder.is_dir():
        return
    expected = read_case(Case("pal8.bmp", (folder / "bmp" / "g" / "pal8.bmp",), "slice")).pixels
    for name in SHOWS_WHAT_PAL8_SHOWS:
        path = next(folder.rglob(name))
        np.testing.assert_array_equal(read_case(Case(name, (path,), "slice")).pixels, expected, err_msg=name)


def test_dicom_pixels_are_those_of_an_independent_decoder(odd):
    """Of files that are read as one slice, each for itself."""
    compared = 0
    for path in sorted((odd / "pydicom").rglob("*")):
        if not path.is_file() or path.read_bytes()[128:132] != b"DICM":
            continue
        try:
            image = read_case(Case(path.name, (path,), "slice"))
        except UnreadableCase:
            continue
        if image.kind == "slice":
            pixels = np.moveaxis(image.pixels, 0, -1) if len(image.pixels) > 1 else image.pixels[0]
            np.testing.assert_array_equal(pixels, np.squeeze(decoded_dicom(path)), err_msg=path.name)
            compared += 1
    assert compared >= 15


def test_nifti_voxels_are_those_of_an_independent_decoder(odd):
    """By their sorted values, and at their places in the world, whatever the order of axes."""
    compared = 0
    for case in find_cases(odd / "nibabel"):
        if isinstance(case, Skipped) or not case.files[0].name.endswith((".nii", ".nii.gz")):
            continue
        try:
            image = read_case(case)
        except UnreadableCase:
            continue
        source = nib.load(case.files[0])
        values = decoded_nifti(case.files[0])
        back = np.linalg.inv(source.affine) @ image.affine_ras
        for index in np.random.default_rng(0).integers(0, image.pixels.shape[1:], (50, 3)):
            there = tuple(np.rint(back @ [*index, 1])[:3].astype(int))
            assert image.pixels[0][tuple(index)] == pytest.approx(values[there], rel=1e-5), case.id
        assert np.allclose(np.sort(image.pixels, axis=None), np.sort(values, axis=None), rtol=1e-5)
        compared += 1
    assert compared >= 1
