import numpy as np
import pytest

from monai_brain.transforms.spatial import CropBorderd, ResizeSliced, crop_border, resize


def test_border_is_cut_at_all_four_sides():
    image = np.arange(200 * 220).reshape(1, 200, 220)
    np.testing.assert_array_equal(crop_border(image, 12), image[:, 12:-12, 12:-12])


def test_small_image_keeps_three_quarters():
    assert crop_border(np.zeros((1, 32, 40)), 12).shape == (1, 24, 30)


def test_no_border_changes_nothing():
    image = np.ones((3, 40, 40))
    np.testing.assert_array_equal(crop_border(image, 0), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_averages_pixel_areas(channels):
    image = np.random.default_rng(0).integers(0, 255, (channels, 64, 64), dtype=np.uint8)
    means = image.reshape(channels, 32, 2, 32, 2).mean(axis=(2, 4))
    assert np.abs(resize(image, 32) - means).max() <= 1


@pytest.mark.parametrize("shape", [(1, 50, 90), (3, 300, 41), (1, 128, 128)])
def test_every_shape_becomes_a_square_of_the_same_kind(shape):
    result = ResizeSliced("image", size=128)({"image": np.zeros(shape, np.uint8)})["image"]
    assert (result.shape, result.dtype) == ((shape[0], 128, 128), np.uint8)


def test_negative_border_is_refused():
    with pytest.raises(ValueError, match="border_pixels is -1"):
        CropBorderd("image", border_pixels=-1)


@pytest.mark.parametrize("size", [8, 16, 24, 31])
def test_mask_stays_where_it_is_and_has_two_values(size):
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, 4:12, 4:12] = 1
    resized = ResizeSliced("label", size, is_mask=True)({"label": mask})["label"]
    assert set(np.unique(resized)) == {0, 1}
    assert resized.dtype == np.uint8
    for turned in (resized[:, ::-1], resized[..., ::-1]):  # no shift to any side
        assert np.array_equal(turned, resized)
    assert resized.mean() == pytest.approx(0.25, abs=0.05)
