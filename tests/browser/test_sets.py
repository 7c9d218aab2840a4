"""The page with calibrated weights, and the page of a folder run, in a real browser."""

import cv2
import pytest

from monai_brain.inference.apply import predict_folder
from tests.browser.conftest import watched
from tests.browser.test_app import give
from tests.conftest import draw_phantom

pytestmark = pytest.mark.slow


def test_classes_that_cannot_be_told_apart_are_said_in_words(visitor, server, undecided, tmp_path):
    cv2.imwrite(str(tmp_path / "slice.png"), draw_phantom(0, 1, size=256))
    with watched(visitor) as page:
        page.goto(server.address)
        page.wait_for_selector("#mb-files", state="attached")
        page.get_by_label(str(undecided)).check()
        give(page, tmp_path / "slice.png")
        heading = page.inner_text(".mb-answer h2").lower()
        assert heading in ("glioma or meningioma", "meningioma or glioma")
        words = page.inner_text(".mb-answer")
        assert "None of these classes can be ruled out" in words
        assert "in 90% of the cases" in words
        assert page.locator(".mb-answer .mb-figure").count() == 0  # no single probability stands for both
        assert page.locator(".mb-bar").count() == 4


def test_worklist_shows_sets_and_patients(page, undecided, tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "scans" / f"p{number // 2}_{number}.png"), draw_phantom(number, 1, size=256))
    predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(undecided), patient_pattern=r"(p\d)_", workers=0)
    page.goto((tmp_path / "out" / "report.html").as_uri())
    rows = page.locator("#cases tbody tr")
    assert rows.count() == 4
    assert all(" or " in rows.nth(number).inner_text() for number in range(4))
    assert "contains the true class in 90% of the cases" in page.inner_text(".numbers")
    patients = page.locator("#patients tbody tr")
    assert [patients.nth(number).locator("td").first.inner_text() for number in range(2)] == ["p0", "p1"]
    page.get_by_role("button", name="cannot be ruled out", exact=True).click()  # sorts
    assert rows.count() == 4
