import pytest

from monai_brain.labels import CLASS_COLORS, CLASS_NAMES, class_of_folder


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("glioma_tumor", "glioma"),
        ("No Tumor", "notumor"),
        ("no-tumor", "notumor"),
        ("PITUITARY", "pituitary"),
        ("x", None),
    ],
)
def test_folder_names_of_the_public_sets_are_known(folder, name):
    assert class_of_folder(folder) == name


def test_every_class_has_its_own_color():
    assert len({CLASS_COLORS[name] for name in CLASS_NAMES}) == 4
