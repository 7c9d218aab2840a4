"""From a map of what the network saw back to the slice as it was read."""

import cv2
import numpy as np
import pytest

from monai_brain.transforms.spatial import CropBorderd, PadToSquared, ResizeSliced, to_size_before

SIZES = [(256, 256), (181, 256), (300, 97), (64, 65)]


def blob(size, at=(0.4, 0.6)):
    """A bright ellipse off the center of a dark slice."""
    image = np.zeros(size, np.uint8)
    center = (int(at[1] * size[1]), int(at[0] * size[0]))
    return cv2.ellipse(image, center, (size[1] // 8, size[0] // 6), 0, 0, 360, 254, -1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("border", [0, 12])
def test_what_the_network_saw_comes_back_where_it_was(size, border):
    transforms = [
        CropBorderd("image", border_pixels=border),
        PadToSquared("image"),
        ResizeSliced("image", size=192),
    ]
    image = blob(size)
    item = {"image": image[None]}
    for transform in transforms:
        item = transform(item)
    back = to_size_before(item["image"][0].astype(np.float32), transforms, size)
    assert back.shape == size
    predicted, reference = back > 127, image > 127
    assert 2 * (predicted & reference).sum() / (predicted.sum() + reference.sum()) > 0.96


def test_padding_keeps_the_shape_of_things():
    item = PadToSquared("image")({"image": np.full((3, 40, 90), 7, np.uint8)})
    assert item["image"].shape == (3, 90, 90)
    assert (item["image"][:, 25:65] == 7).all()
    assert item["image"].sum() == 3 * 40 * 90 * 7


def test_unknown_way_back_is_refused():
    with pytest.raises(ValueError, match="ResizeSliced lead to"):
        to_size_before(np.zeros((64, 64), np.float32), [ResizeSliced("image", size=32)], (100, 100))
