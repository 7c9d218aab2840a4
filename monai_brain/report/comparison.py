"""Compare trained and evaluated runs: one table, figures, a paired test for each two."""

import csv
import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.compare import mcnemar
from monai_brain.io.settings import read as read_settings
from monai_brain.io.write import atomic, write_csv
from monai_brain.networks.cost import build_without_weights, multiply_adds
from monai_brain.report.evaluation import NEIGHBOR
from monai_brain.report.figures import draw_confusion_matrices, draw_score_bars, draw_validation_curves
from monai_brain.report.html import Block, Figure, Table, write_page

COLUMNS = {
    "network": "network",
    "seed": "seed",
    "val_macro_f1": "validation macro-F1",
    "macro_f1": "test macro-F1",
    "interval": "95% interval",
    "accuracy": "accuracy",
    "macro_auc": "AUC",
    "macro_precision": "precision",
    "macro_sensitivity": "recall",
    "parameters": "parameters, millions",
    "trainable": "trained, millions",
    "gmac": "GMAC",
    "epochs": "epochs",
    "seconds_per_epoch": "seconds per epoch",
    "weights_mb": "weights, MB",
    "images_per_second": "images/s when evaluated",
}

DECIMALS = {"parameters": 2, "trainable": 2, "gmac": 3, "seconds_per_epoch": 1, "weights_mb": 1, "images_per_second": 1}
"""Of columns that are not shares; those have four."""

BASELINE = "1-nearest-neighbor on thumbnails"


class RunsDiffer(ValueError):
    """Runs that cannot stand in one table."""


class Run(NamedTuple):
    """What one run folder says."""

    name: str
    seed: int
    row: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, str]]
    right: np.ndarray
    """Per image of the test part, bool (N,)."""
    baseline_right: np.ndarray | None
    """Likewise, of the nearest neighbor; None of evaluations of before it was written down."""
    paths: list[str]
    training_part: str
    """Parts of the datalist that it was trained on, and that its nearest neighbors are of."""
    datalist_sha256: str
    recipe: dict[str, Any]
    """Options that seeds of one network have in common."""


def write_comparison(folder: Path, runs: Sequence[Path]) -> None:
    """Write `comparison.csv`, `comparison.md`, `comparison.html` and their figures.

    Args:
        folder: where to.
        runs: folders of finished trainings that were evaluated on the test part of the same datalist.

    Raises:
        RunsDiffer: naming the run and what it lacks, or that the splits differ.
    """
    read = [read_run(path) for path in runs]
    if not read:
        raise RunsDiffer("no run was named")
    _refuse_different(read, runs)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [run.row for run in read]
    write_csv(folder / "comparison.csv", list(COLUMNS), rows)
    draw_score_bars(
        [(label(run), run.metrics["model"]["macro_f1"], run.metrics["model"]["intervals"]["macro_f1"]) for run in read],
        [(baseline_label(part), nearest["macro_f1"]) for part, nearest in _nearest_by_part(read).items()],
        folder / "macro_f1.png",
    )
    histories = curves(read)
    if histories:
        draw_validation_curves(histories, folder / "validation.png")
    draw_confusion_matrices(
        [(label(run), run.metrics["model"]["confusion_matrix"]) for run in _firsts(read)],
        list(read[0].metrics["model"]["per_class"]),
        folder / "confusion_matrices.png",
    )
    tables = comparison_tables(read)
    figures: list[Block] = [
        Figure("Test macro-F1 with 95% intervals; lines are nearest-neighbor baselines", "macro_f1.png"),
        *([Figure("Validation macro-F1 by epoch, first seed of each", "validation.png")] if histories else []),
        Figure("Confusion matrices on the test part, first seed of each", "confusion_matrices.png"),
    ]
    write_page(folder / "comparison.html", "Comparison of classifiers", [*tables, *figures])
    with atomic(folder / "comparison.md") as file:
        file.write("\n".join(itertools.chain.from_iterable(_markdown(table) for table in tables)))


