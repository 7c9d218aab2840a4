import shutil

import cv2
import numpy as np
import pytest

from monai_brain.data.index import InvalidFolder, count_by_class, index_folder
from monai_brain.data.splits import PARTS
from monai_brain.io.write import write_png
from monai_brain.labels import InvalidClasses


@pytest.fixture
def folder(phantom_folder, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(phantom_folder, copy)
    return copy


def test_every_image_is_in_one_part(folder):
    found = index_folder(folder, patient_pattern=r"patient_(\d+)", workers=1)
    images = [item["image"] for part in PARTS for item in found.datalist[part]]
    assert sorted(images) == sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    assert count_by_class(found.datalist)["all"]["glioma"] == (16, 8)


def test_no_patient_is_in_two_parts(folder):
    datalist = index_folder(folder, patient_pattern=r"patient_(\d+)", workers=1).datalist
    groups = [{item["group"] for item in datalist[part]} for part in PARTS]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def make_unlike(folder):
    """Give every phantom a texture of its own: by sight alone, heads that are all ellipses are one head."""
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        texture = np.random.default_rng(number).integers(0, 200, (8, 8), dtype=np.uint8)
        write_png(path, cv2.resize(texture, (64, 64), interpolation=cv2.INTER_CUBIC))


def test_copies_stay_in_one_part_and_are_counted(folder):
    make_unlike(folder)
    for number in range(3):
        shutil.copy(folder / "glioma" / "patient_00_0.png", folder / "glioma" / f"copy_{number}.png")
    found = index_folder(folder, workers=1)
    parts = {
        part for part in PARTS for item in found.datalist[part] if "copy_" in item["image"] or "_00_0" in item["image"]
    }
    assert len(parts) == 1
    assert found.duplicates.exact == 4
    assert found.duplicates.near >= 4


def test_mirror_images_stay_in_one_part(folder):
    make_unlike(folder)
    mirrored = cv2.imread(str(folder / "glioma" / "patient_00_0.png"), cv2.IMREAD_GRAYSCALE)[:, ::-1]
    write_png(folder / "glioma" / "mirrored.png", np.ascontiguousarray(mirrored))
    datalist = index_folder(folder, workers=1).datalist
    items = [item for part in PARTS for item in datalist[part]]
    (group,) = {item["group"] for item in items if item["image"] in ("glioma/patient_00_0.png", "glioma/mirrored.png")}
    assert sum(item["group"] == group for item in items) == 2


def test_twin_with_another_label_is_counted(folder):
    make_unlike(folder)
    shutil.copy(folder / "glioma" / "patient_00_0.png", folder / "pituitary" / "same.png")
    assert index_folder(folder, workers=1).duplicates.near_of_other_class >= 2


def test_unreadable_and_stray_files_are_left_out_with_a_code(folder):
    (folder / "glioma" / "broken.png").write_bytes(b"")
    (folder / "glioma" / "notes.txt").write_text("x")
    refused = index_folder(folder, patient_pattern=r"(patient_\d+|broken)", workers=1).refused
    assert refused == {"glioma/notes.txt": "sidecar", "glioma/broken.png": "empty_file"}


def test_folder_names_of_the_public_sets_are_taken(folder):
    for name in ("glioma", "meningioma", "pituitary"):
        (folder / name).rename(folder / f"{name}_tumor")
    (folder / "notumor").rename(folder / "no_tumor")
    assert index_folder(folder, patient_pattern=r"patient_(\d+)", workers=1).datalist["training"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "glioma"), "no folder of class glioma"),
        (lambda f: (f / "carcinoma").mkdir(), "unknown class folder carcinoma"),
        (lambda f: [p.unlink() for p in (f / "notumor").iterdir()], "no readable image of class notumor"),
        (lambda f: shutil.rmtree(f), "no such folder"),
    ],
    ids=["missing", "unknown", "empty", "nothing"],
)
def test_wrong_folder_is_a_clear_error(folder, change, message):
    change(folder)
    with pytest.raises(InvalidFolder, match=message):
        index_folder(folder, workers=1)


def test_pattern_that_misses_a_path_is_refused(folder):
    with pytest.raises(InvalidFolder, match="do not match"):
        index_folder(folder, patient_pattern=r"subject_(\d+)", workers=1)


def test_pattern_that_is_none_is_refused(folder):
    with pytest.raises(InvalidFolder, match="not a regular expression"):
        index_folder(folder, patient_pattern="patient_(", workers=1)


def test_litter_beside_class_folders_is_ignored(folder):
    for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
        shutil.copytree(folder / "glioma", folder / name)
    assert count_by_class(index_folder(folder, patient_pattern=r"patient_(\d+)", workers=1).datalist)["all"][
        "glioma"
    ] == (
        16,
        8,
    )


@pytest.fixture
def public_layout(folder, tmp_path):
    """Training with six patients of each class, Testing with two; all slices of a patient in one of them."""
    for path in sorted(folder.rglob("*.png")):
        part = "Testing" if path.name[9] in "67" else "Training"
        target = tmp_path / "public" / part / f"{path.parent.name}_tumor" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    for part in ("Training", "Testing"):
        (tmp_path / "public" / part / "notumor_tumor").rename(tmp_path / "public" / part / "no_tumor")
    return tmp_path / "public"


