from pathlib import Path

import cv2
import numpy as np
import pytest

from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.stream import OpenCase
from monai_brain.inference.thumbnails import LONG_SIDE_PIXELS, Thumbnails
from monai_brain.io import Case, Image


def opened(case_id, pixels, spacing_mm=None, kind="slice"):
    image = Image(pixels=pixels, spacing_mm=spacing_mm, affine_ras=None, kind=kind, warnings=())
    wanted = tuple(range(pixels.shape[1])) if kind == "volume" else (0,)
    return OpenCase(Case(case_id, (Path(case_id),), kind), image, wanted, (), "")


def consider(thumbnails, certainties):
    for number, certainty in certainties:
        name = f"{number:03d}.png"
        thumbnails.consider(
            Prediction(name, "ok", "", "glioma", certainty), opened(name, np.full((1, 40, 40), 9, np.uint8))
        )


def names(folder):
    return sorted(path.name for path in folder.rglob("*.jpg"))


def test_least_certain_are_kept_and_most_cases_cost_nothing(tmp_path, monkeypatch):
    certainties = np.random.default_rng(0).permutation(1000) / 1000
    thumbnails = Thumbnails(tmp_path, 10)
    written = []
    monkeypatch.setattr(
        "monai_brain.inference.thumbnails._encoded", lambda gray, aspect: written.append(1) or b"picture"
    )
    consider(thumbnails, enumerate(certainties))
    thumbnails.end()
    assert names(tmp_path) == sorted(f"{n:03d}.png.jpg" for n in certainties.argsort()[:10])
    assert len(written) < 10 * (1 + np.log(100)) * 1.6


def test_resumed_run_keeps_the_least_certain_of_both_sessions(tmp_path):
    first = Thumbnails(tmp_path, 2)
    consider(first, [(0, 0.9), (1, 0.2), (2, 0.5)])
    second = Thumbnails(tmp_path, 2)
    second.begin(Prediction(f"{n:03d}.png", "ok", "", "glioma", c) for n, c in [(0, 0.9), (1, 0.2), (2, 0.5)])
    consider(second, [(3, 0.7), (4, 0.3)])
    second.end()
    assert names(tmp_path) == ["001.png.jpg", "004.png.jpg"]


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((1, 20, 40), None, (20, 40)),
        ((1, 20, 40), (2.0, 1.0), (40, 40)),
        ((1, 900, 300), None, (LONG_SIDE_PIXELS, 128)),
    ],
)
def test_picture_has_the_shape_of_the_slice_in_millimeters(tmp_path, shape, spacing, expected):
    Thumbnails(tmp_path, 1).consider(
        Prediction("a", "ok", "", "glioma", 0.5), opened("a", np.full(shape, 90, np.uint8), spacing)
    )
    assert cv2.imread(str(tmp_path / "thumbnails" / "a.jpg"), cv2.IMREAD_GRAYSCALE).shape == expected


def test_volume_shows_the_slice_that_decided(tmp_path):
    volume = np.zeros((1, 4, 30, 30), np.uint8)
    volume[0, 3] = 200
    row = Prediction("v", "ok", "", "glioma", 0.5, {"deciding_slice": 3})
    Thumbnails(tmp_path, 1).consider(row, opened("v", volume, kind="volume"))
    assert cv2.imread(str(tmp_path / "thumbnails" / "v.jpg")).mean() > 190


def test_abstentions_have_pictures_beside_the_least_certain(tmp_path):
    thumbnails = Thumbnails(tmp_path, 1)
    consider(thumbnails, [(0, 0.2), (1, 0.1)])
    abstained = Prediction("a.png", ABSTAINED, "empty_set")
    thumbnails.consider(abstained, opened("a.png", np.full((1, 40, 40), 9, np.uint8)))
    thumbnails.end()
    assert names(tmp_path) == ["001.png.jpg", "a.png.jpg"]
