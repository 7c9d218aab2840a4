import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from monai_brain.labels import CLASS_NAMES
from monai_brain.report.explanations import draw_examples
from monai_brain.report.figures import (
    draw_class_counts,
    draw_confusion_matrix,
    draw_histograms,
    draw_learning_curves,
    draw_roc_curves,
)
from monai_brain.report.html import Gallery, Table, write_page
from monai_brain.report.overlays import MASK_COLOR, explanation_panel, overlay
from monai_brain.report.slice_figures import ExplainedSlice, draw_explanations
from monai_brain.report.worklist import Case, write_review


def test_overlay_leaves_the_slice_where_the_map_is_zero():
    gray = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    heat = np.zeros((40, 50))
    heat[:, 25:] = 1
    result = overlay(gray, heat)
    np.testing.assert_array_equal(result[:, :24], np.repeat(gray[:, :24, None], 3, axis=2))
    assert np.abs(result[:, 26:].astype(int) - gray[:, 26:, None]).mean() > 20


def test_panel_has_slice_overlay_bar_and_caption():
    panel = explanation_panel(np.full((64, 64), 100, np.uint8), np.zeros((8, 8)), "Grad-CAM for glioma")
    assert panel.shape == (280, 256 * 2 + 24, 3)
    assert panel[:24].max() == 255


def test_panel_with_a_mask_has_its_outline_in_both_pictures_and_pixels_of_their_shape():
    gray, mask = np.full((40, 40), 100, np.uint8), np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    panel = explanation_panel(gray, np.zeros((40, 40)), "Grad-CAM for tumor", mask, aspect=2.0)
    assert panel.shape == (280, 128 * 2 + 24, 3)
    blue = (panel == MASK_COLOR).all(axis=2)
    assert blue[:, :128].any()
    np.testing.assert_array_equal(blue[:, :128], blue[:, 134:262])


def explained(attention=False, mask=False):
    gray, heat, outline = np.full((60, 60), 90, np.uint8), np.zeros((60, 60)), np.zeros((60, 60), bool)
    heat[10:20, 10:20] = 1
    outline[30:50, 30:50] = True
    return ExplainedSlice(gray, heat, 1 - heat if attention else None, outline if mask else None)


def blue_pixels(path):
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)
    return int((np.abs(picture - MASK_COLOR).max(axis=2) < 12).sum())


def test_figure_of_explanations_has_a_panel_for_what_there_is_as_png_and_svg(tmp_path):
    widths, blue = {}, {}
    for attention in (False, True):
        for mask in (False, True):
            path = tmp_path / f"{attention}_{mask}.png"
            slices = [explained(attention, mask), explained(attention, mask)]
            draw_explanations(slices, ["one", "two"], path, title="Both", method="Grad-CAM")
            widths[attention, mask] = cv2.imread(str(path)).shape[1]
            blue[attention, mask] = blue_pixels(path)
            assert ElementTree.parse(path.with_suffix(".svg")).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert widths[False, False] < widths[True, False] == widths[False, True] < widths[True, True]
    assert blue[False, False] == blue[True, False] == 0
    assert blue[False, True] > 100


def test_figure_of_explanations_is_the_same_when_it_is_made_again(tmp_path):
    for name in ("a", "b"):
        draw_explanations([explained(True, True)], ["one"], tmp_path / f"{name}.png", title="", method="Grad-CAM")
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_long_title_is_not_cut_off(tmp_path):
    title = "Answer meningioma: most evidence inside the mask (2 above), least (2 below)"
    for attention in (False, True):
        path = tmp_path / f"{attention}.png"
        draw_explanations([explained(attention)], ["one"], path, title=title, method="Grad-CAM")
        above = cv2.imread(str(path))[:60]
        assert (above[:, [0, 1, 2, -3, -2, -1]] == 255).all()
        assert (above < 100).any()


def test_examples_are_the_most_and_the_least_of_each_answer(tmp_path):
    shares = [0.5, 0.1, 0.9, 0.7, None, 0.3, 0.2]
    rows = [{"predicted": 0, "probability": 0.8, "share": share} for share in shares]
    rows += [{"predicted": 3, "probability": 0.8, "share": 0.4}]
    drawn = []

    def picture(index):
        drawn.append(index)
        return explained()

    figures = draw_examples(tmp_path, rows, "share", "of it", str, picture, "gradcam")
    assert drawn == [2, 3, 6, 1, 7]
    assert [figure.path for figure in figures] == ["examples_glioma.png", "examples_pituitary.png"]
    assert all((tmp_path / figure.path).with_suffix(".svg").is_file() for figure in figures)


def test_names_are_escaped_and_nothing_is_fetched(tmp_path):
    evil = '<img src=x onerror="alert(1)">'
    write_page(tmp_path / "p.html", evil, [Table(evil, [evil], [[evil]]), Gallery("g", [(f"a/{evil}.png", evil)])])
    text = (tmp_path / "p.html").read_text()
    assert "<img src=x" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "a/%3Cimg" in text


def test_figures_are_written(tmp_path):
    row = {"epoch": 1, "train_loss": 1.0, "val_loss": 1.1, "val_macro_f1": 0.5, "val_accuracy": 0.6}
    draw_learning_curves([row], tmp_path / "curves.png")
    draw_confusion_matrix(np.eye(4, dtype=int), CLASS_NAMES, tmp_path / "matrix.png", "title")
    draw_learning_curves([{"epoch": 1, "train_loss": 1.0}], tmp_path / "not_validated.png")
    for name in ("curves.png", "matrix.png", "not_validated.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None
        assert picture.std() > 5


@pytest.mark.parametrize("number", [2, 5, 20])
def test_figures_have_room_for_every_class(tmp_path, number):
    """A curve for each class, and no cell smaller than its two lines of text."""
    names = [f"Class of a long name, number {index}" for index in range(number)]
    labels = np.arange(number).repeat(3)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(number), len(labels))
    draw_roc_curves(labels, probabilities, dict.fromkeys(names, 0.5), tmp_path / "roc.png")
    draw_confusion_matrix(np.eye(number, dtype=int), names, tmp_path / "matrix.png", "title")
    draw_class_counts({"training": range(number), "test": range(number)}, names, tmp_path / "counts.png")
    draw_histograms({name: [index, index + 1] for index, name in enumerate(names)}, "x", tmp_path / "values.png")
    for name in ("roc", "matrix", "counts", "values"):
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        assert picture.std() > 5
        assert (picture[:, [0, 1, -2, -1]] == 255).all(), name  # nothing is cut off
        assert (picture[[0, 1, -2, -1]] == 255).all(), name
    matrix = cv2.imread(str(tmp_path / "matrix.png"))
    assert min(matrix.shape[:2]) > 60 * number  # pixels; two lines of nine points take 38


def test_review_of_many_classes_has_a_button_for_each_and_keys_for_nine(tmp_path):
    names = [f"Class {letter}" for letter in "ABCDEFGHIJKL"]
    cases = [Case("a.png", "ok", "", names[0], 0.5, [], [], "thumbnails/a.jpg", "")]
    write_review(tmp_path / "review.html", "Review", cases, names, 1)
    page = (tmp_path / "review.html").read_text()
    assert re.findall(r'data-label="([^"]+)"', page) == names
    assert re.findall(r'class="relabel"[^>]*><kbd>(\d+)</kbd>', page) == list("123456789")
