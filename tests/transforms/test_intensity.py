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
    equalize_local_contrast,
    sharpen,
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
