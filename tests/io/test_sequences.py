import nibabel as nib
import numpy as np
import pytest

from monai_brain.io import Skipped, UnreadableCase, find_cases, read_case
from monai_brain.io.read import read_image
from monai_brain.io.sequences import InvalidTable, named_sequence, read_table

AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])


def volume(path, value=0.0, affine=AFFINE, shape=(40, 44, 6)):
    voxels = np.random.default_rng(0).random(shape).astype(np.float32) + value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def brats(folder, *names):
    return [volume(folder / f"BraTS-GLI-00001-000-{name}.nii.gz", number) for number, name in enumerate(names)]


def refusal(case):
    with pytest.raises(UnreadableCase) as caught:
        read_case(case)
    return caught.value.code


def test_files_in_brats_names_are_one_case_and_no_file_is_lost(tmp_path):
    brats(tmp_path / "one", "t1n", "t1c", "t2w", "t2f", "seg")
    found = {entry.id: entry for entry in find_cases(tmp_path)}
    stem = "one/BraTS-GLI-00001-000"
    assert set(found) == {f"{stem}-t2f.nii.gz", f"{stem}-t2w.nii.gz", f"{stem}-seg.nii.gz"}
    assert found[f"{stem}-t2w.nii.gz"] == Skipped(f"{stem}-t2w.nii.gz", "unused_sequence")
    assert found[f"{stem}-seg.nii.gz"].code == "reference_mask"
    case = found[f"{stem}-t2f.nii.gz"]
    assert case.sequences == ("t1", "flair", "t1c")
    assert [path.name[-10:-7] for path in case.files] == ["t1n", "t2f", "t1c"]


def test_channels_are_the_sequences_in_order(tmp_path):
    for name, value in (("t1", 10), ("flair", 20), ("t1ce", 30), ("t2", 40)):
        volume(tmp_path / f"Brats18_x_{name}.nii", value)
    (case,) = (entry for entry in find_cases(tmp_path) if not isinstance(entry, Skipped))
    image = read_case(case)
    assert image.pixels.shape == (3, 6, 44, 40)
    assert image.channels == ("t1", "flair", "t1c")
    assert [int(channel.min()) for channel in image.pixels] == [10, 20, 30]


@pytest.mark.parametrize("names", [("t1n", "t1c"), ("t2f",)])
def test_files_without_partners_stay_cases(tmp_path, names):
    brats(tmp_path, *names)
    assert sum(len(case.files) for case in find_cases(tmp_path)) == len(names)
    assert all(read_case(case).kind == "volume" for case in find_cases(tmp_path))


def test_sequence_that_is_there_twice_is_not_guessed(tmp_path):
    brats(tmp_path, "t2f", "t1n")
    volume(tmp_path / "BraTS-GLI-00001-000-flair.nii")
    assert [len(case.files) for case in find_cases(tmp_path)] == [1, 1, 1]


@pytest.mark.bad_input(97)
@pytest.mark.parametrize("name", ["W39_1998.09.19_Segm.nii", "a-seg.nii.gz", "a_SEGMENTATION.nii.gz"])
def test_97_mask_is_skipped_though_no_scan_has_its_name(tmp_path, name):
    for own in (name, "scan_t1.nii"):
        volume(tmp_path / own)
    found = {entry.id: entry for entry in find_cases(tmp_path)}
    assert found[name] == Skipped(name, "reference_mask")
    assert not isinstance(found["scan_t1.nii"], Skipped)


def test_t1_with_contrast_has_another_name(tmp_path):
    for name in ("T1", "T1GD", "FLAIR", "T2"):
        volume(tmp_path / f"UPENN-GBM-00001_11_{name}.nii.gz")
    (case,) = (entry for entry in find_cases(tmp_path) if not isinstance(entry, Skipped))
    assert case.sequences == ("t1", "flair", "t1c")
    assert case.files[2].name.endswith("_T1GD.nii.gz")


