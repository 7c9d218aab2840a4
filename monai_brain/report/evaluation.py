"""Write what an evaluation found: metrics.json, figures, and one page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_brain.evaluation.baselines import nearest_neighbors, thumbnails
from monai_brain.evaluation.intervals import DRAWS, group_bootstrap
from monai_brain.evaluation.metrics import classification_metrics, macro_f1
from monai_brain.io.write import manifest, write_csv, write_json
from monai_brain.labels import CLASS_NAMES
from monai_brain.report.figures import draw_confusion_matrix, draw_roc_curves
from monai_brain.report.html import Figure, Table, write_page

SEEN_CORRELATION = 0.95
"""Thumbnails that correlate this much with a training image are counted as (nearly) seen in training."""

NEIGHBOR = "nearest_neighbor"
"""Column of predictions.csv with the baseline's class."""


def write_evaluation(
    folder: str | Path,
    items: Sequence[Mapping[str, Any]],
    probabilities: np.ndarray,
    references: Sequence[Mapping[str, Any]],
    *,
    part: str,
    options: Mapping[str, Any],
    seconds: float = 0.0,
) -> dict[str, Any]:
    """Score a model and the nearest-neighbor baseline on the same images; write everything into `folder`.

    Args:
        folder: gets `metrics.json`, `predictions.csv`, `confusion_matrix.png`, `roc.png`, `report.html`, `run.json`.
        items: evaluated images with `image`, `label` and (where known) `group`, N of them.
        probabilities: (N, K), in their order.
        references: training images, which the baseline looks its neighbors up in; empty: they are not at hand, and
            there is no baseline.
        part: name of the evaluated part.
        options: for the manifest.
        seconds: that the network took for all, from files to probabilities; 0: not measured.

    Returns:
        What stands in `metrics.json`.
    """
    folder = Path(folder)
    labels = np.array([item["label"] for item in items])
    groups = [item.get("group", index) for index, item in enumerate(items)]
    baseline, guessed = {}, None
    if references:
        neighbor, guessed = _nearest_neighbor(items, labels, groups, references, probabilities.argmax(axis=1))
        baseline = {"nearest_neighbor": neighbor}
    metrics: dict[str, Any] = {
        "part": part,
        "groups": len(set(groups)),
        "model": _with_intervals(classification_metrics(labels, probabilities), labels, probabilities, groups),
        **baseline,
        "bootstrap": f"95 % percentile intervals, {DRAWS} resamples of groups within their class",
    }
    write_json(folder / "metrics.json", metrics)
    rate = {"images_per_second": round(len(items) / seconds, 2)} if seconds else {}
    write_json(folder / "run.json", manifest("evaluation", options) | {"result": rate})
    _write_predictions(folder / "predictions.csv", items, probabilities, guessed)
    model = metrics["model"]
    draw_confusion_matrix(model["confusion_matrix"], folder / "confusion_matrix.png", f"Confusion matrix, {part}")
    auc = {name: figures["auc"] for name, figures in model["per_class"].items()}
    draw_roc_curves(labels, probabilities, auc, folder / "roc.png")
    write_page(folder / "report.html", f"Evaluation on {part}", evaluation_blocks(metrics))
    return metrics


def evaluation_blocks(metrics: Mapping[str, Any], figures: str = "") -> list[Table | Figure]:
    """Tables and figures of an evaluation, for a page.

    Args:
        metrics: as in `metrics.json`.
        figures: folder of the PNG files, relative to the page, with a `/` at its end.
    """
    model = metrics["model"]
    summary = [
        [
            name,
            *(_shown(source[key], source["intervals"].get(key)) for key in ("accuracy", "macro_f1", "macro_auc")),
        ]
        for name, source in (("model", model), ("1-nearest-neighbor on thumbnails", metrics.get("nearest_neighbor")))
        if source
    ]
    absent = f"; no image of {', '.join(model['absent_classes'])}" if model.get("absent_classes") else ""
    return [
        Table(
            f"{model['images']} images in {metrics['groups']} groups ({metrics['bootstrap']}){absent}",
            ["", "accuracy", "macro-F1", "macro-AUC"],
            summary,
        ),
        Table("The model, class by class", *_per_class_table(model)),
        Figure("Confusion matrix", f"{figures}confusion_matrix.png"),
        Figure("ROC curves", f"{figures}roc.png"),
    ]


def _per_class_table(model: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = ["images", "sensitivity", "specificity", "precision", "f1", "auc"]
    rows = [
        [name, str(scores["images"]), *(_shown(scores[column]) for column in columns[1:])]
        for name, scores in model["per_class"].items()
    ]
    return ["class", *columns], rows


def _shown(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _with_intervals(
    metrics: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[Any]
) -> dict[str, Any]:
    predicted, strata = probabilities.argmax(axis=1), labels.tolist()
    intervals = {
        "accuracy": group_bootstrap(lambda i: float((predicted[i] == labels[i]).mean()), groups, strata=strata),
        "macro_f1": group_bootstrap(lambda i: macro_f1(labels[i], predicted[i]), groups, strata=strata),
    }
    return {**metrics, "intervals": {name: list(interval) for name, interval in intervals.items()}}


def _nearest_neighbor(
    items: Sequence[Mapping[str, Any]],
    labels: np.ndarray,
    groups: Sequence[Any],
    references: Sequence[Mapping[str, Any]],
    predicted: np.ndarray,
) -> tuple[dict[str, Any], np.ndarray]:
    """The baseline's own metrics, with how the model does by likeness to the nearest training image; its classes."""
    nearest, similarity = nearest_neighbors(
        thumbnails([item["image"] for item in references]), thumbnails([item["image"] for item in items])
    )
    guessed = np.array([references[index]["label"] for index in nearest])
    certain = np.eye(len(CLASS_NAMES))[guessed]
    metrics = _with_intervals(classification_metrics(labels, certain), labels, certain, groups)
    metrics["macro_auc"] = None  # its guesses have no order
    for scores in metrics["per_class"].values():
        scores["auc"] = None
    seen = similarity >= SEEN_CORRELATION
    right = predicted == labels
    metrics["model_accuracy_by_likeness"] = {
        f"correlation >= {SEEN_CORRELATION}": {"images": int(seen.sum()), "accuracy": _mean(right[seen])},
        f"correlation < {SEEN_CORRELATION}": {"images": int((~seen).sum()), "accuracy": _mean(right[~seen])},
    }
    return metrics, guessed


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _write_predictions(
    path: Path, items: Sequence[Mapping[str, Any]], probabilities: np.ndarray, guessed: np.ndarray | None
) -> None:
    rows = (
        {
            "path": item["image"],
            "reference": CLASS_NAMES[item["label"]],
            "label": CLASS_NAMES[int(row.argmax())],
            **{f"prob_{name}": f"{value:.6f}" for name, value in zip(CLASS_NAMES, row, strict=True)},
            NEIGHBOR: "" if guessed is None else CLASS_NAMES[int(guessed[place])],
        }
        for place, (item, row) in enumerate(zip(items, probabilities, strict=True))
    )
    write_csv(path, ["path", "reference", "label", *(f"prob_{name}" for name in CLASS_NAMES), NEIGHBOR], rows)
