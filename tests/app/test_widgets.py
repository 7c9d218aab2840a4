"""What the page says of a result."""

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_brain.app import widgets
from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.session import Result
from monai_brain.report.reasons import ABSTENTIONS


def result(prediction):
    gray = np.zeros((4, 4), np.uint8)
    return Result(prediction, "slice", (0,), (gray,), (torch.zeros(3, 4, 4),), (), None, 0, Path())


@pytest.mark.parametrize("code", ABSTENTIONS)
def test_abstention_gives_the_reason_in_words_and_no_class(code):
    html = widgets.answer(result(Prediction("a.png", ABSTAINED, code, values={"prob_glioma": "0.9"})))
    assert ABSTENTIONS[code] in html
    assert "<h2>No class is given</h2>" in html
    assert html.index("<details>") < html.index("glioma")


def test_rendered_examples_are_called_synthetic_where_their_answer_stands():
    row = Prediction("synthetic_patient_0000_axial_00.png", "ok", "", "glioma", 0.9, {"prob_glioma": "0.9"})
    words = widgets.answer(result(row), "Meningioma")
    assert widgets.SYNTHETIC in words
    assert "Rendered as: Meningioma." in words
    assert widgets.SYNTHETIC not in widgets.answer(result(row._replace(path="a.png")))


def test_series_says_how_many_files_it_has_and_what_it_shows():
    own = result(Prediction("IM0001", ABSTAINED, "not_a_head"))
    assert "Series of 24 files, T1 with contrast" in widgets.answer(own._replace(files=24, sequence="t1c"))
    assert '<p class="mb-kind">Slice</p>' in widgets.answer(own)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("glioma|notumor", "None of these classes can be ruled out."),
        ("glioma", "The network finds the other classes unlikely."),
        ("", "No class is probable enough."),
    ],
)
def test_set_is_explained_in_words(cell, words):
    own = result(Prediction("a.png", "ok", "", "glioma", 0.9, {"prob_glioma": "0.9", "set": cell}))
    html = widgets.answer(own._replace(coverage=0.9))
    assert words in html
    assert "in 90% of the cases" in html
    assert ("Glioma or no tumor" in html) == ("|" in cell)
