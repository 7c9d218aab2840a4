"""Every page, on a desk and on a phone: nothing torn apart, nothing beyond the edge, the answer in view."""

import functools

import pytest

from monai_brain.evaluation import intervals
from monai_brain.report import figures
from monai_brain.report.overlays import HEIGHT
from tests.browser.conftest import BEYOND, PHONE, TORN, WIDE
from tests.browser.every_kind import KINDS, LONG, write_every_kind


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    few = functools.partial(intervals.group_bootstrap, draws=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "group_bootstrap", few)
        patch.setattr(figures, "DOTS_PER_INCH", 40)
        return write_every_kind(tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_word_is_torn_apart_and_the_page_does_not_scroll_sideways(pages, page, kind, viewport):
    page.set_viewport_size(viewport)
    page.goto((pages / KINDS[kind]).as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((own) => { own.open = true; })")
    assert page.evaluate(TORN) == []
    assert page.evaluate(BEYOND) <= 0
    assert "notumor" not in page.inner_text("body").replace("/notumor/", "")  # which is a folder's name


@pytest.fixture
def worklist(pages, page):
    page.set_viewport_size(PHONE)
    page.goto((pages / KINDS["worklist"]).as_uri())
    return page


def test_phone_shows_class_and_probability_of_every_case(worklist):
    boxes = [cell.bounding_box() for cell in worklist.locator("#cases .class, #cases tbody .probability:visible").all()]
    boxes += [cell.bounding_box() for cell in worklist.locator("#patients td:nth-child(-n + 3)").all()]
    assert len(boxes) == 3 * 2 + 3
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in boxes)


def test_patients_and_cases_come_first_and_skipped_files_are_folded_away(worklist):
    order = worklist.evaluate("Array.from(document.querySelectorAll('#patients, #cases, #skipped'), (own) => own.id)")
    assert order == ["patients", "cases", "skipped"]
    skipped = worklist.get_by_text("notes/README.txt")
    assert not skipped.is_visible()
    worklist.get_by_text("Skipped files: 1").tap()
    assert skipped.is_visible()


def test_code_is_explained_to_mouse_and_finger(worklist):
    code = worklist.locator("abbr", has_text="learned_slice")
    words = "The network was trained on this slice or its mirror image: it may remember the answer."
    assert code.get_attribute("title") == words
    shown = worklist.locator(".code span", has_text=words)
    assert not shown.is_visible()
    code.tap()
    assert shown.is_visible()


def test_overlay_opens_beside_its_slice_and_closes_by_keyboard(worklist):
    box = worklist.locator("dialog")
    links = worklist.locator("#cases a.open")
    links.first.tap()
    assert box.is_visible()
    assert box.inner_text().startswith(f"{LONG}, no tumor, 45.1%")
    assert worklist.evaluate(TORN) == []
    picture = worklist.locator("#box-picture")
    width = picture.evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width > 2 * HEIGHT  # slice and overlay, side by side
    assert picture.bounding_box()["width"] <= PHONE["width"]
    worklist.keyboard.press("ArrowRight")
    assert box.inner_text().startswith("a9.png, meningioma, 98.8%")
    worklist.keyboard.press("Escape")
    assert not box.is_visible()
    assert links.nth(1).evaluate("link => link === document.activeElement")


def test_worklist_leads_to_the_review_page(worklist):
    worklist.get_by_role("link", name="Review").tap()
    worklist.wait_for_url("**/review.html")
    assert worklist.title() == "Review - MONAI Brain"
