import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou
from scipy.spatial.distance import cdist

from monai_brain.evaluation.mask_scores import check_geometry_of, hausdorff_distance_95, score_pair
from monai_brain.io.record import Image, UnreadableCase


def blob(seed, shape):
    random = np.random.default_rng(seed)
    center = [random.integers(size // 3, 2 * size // 3) for size in shape]
    grid = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    return sum((own - c) ** 2 for own, c in zip(grid, center, strict=True)) < random.integers(9, 30)


def image(mask, spacing=None):
    return Image(mask[None], spacing, None, "volume" if mask.ndim == 3 else "slice")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(40, 44), (20, 24, 28)])
def test_masks_score_as_in_monai(seed, shape):
    first, second = blob(seed, shape), blob(seed + 100, shape)
    spacing = (3.0, 0.9, 0.9) if len(shape) == 3 else None
    found = score_pair(image(first, spacing), image(second, spacing))
    tensors = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (first, second)]
    assert found.overlap.dice == pytest.approx(float(compute_dice(*tensors)))
    assert found.overlap.iou == pytest.approx(float(compute_iou(*tensors)))
    expected = compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=spacing)
    assert found.hd95 == pytest.approx(float(expected), abs=1e-4)
    assert found.unit == ("mm" if spacing else "pixels")


def test_distance_is_that_of_points_counted_with_scipy():
    first, second = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    first[5, 5:25], second[9, 5:25] = True, True  # lines: all their pixels are surface
    pairs = cdist(np.argwhere(first), np.argwhere(second))
    expected = max(np.percentile(pairs.min(axis=1), 95), np.percentile(pairs.min(axis=0), 95))
    assert hausdorff_distance_95(first, second) == pytest.approx(expected)


def test_empty_masks_have_no_distance():
    mask, empty = blob(0, (40, 40)), np.zeros((40, 40), bool)
    assert hausdorff_distance_95(mask, empty) is None
    both = score_pair(image(empty), image(empty))
    assert (both.overlap.dice, both.hd95, both.lesions.number) == (1.0, None, 0)


def test_masks_of_different_size_or_kind_are_refused():
    with pytest.raises(UnreadableCase, match=r"\(40, 40\) and \(40, 41\)"):
        check_geometry_of(image(np.zeros((40, 40), bool)), image(np.zeros((40, 41), bool)))
    with pytest.raises(UnreadableCase, match="is a volume"):
        check_geometry_of(image(np.zeros((4, 40, 40), bool)), image(np.zeros((40, 40), bool)))
