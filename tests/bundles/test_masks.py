"""Masks by the shipped inference config, on phantoms in every layout that is read."""

import itertools
import shutil
import subprocess
import sys

import cv2
import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_brain.inference.apply import predict_folder
from monai_brain.io.weights import write_weights
from monai_brain.networks.unet_vgg16 import UNetVGG16
from tests.bundles.running import cause, table
from tests.conftest import REPOSITORY, draw_phantom, read
from tests.io.dicoms import instance
from tests.io.dicoms import save as save_dicom

pytestmark = pytest.mark.slow

BUNDLE = REPOSITORY / "bundles" / "brain_tumor_segmentation"
SPACING = (0.9, 0.8, 6.0)
MILLILITERS = float(np.prod(SPACING)) / 1000


class Bright(UNetVGG16):
    """A UNet-VGG16 whose weights make of it: tumor is what is bright."""

    def __init__(self):
        super().__init__()
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)
        self.features[0].weight.data[:3, :, 1, 1] = torch.eye(3)  # full resolution, channel by channel
        self.features[2].weight.data[:3, :3, 1, 1] = torch.eye(3)
        last = self.decoder[-1].convs
        for block in (last.conv_0, last.conv_1):
            block.adn.N.weight.data.fill_(1.0)
        last.conv_0.conv.weight.data[0, :3, 1, 1] = 1 / 3
        last.conv_1.conv.weight.data[0, 0, 1, 1] = 1.0
        self.output.weight.data[0, 0] = 40.0
        self.output.bias.data[0] = -40.0 * 1.85  # (0.9 - mean) / deviation


def write_bright(path):
    """Weights of a network that goes by brightness alone, so nothing may be standardized."""
    names = ("ScaleToUnitd", "NormalizeChannelsd")
    steps = [{"_target_": f"monai_brain.transforms.intensity.{name}", "keys": "image"} for name in names]
    write_weights(Bright(), path, settings={"intensity_transforms": steps})
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_bright(tmp_path_factory.mktemp("weights") / "bright.safetensors")


def predict(folder, output, weights, workers=0, **options):
    status = predict_folder(
        folder, output, bundle=BUNDLE, weights=str(weights), image_size=64, workers=workers, **options
    )
    return status, table(output)


def head():
    """(40, 44, 7) voxels; a bright box in four slices."""
    values = np.zeros((40, 44, 7), np.float32)
    values[4:36, 4:40, :] = 100
    values[4:36, 4:40, 0] = 0
    values[10:20, 22:34, 2:6] = 400
    return values


REFERENCE = head() == 400


def test_threshold_and_smallest_area_are_given_on_the_command_line(tmp_path, weights):
    gray = np.full((64, 64), 60, np.uint8)
    gray[:3] = gray[-3:] = 0
    gray[20:40, 20:40], gray[50, 50:53] = 255, 255
    gray[44:48, 10:30] = 228  # a little below the usual threshold
    (tmp_path / "scans").mkdir()
    cv2.imwrite(str(tmp_path / "scans" / "a.png"), gray)
    areas = []
    for number, words in enumerate(((), ("--threshold", "0.05"), ("--smallest-area", "50"))):
        output = tmp_path / f"out_{number}"
        command = [sys.executable, "-m", "monai_brain", "predict", str(tmp_path / "scans"), "-o", str(output)]
        command += ["--bundle", str(BUNDLE), "--weights", str(weights), "--device", "cpu", "--workers", "0", *words]
        subprocess.run(command, check=True, capture_output=True)
        areas.append(int(table(output)["a.png"]["tumor_pixels"]))
    assert areas[1] >= areas[0] + 40
    assert 390 <= areas[2] <= areas[0] - 3


def affine():
    turned = np.diag([*SPACING, 1.0])
    c, s = np.cos(0.2), np.sin(0.2)
    tilt = np.eye(4)
    tilt[:2, :2] = [[c, -s], [s, c]]
    turned[:3, 3] = (-10, 20, 30)
    return tilt @ turned


