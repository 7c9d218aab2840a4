"""Where masks go, and how large what they show is; what users see of both is in tests/bundles/test_masks.py."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from monai_brain.inference.segmentation import mask_names
from monai_brain.inference.stream import CaseStream
from monai_brain.io import Case
from monai_brain.io.orient import oriented
from monai_brain.io.record import SEQUENCES


def cases(*ids, kind="slice"):
    return [Case(own, (Path("/scans") / PurePosixPath(own).name,), kind) for own in ids]


def test_masks_have_their_files_paths_without_the_suffix():
    found = mask_names(cases("a.png", "b/a.tif", "c/x.nii.gz", "c/Y.NII.GZ", "d/scan"))
    assert list(found.values()) == ["masks/a", "masks/b/a", "masks/c/x", "masks/c/Y", "masks/d/scan"]


@pytest.mark.parametrize(
    "ids",
    [
        ("a.tif", "a.png", "a.tif.jpg"),
        ("1.2", "1.3", "1.2.1"),
        ("a", "a.png", "a.png.jpg"),
        ("x.nii", "x.nii.gz", "x.nii.nii.gz"),
    ],
)
def test_no_two_masks_are_written_into_one_file(ids):
    names = mask_names(cases(*ids))
    assert len(set(names.values())) == len(ids)
    assert names == mask_names(reversed(cases(*ids)))


def test_heads_in_several_sequences_are_called_after_their_flair():
    files = tuple(Path("/scans") / f"h-{name}.nii.gz" for name in ("t1n", "t2f", "t1c"))
    assert mask_names([Case("h-t2f.nii.gz", files, "volume", SEQUENCES)]) == {"h-t2f.nii.gz": "masks/h-t2f"}


@pytest.mark.parametrize(
    ("first", "added"), [(("a.jpg",), ("a",)), (("1.2.1",), ("1.2", "1.3")), (("a.png",), ("a.jpg",))]
)
def test_files_that_are_added_take_no_mask_that_is_there(first, added):
    before = mask_names(cases(*first))
    after = mask_names(cases(*first, *added))
    assert not {after[own] for own in added} & set(before.values())


def test_names_of_a_table_stay_whole():
    rows = [Case(own, (Path("/scans/flair.nii.gz"),), "volume", ("flair",)) for own in ("patient.01", "patient.02")]
    assert list(mask_names(rows).values()) == ["masks/patient.01", "masks/patient.02"]


def test_voxels_of_a_sheared_volume_are_smaller_than_their_sides_multiplied():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[0, 2] = 3 * np.tan(np.radians(30))
    image = oriented(np.zeros((40, 40, 40), np.float32), affine)
    assert image.pixel_size == pytest.approx(6.0)
    assert np.prod(image.spacing_mm) == pytest.approx(6.0 / np.cos(np.radians(30)))
    assert image._replace(affine_ras=None).pixel_size == pytest.approx(np.prod(image.spacing_mm))
    assert image._replace(spacing_mm=None).pixel_size is None


def test_batches_are_as_large_as_the_folder_has_slices_for():
    stream = CaseStream(None, [], [])
    for number, kind, size in ((1, "slice", 1), (3, "slice", 4), (100, "slice", 8), (1, "volume", 8), (0, "slice", 1)):
        stream.all_cases = cases(*(f"{place}.png" for place in range(number)), kind=kind)
        assert stream.fitting(8) == size
