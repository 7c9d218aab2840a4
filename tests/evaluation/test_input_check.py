"""What the input check makes of scores, files and pictures."""

import pickle

import numpy as np
import pytest
import torch

from monai_brain.evaluation.input_check import (
    INPUT_CHECK,
    KINDS,
    PLANES,
    SIDE_PIXELS,
    InputCheck,
    find_input_check,
    thumbnail,
)
from monai_brain.io.weights import write_weights
from monai_brain.networks.input_check import InputCheckNet


@pytest.fixture
def check(tmp_path):
    network = InputCheckNet(len(KINDS), len(PLANES))
    network.limits.copy_(torch.tensor([0.3, 2.0]))
    write_weights(network, tmp_path / INPUT_CHECK, dtype=torch.float16)
    return InputCheck(tmp_path / INPUT_CHECK)


def scores(distance=1.0, skull_stripped=0.0, **shares):
    planes = {"coronal": 0.7, "axial": 0.3}
    kinds = [shares.get(kind, 0.0) for kind in KINDS]
    return np.array([[*kinds, *(planes.get(plane, 0.0) for plane in PLANES), skull_stripped, distance]])


@pytest.mark.parametrize(
    ("seen", "said", "expected"),
    [
        (scores(t1c=0.9), "", ("", "t1c")),
        (scores(t1c=0.35, flair=0.65), "", ("", "t1c")),
        (scores(t1c=0.2, flair=0.8), "", ("other_sequence", "flair")),
        (scores(t1c=0.1, t2=0.4, not_a_head=0.5), "", ("not_a_head", "")),
        (scores(t1c=0.9, distance=3), "", ("unlike_training", "t1c")),
        (scores(t1c=0.9), "t2", ("other_sequence", "t2")),
        (scores(t1c=0.9, skull_stripped=0.95), "", ("skull_stripped", "t1c")),
        (scores(flair=0.9, skull_stripped=0.95), "", ("other_sequence", "flair")),
        (scores(t1=0.9), "t1c", ("", "t1c")),
        (scores(not_a_head=0.9), "t1c", ("not_a_head", "")),
    ],
)
def test_reason_goes_by_the_file_first_and_by_the_picture_where_it_says_nothing(check, seen, said, expected):
    code, sequence = expected
    assert tuple(check.reason(seen, said)) == (code, sequence, "coronal" if sequence else "")


def test_slices_of_a_volume_count_together(check):
    odd_one = np.concatenate([scores(t1c=0.9)] * 4 + [scores(flair=0.9, distance=9)])
    assert check.reason(odd_one).code == ""
    assert check.reason(odd_one[-1:]).code == "other_sequence"


def test_worker_gets_the_path_and_scores_alike(check):
    slices = [np.random.default_rng(n).integers(0, 255, (50, 70 + n), np.uint8) for n in range(3)]
    before = check(slices)
    travelled = pickle.dumps(check)
    assert len(travelled) < 1000
    np.testing.assert_array_equal(pickle.loads(travelled)(slices), before)
    kinds, planes, others = np.split(before, [len(KINDS), len(KINDS) + len(PLANES)], axis=1)
    np.testing.assert_allclose(kinds.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(planes.sum(axis=1), 1, atol=1e-5)
    assert others.shape == (3, 2)


def test_weights_without_a_check_have_none(tmp_path):
    assert find_input_check(tmp_path / "model.safetensors") is None


@pytest.mark.parametrize("shape", [(40, 90), (300, 200), (32, 32)])
def test_thumbnail_is_the_picture_without_its_background(shape):
    gray = np.zeros((shape[0] + 60, shape[1] + 20), np.uint8)
    gray[40 : 40 + shape[0], 5 : 5 + shape[1]] = 200
    small = thumbnail(gray)
    assert small.shape == (SIDE_PIXELS, SIDE_PIXELS)
    assert (small > 100).any(axis=0).mean() > 0.85 or (small > 100).any(axis=1).mean() > 0.85


def test_empty_picture_is_no_error(check):
    assert check([np.zeros((64, 64), np.uint8)]).shape == (1, 10)
