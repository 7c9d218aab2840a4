import numpy as np
import pytest

from monai_brain.evaluation.segmentation import Overlap, hausdorff_95, mean_dice, overlap, overlap_by_group


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


def test_mean_dice_is_over_patients_whose_slices_count_together():
    """A patient of two slices counts once; one empty slice of it does not count as 1."""
    full, empty = square(0, 0), np.zeros((16, 16), bool)
    assert mean_dice([full, empty, empty], [full, empty, full], ["a", "a", "b"]) == 0.5
