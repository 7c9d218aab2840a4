import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from monai_brain.evaluation.segmentation import (
    Lesions,
    Overlap,
    hausdorff_95,
    lesions,
    mean_dice,
    overlap,
    overlap_by_group,
    stacks_of_patients,
)


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
    assert hausdorff_95([EMPTY], [square(0, 0)]) is None


def test_patient_is_scored_as_one_volume_and_not_as_a_mean_of_slices():
    slices = [Overlap(90, 10, 10), Overlap(0, 0, 10), Overlap(0, 0, 0)]
    patient = overlap_by_group(slices, ["a", "a", "a"])["a"]
    assert patient.dice == pytest.approx(180 / 210)
    assert np.mean([s.dice for s in slices]) != pytest.approx(patient.dice)
    assert set(overlap_by_group(slices, ["a", "b", "b"])) == {"a", "b"}


def test_distance_is_in_pixels():
    assert hausdorff_95([square(0, 0)], [square(0, 3)]) == 3
    assert hausdorff_95([square(0, 0)], [square(0, 0)]) == 0


def test_distance_of_a_patient_is_over_all_its_slices_and_of_one_slice_what_monai_says():
    random = np.random.default_rng(0)
    predicted, references = ([ndimage.binary_opening(random.random((32, 32)) < 0.7) for _ in range(3)] for _ in "ab")
    for own, reference in zip(predicted, references, strict=True):
        batches = [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in (own, reference)]
        said = float(compute_hausdorff_distance(*batches, include_background=True, percentile=95))
        assert hausdorff_95([own], [reference]) == pytest.approx(said)
    far, near = (square(0, 0), square(0, 9)), (square(0, 0), square(0, 1))
    assert hausdorff_95([far[0], near[0]], [far[1], near[1]]) == 9
    assert hausdorff_95([far[0], *[near[0]] * 30], [far[1], *[near[1]] * 30]) == 1
    assert hausdorff_95([far[0], EMPTY], [far[1], square(0, 0)]) == 9


def test_lesions_are_found_missed_and_invented():
    reference = np.stack([square(0, 0) | square(10, 10), square(4, 4)])  # the first goes on, by a corner
    predicted = np.stack([square(3, 3, size=1) | square(0, 12), EMPTY])
    assert lesions(predicted, reference) == Lesions(2, 1, 1)
    assert lesions(~predicted & False, reference) == Lesions(2, 0, 0)
    assert lesions(predicted, reference & False) == Lesions(0, 0, 2)


def stacks(*names, shapes=None):
    items = [{"image": name, "group": name[0]} for name in names]
    return stacks_of_patients(shapes or [(4, 4)] * len(names), items)


def test_slices_lie_on_one_another_by_folder_series_and_number():
    assert stacks("p/ax/10.png", "p/ax/9.png", "p/sag/9.png", "q/1.png") == {"p": [[1, 0], [2]], "q": [[3]]}
    assert stacks("p/t1_2.png", "p/t2_1.png", "p/t1_1.png")["p"] == [[2, 0], [1]]
    assert stacks("p/a_1.png", "p/a_2.png", shapes=[(4, 4), (5, 4)])["p"] == [[0], [1]]


@pytest.mark.parametrize(
    "name", ["{}_T2.png", "{:03}_256x256.png", "TCGA_CS_4942_19970222_{}.tif", "IM{0:04}_{0:06}.png"]
)
def test_slice_number_is_found_where_it_stands(name):
    assert stacks(*(f"p/{name.format(number)}" for number in (0, 2, 10, 1)))["p"] == [[0, 3, 1, 2]]


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        overlap(EMPTY, EMPTY[:8])


def test_mean_dice_is_over_patients_whose_slices_count_together():
    """A patient of two slices counts once; one empty slice of it does not count as 1."""
    full, empty = square(0, 0), np.zeros((16, 16), bool)
    assert mean_dice([full, empty, empty], [full, empty, full], ["a", "a", "b"]) == 0.5
