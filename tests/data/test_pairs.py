import json
import shutil

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.pairs import (
    InvalidPairs,
    count_by_part,
    find_pairs,
    fold_of_patients,
    read_split,
    segmentation_datalist,
    split_pairs,
)
from monai_brain.io import UnreadableCase
from monai_brain.io.read import read_mask
from tests.conftest import read


def draw(path, seed, mask=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (40, 48, 3), np.uint8) if mask is None else mask
    cv2.imwrite(str(path), image)


def spot(number):
    mask = np.zeros((40, 48), np.uint8)
    mask[10 : 10 + number, 10:20] = 255
    return mask


@pytest.fixture
def lgg(tmp_path):
    """Three patients of each of two institutions, two slices each, the first without tumor."""
    for seed, institution in enumerate(("CS", "DU")):
        for number in range(3):
            patient = f"TCGA_{institution}_{4000 + number}_19970222"
            for index in range(2):
                draw(tmp_path / patient / f"{patient}_{index}.tif", 100 * seed + 10 * number + index)
                draw(tmp_path / patient / f"{patient}_{index}_mask.tif", 0, spot(4 * index))
    (tmp_path / "data.csv").write_text("Patient;age\n")
    return tmp_path


def test_lgg_layout_is_paired_with_patients_and_institutions(lgg):
    found = find_pairs(lgg)
    assert len(found.pairs) == 12
    assert found.refused == {}
    first = found.pairs[1]
    assert first.image == "TCGA_CS_4000_19970222/TCGA_CS_4000_19970222_1.tif"
    assert first.mask == "TCGA_CS_4000_19970222/TCGA_CS_4000_19970222_1_mask.tif"
    assert (first.patient, first.institution, first.tumor_pixels) == ("TCGA_CS_4000_19970222", "CS", 40)


def test_folders_of_images_and_masks_are_paired_whatever_the_format(tmp_path):
    for number in range(3):
        draw(tmp_path / "images" / "p1" / f"{number}.jpg", number)
        draw(tmp_path / "masks" / "p1" / f"{number}.png", 0, spot(number))
    found = find_pairs(tmp_path)
    assert [(p.image, p.mask, p.patient) for p in found.pairs] == [
        (f"images/p1/{n}.jpg", f"masks/p1/{n}.png", "p1") for n in range(3)
    ]


def test_patient_comes_from_the_pattern_where_there_is_no_folder_for_each(tmp_path):
    draw(tmp_path / "images" / "case7_1.png", 1)
    draw(tmp_path / "masks" / "case7_1.png", 0, spot(3))
    with pytest.raises(InvalidPairs, match="which patient"):
        find_pairs(tmp_path)
    assert find_pairs(tmp_path, patient_pattern=r"case(\d+)").pairs[0].patient == "7"
    with pytest.raises(InvalidPairs, match="finds no patient"):
        find_pairs(tmp_path, patient_pattern=r"patient(\d+)")


@pytest.mark.parametrize("lost", ["", "_mask"])
def test_lonely_file_is_named(lgg, lost):
    path = next(lgg.rglob(f"*4001_19970222_1{lost}.tif"))
    path.unlink()
    with pytest.raises(InvalidPairs, match=f"1 file.*without their {'mask' if lost else 'image'}: TCGA_.._4001"):
        find_pairs(lgg)


def test_mask_of_another_size_or_with_gray_values_names_the_pair(lgg):
    path = next(lgg.rglob("*_1_mask.tif"))
    draw(path, 0, np.zeros((36, 36), np.uint8))
    with pytest.raises(InvalidPairs, match=r"is 40x48, TCGA.*_mask\.tif is 36x36"):
        find_pairs(lgg)
    draw(path, 0, np.tile(np.arange(48, dtype=np.uint8), (40, 1)))
    with pytest.raises(InvalidPairs, match=r"holds 48 values.*not_a_mask.*remove it and TCGA"):
        find_pairs(lgg)


def test_slice_without_signal_is_left_out_with_its_code(lgg):
    path = next(p for p in sorted(lgg.rglob("*.tif")) if "mask" not in p.name)
    draw(path, 0, np.zeros((40, 48, 3), np.uint8))
    found = find_pairs(lgg)
    assert found.refused == {path.relative_to(lgg).as_posix(): "no_signal"}
    assert len(found.pairs) == 11


