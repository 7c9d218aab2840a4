import hashlib

import nibabel as nib
import numpy as np
import pytest

from monai_brain.data.demo import write_demo_volumes
from monai_brain.data.demo.writing import UnknownLayout
from monai_brain.data.pairs import find_pairs
from monai_brain.io import Skipped, find_cases, read_case
from monai_brain.io.nifti import read_nifti
from monai_brain.io.read import read_image, read_mask
from monai_brain.io.record import DEFAULT_LIMITS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for layout in ("nifti", "slices"):
        write_demo_volumes(folder / layout, patients=1, seed=2, layout=layout, size=64, workers=1)
    return folder


def test_tumor_is_bright_on_flair_where_the_mask_says(heads):
    (case,) = (entry for entry in find_cases(heads / "nifti") if not isinstance(entry, Skipped))
    image = read_case(case)
    assert image.channels == ("t1", "flair", "t1c")
    path = next((heads / "nifti").rglob("*-seg.nii.gz"))
    mask = read_nifti(path.read_bytes(), DEFAULT_LIMITS).pixels[0] > 0
    assert 5 < mask.sum() * np.prod(image.spacing_mm) / 1000 < 200, "milliliters"
    flair = image.pixels[1]
    brain = flair > 0.25 * flair.max()
    assert np.median(flair[mask]) > 1.25 * np.median(flair[brain & ~mask])


def test_heads_are_upright_in_the_world(heads):
    path = next((heads / "nifti").rglob("*-t1n.nii.gz"))
    image = nib.as_closest_canonical(nib.load(path))
    values = np.asarray(image.dataobj)
    air = values < 0.1 * values.max()
    assert air[..., -1].mean() > air[..., 0].mean(), "crown above, neck below"
    assert air[0].mean() > 0.9
    assert "Synthetic" in str(image.header["descrip"])


def test_slices_are_the_same_heads_in_the_other_layout(heads):
    found = find_pairs(heads / "slices")
    assert not [code for code in found.refused.values() if code != "sidecar"]
    assert {pair.patient for pair in found.pairs} == {"TCGA_SY_0000_00000000"} or len(found.pairs) > 20
    tumor = [pair for pair in found.pairs if pair.tumor_pixels]
    assert 3 <= len(tumor) < len(found.pairs)
    one = max(tumor, key=lambda pair: pair.tumor_pixels)
    image = read_image(heads / "slices" / one.image).pixels
    mask = read_mask(heads / "slices" / one.mask)
    assert image.shape == (3, 64, 64)
    assert np.median(image[1][mask]) > np.median(image[1][image[1] > 40])


def test_seed_gives_the_same_bytes(heads, tmp_path):
    write_demo_volumes(tmp_path / "again", patients=1, seed=2, layout="nifti", size=64, workers=1)
    digests = [
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.nii.gz"))]
        for folder in (heads / "nifti", tmp_path / "again")
    ]
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]


def test_unknown_layout_is_refused(tmp_path):
    with pytest.raises(UnknownLayout, match="not one of classes, nifti, slices"):
        write_demo_volumes(tmp_path, patients=1, layout="dicom")