def table(folder, text):
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_table_names_files_relative_to_itself(tmp_path):
    for name in ("f", "a", "c"):
        volume(tmp_path / "scans" / f"{name}.nii.gz")
    path = table(
        tmp_path, "\ufeffcase;flair;t1c;t1\nfirst;scans/f.nii.gz;scans/c.nii.gz;scans/a.nii.gz\n2;scans/f.nii.gz;;\n"
    )
    first, second = find_cases(path)
    assert (first.id, first.sequences) == ("first", ("t1", "flair", "t1c"))
    assert (second.id, second.sequences) == ("2", ("flair",))
    assert read_case(first).pixels.shape == (3, 6, 44, 40)
    assert read_case(second).channels == ("flair",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,flair,t2\na,b,c\n", "has the column 't2'"),
        ("flair,t1\na,b\n", "it takes case and flair"),
        ("", "it takes case and flair"),
        ("case,flair\na,\n", "line 2: case or flair is empty"),
        ("case,flair\na,x\na,y\n", "line 3: case 'a' occurs twice"),
        ("case,flair\n../a,x\n", "not a plain name"),
    ],
)
def test_wrong_tables_are_refused_with_the_place(tmp_path, text, said):
    with pytest.raises(InvalidTable, match=said.replace("(", r"\(")):
        read_table(table(tmp_path, text))


@pytest.mark.parametrize(
    ("affine", "shape"),
    [(np.diag([1.0, 1.0, 5.1, 1.0]), (40, 44, 6)), (AFFINE, (40, 44, 5))],
    ids=["spacing", "shape"],
)
def test_other_geometry_is_a_coded_refusal(tmp_path, affine, shape):
    volume(tmp_path / "f.nii.gz")
    volume(tmp_path / "c.nii.gz", affine=affine, shape=shape)
    (case,) = find_cases(table(tmp_path, "case,flair,t1c\na,f.nii.gz,c.nii.gz\n"))
    assert refusal(case) == "geometry_mismatch"


def test_other_axis_orders_of_one_grid_fit(tmp_path):
    voxels = np.random.default_rng(1).random((40, 44, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "f.nii.gz")
    turned = nib.Nifti1Image(voxels, AFFINE).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nib.save(turned, tmp_path / "c.nii.gz")
    (case,) = find_cases(table(tmp_path, "case,flair,t1c\na,f.nii.gz,c.nii.gz\n"))
    flair, contrast = read_case(case).pixels
    assert np.array_equal(flair, contrast)


def test_missing_file_of_a_table_is_coded(tmp_path):
    (case,) = find_cases(table(tmp_path, "case,flair\na,nothing.nii.gz\n"))
    assert refusal(case) == "vanished"


def test_volumes_are_refused_where_a_slice_is_expected(tmp_path):
    with pytest.raises(UnreadableCase, match="a slice is expected"):
        read_image(volume(tmp_path / "a.nii.gz"))


def test_tiny_slices_of_a_volume_are_refused(tmp_path):
    volume(tmp_path / "a.nii.gz", shape=(20, 44, 6))
    (case,) = find_cases(tmp_path)
    assert refusal(case) == "too_small"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anna/AX_T2_FLAIR.nii.gz", "flair"),
        ("BraTS-GLI-00005-000-t2f.nii.gz", "flair"),
        ("BraTS20_001_t1ce.nii.gz", "t1c"),
        ("AX T1 POST GD", "t1c"),
        ("t1/contrast/5.png", "t1"),
        ("t1_mprage_sag.nii", "t1"),
        ("T2w/flair_copy/7.png", "flair"),
        ("ep2d_dwi_b1000", "diffusion"),
        ("TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_12.tif", ""),
        ("patient12/slice_t.png", ""),
    ],
)
def test_names_say_their_sequence_or_nothing(name, expected):
    assert named_sequence(name) == expected
