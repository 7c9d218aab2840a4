import cv2
import numpy as np
import pytest
from monai.transforms import Compose

from monai_brain.io import UnreadableCase
from monai_brain.transforms.load import LoadSliced, refusal_behind, slices_with_tissue, to_8_bits, to_channels


def test_8_bit_pixels_stay_as_they_are():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert to_8_bits(pixels) is pixels


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_pixels_are_mapped_linearly_to_8_bits(dtype):
    pixels = np.linspace(100, 4100, 10_000).astype(dtype).reshape(1, 100, 100)
    result = to_8_bits(pixels)
    top = np.percentile(pixels, 99.8)
    expected = np.clip((pixels.astype(np.float64) - pixels.min()) / (top - pixels.min()) * 255, 0, 255)
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 1


def test_single_bright_pixel_does_not_darken_the_rest():
    pixels = np.linspace(0, 1000, 10_000).astype(np.uint16).reshape(1, 100, 100)
    pixels[0, 0, 0] = 65535
    assert to_8_bits(pixels)[0, 50, 50] > 100


def test_almost_empty_image_keeps_its_signal():
    pixels = np.zeros((1, 100, 100), np.uint16)
    pixels[0, 0, 0] = 5
    assert to_8_bits(pixels).max() == 255


def test_color_is_reduced_to_luma():
    color = np.random.default_rng(0).integers(0, 255, (3, 8, 9), dtype=np.uint8)
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    assert np.abs(to_channels(color, gray=True)[0] - luma).max() <= 1


def test_loader_gives_gray_uint8_and_the_warnings(tmp_path, phantom):
    cv2.imwrite(str(tmp_path / "a.bmp"), phantom(0, 1))
    (tmp_path / "a.bmp").rename(tmp_path / "a.jpg")
    out = LoadSliced("image")({"image": tmp_path / "a.jpg", "label": 2})
    np.testing.assert_array_equal(out["image"][0], phantom(0, 1))
    assert (out["label"], out["image_warnings"]) == (2, ("bmp_by_content",))


def test_refusal_is_found_behind_what_monai_wraps_around_it(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image at all")
    with pytest.raises(RuntimeError) as caught:
        Compose([LoadSliced("image")])({"image": tmp_path / "a.png"})
    refusal = refusal_behind(caught.value)
    assert isinstance(refusal, UnreadableCase)
    assert refusal.code == "not_an_image"
    assert refusal_behind(ValueError("else")) is None


def test_slices_without_head_are_not_shown_to_the_segmenter():
    volume = np.zeros((2, 4, 50, 50), np.uint8)
    volume[:, :, :, 0] = 9  # air
    volume[1, 1, 10:17, 10:20] = 60  # 2.8 % of the slice, in one sequence
    volume[0, 2, 10, 10:50] = 255  # 1.6 %
    assert slices_with_tissue(volume) == [1]
    assert slices_with_tissue(volume[:, 2:]) == [0, 1], "a volume without any head is looked at as it is"
