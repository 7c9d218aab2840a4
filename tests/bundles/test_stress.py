"""`monai-brain stress`, on the shipped classifier's configs and a segmenter."""

import cv2
import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.inference.stress import NothingToStress
from monai_brain.transforms.corruptions import CORRUPTIONS
from tests.bundles.test_masks import BUNDLE as SEGMENTER
from tests.bundles.test_masks import write_bright
from tests.conftest import draw_phantom, read

pytestmark = pytest.mark.slow


def stressed(folder, output, *options):
    result = CliRunner().invoke(app, ["stress", str(folder), "-o", str(output), *map(str, options)])
    assert result.exit_code == 0, result.output
    for name in ("stress.png", "stress.html"):
        assert (output / name).stat().st_size > 1000
    return read(output / "stress.json")


def test_classifier_gets_flip_rates_without_labels(trained, scans, tmp_path):
    found = stressed(scans, tmp_path / "out", "--weights", trained, "--slices", 4)
    assert (found["slices"], found["measure"]) == (4, "flip rate")
    assert [own["name"] for own in found["corruptions"]] == [own.name for own in CORRUPTIONS]
    for own in found["corruptions"]:
        for level in own["levels"]:
            low, high = level["interval"]
            assert 0 <= low <= level["mean"] <= high <= 1
            assert level["mean"] * 4 == int(level["mean"] * 4)
            assert high - low > 0.3  # four slices say little


def test_segmenter_gets_the_dice_with_its_own_masks(tmp_path, monkeypatch):
    few = [own for own in CORRUPTIONS if own.name in ("noise", "rotation")]  # its network is slow
    monkeypatch.setattr("monai_brain.inference.stress.CORRUPTIONS", few)
    (tmp_path / "scans").mkdir()
    cv2.imwrite(str(tmp_path / "scans" / "0.png"), draw_phantom(0, 0, size=128))
    write_bright(tmp_path / "bright.safetensors")
    options = ("--bundle", SEGMENTER, "--weights", tmp_path / "bright.safetensors")
    found = stressed(tmp_path / "scans", tmp_path / "out", *options)
    means = {own["name"]: [level["mean"] for level in own["levels"]] for own in found["corruptions"]}
    assert found["measure"].startswith("Dice")
    assert means["noise"][0] > 0.8
    assert means["rotation"][2] > 0.8  # the mask before was turned too


def test_folder_without_images_is_refused(trained, tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.png").write_bytes(b"no image")
    command = ["stress", str(tmp_path / "scans"), "-o", str(tmp_path / "out"), "--weights", str(trained)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, NothingToStress)
    assert not (tmp_path / "out").exists()
