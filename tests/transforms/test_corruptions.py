"""What corruptions do to slices."""

import numpy as np
import pytest

from monai_brain.transforms.corruptions import CORRUPTIONS
from tests.conftest import draw_phantom

WAYS = [pytest.param(own, id=own.name) for own in CORRUPTIONS]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("corruption", WAYS)
def test_corruption_grows_with_its_strength_and_is_repeatable(corruption, channels):
    image = np.repeat(draw_phantom(0, 1, size=224)[None], channels, axis=0)
    changes = []
    for strength in corruption.strengths:
        worse = corruption.apply(image, strength, 3)
        assert (worse.dtype, len(worse)) == (np.uint8, channels)
        assert np.array_equal(worse, corruption.apply(image, strength, 3))
        if corruption.name == "crop":
            changes.append(image[0].size - worse[0].size)
        else:
            assert worse.shape == image.shape
            changes.append(np.abs(worse.astype(float) - image).mean())
    assert 0 < changes[0] < changes[1] < changes[2]


def test_masks_move_as_slices_do():
    image = np.zeros((1, 200, 200), np.uint8)
    image[0, 60:90, 100:140] = 255
    for corruption in (own for own in CORRUPTIONS if own.moves):
        moved = corruption.apply(image, corruption.strengths[2], 0)[0] > 127
        assert moved.sum() == pytest.approx(30 * 40, rel=0.02)