def test_empty_mask_is_a_mask_and_its_brighter_value_is_tumor(tmp_path):
    draw(tmp_path / "m.png", 0, spot(0))
    assert not read_mask(tmp_path / "m.png").any()
    draw(tmp_path / "m.png", 0, spot(2) // 255)
    assert read_mask(tmp_path / "m.png").sum() == 20
    draw(tmp_path / "m.png", 0, spot(2) // 255 + 1)  # 1 and 2
    assert read_mask(tmp_path / "m.png").sum() == 20
    red = np.zeros((40, 48, 3), np.uint8)
    red[..., 2] = spot(2)
    draw(tmp_path / "m.png", 0, red)
    assert read_mask(tmp_path / "m.png").sum() == 20
    draw(tmp_path / "m.png", 0, np.where(red.any(-1, keepdims=True), red, np.array([255, 0, 0], np.uint8)))
    with pytest.raises(UnreadableCase, match="one brightness"):
        read_mask(tmp_path / "m.png")
    red[:5, :5, 1] = 255
    draw(tmp_path / "m.png", 0, red)
    with pytest.raises(UnreadableCase, match="holds 3 values"):
        read_mask(tmp_path / "m.png")
    (tmp_path / "m.png").write_bytes(b"")
    with pytest.raises(UnreadableCase):
        read_mask(tmp_path / "m.png")


def test_patients_of_the_same_name_in_two_folders_are_two_and_two_files_of_one_place_are_refused(tmp_path):
    for seed, site in enumerate(("a", "b")):
        draw(tmp_path / site / "p1" / "0.tif", seed)
        draw(tmp_path / site / "p1" / "0_mask.tif", 0, spot(2))
    assert {pair.patient for pair in find_pairs(tmp_path).pairs} == {"a/p1", "b/p1"}
    draw(tmp_path / "a" / "p1" / "0.png", 2)
    with pytest.raises(InvalidPairs, match=r"a/p1/0\.png and a/p1/0\.tif would have the same key;"):
        find_pairs(tmp_path)


def test_copies_of_a_patient_are_one_patient_and_each_slice_is_taken_once(lgg):
    """As where an archive was unpacked twice, into two folders."""
    for path in sorted(lgg.glob("TCGA*")):
        shutil.copytree(path, lgg / "lgg-mri-segmentation" / "kaggle_3m" / path.name)
    found = find_pairs(lgg)
    assert len(found.pairs) == 12
    assert len({pair.patient for pair in found.pairs}) == 6
    assert list(found.refused.values()) == ["same_content_as_before"] * 12


def test_one_image_under_two_patients_is_refused(tmp_path):
    for site in ("train", "test"):
        draw(tmp_path / "images" / site / "p1" / "0.png", 1)
        draw(tmp_path / "masks" / site / "p1" / "0.png", 0, spot(2))
    with pytest.raises(InvalidPairs, match=r"test/p1/0\.png and images/train/p1/0\.png are the same image"):
        find_pairs(tmp_path)
    assert len(find_pairs(tmp_path, patient_pattern=r"(p\d)").pairs) == 1


def test_what_is_not_followed_is_said(lgg, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    patient = next(lgg.glob("TCGA_DU_4001*"))
    shutil.move(patient, elsewhere / patient.name)
    patient.symlink_to(elsewhere / patient.name)
    assert find_pairs(lgg).refused == {patient.name: "link_out"}
    result = CliRunner().invoke(app, ["index-pairs", str(lgg), "-o", str(lgg / "d.json"), "--folds", "3"])
    assert result.exit_code == 3
    assert "(link_out)" in result.output
    mask = next(lgg.glob("TCGA_CS_4001*/*_1_mask.tif"))
    shutil.move(mask, elsewhere / "mask.tif")
    mask.symlink_to(elsewhere / "mask.tif")
    with pytest.raises(InvalidPairs, match=r"without their mask: .*not followed: .*_1_mask\.tif \(link_out\)"):
        find_pairs(lgg)


def test_where_nothing_can_be_used_the_reasons_are_said(tmp_path):
    for number in range(5):
        draw(tmp_path / "p1" / f"{number}.tif", 0, np.zeros((40, 48, 3), np.uint8))
        draw(tmp_path / "p1" / f"{number}_mask.tif", 0, spot(2))
    with pytest.raises(InvalidPairs, match=r"not used: p1/0\.tif \(no_signal\), .* \(5 in all\)"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(("pattern", "said"), [("(p", "is not a regular expression"), ("(q)?p", "finds no patient")])
def test_pattern_that_cannot_be_used_is_refused(lgg, pattern, said):
    with pytest.raises(InvalidPairs, match=said):
        find_pairs(lgg, patient_pattern=pattern.replace("p", "TCGA"))


def test_folds_are_even_in_size_and_institution(lgg):
    folds = fold_of_patients(find_pairs(lgg).pairs, 3, seed=1)
    assert len(folds) == 6
    for fold in range(3):
        own = [patient for patient, number in folds.items() if number == fold]
        assert sorted(patient[5:7] for patient in own) == ["CS", "DU"]
    assert folds == fold_of_patients(find_pairs(lgg).pairs, 3, seed=1)
    with pytest.raises(InvalidPairs, match="7 folds of 6 patients"):
        fold_of_patients(find_pairs(lgg).pairs, 7)


def test_no_patient_is_in_two_parts_and_none_is_lost(lgg):
    pairs = find_pairs(lgg).pairs
    tested = {"TCGA_CS_4000_19970222", "TCGA_DU_4002_19970222"}
    datalist = segmentation_datalist(pairs, tested, name="x")
    groups = [{item["group"] for item in datalist[part]} for part in ("training", "validation", "test")]
    assert groups[2] == tested
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6
    assert all(groups)
    assert sum(len(datalist[part]) for part in ("training", "validation", "test")) == 12
    assert count_by_part(datalist)["test"] == (4, 2, 2)
    assert datalist["test"][0]["institution"] == "CS"
    with pytest.raises(InvalidPairs, match="no patient is left for training"):
        segmentation_datalist(pairs, {p.patient for p in pairs}, name="x")


def test_folds_of_a_file_are_read_and_anything_else_refused(tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"folds": {"a": 0, "b": 1}}))
    assert read_split(tmp_path / "split.json") == ({"a": 0, "b": 1}, frozenset())
    (tmp_path / "split.json").write_text("[]")
    with pytest.raises(InvalidPairs, match="expected JSON with folds"):
        read_split(tmp_path / "split.json")
    with pytest.raises(InvalidPairs, match="no such split"):
        read_split(tmp_path / "other.json")


def test_patients_that_are_held_out_are_in_no_fold_and_tested_by_themselves(lgg, tmp_path):
    pairs = find_pairs(lgg).pairs
    patients = sorted({pair.patient for pair in pairs})
    folds = {patient: place % 2 for place, patient in enumerate(patients[2:])}
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"folds": folds, "test": patients[:2]}))
    in_fold = split_pairs(pairs, fold=0, split=split)
    groups = {part: {item["group"] for item in in_fold[part]} for part in ("training", "validation", "test")}
    assert set.union(*groups.values()) == set(patients[2:])
    last = split_pairs(pairs, held_out=True, split=split)
    assert last["name"] == "split_held_out"
    assert {item["group"] for item in last["test"]} == set(patients[:2])
    with pytest.raises(InvalidPairs, match="no patient is held out"):
        split_pairs(pairs, held_out=True)
    split.write_text(json.dumps({"folds": dict.fromkeys(patients, 0), "test": patients[:1]}))
    with pytest.raises(InvalidPairs, match="in a fold and held out"):
        split_pairs(pairs, split=split)


