import numpy as np
import pytest
import torch

from monai_brain.data.provenance import appearance_hash
from monai_brain.inference.learned import LEARNED_SLICES, LearnedSlices, thumbnails_of


@pytest.fixture
def images():
    """Six inputs of a network: smooth, as slices are, each another one."""
    coarse = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").expand(-1, 3, -1, -1)


@pytest.fixture
def weights(images, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    np.save(tmp_path / LEARNED_SLICES, appearance_hash(thumbnails_of(images[:3])))
    return tmp_path


def test_learned_slices_and_their_mirror_images_are_known(images, weights):
    learned = LearnedSlices(weights)
    assert learned.holds(images).tolist() == [True] * 3 + [False] * 3
    assert learned.holds(images.flip(3)).tolist() == [True] * 3 + [False] * 3


def test_other_brightness_and_noise_hide_nothing(images, weights):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    assert LearnedSlices(weights).holds(images * 0.7 + 0.2 + 0.001 * noise).tolist() == [True] * 3 + [False] * 3


def test_weights_without_hashes_know_nothing(images, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not LearnedSlices(tmp_path).holds(images).any()
