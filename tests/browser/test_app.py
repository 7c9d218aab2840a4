"""The page in a real browser, served as users serve it."""

import concurrent.futures
import json
import os
import re

import cv2
import nibabel as nib
import numpy as np
import pytest

from monai_brain.app.analysis import EXAMPLE_SEED
from monai_brain.data.demo import write_demo_slices
from tests.browser.conftest import BEYOND, DESKTOP, MAX_UPLOAD_MB, PHONE, TORN, WIDE, watched
from tests.bundles.test_masks import head, save
from tests.conftest import REPOSITORY, draw_phantom
from tests.io.dicoms import CANARY, save_series

pytestmark = pytest.mark.slow

MEGABYTE = 1024**2
MOST_GROWTH = 300 * MEGABYTE
"""Of the server while fifty uploads of five megabytes come at once."""


@pytest.fixture
def opened(visitor, server):
    with watched(visitor) as page:
        page.set_viewport_size(DESKTOP)
        page.goto(server.address)
        page.wait_for_selector("#mb-files", state="attached")
        page.wait_for_selector("text=not a medical device")
        yield page


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A synthetic head, which the input check takes for one."""
    folder = tmp_path_factory.mktemp("rendered")
    write_demo_slices(folder, patients=1, slices_per_patient=1, seed=EXAMPLE_SEED, workers=1)
    return cv2.imread(str(next(folder.glob("*/*.png"))), cv2.IMREAD_GRAYSCALE)


@pytest.fixture
def slice_file(tmp_path, rendered):
    path = tmp_path / "slice.jpg"
    cv2.imwrite(str(path), rendered)
    return path


def give(page, *files):
    page.set_input_files("#mb-files", [str(file) for file in files])
    page.wait_for_selector(".mb-answer, .mb-refused")


def test_slice_shows_its_class_its_evidence_and_can_be_saved(opened, slice_file, tmp_path):
    give(opened, slice_file)
    assert opened.locator(".mb-bar").count() == 4
    assert "slice.jpg" in opened.inner_text(".mb-answer")
    layer = opened.locator(".mb-layer")
    assert layer.evaluate("image => image.naturalWidth") > 0
    before = layer.evaluate("image => getComputedStyle(image).opacity")
    opened.locator("#mb-opacity").focus()
    opened.keyboard.press("Home")
    assert layer.evaluate("image => getComputedStyle(image).opacity") == "0" != before
    saved = {}
    for link in opened.locator(".mb-save").all():
        with opened.expect_download() as waiting:
            link.click()
        path = tmp_path / "saved" / waiting.value.suggested_filename
        waiting.value.save_as(path)
        saved[path.name] = path
    row = json.loads(saved["result.json"].read_text())
    assert row["path"] == "slice.jpg"
    assert row["status"] == "ok"
    assert cv2.imread(str(saved["overlay.png"])).shape[2] == 3


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_picture_of_no_head_gets_no_class_and_the_reason_in_words(opened, tmp_path, viewport):
    opened.set_viewport_size(viewport)
    picture = tmp_path / "phantom.png"
    cv2.imwrite(str(picture), draw_phantom(0, 1, size=256))
    give(opened, picture)
    words = opened.inner_text(".mb-answer")
    assert "No class is given" in words
    assert "does not look like an MR slice of a head" in words
    assert not opened.locator(".mb-bar").first.is_visible()
    opened.get_by_text("What the network computed anyway").click()
    assert opened.locator(".mb-bar").first.is_visible()
    assert opened.locator(".mb-layer").count() == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_dicom_series_is_a_volume_with_a_slider_and_names_no_patient(opened, tmp_path):
    save_series(tmp_path / "series", count=4)
    give(opened, *sorted((tmp_path / "series").iterdir()))
    slider = opened.locator("#mb-slice input[type=range]")
    slider.wait_for()
    assert "Series of 4 files" in opened.inner_text(".mb-kind")
    before = opened.inner_text(".mb-pictures figcaption >> nth=0")
    slider.focus()
    opened.keyboard.press("ArrowLeft" if slider.input_value() != "0" else "ArrowRight")
    opened.wait_for_function(
        "before => document.querySelector('.mb-pictures figcaption').textContent !== before", arg=before
    )
    assert CANARY not in opened.content()


def test_nifti_volume_gets_a_mask_with_its_volume(opened, tmp_path):
    opened.get_by_label("Tumor outline").check()
    give(opened, save(head(), tmp_path / "head.nii.gz"))
    assert re.search(r"\d mL", opened.inner_text(".mb-answer"))
    with opened.expect_download() as waiting:
        opened.locator(".mb-save", has_text="Mask").click()
    waiting.value.save_as(tmp_path / "mask.nii.gz")
    assert np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).shape == head().shape


def test_broken_file_says_what_it_is_and_what_to_do(opened, slice_file):
    slice_file.write_bytes(slice_file.read_bytes()[:2000])
    give(opened, slice_file)
    words = opened.inner_text(".mb-refused")
    assert "truncated" in words
    assert "export the file again" in words
    assert "/tmp" not in words


@pytest.mark.bad_input(15)
@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.jpg", "**a** `b` $c$ {{7*7}}.jpg"])
def test_markup_in_a_name_is_text(opened, slice_file, name):
    asked = []
    opened.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    give(opened, slice_file.rename(slice_file.with_name(name)))
    assert opened.inner_text(".mb-name") == name
    assert opened.locator(".mb-name *").count() == 0
    assert asked == []


def test_file_above_the_limit_says_so(opened, tmp_path):
    large = tmp_path / "large.nii"
    large.write_bytes(bytes((MAX_UPLOAD_MB + 1) * MEGABYTE))
    opened.set_input_files("#mb-files", str(large))
    opened.wait_for_selector("#mb-status.mb-bad")
    assert f"More than {MAX_UPLOAD_MB} MB" in opened.inner_text("#mb-status")


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["desk", "phone"])
def test_class_and_probability_are_in_view_and_nothing_is_torn_apart(opened, slice_file, viewport):
    opened.set_viewport_size(viewport)
    give(opened, slice_file)
    opened.wait_for_selector(".mb-layer")
    assert opened.evaluate(BEYOND) <= 0
    assert opened.evaluate(TORN) == []
    for name in ("h2", ".mb-figure"):
        box = opened.locator(f".mb-answer {name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]


def test_result_stands_above_the_examples_on_a_phone(opened):
    def places():
        return [opened.locator(name).bounding_box() for name in ("#mb-answer", "#mb-examples")]

    answer, examples = places()
    assert answer["x"] > examples["x"] + examples["width"]
    opened.set_viewport_size(PHONE)
    answer, examples = places()
    assert answer["y"] + answer["height"] <= examples["y"]


def test_example_says_that_it_is_synthetic_and_what_was_rendered_where_its_answer_stands(opened):
    for words in ("Glioma", "Meningioma", "No tumor", "Pituitary tumor"):
        opened.locator("[data-example]", has_text=words).click()
        note = opened.locator(".mb-synthetic", has_text=f"not a patient. Rendered as: {words}.")
        note.wait_for()
        assert note.is_visible()


def test_long_volume_shows_its_progress_and_is_cancelled_by_the_visitor(opened, tmp_path):
    opened.get_by_label("Tumor outline").check()
    path = save(np.tile(head(), (1, 1, 20)), tmp_path / "long.nii.gz")
    opened.set_input_files("#mb-files", str(path))
    opened.get_by_text(re.compile(r"Slice \d+ of 1\d\d")).wait_for()
    opened.get_by_role("button", name="Cancel").click()
    opened.get_by_text("Cancelled.").wait_for()
    assert opened.locator(".mb-working, .mb-answer").count() == 0
    give(opened, save(head(), tmp_path / "short.nii.gz"))  # the next one is not held up
    assert "short.nii.gz" in opened.inner_text(".mb-name")


def test_keyboard_alone_reaches_the_files(opened):
    for _ in range(10):
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.id") == "mb-files":
            break
    assert opened.evaluate("document.activeElement.id") == "mb-files"


def test_foreign_host_and_origin_are_refused(server):
    assert server.ask("GET", "/", Host="evil.example")[0] == 403
    assert server.ask("POST", "/gradio_api/queue/join", b"{}", Origin="http://evil.example")[0] == 403


def test_replies_name_no_folder_of_the_server(server, temporary):
    for path in ("/", "/config", "/gradio_api/file=/etc/passwd", "/nowhere"):
        body = server.ask("GET", path)[2].decode()
        assert str(temporary) not in body
        assert str(REPOSITORY) not in body


def test_upload_above_the_limit_gets_413_with_and_without_its_length(server):
    cookie, body = server.cookie(), bytes((MAX_UPLOAD_MB + 1) * MEGABYTE)
    assert server.ask("POST", "/uploads/a", body, Cookie=cookie, X_File_Name="a")[0] == 413
    chunks = (body[start : start + MEGABYTE] for start in range(0, len(body), MEGABYTE))
    assert server.ask("POST", "/uploads/b", chunks, Cookie=cookie, X_File_Name="a")[0] == 413


def test_fifty_uploads_at_once_are_answered_and_memory_stays_bounded(server):
    cookies, body = [server.cookie() for _ in range(50)], os.urandom(5 * MEGABYTE)
    before = server.peak_bytes()

    def send(cookie):
        return server.ask("POST", "/uploads/a", body, Cookie=cookie, X_File_Name="a.png")[0]

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(send, cookies))
    assert set(statuses) <= {200, 413, 503}
    assert 200 in statuses
    assert server.peak_bytes() - before < MOST_GROWTH
