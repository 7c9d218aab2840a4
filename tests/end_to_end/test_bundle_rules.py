"""MONAI's own checks of a bundle, offline."""

import re
import subprocess
import sys

import pytest
from monai.bundle import ConfigParser

from tests.conftest import REPOSITORY, read

SCHEMA = REPOSITORY.parent / "shared" / "monai" / "meta_schema_20240725.json"
pytestmark = pytest.mark.slow


BUNDLES = [REPOSITORY / "bundles" / name for name in ("brain_tumor_classification", "brain_tumor_segmentation")]
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


def monai_bundle(bundle, *words):
    command = [sys.executable, "-m", "monai.bundle", *map(str, words)]
    return subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)


@each_bundle
def test_metadata_fits_the_published_schema(bundle):
    if not SCHEMA.is_file():
        pytest.skip(f"MONAI's schema is not at {SCHEMA}")
    result = monai_bundle(bundle, "verify_metadata", "--meta_file", "configs/metadata.json", "--filepath", SCHEMA)
    assert result.returncode == 0, result.stderr
    assert "verified with no error" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("bundle", "config"),
    [
        (BUNDLES[0], "train.yaml"),
        (BUNDLES[0], "inference.yaml"),
        (BUNDLES[1], "train.yaml"),
        (BUNDLES[1], "inference.yaml"),
    ],
)
def test_network_takes_and_gives_what_the_metadata_says(bundle, config):
    result = monai_bundle(
        bundle,
        "verify_net_in_out",
        "--net_id",
        "network_def",
        "--meta_file",
        "configs/metadata.json",
        "--config_file",
        f"configs/{config}",
    )
    assert result.returncode == 0, result.stderr


@each_bundle
def test_metadata_has_the_size_that_inference_works_at(bundle):
    size = ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml"))["image_size"]
    formats = read(bundle / "configs" / "metadata.json")["network_data_format"]
    shapes = [own["spatial_shape"] for kind in ("inputs", "outputs") for own in formats[kind].values()]
    assert [shape for shape in shapes if shape] == [[size, size]] * (2 if "segmentation" in bundle.name else 1)


@each_bundle
def test_every_knob_of_validation_is_among_a_runs_options(bundle):
    train = ConfigParser.load_config_file(str(bundle / "configs" / "train.yaml"))
    assert (
        train["training_run"]["options"].items() >= {"val_interval": "@val_interval", "patience": "@patience"}.items()
    )


@each_bundle
def test_required_files_and_changelog_are_there(bundle):
    for name in ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt"):
        assert (bundle / name).is_file(), name
    metadata = read(bundle / "configs" / "metadata.json")
    assert metadata["version"] in metadata["changelog"]


@each_bundle
def test_metadata_names_the_pinned_versions(bundle):
    pins = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    metadata = read(bundle / "configs" / "metadata.json")
    assert metadata["pytorch_version"] == pins["torch"]
    assert metadata["monai_version"] == pins["monai"]
    assert metadata["numpy_version"] == pins["numpy"]
    for name, version in metadata["required_packages_version"].items():
        if name != "monai-brain":
            assert pins[name] == version, name
