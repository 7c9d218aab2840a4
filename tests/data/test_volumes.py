import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose
from nibabel.orientations import apply_orientation, inv_ornt_aff
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.matching import InvalidPairs
from monai_brain.data.pairs import find_pairs
from monai_brain.data.volumes import find_volume_pairs, write_slices
from monai_brain.inference.preparation import Preparer
from monai_brain.io.read import read_mask
from monai_brain.io.sequences import InvalidTable
from monai_brain.transforms.load import LoadSliced, slices_with_signal
from tests.conftest import read

AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])
SHAPE = (40, 44, 6)
OTHER_ORDER = np.array([[2, -1], [0, 1], [1, -1]])


def save(path, voxels, affine=AFFINE, order=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if order is not None:
        voxels, affine = apply_orientation(voxels, order), affine @ inv_ornt_aff(order, voxels.shape)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def scan(seed):
    """Noise, but for a last slice that is empty."""
    voxels = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
    voxels[..., -1] = 0
    return voxels


def tumor(labels=(1, 2, 4)):
    mask = np.zeros(SHAPE, np.uint8)
    for place, label in enumerate(labels):
        mask[10 + place, 10:20, 2:4] = label
    return mask


def brats(folder, number=1, order=None):
    name = f"BraTS-GLI-{number:05}-000"
    for seed, sequence in enumerate(("t1n", "t2w", "t2f", "t1c")):
        save(folder / name / f"{name}-{sequence}.nii.gz", scan(10 * number + seed), order=order)
    save(folder / name / f"{name}-seg.nii.gz", tumor())
    return name


def test_slices_and_masks_are_those_that_a_network_is_shown_and_is_scored_by(tmp_path):
    """Also where image and mask have their axes in different orders."""
    name = brats(tmp_path / "in", order=OTHER_ORDER)
    (pair,) = find_volume_pairs(tmp_path / "in").pairs
    assert write_slices([pair], tmp_path / "out") == {}
    loading = Compose([LoadSliced("image", gray=False)])
    shown = Preparer(loading, slices_with_signal)(pair.case)
    assert shown.wanted == (0, 1, 2, 3, 4)
    for index, pixels in zip(shown.wanted, shown.slices, strict=True):
        written = loading({"image": str(tmp_path / "out" / name / f"{name}_{index}.png")})["image"]
        assert np.array_equal(written, pixels)
        mask = read_mask(tmp_path / "out" / name / f"{name}_{index}_mask.png")
        assert np.array_equal(mask, tumor()[::-1, ::-1, index].T > 0)
    assert not (tmp_path / "out" / name / f"{name}_5.png").exists()


def test_one_sequence_is_repeated_and_layouts_of_one_file_are_known(tmp_path):
    save(tmp_path / "beside" / "p1" / "flair.nii.gz", scan(1))
    save(tmp_path / "beside" / "p1" / "flair_mask.nii.gz", tumor())
    save(tmp_path / "beside" / "p2_flair.nii", scan(2))
    save(tmp_path / "beside" / "p2_flair_seg.nii.gz", tumor())
    save(tmp_path / "beside" / "P4.nii", scan(4))
    save(tmp_path / "beside" / "P4_Segm.nii", tumor())
    save(tmp_path / "folders" / "images" / "p3.nii.gz", scan(3))
    save(tmp_path / "folders" / "masks" / "p3.nii.gz", tumor())
    for folder, places in (("beside", ["P4/P4", "p1/flair", "p2_flair/p2_flair"]), ("folders", ["p3/p3"])):
        pairs = find_volume_pairs(tmp_path / folder).pairs
        assert [pair.place for pair in pairs] == places
        assert write_slices(pairs, tmp_path / "out" / folder) == {}
        assert len(find_pairs(tmp_path / "out" / folder).pairs) == 5 * len(places)


def test_table_names_the_masks(tmp_path):
    save(tmp_path / "f.nii.gz", scan(1))
    save(tmp_path / "m.nii.gz", tumor())
    (tmp_path / "cases.csv").write_text("case,flair,mask\nanna.1,f.nii.gz,m.nii.gz\nben,f.nii.gz,\n")
    with pytest.raises(InvalidPairs, match=r"1 case.* without a mask, such as ben"):
        find_volume_pairs(tmp_path / "cases.csv")
    (tmp_path / "cases.csv").write_text("case;flair;mask\nanna.1;f.nii.gz;m.nii.gz\n")
    (pair,) = find_volume_pairs(tmp_path / "cases.csv").pairs
    assert (pair.place, pair.mask) == ("anna.1/anna.1", tmp_path / "m.nii.gz")
    assert write_slices([pair], tmp_path / "out") == {}
    assert (tmp_path / "out" / "anna.1" / "anna.1_2_mask.png").is_file()
    (tmp_path / "cases.csv").write_text("case,flair,label\n")
    with pytest.raises(InvalidTable, match="has the column 'label'; it takes case and flair"):
        find_volume_pairs(tmp_path / "cases.csv")


def test_volumes_that_would_be_mixed_up_are_refused(tmp_path):
    for name in ("p3", "p3/p3"):
        save(tmp_path / "a" / f"{name}.nii.gz", scan(1))
        save(tmp_path / "a" / f"{name}_mask.nii.gz", tumor())
    with pytest.raises(InvalidPairs, match=r"slices of p3\.nii\.gz and p3/p3\.nii\.gz would have the same names"):
        find_volume_pairs(tmp_path / "a")
    for name in ("x-t2f", "x-seg", "x"):
        save(tmp_path / "b" / f"{name}.nii.gz", scan(1))
    with pytest.raises(InvalidPairs, match=r"x-t2f\.nii\.gz and x\.nii\.gz would share one mask"):
        find_volume_pairs(tmp_path / "b")
    with pytest.raises(InvalidPairs, match="neither a folder nor a table"):
        find_volume_pairs(tmp_path / "b" / "x.nii.gz")


def test_what_lacks_its_other_half_is_named(tmp_path):
    name = brats(tmp_path)
    (tmp_path / name / f"{name}-seg.nii.gz").unlink()
    with pytest.raises(InvalidPairs, match=r"without their mask: BraTS-GLI-00001-000/.*t2f"):
        find_volume_pairs(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidPairs, match="no volume; expected"):
        find_volume_pairs(tmp_path / "nothing")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InvalidPairs, match=r"a\.png .no volume by its name.*index-pairs"):
        find_volume_pairs(tmp_path)


