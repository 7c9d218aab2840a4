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
    RandTumorContrastd,
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


def with_tumor():
    """A brain of 90 to 110 on background 0, with a tumor of 180 in every channel."""
    image = np.zeros((3, 64, 64), np.uint8)
    image[:, 8:56, 8:56] = np.random.default_rng(0).integers(90, 111, (3, 48, 48))
    label = np.zeros((1, 64, 64), np.uint8)
    label[:, 20:40, 24:44] = 1
    image[:, label[0] > 0] = 180
    return {"image": image, "label": label}


@pytest.mark.parametrize(("factor", "expected"), [(0.25, 120), (1, 180), (1.2, 196)])
def test_tumor_differs_from_the_brain_by_the_factor_and_nothing_else_changes(factor, expected):
    data = with_tumor()
    found = RandTumorContrastd("image", "label", (factor, factor), prob=1)(data)
    inside = np.zeros((64, 64), bool)
    inside[26:34, 30:38] = True  # farther from the edge than its blur reaches
    assert found["image"][:, inside] == pytest.approx(expected, abs=1)
    far = np.ones((64, 64), bool)
    far[14:46, 18:50] = False
    np.testing.assert_array_equal(found["image"][:, far], data["image"][:, far])
    assert data["image"][0, 30, 34] == 180  # the input stays
    assert found["label"] is data["label"]


def test_factor_is_drawn_for_each_channel_again_by_seed():
    transform = RandTumorContrastd("image", "label", (0.3, 1.2), prob=1)
    transform.set_random_state(0)
    first = transform(with_tumor())["image"][:, 30, 34]
    assert len(set(first.tolist())) == 3
    assert all(100 + 0.3 * 80 - 2 < value < 100 + 1.2 * 80 + 2 for value in first)
    transform.set_random_state(0)
    np.testing.assert_array_equal(transform(with_tumor())["image"][:, 30, 34], first)


def test_slice_without_tumor_and_tumor_without_brain_stay():
    data = with_tumor()
    empty = {**data, "label": np.zeros_like(data["label"])}
    assert RandTumorContrastd("image", "label", (0, 0), prob=1)(empty)["image"] is data["image"]
    full = {**data, "label": np.ones_like(data["label"])}
    np.testing.assert_array_equal(RandTumorContrastd("image", "label", (0, 0), prob=1)(full)["image"], data["image"])
