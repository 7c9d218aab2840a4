"""MONAI's own checks of a bundle, offline."""

import re
import subprocess
import sys

import pytest

from tests.conftest import BUNDLE, REPOSITORY, read

SCHEMA = REPOSITORY.parent / "shared" / "monai" / "meta_schema_20240725.json"
pytestmark = pytest.mark.slow


def monai_bundle(*words):
    command = [sys.executable, "-m", "monai.bundle", *map(str, words)]
    return subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, check=False)


def test_metadata_fits_the_published_schema():
    if not SCHEMA.is_file():
        pytest.skip(f"MONAI's schema is not at {SCHEMA}")
    result = monai_bundle("verify_metadata", "--meta_file", "configs/metadata.json", "--filepath", SCHEMA)
    assert result.returncode == 0, result.stderr
    assert "verified with no error" in result.stdout + result.stderr


@pytest.mark.parametrize("config", ["train.yaml", "inference.yaml"])
def test_network_takes_and_gives_what_the_metadata_says(config):
    result = monai_bundle(
        "verify_net_in_out",
        "--net_id",
        "network_def",
        "--meta_file",
        "configs/metadata.json",
        "--config_file",
        f"configs/{config}",
    )
    assert result.returncode == 0, result.stderr


def test_required_files_and_changelog_are_there():
    for name in ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt"):
        assert (BUNDLE / name).is_file(), name
    metadata = read(BUNDLE / "configs" / "metadata.json")
    assert metadata["version"] in metadata["changelog"]


def test_metadata_names_the_pinned_versions():
    pins = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    metadata = read(BUNDLE / "configs" / "metadata.json")
    assert metadata["pytorch_version"] == pins["torch"]
    assert metadata["monai_version"] == pins["monai"]
    assert metadata["numpy_version"] == pins["numpy"]
    for name, version in metadata["required_packages_version"].items():
        if name != "monai-brain":
            assert pins[name] == version, name