def test_volumes_that_cannot_be_used_are_left_out_with_the_reason_and_the_rest_is_done(tmp_path):
    for number in (1, 2, 3, 4):
        brats(tmp_path / "in", number)
    save(tmp_path / "in" / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-seg.nii.gz", tumor(), AFFINE * 2)
    save(tmp_path / "in" / "BraTS-GLI-00002-000" / "BraTS-GLI-00002-000-t1c.nii.gz", np.stack([scan(1)] * 2, -1))
    result = CliRunner().invoke(app, ["slices", str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 3
    assert "2 volumes in slices" in result.output
    assert "00001-000-t2f.nii.gz: corners of the mask and its image lie up to" in result.output
    assert "(several_volumes)" in result.output
    assert len(list((tmp_path / "out").glob("*/*_mask.png"))) == 10
    again = CliRunner().invoke(app, ["slices", str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert isinstance(again.exception, FileExistsError)
    again = CliRunner().invoke(app, ["slices", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--overwrite"])
    assert again.exit_code == 3


def test_volumes_become_a_datalist_by_two_commands_and_the_first_is_named_where_it_is_missing(tmp_path):
    for number in range(4):
        brats(tmp_path / "in", number)
    datalist = str(tmp_path / "d.json")
    words = ["--folds", "4", "--patient-pattern", r"BraTS-GLI-(\d+)"]
    result = CliRunner().invoke(app, ["index-pairs", str(tmp_path / "in"), "-o", datalist, *words])
    assert f"monai-brain slices {tmp_path / 'in'}" in str(result.exception)
    assert CliRunner().invoke(app, ["slices", str(tmp_path / "in"), "-o", str(tmp_path / "out")]).exit_code == 0
    result = CliRunner().invoke(app, ["index-pairs", str(tmp_path / "out"), "-o", datalist, *words])
    assert result.exit_code == 0, result.output
    assert len(read(tmp_path / "d.json")["test"]) == 5
    assert sum(item["tumor_pixels"] for item in read(tmp_path / "d.json")["test"]) == int((tumor() > 0).sum())
