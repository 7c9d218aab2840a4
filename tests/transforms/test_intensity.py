import cv2
import numpy as np
import pytest
import torch

from monai_brain.transforms.intensity import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EqualizeLocalContrastd,
    NormalizeChannelsd,
    RandSingleSequenced,
    ScaleToUnitd,
    SharpenGaussiand,
    StandardizeSliced,
    equalize_local_contrast,
    sharpen,
    standardize_slice,
)

IMAGE = np.random.default_rng(0).integers(0, 120, (1, 64, 80), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 255, (3, 64, 80), dtype=np.uint8)


@pytest.mark.parametrize("transform", [EqualizeLocalContrastd("image"), SharpenGaussiand("image")])
@pytest.mark.parametrize("image", [IMAGE, COLOR], ids=["gray", "color"])
def test_shape_and_kind_stay_and_the_input_is_not_changed(transform, image):
    before = image.copy()
    result = transform({"image": image})["image"]
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    assert not np.array_equal(result, image)
    np.testing.assert_array_equal(image, before)


def test_clahe_raises_local_contrast():
    assert equalize_local_contrast(IMAGE // 4 + 90).std() > 1.5 * (IMAGE // 4 + 90).std()


def test_clahe_of_color_leaves_hue_and_saturation_in_place():
    a, b = (
        cv2.cvtColor(np.ascontiguousarray(i.transpose(1, 2, 0)), cv2.COLOR_RGB2LAB)
        for i in (COLOR // 2 + 60, equalize_local_contrast(COLOR // 2 + 60))
    )
    assert np.abs(a[..., 1:].astype(int) - b[..., 1:]).mean() < 6


def test_sharpening_is_unsharp_masking():
    blurred = cv2.GaussianBlur(IMAGE[0], (0, 0), 1.5).astype(float)
    expected = np.clip(IMAGE[0] * 1.7 - blurred * 0.7, 0, 255)
    assert np.abs(sharpen(IMAGE, 1.5, 0.7)[0] - expected).max() <= 1


def test_no_amount_of_sharpening_changes_nothing():
    np.testing.assert_array_equal(sharpen(COLOR, amount=0), COLOR)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_gray_becomes_three_normalized_channels(kind):
    unit = ScaleToUnitd("image")({"image": kind(IMAGE)})
    assert unit["image"].dtype == torch.float32
    result = NormalizeChannelsd("image")(unit)["image"]
    expected = (IMAGE / 255 - np.array(IMAGENET_MEAN)[:, None, None]) / np.array(IMAGENET_STD)[:, None, None]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_scaling_takes_any_memory_order():
    channels_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(COLOR, 0, -1)), -1, 0)[:, ::-1]
    np.testing.assert_allclose(
        ScaleToUnitd("image")({"image": channels_last})["image"].numpy(), COLOR[:, ::-1] / 255, atol=1e-6
    )


def test_single_sequence_comes_as_often_as_asked_and_by_the_seed():
    image = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2)
    transform = RandSingleSequenced("image", channel=1, prob=0.25)
    transform.set_random_state(0)
    found = [transform({"image": image})["image"] for _ in range(400)]
    repeated = [bool((one == image[1]).all()) for one in found]
    assert all((one == image).all() for one, changed in zip(found, repeated, strict=True) if not changed)
    assert 70 < sum(repeated) < 130
    transform.set_random_state(0)
    assert [bool((transform({"image": image})["image"] == image[1]).all()) for _ in range(400)] == repeated


def brain(dark=60, bright=160):
    """(3, 64, 64) in [0, 1]: noise of the air up to 3 of 255, a brain in the middle, brighter by the channel."""
    random = np.random.default_rng(0)
    image = random.integers(0, 4, (3, 64, 64)).astype(np.float32)
    image[:, 12:52, 12:52] = random.integers(dark, bright, (3, 40, 40))
    image *= np.float32([0.5, 0.8, 1.0])[:, None, None]
    return torch.from_numpy(image / 255)


def test_tissue_of_each_channel_gets_one_mean_and_deviation_and_air_is_black():
    found = StandardizeSliced("image")({"image": brain()})["image"]
    inside = found[:, 12:52, 12:52].flatten(1)
    assert inside.mean(1).tolist() == pytest.approx([0.4] * 3, abs=1e-4)
    assert inside.std(1).tolist() == pytest.approx([0.15] * 3, abs=1e-3)
    found[:, 12:52, 12:52] = 0
    assert found.abs().max() == 0


def test_brightness_and_contrast_of_a_scanner_make_no_difference():
    one = brain()
    other = torch.where(one > 0.05, one * 0.6 + 0.1, one)
    difference = (standardize_slice(one) - standardize_slice(other)).abs()
    assert difference.max() < 1e-5


def test_empty_and_flat_slices_and_single_specks_stay_finite_and_dark():
    assert not standardize_slice(torch.zeros(1, 32, 32)).any()
    assert standardize_slice(torch.full((1, 32, 32), 0.5)).flatten().tolist() == pytest.approx([0.4] * 1024)
    speck = torch.zeros(1, 256, 256)
    speck[0, 5, 5] = 0.2
    found = standardize_slice(speck)
    assert (found > 0).sum() == 1 and found.max() == pytest.approx(1.3)


def test_slices_of_a_batch_are_standardized_one_by_one():
    batch = torch.stack([brain(), brain(20, 90)])
    for own, expected in zip(standardize_slice(batch), map(standardize_slice, batch), strict=True):
        torch.testing.assert_close(own, expected)
