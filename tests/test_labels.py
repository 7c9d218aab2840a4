import pytest

from monai_brain.labels import (
    CLASS_NAMES,
    InvalidClasses,
    check_class_names,
    class_names_from,
    class_of_folder,
    colors_of,
    index_of_no_tumor,
)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("glioma_tumor", "glioma"),
        ("No Tumor", "notumor"),
        ("no-tumor", "notumor"),
        ("PITUITARY", "pituitary"),
        ("Glioma T1C+", "glioma"),
        ("_NORMAL T1", "notumor"),
        ("NORMAL T2", "notumor"),
        ("Astrocitoma T1C+", "glioma"),
        ("Oligodendroglioma T2", "glioma"),
        ("Glioma (Astrocitoma, Ganglioglioma, Glioblastoma, Oligodendroglioma, Ependimoma) T1", "glioma"),
        ("Meningioma (de Baixo Grau, Atípico, Anaplásico, Transicional) - T1C+", "meningioma"),
        ("x", None),
        ("1", None),
        ("tumor", None),
        ("Ependimoma T1", None),
        ("Neurocitoma (Central - Intraventricular, Extraventricular) T1", None),
        ("Schwannoma (Acustico, Vestibular - Trigeminal) T2", None),
    ],
)
def test_folder_names_of_the_public_sets_are_known(folder, name):
    assert class_of_folder(folder) == name


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("healthy", "No Tumor"),
        ("Glioblastoma T1", "glioblastoma"),
        ("Astrocitoma T1", "glioma"),
        ("Schwannoma (Acustico) T1C+", "Schwannoma T1C+"),
        ("Schwannoma (Acustico) T1", None),
        ("pituitary", None),
    ],
)
def test_own_class_names_go_before_the_known_ones(folder, name):
    own = ("No Tumor", "glioma", "glioblastoma", "Schwannoma (Acustico) T1C+")
    assert class_of_folder(folder, own) == (own[3] if name == "Schwannoma T1C+" else name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "at least two"),
        ("ab", "at least two"),
        (["a", 2], "at least two"),
        (["No tumor", "tumor", "no_tumor"], "No tumor, no_tumor have one name"),
        (["1", "2", "3"], "class name '1' does not say what it stands for"),
        (["../a", "b"], "letters, digits"),
        (["<img>", "b"], "letters, digits"),
        (["=1+1", "b"], "letters, digits"),
        (["a" * 121, "b"], "at most 120 bytes"),
    ],
)
def test_unusable_class_names_are_refused(names, message):
    with pytest.raises(InvalidClasses, match=message):
        check_class_names(names)


def test_classes_are_names_or_lines_of_a_file(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("tumor\n\nGlioma (Astrocitoma, Ependimoma) T1\n")
    assert class_names_from("tumor, no tumor") == ("tumor", "no tumor")
    assert class_names_from(str(file)) == ("tumor", "Glioma (Astrocitoma, Ependimoma) T1")
    with pytest.raises(InvalidClasses, match="no such file"):
        class_names_from(str(tmp_path / "none.txt"))


@pytest.mark.parametrize("names", [CLASS_NAMES, ("a", "b"), tuple("abcdefgh"), ("tumor", "glioma", "no tumor")])
def test_every_class_has_its_own_color(names):
    colors = colors_of(names)
    assert tuple(colors) == names
    assert len(set(colors.values())) == len(names)


def test_default_classes_keep_their_colors_among_others():
    assert colors_of(("a", "pituitary", "b"))["pituitary"] == colors_of(CLASS_NAMES)["pituitary"]


def test_more_classes_than_colors_have_one_each():
    assert len(colors_of([f"class {number}" for number in range(50)])) == 50


def test_class_without_tumor_is_known_by_its_name():
    assert [index_of_no_tumor(names) for names in (CLASS_NAMES, ("tumor", "healthy"), ("a", "b"))] == [2, 1, None]