def _refuse_different(read: Sequence[Run], runs: Sequence[Path]) -> None:
    """Refuse runs on several splits, two recipes of one name, and one run twice."""
    for run, path in zip(read, runs, strict=True):
        if run.datalist_sha256 != read[0].datalist_sha256 or [Path(p).name for p in run.paths] != [
            Path(p).name for p in read[0].paths
        ]:
            raise RunsDiffer(f"{path}: was evaluated on another datalist than {runs[0]}; compare runs of one split")
    for other, run in itertools.combinations(read, 2):
        both = run.recipe.keys() & other.recipe.keys()  # older runs recorded fewer
        odd = sorted(key for key in both if run.recipe[key] != other.recipe[key])
        if odd and run.name == other.name:
            raise RunsDiffer(
                f"{label(run)} and {label(other)} have one name and another {odd[0]}; --name gives a recipe its own"
            )
    names = [label(run) for run in read]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise RunsDiffer(f"{twice} is there twice; seeds are compared, so give each recipe a name of its own (--name)")


def read_run(path: Path) -> Run:
    """A run folder and its evaluation on the test part.

    Raises:
        RunsDiffer: it is no finished run, was not evaluated, or is no classifier.
    """
    if not (path / "run.json").is_file() or "result" not in (manifest := _json(path / "run.json")):
        raise RunsDiffer(f"{path}: not a finished training; continue it with --resume true")
    evaluation = path / "evaluation_test"
    if not (evaluation / "metrics.json").is_file():
        raise RunsDiffer(
            f"{path}: was not evaluated on the test part; python -m monai.bundle run evaluating ... --run_dir {path}"
        )
    if not is_classifier(path):
        raise RunsDiffer(
            f"{path}: is no classifier; put the folds of a segmenter together with monai-brain pool RUN... -o FOLDER"
        )
    metrics = _json(evaluation / "metrics.json")
    evaluated = _json(evaluation / "run.json")
    if evaluated["options"]["weights_sha256"] != manifest["result"]["weights_sha256"]:
        raise RunsDiffer(f"{path}: was trained on after its evaluation; evaluate it again")
    with (path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        history = list(csv.DictReader(file))
    with (evaluation / "predictions.csv").open(encoding="utf-8", newline="") as file:
        predictions = list(csv.DictReader(file))
    options = manifest["options"]
    part = options.get("training_part", "training")
    name = options.get("name", path.name) + (f", trained on {part}" if part != "training" else "")
    seed = options["seed"]
    return Run(
        name,
        seed,
        _row(path, name, seed, manifest, metrics) | {"images_per_second": _rate(evaluated)},
        metrics,
        history,
        np.array([row["reference"] == row["label"] for row in predictions]),
        np.array([row["reference"] == row[NEIGHBOR] for row in predictions]) if NEIGHBOR in predictions[0] else None,
        [row["path"] for row in predictions],
        part,
        manifest["datalist_sha256"],
        {key: value for key, value in options.items() if key not in ("seed", "cache_features")},
    )


def is_classifier(path: Path) -> bool:
    """Whether the evaluation of a run on the test part scored classes; a segmenter's scores patients."""
    return "model" in _json(path / "evaluation_test" / "metrics.json")


def label(run: Run) -> str:
    """How a run is called in figures."""
    return f"{run.name}, seed {run.seed}"


def baseline_label(part: str) -> str:
    """How the baseline is called whose neighbors are looked up in a part: as the runs that were trained on it."""
    return BASELINE + (f", trained on {part}" if part != "training" else "")


def curves(runs: Sequence[Run]) -> list[tuple[str, list[dict[str, str]]]]:
    """Name and history of the first seed of each network that was not trained on the validation part too."""
    return [(label(run), run.history) for run in _firsts(runs) if "validation" not in run.training_part.split("+")]


def comparison_tables(runs: Sequence[Run]) -> list[Table]:
    """All runs; means over seeds where there are several; a paired test for each two networks, and their baselines."""
    shown = [[_cell(key, run.row[key]) for key in COLUMNS] for run in runs]
    for part, nearest in _nearest_by_part(runs).items():
        baseline = {"network": baseline_label(part), **{key: nearest[key] for key in ("macro_f1", "accuracy")}}
        shown.append([_cell(key, baseline.get(key, "")) for key in COLUMNS])
    tables = [
        Table(f"{len(runs)} runs on {runs[0].metrics['model']['images']} test images", [*COLUMNS.values()], shown)
    ]
    by_name = {name: [run for run in runs if run.name == name] for name in dict.fromkeys(run.name for run in runs)}
    if any(len(own) > 1 for own in by_name.values()):
        columns = ["network", "seeds", "test macro-F1, mean", "standard deviation", "validation macro-F1, mean"]
        tables.append(Table("Over seeds", columns, [_over_seeds(name, own) for name, own in by_name.items()]))
    firsts = _firsts(runs)
    sides = [(label(run), run.right) for run in firsts]
    pairs = [_paired(one, other) for one, other in itertools.combinations(sides, 2)]
    # of one split and part there is one baseline, whichever run's evaluation wrote it down
    neighbors = {run.training_part: run.baseline_right for run in runs if run.baseline_right is not None}
    for run, side in zip(firsts, sides, strict=True):
        if run.training_part in neighbors:
            pairs.append(_paired(side, (baseline_label(run.training_part), neighbors[run.training_part])))
    if pairs:
        columns = ["first", "second", "only first right", "only second right", "p"]
        caption = (
            "McNemar's exact test, first seed of each; images are taken for independent, p-values are not corrected"
        )
        tables.append(Table(caption, columns, pairs))
    return tables


def _firsts(runs: Sequence[Run]) -> list[Run]:
    """The first seed of each network."""
    firsts: dict[str, Run] = {}
    for run in runs:
        firsts.setdefault(run.name, run)
    return list(firsts.values())


def _nearest_by_part(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The baseline's scores, by the part that its neighbors are looked up in."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        found.setdefault(run.training_part, run.metrics["nearest_neighbor"])
    return found


def _over_seeds(name: str, runs: Sequence[Run]) -> list[str]:
    test = [run.row["macro_f1"] for run in runs]
    validation = [run.row["val_macro_f1"] for run in runs if run.row["val_macro_f1"] is not None]
    deviation = f"{statistics.stdev(test):.4f}" if len(test) > 1 else ""
    shown = f"{statistics.mean(validation):.4f}" if validation else "undefined"
    return [name, str(len(runs)), f"{statistics.mean(test):.4f}", deviation, shown]


def _paired(one: tuple[str, np.ndarray], other: tuple[str, np.ndarray]) -> list[str]:
    test = mcnemar(one[1], other[1])
    return [one[0], other[0], str(test.only_first_right), str(test.only_second_right), f"{test.p_value:.3g}"]


def _row(path: Path, name: str, seed: int, manifest: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    model, result = metrics["model"], manifest["result"]
    settings = read_settings(path) or manifest["settings"]
    network = build_without_weights(settings["network_def"])
    interval = model["intervals"]["macro_f1"]
    trained_on = manifest["options"].get("training_part", "training")
    return {
        "network": name,
        "seed": seed,
        "val_macro_f1": result["best_val_macro_f1"] if "validation" not in trained_on else None,
        **{key: model[key] for key in ("macro_f1", "accuracy", "macro_auc", "macro_precision", "macro_sensitivity")},
        "interval": "none" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "parameters": sum(p.numel() for p in network.parameters()) / 1e6,
        "trainable": manifest.get("trained_parameters", 0) / 1e6 or None,
        "gmac": multiply_adds(network, settings["image_size"]),
        "epochs": result["epochs"],
        "seconds_per_epoch": round(result["seconds"] / result["epochs"], 1),
        "weights_mb": round((path / "model.safetensors").stat().st_size / 1e6, 1),
    }


def _rate(evaluated: dict[str, Any]) -> float | str:
    """Nothing of evaluations of before it was written down."""
    return evaluated.get("result", {}).get("images_per_second", "")


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.{DECIMALS.get(column, 4)}f}" if isinstance(value, float) else str(value)


def _markdown(table: Table) -> list[str]:
    lines = [f"## {table.caption}", f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in table.rows), "", ""]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
