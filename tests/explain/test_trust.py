import numpy as np
import pytest
import torch

from monai_brain.explain.trust import (
    EMPTY,
    LOOKS_OUTSIDE,
    agreement,
    border_mask,
    head_mask,
    iou_at_matched_area,
    mask_hottest,
    moved,
    removal_drop,
    trust_of,
)


def slice_with_head():
    gray = np.zeros((50, 50), np.uint8)
    gray[10:40, 12:38] = 120
    gray[20:25, 20:25] = 0  # a ventricle
    gray[2:4, 2:8] = 255  # scanner text
    return gray


def hot(rows, columns):
    heat = np.zeros((50, 50))
    heat[rows, columns] = 1.0
    return heat


def test_head_is_the_largest_region_without_holes():
    mask = head_mask(slice_with_head())
    assert mask[22, 22]
    assert not mask[3, 4]
    assert mask.sum() == 30 * 26
    assert not head_mask(np.zeros((8, 8), np.uint8)).any()


def test_mass_is_shared_out_to_where_it_lies():
    heat = hot(slice(15, 20), slice(15, 20)) + hot(slice(0, 2), slice(0, 25))
    own = trust_of(heat, slice_with_head(), hot(slice(15, 20), slice(15, 18)) > 0)
    assert own.inside_head == pytest.approx(25 / 75)
    assert own.at_border == pytest.approx(50 / 75)
    assert own.inside_mask == pytest.approx(15 / 75)
    assert own.hits_mask is False
    assert own.warnings == (LOOKS_OUTSIDE,)


def test_map_on_the_tumor_is_trusted():
    mask = hot(slice(15, 20), slice(15, 20)) > 0
    own = trust_of(mask.astype(float), slice_with_head(), mask)
    assert (own.inside_head, own.at_border, own.inside_mask, own.hits_mask) == (1, 0, 1, True)
    assert own.warnings == ()


def test_what_is_undefined_is_none():
    own = trust_of(np.zeros((50, 50)), slice_with_head(), np.zeros((50, 50), bool))
    assert own == (None, None, None, None)
    assert own.warnings == (EMPTY,)
    assert trust_of(hot(20, 20), slice_with_head()).inside_mask is None


def test_border_is_a_frame():
    mask = border_mask((50, 100))
    assert mask[:3].all() and mask[:, -6:].all()
    assert not mask[3:-3, 6:-6].any()


def test_taking_the_evidence_away_lowers_the_probability_and_other_pixels_do_not():
    def network(images):
        corner = images[:, 0, :10, :10].mean((1, 2))
        return torch.stack([8 * corner, torch.zeros_like(corner)], dim=1)

    images = torch.rand(2, 3, 40, 40)
    images[:, :, :10, :10] = 1
    images[:, :, 39, 39] = 0
    maps = torch.zeros(2, 1, 40, 40)
    maps[0, :, :10, :10] = 1
    maps[1, :, 25:35, 25:35] = 1
    drop = removal_drop(network, images, maps, torch.tensor([0, 0]))
    assert drop[0] > 0.4
    assert abs(drop[1]) < 0.1


def test_hottest_tenth_goes_and_pixels_without_evidence_stay():
    images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0)) + 1
    images[:, :, 0, 0] = torch.arange(3) / 4  # another darkest value in every channel
    maps = torch.zeros(3, 1, 20, 20)
    maps[0, 0] = torch.arange(400).reshape(20, 20) / 399
    maps[1, 0, 5:7, 5:7] = 1
    without = mask_hottest(images, maps)
    gone = (without != images).all(dim=1)
    assert gone[0].flatten().nonzero().flatten().tolist() == list(range(360, 400))
    assert gone[1].nonzero().tolist() == [[5, 5], [5, 6], [6, 5], [6, 6]]
    assert not gone[2].any(), "an empty map removes nothing"
    assert without[1, :, 5, 5].tolist() == [0, 0.25, 0.5]


def test_moved_maps_keep_their_shapes_and_lie_elsewhere_each_for_itself():
    maps = torch.zeros(6, 1, 40, 40)
    maps[:, :, 10:14, 10:20] = 1
    there = moved(maps, torch.Generator().manual_seed(0))
    assert there.flatten(1).sum(dim=1).tolist() == [40] * 6
    assert len({tuple(own.flatten().nonzero().flatten().tolist()) for own in there}) == 6
    together = torch.fft.fft2(maps).abs(), torch.fft.fft2(there).abs()
    torch.testing.assert_close(*together, msg="a roll changes no amplitude; pixels strewn about do")


def test_agreement_is_of_ranks():
    random = np.random.default_rng(0)
    one = random.random((30, 30))
    assert agreement(one, one**3) == pytest.approx(1)
    assert abs(agreement(one, random.random((30, 30)))) < 0.15
    assert agreement(one, np.full((30, 30), 0.5)) is None


def test_overlap_at_the_masks_area_is_whole_half_or_none():
    mask = np.zeros((20, 20), bool)
    mask[4:8, 4:8] = True
    heat = 0.1 * mask  # however faint: the hottest pixels count
    assert iou_at_matched_area(heat, mask) == 1
    half = np.zeros((20, 20))
    half[6:10, 4:8] = 1
    assert iou_at_matched_area(half, mask) == pytest.approx(8 / 24)
    assert iou_at_matched_area(np.zeros((20, 20)), mask) is None
    assert iou_at_matched_area(heat, ~mask & mask) is None
