import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from monai_brain.data.demo import write_demo_slices
from monai_brain.data.demo.acquisition import acquire_slice, scan
from monai_brain.data.demo.lesions import Head
from monai_brain.labels import CLASS_NAMES


def digest(folder):
    files = sorted(folder.rglob("*.png"))
    return [(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]


@pytest.mark.slow
def test_same_seed_gives_the_same_files_for_any_number_of_workers(tmp_path):
    for name, workers in (("a", 1), ("b", 2)):
        assert write_demo_slices(tmp_path / name, patients=4, seed=3, slices_per_patient=1, workers=workers) == 4
    write_demo_slices(tmp_path / "c", patients=4, seed=4, slices_per_patient=1, workers=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    assert {f.parent.name for f in (tmp_path / "a").rglob("*.png")} == set(CLASS_NAMES)
    for path in (tmp_path / "a").rglob("*.png"):
        assert "synthetic_patient_" in path.name
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("L", (256, 256))
            assert "Synthetic" in picture.info["Comment"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_head_shows_its_tumor_where_the_mask_says(name):
    head = Head(name, seed=11)
    center = head.anatomy.scanner_position(head.lesion.center_mm) if head.lesion else np.zeros(3)
    cut = acquire_slice(head, "axial", float(center[2]), np.random.default_rng(0))
    assert 0.15 < (cut.image > 40).mean() < 0.7
    if name == "notumor":
        assert not cut.mask.any()
        return
    assert 40 < cut.mask.sum() < 4000
    assert cut.image[cut.mask].std() > 0
    brain = np.median(cut.image[cut.image > 40])
    assert np.percentile(cut.image[cut.mask], 90) > brain


def test_rendering_in_this_process_leaves_its_threads_alone(tmp_path):
    before = torch.get_num_threads()
    write_demo_slices(tmp_path / "out", patients=1, slices_per_patient=1, workers=1)
    assert torch.get_num_threads() == before > 1


def test_output_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="not empty"):
        write_demo_slices(tmp_path, patients=4)
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_scanner_noise_is_rician():
    noise = scan(np.zeros((64, 64)), np.random.default_rng(0), noise=0.1, kept=1.0)
    assert noise.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.03)