def test_kept_split_is_that_of_the_folders_and_draws_validation_from_training(public_layout):
    found = index_folder(public_layout, patient_pattern=r"patient_(\d+)", keep_split=True, workers=1)
    images = {part: [item["image"] for item in found.datalist[part]] for part in PARTS}
    assert sorted(images["test"]) == sorted(
        path.relative_to(public_layout).as_posix() for path in (public_layout / "Testing").rglob("*.png")
    )
    assert all(image.startswith("Training/") for image in images["training"] + images["validation"])
    counts = count_by_class(found.datalist)
    assert set(counts["training"].values()) == {(10, 5)}
    assert set(counts["validation"].values()) == {(2, 1)}  # whole patients, of every class
    assert set(counts["test"].values()) == {(4, 2)}
    assert found.divided_groups == 0
    assert found.datalist["split"] == "kept, of the folders Testing, Training"


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_folder_is_kept_too(public_layout, name):
    moved = "patient_05_0.png", "patient_05_1.png"
    (public_layout / name / "glioma").mkdir(parents=True)
    for file in moved:
        (public_layout / "Training" / "glioma_tumor" / file).rename(public_layout / name / "glioma" / file)
    datalist = index_folder(public_layout, patient_pattern=r"patient_(\d+)", keep_split=True, workers=1).datalist
    assert [item["image"] for item in datalist["validation"]] == [f"{name}/glioma/{file}" for file in moved]


def test_groups_in_two_parts_of_a_kept_split_are_counted(public_layout):
    for patient in ("00", "11"):
        name = ("glioma_tumor", "meningioma_tumor")[int(patient[0])]
        shutil.copy(
            public_layout / "Training" / name / f"patient_{patient}_0.png",
            public_layout / "Testing" / name / f"patient_{patient}_9.png",
        )
    assert index_folder(public_layout, patient_pattern=r"patient_(\d+)", keep_split=True, workers=1).divided_groups == 2


def test_split_of_the_folders_that_is_not_asked_for_names_the_option(public_layout):
    with pytest.raises(InvalidFolder, match=r"holds Testing, Training, which is a split; give --keep-split"):
        index_folder(public_layout, workers=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "Testing"), r"training and test.*there is Training"),
        (lambda f: (f / "glioma").mkdir(), "holds glioma beside Testing, Training"),
        (lambda f: shutil.rmtree(f / "Training" / "no_tumor"), "no folder of class notumor for training"),
        (lambda f: [p.unlink() for p in (f / "Training" / "no_tumor").iterdir()], "no readable image of class notumor"),
        (lambda f: (f / "Testing" / "x").mkdir(), "Testing: unknown class folder x"),
    ],
)
def test_split_that_cannot_be_kept_is_a_clear_error(public_layout, change, message):
    change(public_layout)
    with pytest.raises(InvalidFolder, match=message):
        index_folder(public_layout, keep_split=True, workers=1)


def test_class_may_be_missing_in_the_test_part(public_layout):
    shutil.rmtree(public_layout / "Testing" / "no_tumor")
    found = index_folder(public_layout, patient_pattern=r"patient_(\d+)", keep_split=True, workers=1)
    assert count_by_class(found.datalist)["test"]["notumor"] == (0, 0)


def test_folder_without_parts_has_no_split_to_keep(folder):
    with pytest.raises(InvalidFolder, match="there is none"):
        index_folder(folder, keep_split=True, workers=1)


def test_folders_of_several_sequences_are_one_class(folder):
    (folder / "glioma").rename(folder / "Glioma T1C+")
    shutil.copytree(folder / "notumor", folder / "_NORMAL T2")
    counts = count_by_class(index_folder(folder, patient_pattern=r"patient_(\d+)", workers=1).datalist)["all"]
    assert counts == {"glioma": (16, 8), "meningioma": (16, 8), "notumor": (32, 8), "pituitary": (16, 8)}


def test_own_classes_keep_their_order_and_leave_others_out(folder):
    found = index_folder(folder, class_names=("pituitary", "No tumor"), patient_pattern=r"patient_(\d+)", workers=1)
    assert found.datalist["class_names"] == ["pituitary", "No tumor"]
    assert {(item["image"].split("/")[0], item["label"]) for part in PARTS for item in found.datalist[part]} == {
        ("pituitary", 0),
        ("notumor", 1),
    }
    assert found.refused == {"glioma/": "other_class", "meningioma/": "other_class"}
    assert set(count_by_class(found.datalist)["all"]) == {"pituitary", "No tumor"}


def test_own_class_without_a_folder_is_named(folder):
    with pytest.raises(InvalidFolder, match="no folder of class astrocytoma"):
        index_folder(folder, class_names=("glioma", "astrocytoma"), workers=1)


def test_folders_that_say_no_class_are_refused(folder):
    for number, name in enumerate(("glioma", "meningioma", "pituitary"), 1):
        (folder / name).rename(folder / str(number))
    with pytest.raises(InvalidFolder, match=r"unknown class folder 1, 2, 3\. .*--classes"):
        index_folder(folder, workers=1)
    with pytest.raises(InvalidClasses, match="'1' does not say what it stands for"):
        index_folder(folder, class_names=("1", "2", "3"), workers=1)


def test_unknown_folder_names_all_ways_out(folder):
    (folder / "glioma").rename(folder / "Ependimoma T1")
    with pytest.raises(InvalidFolder, match=r"unknown class folder Ependimoma T1\. .*--classes A,B.*glioblastoma"):
        index_folder(folder, workers=1)
