"""Run a bundle's inference workflow from Python, the way `python -m monai.bundle run inferring` does."""

import logging
from pathlib import Path
from typing import Any

REPOSITORY_BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
DEFAULT_BUNDLE = "brain_tumor_classification"


class NoBundle(ValueError):
    """No bundle was named, or what was named is none."""


def find_bundle(place: Path | None) -> Path:
    """The bundle folder that is meant: `place`, or the repository's own classifier.

    Raises:
        NoBundle: with the way to name one.
    """
    bundle = place if place is not None else REPOSITORY_BUNDLES / DEFAULT_BUNDLE
    if not (bundle / "configs" / "inference.yaml").is_file():
        raise NoBundle(f"{bundle}: no bundle (configs/inference.yaml is missing); name its folder with --bundle")
    return bundle


def predict_folder(folder: Path, output_dir: Path, *, bundle: Path | None = None, **overrides: Any) -> int:
    """Apply a bundle to a folder of scans.

    Args:
        folder: searched with everything below it.
        output_dir: see `inference.folder.FolderRun`.
        bundle: its folder; by default the repository's classifier.
        overrides: keys of the bundle's inference.yaml; None leaves a key as it is.

    Returns:
        Exit status: 0 all good, 2 nothing to do, 3 some cases failed.
    """
    from monai.bundle import ConfigWorkflow

    logging.getLogger("monai.bundle").setLevel(logging.ERROR)  # it warns of every config, ours too
    workflow = ConfigWorkflow(
        config_file=str(find_bundle(bundle) / "configs" / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        input_dir=str(folder),
        output_dir=str(output_dir),
        **{key: value for key, value in overrides.items() if value is not None},
    )
    workflow.initialize()
    try:
        workflow.run()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
