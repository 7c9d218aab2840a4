import numpy as np
import pytest

from monai_brain.inference.postprocessing import to_mask


def probabilities():
    """Two components: 4 pixels of 0.9 that touch at corners only, and 9 of 0.6."""
    image = np.zeros((16, 16), np.float32)
    for step in range(4):
        image[step, step] = 0.9
    image[10:13, 10:13] = 0.6
    return image


def test_threshold_decides():
    assert to_mask(probabilities()).sum() == 13
    assert to_mask(probabilities(), 0.7).sum() == 4
    assert to_mask(probabilities(), 0.95).sum() == 0


def test_small_components_go_and_corners_connect():
    assert to_mask(probabilities(), smallest=4).sum() == 13
    assert to_mask(probabilities(), smallest=5).sum() == 9
    assert not to_mask(probabilities(), smallest=10).any()


def test_size_is_in_millimeters_where_the_spacing_is_known():
    assert to_mask(probabilities(), smallest=5, spacing_mm=(1.0, 2.0)).sum() == 13
    volume = np.stack([probabilities()] * 2)
    assert to_mask(volume, smallest=17, spacing_mm=(2.0, 1.0, 1.0)).sum() == 18
    assert to_mask(volume, smallest=16, spacing_mm=(2.0, 1.0, 1.0)).sum() == 26
    with pytest.raises(ValueError, match="2 axes for an array of 3"):
        to_mask(volume, smallest=1, spacing_mm=(1.0, 1.0))


def test_background_is_never_a_component():
    assert not to_mask(np.zeros((4, 4)), smallest=1).any()
    assert to_mask(np.ones((4, 4)), smallest=1).all()
