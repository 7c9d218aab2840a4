"""Run a bundle's inference workflow from Python, the way `python -m monai.bundle run inferring` does."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_brain.inference.options import FolderRunOptions, check_effect
from monai_brain.io.write import refuse_existing
from monai_brain.workflow import keep_overrides

REPOSITORY_BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
DEFAULT_BUNDLE = "brain_tumor_classification"

logger = logging.getLogger(__name__)


class NoBundle(ValueError):
    """No bundle was named, or what was named is none."""


def find_bundle(place: Path | None) -> Path:
    """A bundle's folder.

    Args:
        place: the folder, or the name of one of the repository's bundles; None means the repository's classifier.

    Raises:
        NoBundle: with the way to name one.
    """
    for bundle in [REPOSITORY_BUNDLES / DEFAULT_BUNDLE] if place is None else [place, REPOSITORY_BUNDLES / place]:
        if (bundle / "configs" / "inference.yaml").is_file():
            return bundle
    known = ", ".join(repository_bundles())
    raise NoBundle(
        f"{place or DEFAULT_BUNDLE}: no bundle (configs/inference.yaml is missing); --bundle takes a folder"
        + (f", or one of {known}" if known else "")
    )


def repository_bundles() -> dict[str, Path]:
    """Folders of the repository's bundles by name."""
    folders = sorted(path.parents[1] for path in REPOSITORY_BUNDLES.glob("*/configs/inference.yaml"))
    return {folder.name: folder for folder in folders}


def evaluate_run(
    run: Path, dataset_dir: Path, *, bundle: Path | None = None, overwrite: bool = False, **overrides: Any
) -> Path:
    """Score a trained run by a bundle's evaluation workflow.

    Args:
        run: folder of the training.
        dataset_dir: folder of the images that it was trained on; the baseline looks its neighbors up there.
        bundle: folder of the bundle; by default the repository's classifier.
        overwrite: replace an earlier evaluation.
        overrides: keys of the bundle's evaluate.yaml; None leaves a key as it is.

    Returns:
        The folder with metrics, figures and page.

    Raises:
        FileExistsError: the folder holds an earlier one.
    """
    configs = find_bundle(bundle) / "configs"
    workflow = start_workflow(
        [configs / "train.yaml", configs / "evaluate.yaml"],
        "train",
        run_dir=str(run),
        dataset_dir=str(dataset_dir),
        **overrides,
    )
    output = Path(workflow.parser.get_parsed_content("output_dir"))
    refuse_existing(output, overwrite=overwrite)
    workflow.run()
    return output


def predict_folder(
    folder: Path,
    output_dir: Path,
    options: FolderRunOptions | None = None,
    *,
    bundle: Path | None = None,
    **overrides: Any,
) -> int:
    """Apply a bundle to a folder of scans.

    Args:
        folder: folder to search, including its subfolders.
        output_dir: folder for the results, see `inference.folder.FolderRun`.
        options: options of the run; None: the bundle's defaults.
        bundle: its folder; by default the repository's classifier.
        overrides: values for further keys of the bundle's inference.yaml; None leaves a key unchanged.

    Returns:
        Exit status: 0 if all went well, 2 if there was nothing to do, 3 if some cases failed.

    Raises:
        NoEffect: the bundle does not have one of the options.
    """
    place, options = find_bundle(bundle), options or FolderRunOptions()
    for warning in check_effect(options, place, repository_bundles()):
        logger.warning(warning)
    settings = {"input_dir": str(folder), "output_dir": str(output_dir), **options.given(), **overrides}
    workflow = start_workflow([place / "configs" / "inference.yaml"], "infer", **settings)
    try:
        workflow.run()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def start_workflow(files: Sequence[Path], kind: str, **overrides: Any) -> Any:
    """A bundle's workflow, read and not run.

    Args:
        files: configs, the later ones over the earlier.
        kind: `train` or `infer`, as MONAI calls them.
        overrides: keys of the configs; None leaves a key as it is.

    Returns:
        MONAI's ConfigWorkflow.
    """
    from monai.bundle import ConfigWorkflow

    given = {key: value for key, value in overrides.items() if value is not None}
    for name in ("monai.bundle", "monai.bundle.workflows"):  # they warn of every config, ours too
        logging.getLogger(name).setLevel(logging.ERROR)
    workflow = ConfigWorkflow(
        config_file=[str(file) for file in files],
        workflow_type=kind,
        logging_file=False,
        **given,
    )
    keep_overrides(workflow, given)
    workflow.initialize()
    return workflow
