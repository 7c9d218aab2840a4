"""Runs that make up a cross-validation: checked before they are put together."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class InvalidFolds(ValueError):
    """Runs that do not make up a cross-validation."""


def refuse_no_fold(run: Path, table: str) -> None:
    """Stop where a run's scores are not those of its weights on what it never saw.

    Args:
        run: folder of the training.
        table: file of its evaluation on the test part.

    Raises:
        InvalidFolds: it was not evaluated as it is now, is not finished, or was trained on its test part.
    """
    if not (run / "evaluation_test" / table).is_file():
        raise InvalidFolds(f"{run}: has no evaluation_test; run the evaluating workflow on it first")
    training = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if "test" in training["options"].get("training_part", "training").split("+"):
        raise InvalidFolds(f"{run}: was trained on its test part too; pool runs that were trained without it")
    weights = training.get("result", {}).get("weights_sha256")
    if weights is None:
        raise InvalidFolds(f"{run}: not a finished training; continue it with --resume true, and evaluate it again")
    if identity_of(run)["weights_sha256"] != weights:
        raise InvalidFolds(f"{run}: was trained on after its evaluation; evaluate it again")


def identity_of(run: Path) -> dict[str, Any]:
    """What a run scored, by hashes."""
    options = json.loads((run / "evaluation_test" / "run.json").read_text(encoding="utf-8"))["options"]
    kept = ("threshold", "smallest_pixels", "weights_sha256", "datalist_sha256")
    return {"run": run.name, **{key: options[key] for key in kept if key in options}}


def network_of(runs: Sequence[Path]) -> Any:
    """The network that all runs recorded, as plain data; None where they differ or do not say.

    Args:
        runs: folders of trainings.
    """
    manifests = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
    found = [own.get("settings", {}).get("network_def") for own in manifests]
    return found[0] if all(own == found[0] for own in found) else None