def save(values, path, matrix=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine() if matrix is None else matrix), path)
    return path


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_mask_lies_where_the_tumor_is_in_the_sources_own_grid(weights, tmp_path):
    source = nib.load(save(head(), tmp_path / "scans" / "sub" / "head.nii.gz"))
    status, rows = predict(tmp_path / "scans", tmp_path / "out", weights, overlays=True)
    row = rows["sub/head.nii.gz"]
    mask = nib.load(tmp_path / "out" / row["mask"])
    assert (status, row["label"], row["mask"]) == (0, "tumor", "masks/sub/head.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-5)
    found = np.asarray(mask.dataobj) > 0
    assert dice(found, REFERENCE) > 0.85
    assert float(row["tumor_volume_ml"]) == pytest.approx(found.sum() * MILLILITERS, abs=1e-3)
    assert row["largest_slice"] in {"2", "3", "4", "5"} | {"1"}
    assert row["warnings"] == "few_values one_sequence_replicated"
    assert (tmp_path / "out" / row["overlay"]).is_file()


def test_axis_orders_and_flips_do_not_move_the_mask_in_the_world(weights, tmp_path):
    original = nib.Nifti1Image(head(), affine())
    orders = [
        np.array([[axis, flip] for axis, flip in zip(axes, flips, strict=True)])
        for axes in itertools.permutations(range(3))
        for flips in ((1, 1, 1), (-1, 1, -1))
    ]
    (tmp_path / "scans").mkdir()
    for number, order in enumerate(orders):
        nib.save(original.as_reoriented(order), tmp_path / "scans" / f"{number:02d}.nii.gz")
    _, rows = predict(tmp_path / "scans", tmp_path / "out", weights)
    masks = [nib.as_closest_canonical(nib.load(tmp_path / "out" / row["mask"])) for row in rows.values()]
    for mask in masks[1:]:
        assert np.array_equal(np.asarray(mask.dataobj), np.asarray(masks[0].dataobj))
        np.testing.assert_allclose(mask.affine, masks[0].affine, atol=1e-4)


def test_slices_get_a_png_of_their_size_under_their_own_name(weights, tmp_path):
    image = draw_phantom(0, 1, size=120)
    (tmp_path / "scans" / "a").mkdir(parents=True)
    for name in ("a/one.png", "a/one.jpg", "two.tif"):
        cv2.imwrite(str(tmp_path / "scans" / name), image[:, :100])
    status, rows = predict(tmp_path / "scans", tmp_path / "out", weights)
    assert status == 0
    assert [rows[name]["mask"] for name in ("a/one.png", "a/one.jpg", "two.tif")] == [
        "masks/a/one.png.png",
        "masks/a/one.jpg.png",
        "masks/two.png",
    ]
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "two.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (120, 100)
    assert set(np.unique(mask)) <= {0, 255}
    assert int(rows["two.tif"]["tumor_pixels"]) == (mask > 0).sum()
    assert rows["two.tif"]["tumor_area_mm2"] == ""
    assert "spacing_unknown" in rows["two.tif"]["warnings"]


@pytest.mark.bad_input(36, 40, 41, 42, 44)
def test_odd_volumes_have_their_own_result_or_code(weights, tmp_path):
    scans = tmp_path / "scans"
    save(head()[:, :, 3:4], scans / "single.nii.gz")
    save(np.stack([head()] * 2, -1), scans / "series.nii.gz")
    save(np.zeros((40, 44, 7), np.float32), scans / "black.nii.gz")
    save(head(), scans / "cut.nii.gz")
    content = (scans / "cut.nii.gz").read_bytes()
    (scans / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    unknown = nib.Nifti1Image(head(), None)
    nib.save(unknown, scans / "unknown.nii.gz")
    status, rows = predict(scans, tmp_path / "out", weights)
    assert status == 3
    assert {name: row["code"] for name, row in rows.items() if row["status"] == "error"} == {
        "series.nii.gz": "several_volumes",
        "black.nii.gz": "no_signal",
        "cut.nii.gz": "truncated",
    }
    assert "single_slice" in rows["single.nii.gz"]["warnings"]
    assert nib.load(tmp_path / "out" / "masks" / "single.nii.gz").shape == (40, 44, 1)
    assert rows["unknown.nii.gz"]["tumor_volume_ml"] == ""
    assert "no_affine" in rows["unknown.nii.gz"]["warnings"]
    assert "spacing_unknown" in rows["unknown.nii.gz"]["warnings"]


def test_sequence_that_the_weights_do_not_know_gets_no_mask_unless_forced(weights, tmp_path):
    scans = tmp_path / "scans"
    for name in ("a_t1ce", "a_t2w", "b_flair", "c"):
        save(head(), scans / f"{name}.nii.gz")
    pixels = head()[:, :, 3].T.astype(np.uint16)
    save_dicom(instance(pixels, SeriesDescription="AX T1", ContrastBolusAgent="Gd"), scans / "d.dcm")
    save_dicom(instance(pixels, series="1.2.7", SeriesDescription="AX T2 FLAIR"), scans / "e.dcm")
    status, rows = predict(scans, tmp_path / "out", weights)
    assert status == 3
    refused = {"a_t1ce.nii.gz", "a_t2w.nii.gz", "d.dcm"}
    assert {name for name, row in rows.items() if row["code"] == "sequence_not_trained"} == refused
    assert all((rows[name]["mask"], rows[name]["tumor_pixels"]) == ("", "") for name in refused)
    assert {row["status"] for name, row in rows.items() if name not in refused} == {"ok"}
    status, rows = predict(scans, tmp_path / "forced", weights, force=True)
    assert status == 0
    assert {name for name, row in rows.items() if "sequence_not_trained" in row["warnings"]} == refused
    assert all(rows[name]["mask"] for name in refused)


def test_case_without_tumor_has_an_empty_mask_and_no_picture(weights, tmp_path):
    save(head(), tmp_path / "scans" / "head.nii.gz")
    status, rows = predict(tmp_path / "scans", tmp_path / "out", weights, smallest_volume=1e6, overlays=True)
    row = rows["head.nii.gz"]
    assert (status, row["label"], float(row["tumor_volume_ml"]), row["overlay"]) == (0, "no tumor", 0, "")
    mask = nib.load(tmp_path / "out" / row["mask"])
    assert mask.shape == (40, 44, 7)
    assert not np.asarray(mask.dataobj).any()


def test_table_of_cases_gives_one_mask_each(weights, tmp_path):
    for name in ("f", "c"):
        save(head(), tmp_path / "scans" / f"{name}.nii.gz")
    save(head()[:, :, :6], tmp_path / "scans" / "short.nii.gz")
    listed = tmp_path / "cases.csv"
    listed.write_text("case,flair,t1c\nwhole,scans/f.nii.gz,scans/c.nii.gz\nodd,scans/f.nii.gz,scans/short.nii.gz\n")
    status, rows = predict(listed, tmp_path / "out", weights)
    assert status == 3
    assert rows["odd"]["code"] == "geometry_mismatch"
    assert rows["whole"]["warnings"] == "few_values missing_sequence_replaced"
    assert dice(np.asarray(nib.load(tmp_path / "out" / "masks" / "whole.nii.gz").dataobj) > 0, REFERENCE) > 0.85


def test_small_components_go_by_their_size_in_millimeters(weights, tmp_path):
    values = head()
    values[30:33, 8:11, 4] = 400
    save(values, tmp_path / "scans" / "head.nii.gz")
    counted = []
    for smallest in (0, 300, 1_000_000):
        _, rows = predict(tmp_path / "scans", tmp_path / f"out{smallest}", weights, smallest_volume=smallest)
        counted.append(int(rows["head.nii.gz"]["tumor_pixels"]))
    assert counted[0] > counted[1] > counted[2] == 0


def test_threshold_that_weights_carry_is_used_unless_the_user_names_another(tmp_path):
    values = head()
    values[28:34, 6:12, 3:5] = 0.4 * values.max()
    save(values, tmp_path / "scans" / "head.nii.gz")
    found = []
    for name, settings in (("own", {"threshold": 0.3}), ("none", {})):
        write_weights(Bright(), tmp_path / name / "model.safetensors", settings={"image_size": 64, **settings})
        for number, options in enumerate(({}, {"threshold": 0.45})):
            output = tmp_path / f"out_{name}_{number}"
            predict(tmp_path / "scans", output, tmp_path / name, **options)
            found.append(read(output / "run.json")["options"]["threshold"])
    assert found == [0.3, 0.45, 0.5, 0.45]


def test_masks_can_be_left_out_and_batches_do_not_matter(weights, tmp_path):
    save(head(), tmp_path / "scans" / "head.nii.gz")
    tables = []
    for size in (1, 5):
        output = tmp_path / f"out{size}"
        tables.append(predict(tmp_path / "scans", output, weights, batch_size=size, masks=False)[1])
        assert not (output / "masks").exists()
    assert tables[0] == tables[1]


def save_head_as_dicom(folder, lit=True):
    """The head as axial slices, in files whose names are in no order."""
    values = head() if lit else np.minimum(head(), 100)
    for index in range(7):
        pixels = values[:, :, index].T.astype(np.uint16)
        place = (-20.0, -30.0, 6.0 * index)
        tags = {"SliceThickness": 6.0, "FrameOfReferenceUID": "1.2.9", "SOPInstanceUID": f"1.2.3.4.{index + 1}"}
        tags |= {"WindowCenter": 200, "WindowWidth": 400}
        save_dicom(instance(pixels, place, "1.2.3.4", spacing=(0.8, 0.9), **tags), folder / f"{(index * 3) % 7}.dcm")


@pytest.mark.parametrize("workers", [0, 1])
def test_dicom_series_has_its_mask_as_dicom_too_and_at_the_same_place(weights, tmp_path, workers):
    save_head_as_dicom(tmp_path / "scans" / "sub")
    save_head_as_dicom(tmp_path / "scans" / "healthy", lit=False)
    status, rows = predict(tmp_path / "scans", tmp_path / "out", weights, workers=workers)
    row = rows["sub/0.dcm"]
    assert (status, row["mask"], row["dicom_mask"]) == (0, "masks/sub/0.nii.gz", "masks/sub/0.dcm")
    volume = hd.seg.segread(tmp_path / "out" / row["dicom_mask"]).get_volume(combine_segments=True)
    nifti = nib.load(tmp_path / "out" / row["mask"])
    lps = volume.affine @ np.append(np.argwhere(volume.array).mean(axis=0), 1)
    ras = nifti.affine @ np.append(np.argwhere(np.asarray(nifti.dataobj)).mean(axis=0), 1)
    np.testing.assert_allclose(lps[:3] * [-1, -1, 1], ras[:3], atol=0.05)
    assert volume.array.sum() == int(row["tumor_pixels"])
    assert (rows["healthy/0.dcm"]["label"], rows["healthy/0.dcm"]["dicom_mask"]) == ("no tumor", "")
    assert [path.name for path in (tmp_path / "out").rglob("*.dcm")] == ["0.dcm"]


def test_dicom_in_an_archive_has_its_mask_as_dicom_too(weights, tmp_path):
    save_head_as_dicom(tmp_path / "head")
    (tmp_path / "scans").mkdir()
    shutil.make_archive(str(tmp_path / "scans" / "a"), "zip", tmp_path / "head")
    _, rows = predict(tmp_path / "scans", tmp_path / "out", weights)
    found = hd.seg.segread(tmp_path / "out" / rows["a.zip/0.dcm"]["dicom_mask"])
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.4"


def test_files_that_nothing_can_refer_to_have_a_warning_and_the_other_mask(weights, tmp_path):
    pixels = head()[:, :, 3].T.astype(np.uint16)
    save_dicom(instance(pixels, SeriesInstanceUID=None), tmp_path / "scans" / "a.dcm")
    status, rows = predict(tmp_path / "scans", tmp_path / "out", weights)
    row = rows["a.dcm"]
    assert (status, row["mask"], row["dicom_mask"]) == (0, "masks/a.png", "")
    assert "no_dicom_mask" in row["warnings"]


def test_deidentification_keeps_its_key_out_of_the_output_and_is_not_divided(weights, tmp_path):
    save_head_as_dicom(tmp_path / "scans")
    _, rows = predict(tmp_path / "scans", tmp_path / "out", weights, deidentify=True)
    found = hd.seg.segread(tmp_path / "out" / rows["0.dcm"]["dicom_mask"])
    key = (tmp_path / "out_deidentification_key.csv").read_text()
    assert str(found.PatientID).startswith("ANON-")
    assert f",1.2.3.4,{found.ReferencedSeriesSequence[0].SeriesInstanceUID}" in key
    with pytest.raises(RuntimeError) as caught:
        predict(tmp_path / "scans", tmp_path / "parts", weights, deidentify=True, part="1/2")
    assert "run it whole" in str(cause(caught.value))


EVIDENCE = {"evidence_in_head": 1.0, "evidence_at_border": 0.0, "evidence_in_mask": 1.0, "evidence_peak_in_mask": 1.0}
"""Of `Bright`, which goes by nothing but the bright box in the middle of the head."""


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_mask_is_explained_by_what_the_network_went_by(weights, tmp_path, method):
    save(head(), tmp_path / "scans" / "head.nii.gz")
    without_tumor = head()
    without_tumor[REFERENCE] = 100
    for number, values in enumerate((head()[..., 4], without_tumor[..., 4], head()[..., 3])):
        cv2.imwrite(str(tmp_path / "scans" / f"{number}.png"), (values * 255 / 400).astype(np.uint8))
    _, rows = predict(
        tmp_path / "scans", tmp_path / "out", weights, explain=True, method=method, cam_layer="features.3"
    )
    assert [rows[name]["label"] for name in ("0.png", "1.png", "2.png", "head.nii.gz")] == [
        "tumor",
        "no tumor",
        "tumor",
        "tumor",
    ]
    for name in ("0.png", "2.png", "head.nii.gz"):
        row = rows[name]
        assert {key: float(row[key]) for key in EVIDENCE} == pytest.approx(EVIDENCE, abs=0.1)
        panel = cv2.imread(str(tmp_path / "out" / row["overlay"]))
        width_by_height = 44 / 40 if name.endswith("png") else (40 * SPACING[0]) / (44 * SPACING[1])
        assert panel.shape[1] == pytest.approx(2 * 256 * width_by_height + 24, abs=2)
    empty = rows["1.png"]
    assert (empty["overlay"], *(empty[key] for key in EVIDENCE)) == ("",) * 5


def test_explanation_without_any_heat_is_warned_about(weights, tmp_path):
    """At the end of the encoder `Bright` has nothing but zeros."""
    save(head(), tmp_path / "scans" / "head.nii.gz")
    _, rows = predict(tmp_path / "scans", tmp_path / "out", weights, explain=True, cam_layer="features.29")
    row = rows["head.nii.gz"]
    assert "evidence_empty" in row["warnings"].split()
    assert [row[key] for key in EVIDENCE] == [""] * 4


def test_map_of_one_slice_does_not_depend_on_its_batch(weights, tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(3):
        phantom = draw_phantom(0, number)
        cv2.imwrite(str(tmp_path / "scans" / f"{number}.png"), phantom)
    options = {"explain": True, "cam_layer": "features.3"}
    _, together = predict(tmp_path / "scans", tmp_path / "a", weights, **options)
    _, single = predict(tmp_path / "scans", tmp_path / "b", weights, **options, batch_size=1)
    assert together == single
    assert all(row["evidence_in_mask"] for row in together.values())
    for row in together.values():
        assert (tmp_path / "a" / row["overlay"]).read_bytes() == (tmp_path / "b" / row["overlay"]).read_bytes()


def test_way_to_explain_a_mask_that_there_is_not_is_refused_before_the_run(weights, tmp_path):
    save(head(), tmp_path / "scans" / "head.nii.gz")
    with pytest.raises(RuntimeError) as caught:
        predict(tmp_path / "scans", tmp_path / "out", weights, explain=True, method="occlusion")
    assert "try gradcam" in str(cause(caught.value))
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_properties_of_the_model_zoo_are_there():
    run = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "inference.yaml"), workflow_type="infer", logging_file=False
    )
    run.initialize()
    assert run.check_properties() == []
