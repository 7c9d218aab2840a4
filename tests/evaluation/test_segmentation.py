import numpy as np
import pytest

from monai_brain.evaluation.segmentation import Overlap, best_threshold, hausdorff_95, overlap, overlap_by_group


def square(top, left, size=4, shape=(16, 16)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


EMPTY = np.zeros((16, 16), bool)


def test_figures_of_two_squares_that_half_overlap():
    found = overlap(square(0, 0), square(0, 2))
    assert found == Overlap(8, 8, 8)
    assert found.dice == 0.5
    assert found.iou == pytest.approx(1 / 3)
    assert found.sensitivity == 0.5
    assert found.precision == 0.5


def test_empty_masks_follow_the_rule():
    both, missed, invented = overlap(EMPTY, EMPTY), overlap(EMPTY, square(0, 0)), overlap(square(0, 0), EMPTY)
    assert (both.dice, both.iou, both.sensitivity, both.precision) == (1.0, 1.0, None, None)
    assert (missed.dice, missed.sensitivity, missed.precision) == (0.0, 0.0, None)
    assert (invented.dice, invented.sensitivity, invented.precision) == (0.0, None, 0.0)
    assert hausdorff_95(EMPTY, square(0, 0)) is None


def test_patient_is_scored_as_one_volume_and_not_as_a_mean_of_slices():
    slices = [Overlap(90, 10, 10), Overlap(0, 0, 10), Overlap(0, 0, 0)]
    patient = overlap_by_group(slices, ["a", "a", "a"])["a"]
    assert patient.dice == pytest.approx(180 / 210)
    assert np.mean([s.dice for s in slices]) != pytest.approx(patient.dice)
    assert set(overlap_by_group(slices, ["a", "b", "b"])) == {"a", "b"}


def test_distance_is_in_pixels_or_with_spacing_in_millimeters():
    assert hausdorff_95(square(0, 0), square(0, 3)) == 3
    assert hausdorff_95(square(0, 0), square(0, 3), spacing=(1.0, 2.0)) == 6
    assert hausdorff_95(square(0, 0), square(0, 0)) == 0


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        overlap(EMPTY, EMPTY[:8])


def test_threshold_is_chosen_by_the_mean_over_patients():
    """Two slices of one patient like a high threshold, one slice each of two others a low one."""
    reference = square(0, 0)
    high = np.where(reference, 0.9, 0.6)
    low = np.where(reference, 0.4, 0.1)
    probabilities, groups = [high, high, low, low], ["a", "a", "b", "c"]
    threshold, dice = best_threshold(probabilities, [reference] * 4, groups, (0.3, 0.5, 0.7))
    assert threshold == 0.3
    assert dice == pytest.approx((2 * 16 / (16 + 256) + 2) / 3)


def test_of_equal_thresholds_the_one_in_the_middle_is_taken():
    reference = square(0, 0)
    assert best_threshold([reference.astype(float)], [reference], ["a"])[0] == 0.5
