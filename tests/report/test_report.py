import cv2
import numpy as np

from monai_brain.report.figures import draw_confusion_matrix, draw_learning_curves, explanation_panel, overlay
from monai_brain.report.html import Gallery, Table, write_page


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
    draw_confusion_matrix(np.eye(4, dtype=int), tmp_path / "matrix.png", "title")
    draw_learning_curves([{"epoch": 1, "train_loss": 1.0}], tmp_path / "not_validated.png")
    for name in ("curves.png", "matrix.png", "not_validated.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None
        assert picture.std() > 5
