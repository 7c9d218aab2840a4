"""How the tests of a bundle run it."""

import csv

from monai.bundle import ConfigWorkflow

from tests.conftest import BUNDLE

CONFIGS = BUNDLE / "configs"
SMALL = {"image_size": 32, "batch_size": 16, "num_workers": 0}


def workflow(*files, kind="train", **overrides):
    names = [str(CONFIGS / file) for file in files]
    run = ConfigWorkflow(config_file=names, workflow_type=kind, logging_file=False, **overrides)
    run.initialize()
    return run


def cause(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}
