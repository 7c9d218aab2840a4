from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from monai_brain.inference.postprocessing import (
    Cutoffs,
    best_cutoffs,
    chosen_cutoffs,
    masks_of_patients,
    to_mask,
    without_specks,
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
    assert without_specks(probabilities() > 0.5, 5, 2.0).sum() == 13
    volume = np.stack([probabilities()] * 2) > 0.5
    assert without_specks(volume, 17, 2.0).sum() == 18
    assert without_specks(volume, 16, 2.0).sum() == 26


def test_background_is_never_a_component():
    assert not to_mask(np.zeros((4, 4)), smallest=1).any()
    assert to_mask(np.ones((4, 4)), smallest=1).all()


def slices_of(patient, *numbers):
    return [{"image": f"{patient}/slice_{number}.tif", "group": patient} for number in numbers]


def test_component_that_is_nowhere_certain_goes():
    image = probabilities()
    assert without_specks(image > 0.5, 0, certain=image > 0.8).sum() == 4
    assert without_specks(image > 0.5, 0, certain=image > 0.95).sum() == 0
    assert without_specks(image > 0.5, 5, certain=image > 0.8).sum() == 0


def test_peak_counts_for_all_slices_of_a_patient_that_its_component_reaches():
    """Of slices 9 and 10 one lends the other its certainty; slice 2 lies too far off; another patient has none."""
    weak, strong = np.zeros((8, 8)), np.zeros((8, 8))
    weak[2:4, 2:4], strong[2:4, 2:4] = 0.6, 0.97
    none = np.zeros((8, 8))
    items = [*slices_of("a", 10, 2, 3, 9), *slices_of("b", 9)]
    masks = masks_of_patients([weak, weak, none, strong, weak], items, Cutoffs(0.5, 0.9))
    assert [int(mask.sum()) for mask in masks] == [4, 0, 0, 4, 0]
    assert [int(mask.sum()) for mask in masks_of_patients([weak] * 5, items, Cutoffs(0.5, 0.0))] == [4] * 5


def test_cutoffs_are_chosen_by_the_mean_over_patients():
    """Two slices of one patient like a high threshold, one slice each of two others a low one."""
    reference = np.zeros((16, 16), bool)
    reference[:4, :4] = True
    high, low = np.where(reference, 0.9, 0.6), np.where(reference, 0.4, 0.1)
    items = [*slices_of("a", 1, 2), *slices_of("b", 1), *slices_of("c", 1)]
    cutoffs, dice = best_cutoffs([high, high, low, low], [reference] * 4, items, (0.3, 0.5, 0.7), (0.0,))
    assert cutoffs == Cutoffs(0.3, 0.0)
    assert dice == pytest.approx((2 * 16 / (16 + 256) + 2) / 3)


def test_peak_is_chosen_where_false_components_are_uncertain_and_else_left_out():
    reference = np.zeros((16, 16), bool)
    reference[:4, :4] = True
    false_alarm = np.where(reference, 0.99, 0.1)
    false_alarm[10:, 10:] = 0.75
    sure = np.where(reference, 0.75, 0.1)  # a higher threshold would lose this one's edge
    sure[1, 1] = 0.99
    items = [*slices_of("a", 1), *slices_of("b", 1)]
    cutoffs, dice = best_cutoffs([false_alarm, sure], [reference] * 2, items, (0.5, 0.8), (0.0, 0.9))
    assert (cutoffs, dice) == (Cutoffs(0.5, 0.9), 1.0)
    assert best_cutoffs([reference.astype(float)], [reference], items[:1])[0] == Cutoffs(0.5, 0.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [((None, None), Cutoffs(0.3, 0.7)), ((0.2, None), Cutoffs(0.2, 0.7)), ((None, 0.0), Cutoffs(0.6, 0.0))],
)
def test_cutoffs_are_those_that_suit_the_validation_patients(tmp_path, given, expected):
    """A tumor between 0.32 and 0.75 beside a component of 0.58: it goes by its peak, or by a higher threshold."""
    reference = np.zeros((32, 32), np.uint8)
    reference[:4, :4] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), reference)
    found = np.where(reference > 0, np.float32(0.75), np.float32(0.1))
    found[3, :4], found[10:14, 10:14], found[7, 7] = 0.32, 0.58, 0.25
    items = [{**item, "label": tmp_path / "mask.png"} for item in slices_of("a", 1)]
    outputs = SimpleNamespace(probabilities=None)
    evaluator = SimpleNamespace(run=lambda: setattr(outputs, "probabilities", found[None]))
    assert chosen_cutoffs(*given, evaluator, outputs, items, []) == expected


def test_nothing_is_chosen_on_patients_that_were_trained_on(caplog):
    def chosen(threshold, peak):
        return chosen_cutoffs(threshold, peak, None, None, [], [], "training+validation")

    assert chosen(None, None) == Cutoffs(0.5, 0.0)
    assert "trained on the validation part too" in caplog.text
    assert chosen(None, 0.9) == Cutoffs(0.5, 0.9)
    assert chosen(0.3, 0.8) == Cutoffs(0.3, 0.8)
