"""What the software is for, on real MR images. Skipped, with the reason, where they are not there."""

import csv
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from monai_brain.data.index import count_by_class, index_folder
from monai_brain.data.splits import PARTS, check_hashes, load_datalist, read_datalist
from monai_brain.evaluation.baselines import nearest_neighbors, thumbnails
from monai_brain.evaluation.metrics import macro_f1
from monai_brain.io import Case, read_case
from monai_brain.transforms.load import has_bright_border, is_colorful
from tests.conftest import BUNDLE, REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.real_data]


@pytest.fixture(scope="module")
def images(real_data):
    return real_data / "nickparvar_224" / "Training"


def test_frozen_split_fits_its_files_and_its_groups_lie_within_ours(images, frozen_split):
    frozen = read_datalist(frozen_split)
    assert check_hashes(frozen, images) == []
    found = index_folder(images)
    assert (found.duplicates.near, found.refused) == (1033, {})
    assert sum(n for n, _ in count_by_class(found.datalist)["all"].values()) == 5708
    ours, theirs = ({i["image"]: i["group"] for p in PARTS for i in d[p]} for d in (found.datalist, frozen))
    # ours also join what looks alike when mirrored or turned, which the frozen split did not see
    assert len(set(ours.values())) < len(set(theirs.values())) == len({(ours[k], theirs[k]) for k in ours})


def test_nearest_neighbor_baseline_is_the_known_one(images, frozen_split):
    training, test = (load_datalist(frozen_split, images, part) for part in ("training", "test"))
    nearest, _ = nearest_neighbors(*(thumbnails([i["image"] for i in part]) for part in (training, test)))
    labels = np.array([item["label"] for item in test])
    guessed = np.array([training[index]["label"] for index in nearest])
    assert macro_f1(labels, guessed) == pytest.approx(0.874, abs=0.001)


@pytest.mark.bad_input(1, 2, 3)
def test_500_images_with_3_damaged_ones_give_500_rows_and_exit_code_3(images, frozen_split, tmp_path):
    chosen = random.Random(0).sample(sorted(images.rglob("*.jpg")), 500)
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, path in enumerate(chosen):
        shutil.copy(path, folder / f"{number:03d}.jpg")
    whole = (folder / "100.jpg").read_bytes()
    (folder / "100.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "200.jpg").write_bytes(b"")
    (folder / "300.jpg").write_text("<html>not found</html>")
    run = tmp_path / "run"
    train(images, frozen_split, run)
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring"]
    command += ["--config_file", str(BUNDLE / "configs" / "inference.yaml"), "--input_dir", str(folder)]
    command += ["--output_dir", str(tmp_path / "out"), "--weights", str(run)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stderr
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 500
    bad = {row["path"]: row["code"] for row in rows if row["status"] == "error"}
    assert bad == {"100.jpg": "truncated", "200.jpg": "empty_file", "300.jpg": "not_an_image"}


@pytest.mark.bad_input(38)
def test_of_5708_real_slices_5_are_taken_for_something_else(images):
    """The figures of docs/bad_input.md."""
    pixels = [read_case(Case(path.name, (path,), "slice")).pixels for path in images.rglob("*.jpg")]
    assert (len(pixels), sum(map(has_bright_border, pixels)), sum(map(is_colorful, pixels))) == (5708, 5, 0)


def train(images, split, run):
    """One epoch at a small size: enough for weights of the right shape."""
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    files = [str(BUNDLE / "configs" / name) for name in ("train.yaml", "networks/cnn.yaml")]
    command += ["--config_file", str(files), "--dataset_dir", str(images)]
    command += ["--datalist", str(split), "--output_dir", str(run), "--max_epochs", "1", "--image_size", "32"]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
