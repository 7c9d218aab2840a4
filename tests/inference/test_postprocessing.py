from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from monai_brain.inference.postprocessing import (
    best_threshold,
    chosen_threshold,
    remove_small_components,
    to_mask,
)


def probabilities():
    """Two components: 4 pixels of 0.9 that touch at corners only, and 9 of 0.6."""
    image = np.zeros((16, 16), np.float32)
    for step in range(4):
        image[step, step] = 0.9
    image[10:13, 10:13] = 0.6
    return image


def test_threshold_decides():
    assert to_mask(probabilities()).sum() == 13
    assert to_mask(probabilities(), 0.7).sum() == 4
    assert to_mask(probabilities(), 0.95).sum() == 0


def test_small_components_go_and_corners_connect():
    assert to_mask(probabilities(), smallest=4).sum() == 13
    assert to_mask(probabilities(), smallest=5).sum() == 9
    assert not to_mask(probabilities(), smallest=10).any()


def test_size_is_in_millimeters_where_the_spacing_is_known():
    assert remove_small_components(probabilities() > 0.5, 5, 2.0).sum() == 13
    volume = np.stack([probabilities()] * 2) > 0.5
    assert remove_small_components(volume, 17, 2.0).sum() == 18
    assert remove_small_components(volume, 16, 2.0).sum() == 26


def test_background_is_never_a_component():
    assert not to_mask(np.zeros((4, 4)), smallest=1).any()
    assert to_mask(np.ones((4, 4)), smallest=1).all()


def test_threshold_is_chosen_by_the_mean_over_patients():
    """Two slices of one patient like a high threshold, one slice each of two others a low one."""
    reference = np.zeros((16, 16), bool)
    reference[:4, :4] = True
    high, low = np.where(reference, 0.9, 0.6), np.where(reference, 0.4, 0.1)
    threshold, dice = best_threshold([high, high, low, low], [reference] * 4, list("aabc"), (0.3, 0.5, 0.7))
    assert threshold == 0.3
    assert dice == pytest.approx((2 * 16 / (16 + 256) + 2) / 3)
    assert best_threshold([reference.astype(float)], [reference], ["a"])[0] == 0.5, "of equals the middle"


def test_threshold_is_the_one_that_suits_the_validation_patients(tmp_path):
    """A tumor of 0.75 beside a component of 0.58; a threshold that is given is taken as it is."""
    reference = np.zeros((32, 32), np.uint8)
    reference[:4, :4] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), reference)
    found = np.where(reference > 0, np.float32(0.75), np.float32(0.1))
    found[10:14, 10:14] = 0.58
    items = [{"image": "a/1.tif", "group": "a", "label": tmp_path / "mask.png"}]
    outputs = SimpleNamespace(probabilities=None)
    evaluator = SimpleNamespace(run=lambda: setattr(outputs, "probabilities", found[None]))
    assert chosen_threshold(None, evaluator, outputs, items, []) == 0.6
    assert chosen_threshold(0.2, None, None, items, []) == 0.2


def test_nothing_is_chosen_on_patients_that_were_trained_on(caplog):
    assert chosen_threshold(None, None, None, [], [], "training+validation") == 0.5
    assert "trained on the validation part too" in caplog.text
    assert chosen_threshold(0.3, None, None, [], [], "training+validation") == 0.3