def test_every_patient_is_tested_in_one_fold(lgg, tmp_path):
    pairs = find_pairs(lgg).pairs
    tested = [{item["group"] for item in split_pairs(pairs, fold=fold, folds=3)["test"]} for fold in range(3)]
    assert sum(map(len, tested)) == len(set.union(*tested)) == 6
    with pytest.raises(InvalidPairs, match="no fold 3; there are 0, 1, 2"):
        split_pairs(pairs, fold=3, folds=3)


def test_one_institution_is_left_out(lgg):
    datalist = split_pairs(find_pairs(lgg).pairs, institution="DU")
    assert {item["institution"] for item in datalist["test"]} == {"DU"}
    assert {item["institution"] for part in ("training", "validation") for item in datalist[part]} == {"CS"}
    with pytest.raises(InvalidPairs, match="'HT'; there are CS, DU"):
        split_pairs(find_pairs(lgg).pairs, institution="HT")


def test_split_of_other_patients_is_refused(lgg):
    pairs = find_pairs(lgg).pairs
    folds = {pair.patient: number // 2 % 2 for number, pair in enumerate(pairs)}
    (lgg / "split.json").write_text(json.dumps({"folds": folds}))
    assert split_pairs(pairs, fold=1, split=lgg / "split.json")["name"] == "split_fold_1"
    (lgg / "split.json").write_text(json.dumps({"folds": {**folds, "TCGA_HT_1_1": 0}}))
    with pytest.raises(InvalidPairs, match=r"other patients than the folder, such as TCGA_HT_1_1 \(1 in all\)"):
        split_pairs(pairs, split=lgg / "split.json")
    with pytest.raises(InvalidPairs, match="one of the two"):
        split_pairs(pairs, split=lgg / "split.json", institution="CS")


def test_command_writes_the_datalist_and_tells_what_was_left_out(lgg):
    words = ["index-pairs", str(lgg), "-o", str(lgg / "d.json"), "--folds", "3", "--fold", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert len(read(lgg / "d.json")["test"]) == 4
    black = next(p for p in sorted(lgg.rglob("*.tif")) if "mask" not in p.name)
    draw(black, 0, np.zeros((40, 48, 3), np.uint8))
    assert isinstance(CliRunner().invoke(app, words).exception, FileExistsError)
    result = CliRunner().invoke(app, [*words, "--overwrite"])
    assert result.exit_code == 3
    assert "(no_signal)" in result.output
