import shutil

import cv2
import numpy as np
import pytest

from monai_brain.data.index import UnusableFolder, count_by_class, index_folder
from monai_brain.data.splits import PARTS
from monai_brain.io.write import write_png


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
        (lambda f: (f / "astrocytoma").mkdir(), "unknown class folder astrocytoma"),
        (lambda f: [p.unlink() for p in (f / "notumor").iterdir()], "no readable image of class notumor"),
        (lambda f: shutil.rmtree(f), "no such folder"),
    ],
    ids=["missing", "unknown", "empty", "nothing"],
)
def test_wrong_folder_is_a_clear_error(folder, change, message):
    change(folder)
    with pytest.raises(UnusableFolder, match=message):
        index_folder(folder, workers=1)


def test_pattern_that_misses_a_path_is_refused(folder):
    with pytest.raises(UnusableFolder, match="have no patient"):
        index_folder(folder, patient_pattern=r"subject_(\d+)", workers=1)


def test_pattern_that_is_none_is_refused(folder):
    with pytest.raises(UnusableFolder, match="no regular expression"):
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
