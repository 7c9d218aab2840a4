"""The pages of a folder run, as people use them: from a file, without a server."""

import csv

import cv2
import numpy as np
import pytest

from monai_brain.evaluation.agreement import agreements, read_review
from monai_brain.labels import CLASS_NAMES
from monai_brain.report.worklist import Case, write_review, write_worklist
from tests.browser.conftest import DESKTOP, PHONE

MARKUP = '<img src=x onerror="document.title=1">.png'
CASES = [
    Case("cut.png", "error", "truncated", "", None, ["", ""], [], "", ""),
    Case("a10.png", "ok", "", "pituitary", 0.45, ["0.9", ""], ["small_image"], "thumbnails/a.jpg", "overlays/a.png"),
    Case("a9.png", "ok", "", "glioma", 0.61, ["0.8", ""], [], "thumbnails/a.jpg", ""),
    Case(MARKUP, "ok", "", "glioma", 0.99, ["0.7", ""], [], "thumbnails/a.jpg", "overlays/a.png"),
]
MORE = ["evidence_in_head", "agreement"]
COUNTS = {"status": {"error": 1, "ok": 3}, "label": {"glioma": 2, "pituitary": 1}}


@pytest.fixture
def folder(tmp_path):
    for name in ("thumbnails/a.jpg", "overlays/a.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.full((64, 64), 120, np.uint8))
    return tmp_path


@pytest.fixture
def worklist(folder, page):
    write_worklist(folder / "report.html", "Predictions", CASES, COUNTS, 4, MORE, CLASS_NAMES)
    page.goto((folder / "report.html").as_uri())
    return page


@pytest.fixture
def review(folder, page):
    write_review(folder / "review.html", "Review", CASES[1:], CLASS_NAMES, 3)
    page.goto((folder / "review.html").as_uri())
    return page


def paths(page):
    return [text for text in page.locator("#cases tbody tr:visible td.path").all_inner_texts()]


def test_worklist_is_sorted_by_any_column_and_back(worklist):
    assert paths(worklist) == [case.path for case in CASES]
    worklist.get_by_role("button", name="path").click()
    assert paths(worklist) == [MARKUP, "a9.png", "a10.png", "cut.png"]
    worklist.get_by_role("button", name="probability").click()
    assert paths(worklist) == ["a10.png", "a9.png", MARKUP, "cut.png"]
    worklist.get_by_role("button", name="probability").click()
    assert paths(worklist) == [MARKUP, "a9.png", "a10.png", "cut.png"]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_abstention_says_why_in_words_and_has_its_filter(folder, page, viewport):
    page.set_viewport_size(viewport)
    abstention = Case("noise.png", "abstained", "not_a_head", "", None, ["", ""], [], "thumbnails/a.jpg", "")
    counts = {"status": {"abstained": 1, **COUNTS["status"]}, "label": COUNTS["label"]}
    write_worklist(folder / "report.html", "Predictions", [abstention, *CASES], counts, 5, MORE, CLASS_NAMES)
    page.goto((folder / "report.html").as_uri())
    page.get_by_role("button", name="abstained 1").click()
    assert paths(page) == ["noise.png"]
    assert "No class. The image does not look like an MR slice of a head." in page.inner_text("#cases tbody tr:visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_worklist_is_filtered_by_class_status_and_words(worklist):
    worklist.get_by_role("button", name="glioma 2").click()
    assert paths(worklist) == ["a9.png", MARKUP]
    worklist.get_by_label("Search paths and codes").fill("A9")
    assert paths(worklist) == ["a9.png"]
    assert worklist.inner_text("#shown") == "1 of 4 shown"
    worklist.get_by_label("Search paths and codes").fill("")
    worklist.get_by_role("button", name="glioma 2").click()
    worklist.get_by_role("button", name="error 1").click()
    assert paths(worklist) == ["cut.png"]


@pytest.mark.bad_input(15)
def test_name_with_markup_is_text_and_pictures_are_there(worklist):
    assert MARKUP in paths(worklist)
    assert worklist.title() == "Predictions - MONAI Brain"
    widths = worklist.eval_on_selector_all("#cases tbody img", "images => images.map(image => image.naturalWidth)")
    assert widths == [64, 64, 64]
    assert worklist.locator("th", has_text="heat inside the head").count() == 1
    assert worklist.locator("th", has_text="slices that agree").count() == 0  # no case has it


def test_script_from_elsewhere_is_refused(folder, page):
    """What the policy lets through is the page's own script alone."""
    write_worklist(folder / "report.html", "Predictions", CASES, COUNTS, 4, MORE, CLASS_NAMES)
    text = (folder / "report.html").read_text()
    (folder / "report.html").write_text(text.replace("<h1>", "<script>document.title = 'taken over'</script><h1>"))
    page.goto((folder / "report.html").as_uri())
    assert page.title() == "Predictions - MONAI Brain"
    assert page.inner_text("#shown") == "4 of 4 shown"


def export(page, folder):
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    download.value.save_as(folder / "review.csv")
    with (folder / "review.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_review_by_keyboard_is_exported_and_agree_reads_it(review, folder):
    review.keyboard.press("a")
    assert review.inner_text("#path") == "a9.png"
    review.keyboard.press("2")
    review.keyboard.press("r")
    assert review.inner_text("#state") == "3 of 3, 3 answered"
    assert review.inner_text("#path") == MARKUP
    review.get_by_role("button", name="Export CSV").click()
    assert "Enter your initials" in review.inner_text("#state")
    review.get_by_label("Reader").fill("anna")
    rows = export(review, folder)
    assert [(row["path"], row["decision"], row["reader_label"], row["blinded"]) for row in rows] == [
        ("a10.png", "accept", "pituitary", "false"),
        ("a9.png", "relabel", "meningioma", "false"),
        (MARKUP, "reject", "", "false"),
    ]
    (pair,) = agreements([read_review(folder / "review.csv")])
    assert (pair.first, pair.cases, pair.agreement) == ("anna", 3, pytest.approx(1 / 3))


def test_blinded_reader_sees_the_model_only_after_the_answer(review, folder):
    review.keyboard.press("j")
    review.keyboard.press("b")
    review.keyboard.press("k")  # the first was seen before
    review.keyboard.press("4")
    review.keyboard.press("j")
    review.keyboard.press("j")
    assert "hidden until" in review.inner_text("#model")
    assert review.inner_text("#path") == "Case 3"
    assert not review.locator("#overlay").is_visible()
    review.keyboard.press("a")
    assert "hidden until" in review.inner_text("#model")
    review.keyboard.press("1")
    assert "Model: glioma, 99.0%" in review.inner_text("#model")
    assert review.locator("#overlay").is_visible()
    review.get_by_label("Reader").fill("ben")
    rows = export(review, folder)
    assert [(row["path"], row["decision"], row["blinded"]) for row in rows] == [
        ("a10.png", "accept", "false"),
        (MARKUP, "accept", "true"),
    ]


def test_answers_survive_a_reload_and_can_be_taken_back(review):
    review.keyboard.press("a")
    review.reload()
    assert review.inner_text("#state") == "2 of 3, 1 answered"
    review.keyboard.press("k")
    review.keyboard.press("u")
    assert review.inner_text("#state") == "1 of 3, 0 answered"
