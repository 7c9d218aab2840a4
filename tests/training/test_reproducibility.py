import cv2
import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandAffined, RandFlipd
from torch.utils.data import DataLoader

from monai_brain.training.reproducibility import CachedSlices, start
from monai_brain.transforms.intensity import NormalizeChannelsd, ScaleToUnitd
from monai_brain.transforms.load import LoadMaskd, LoadSliced
from monai_brain.transforms.spatial import ResizeSliced


@pytest.fixture
def dataset(phantom_folder):
    start(0)
    data = [{"image": str(path), "label": 0} for path in sorted(phantom_folder.rglob("*.png"))[:12]]
    transforms = [
        LoadSliced("image"),
        RandAffined("image", prob=1, rotate_range=0.5),
        RandFlipd("image", prob=0.5, spatial_axis=1),
        ScaleToUnitd("image"),
        NormalizeChannelsd("image"),
    ]
    return CachedSlices(data, Compose(transforms), num_cached=1, seed=5)


def images(dataset, workers=0):
    return torch.cat([batch["image"] for batch in DataLoader(dataset, batch_size=5, num_workers=workers)])


def test_augmentation_does_not_depend_on_workers_or_order(dataset):
    dataset.fill()
    alone = images(dataset)
    assert torch.equal(alone, images(dataset, workers=2))
    assert torch.equal(alone[7], dataset[7]["image"])


def test_each_epoch_is_augmented_anew_and_again_the_same(dataset):
    first = images(dataset)
    dataset.epoch.fill_(1)
    second = images(dataset)
    dataset.epoch.fill_(0)
    assert not torch.equal(first, second)
    assert torch.equal(first, images(dataset))


def test_augmented_image_is_not_what_is_cached(dataset):
    dataset.fill()
    before = dataset._cache[0]["image"].copy()
    dataset[0]
    assert (dataset._cache[0]["image"] == before).all()
    assert before.dtype.name == "uint8"


def test_unreadable_training_image_is_named_with_its_code(dataset, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    dataset.data = [{"image": str(tmp_path / "broken.png"), "label": 0}]
    with pytest.raises(ValueError, match=r"broken\.png.*empty_file"):
        dataset[0]


def test_pair_that_does_not_fit_is_named(tmp_path):
    """As where a datalist was written by hand, or files were changed since."""
    spot = np.zeros((40, 48), np.uint8)
    spot[10:20, 10:20] = 255
    cv2.imwrite(str(tmp_path / "a.png"), spot[::-1])
    cv2.imwrite(str(tmp_path / "small_mask.png"), spot[:36])
    cv2.imwrite(str(tmp_path / "gray_mask.png"), np.tile(np.arange(48, dtype=np.uint8), (40, 1)))
    reading = Compose([LoadSliced("image"), ResizeSliced("image", size=32), LoadMaskd("label")])
    for label, said in (
        (str(tmp_path / "small_mask.png"), r"a\.png with .*small_mask\.png: the slice is 40x48 and its mask 36x48"),
        (str(tmp_path / "gray_mask.png"), r"gray_mask\.png: holds 48 values.*monai-brain index-pairs"),
        (2, r"a\.png: its label is 2, and no path of a mask.*monai-brain index-pairs"),
    ):
        pair = CachedSlices([{"image": str(tmp_path / "a.png"), "label": label}], reading, num_cached=3)
        with pytest.raises(ValueError, match=said):
            pair.fill()


def test_first_view_is_the_slice_as_it_is_and_others_are_augmented(dataset):
    plain = CachedSlices(dataset.data, Compose([*dataset.first.transforms, *dataset.plain.transforms]), 1)
    assert torch.equal(dataset.view(4, 0)["image"], plain[4]["image"])
    assert not torch.equal(dataset.view(4, 1)["image"], plain[4]["image"])
    assert not torch.equal(dataset.view(4, 1)["image"], dataset.view(4, 2)["image"])
    assert torch.equal(dataset.view(4, 2)["image"], dataset.view(4, 2)["image"])
