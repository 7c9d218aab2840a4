"""A session gives what a folder run gives, case by case, and outlives bad files."""

import shutil

import cv2
import nibabel as nib
import numpy as np
import pytest

from monai_brain.inference.apply import predict_folder
from monai_brain.inference.session import Session, cases_in
from monai_brain.io import UnreadableCase
from monai_brain.io.weights import InvalidWeights
from tests.bundles.running import table
from tests.bundles.test_masks import BUNDLE as SEGMENTER
from tests.bundles.test_masks import head, save, write_bright
from tests.conftest import BUNDLE, draw_phantom
from tests.io.dicoms import save_series

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classifier():
    session = Session(BUNDLE, answer_anyway=True)  # phantoms are no heads
    yield session
    session.close()


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    return write_bright(tmp_path_factory.mktemp("weights") / "bright.safetensors")


@pytest.fixture(scope="module")
def segmenter(bright):
    session = Session(SEGMENTER, bright, image_size=64)
    yield session
    session.close()


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def only(session, scans, tmp_path, **options):
    (case,) = cases_in(scans, tmp_path / "unpacked")
    return session.predict(case, tmp_path / "results", **options)


def test_slice_gets_the_row_of_a_folder_run(classifier, scans, tmp_path):
    cv2.imwrite(str(scans / "one.jpg"), draw_phantom(0, 1, size=200))
    predict_folder(scans, tmp_path / "out", bundle=BUNDLE, explain=True, answer_anyway=True, workers=0)
    result = only(classifier, scans, tmp_path)
    row = {name: str(value) for name, value in result.prediction.row(classifier.columns).items()}
    assert row == table(tmp_path / "out")["one.jpg"]
    ours, theirs = (cv2.imread(str(tmp_path / own / row["overlay"])).astype(int) for own in ("results", "out"))
    assert np.abs(ours - theirs).max() <= 2  # batches of another size round otherwise


def test_dicom_series_gets_the_row_of_a_folder_run_and_a_map_for_every_slice(classifier, scans, tmp_path):
    save_series(scans, count=4)
    predict_folder(scans, tmp_path / "out", bundle=BUNDLE, explain=True, answer_anyway=True, workers=0)
    result = only(classifier, scans, tmp_path)
    (expected,) = table(tmp_path / "out").values()
    assert expected.pop("patient") == "patient 1"  # of a folder's cases, put together
    row = {name: str(value) for name, value in result.prediction.row(classifier.columns).items()}
    for own in (row, expected):  # batches of another size differ in the last digit on some processors
        for name in [name for name in own if name.startswith("prob_")]:
            own[name] = pytest.approx(float(own[name]), abs=2e-6) if own is row else float(own[name])
    assert expected == row
    assert result.kind == "volume"
    assert result.positions[result.first] == int(expected["deciding_slice"])
    for index in range(len(result.positions)):
        heat = classifier.heat(result, index, "gradcam")
        assert heat.shape == result.grays[index].shape
        assert 0 <= heat.min() <= heat.max() <= 1


def test_mask_is_that_of_a_folder_run(segmenter, bright, scans, tmp_path):
    save(head(), scans / "head.nii.gz")
    predict_folder(
        scans, tmp_path / "out", bundle=SEGMENTER, weights=str(bright), image_size=64, overlays=True, workers=0
    )
    expected = table(tmp_path / "out")["head.nii.gz"]
    result = only(segmenter, scans, tmp_path)
    assert result.prediction.values["tumor_volume_ml"] == expected["tumor_volume_ml"]
    written = [np.asarray(nib.load(folder / expected["mask"]).dataobj) for folder in (tmp_path / "out", result.output)]
    assert np.array_equal(*written)
    assert sum(int(mask.sum()) for mask in result.masks) == int(expected["tumor_pixels"]) > 0
    assert result.first == int(expected["largest_slice"])
    assert result.spacing_mm == pytest.approx((6.0, 0.8, 0.9))


def test_session_goes_on_after_files_that_cannot_be_read(classifier, scans, tmp_path):
    for content, code in ((b"", "empty_file"), (b"<html>", "not_an_image"), (b"\xff\xd8\xff\xe0cut", "truncated")):
        (scans / "odd.jpg").write_bytes(content)
        with pytest.raises(UnreadableCase) as caught:
            only(classifier, scans, tmp_path)
        assert caught.value.code == code
        assert str(tmp_path) not in str(caught.value)
    cv2.imwrite(str(scans / "odd.jpg"), draw_phantom(1, 1, size=200))
    assert only(classifier, scans, tmp_path).prediction.status == "ok"


def test_reader_that_dies_costs_its_file_only(classifier, scans, tmp_path):
    cv2.imwrite(str(scans / "one.png"), draw_phantom(1, 1, size=200))
    classifier.stream.pool.workers[0].is_ready_in_time()
    classifier.stream.pool.workers[0].process.kill()
    with pytest.raises(UnreadableCase) as caught:
        only(classifier, scans, tmp_path)
    assert caught.value.code == "decoder_died"
    assert only(classifier, scans, tmp_path).prediction.status == "ok"


def test_upload_without_an_image_is_refused(scans, tmp_path):
    (scans / "notes.txt").write_text("x")
    with pytest.raises(UnreadableCase) as caught:
        cases_in(scans, tmp_path / "unpacked")
    assert caught.value.code == "sidecar"


def test_archive_that_unpacks_to_too_much_is_not_unpacked(scans, tmp_path):
    import zipfile

    with zipfile.ZipFile(scans / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    with pytest.raises(UnreadableCase) as caught:
        cases_in(scans, tmp_path / "unpacked")
    assert caught.value.code == "unsafe_archive"
    assert not (tmp_path / "unpacked").exists()


def test_every_way_to_explain_is_offered_by_the_classifier_and_none_by_the_segmenter(classifier, segmenter):
    assert classifier.methods == ("gradcam", "gradcam++", "occlusion")
    assert segmenter.methods == ()


def test_bundle_without_weights_is_refused(tmp_path):
    bundle = shutil.copytree(SEGMENTER, tmp_path / "bundle", ignore=shutil.ignore_patterns("models", "runs"))
    with pytest.raises(InvalidWeights):
        Session(bundle)
