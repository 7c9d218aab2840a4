"""No name that a file carries inside reaches what is written or said; only paths do."""

import stat
import subprocess
import sys

import nibabel as nib
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pydicom
import pytest

from tests.bundles.test_masks import head, write_bright
from tests.conftest import BUNDLE, REPOSITORY, draw_phantom
from tests.io.dicoms import CANARY, instance, picture, save, save_series

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Files of every format that name a patient inside, whole and broken."""
    folder = tmp_path_factory.mktemp("named") / "scans"
    name = "CANARY"  # of one part, which libraries warn about
    save_series(folder / "series", StudyDescription=CANARY, InstitutionName=CANARY, PatientName=name)
    save(instance(picture(), ImageComments=CANARY, PatientBirthDate="19500101"), folder / "single.dcm")
    save(instance(picture(), RescaleSlope="1", RescaleIntercept="0", PixelData=b"\0"), folder / "short.dcm")
    broken = save(instance(picture(), Modality=CANARY[:16]), folder / "other.dcm")
    (folder / "cut.dcm").write_bytes(broken.read_bytes()[:700])
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("Patient", CANARY)
    image = PIL.Image.fromarray(draw_phantom(0, 1))
    image.save(folder / "a.png", pnginfo=text)
    exif = PIL.Image.Exif()
    exif[0x010E] = exif[0x013B] = CANARY
    image.save(folder / "a.jpg", exif=exif)
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-200])
    image.save(folder / "a.tif", description=CANARY)
    for name, values in (("a.nii.gz", head()), ("nan.nii.gz", np.full((40, 40, 4), np.nan, np.float32))):
        volume = nib.Nifti1Image(values, np.diag([1.0, 1, 5, 1]))
        volume.header["descrip"], volume.header["aux_file"] = CANARY.encode(), CANARY.encode()
        nib.save(volume, folder / name)
    return folder


@pytest.mark.parametrize("bundle", ["classification", "segmentation", "deidentified segmentation"])
def test_nothing_that_is_written_or_said_holds_what_files_carry_inside(named, trained, tmp_path, bundle):
    """But for DICOM masks, which name patient and study of their source, unless they are to be deidentified."""
    if bundle == "classification":
        options = ["--bundle", str(BUNDLE), "--weights", str(trained), "--explain"]
    else:
        write_bright(tmp_path / "bright.safetensors")
        segmenter = BUNDLE.with_name("brain_tumor_segmentation")
        options = ["--bundle", str(segmenter), "--weights", str(tmp_path / "bright.safetensors"), "--overlays"]
        options += ["--deidentify"] if bundle.startswith("deidentified") else []
    command = [sys.executable, "-m", "monai_brain", "predict", str(named), "-o", str(tmp_path / "out"), *options]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stderr
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 8
    masks = [path for path in written if path.suffix == ".dcm"]
    key = tmp_path / "out_deidentification_key.csv"
    assert bool(masks) == (bundle != "classification")
    assert key.is_file() == bundle.startswith("deidentified")
    if bundle == "segmentation":
        for path in masks:
            data = pydicom.dcmread(path)
            assert "CANARY" in data.PatientName
            data.PatientName = data.PatientID = data.PatientBirthDate = ""
            data.save_as(path)
    if key.is_file():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert CANARY in key.read_text()
    for word in ("CANARY", "19500101"):
        assert word not in result.stdout + result.stderr
        for path in written:
            content = path.read_bytes()
            if path.name.endswith(".nii.gz"):
                content = nib.load(path).to_bytes()
            assert word.encode() not in content, path.name
