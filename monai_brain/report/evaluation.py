"""Write what an evaluation found: metrics.json, figures, and one page."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_brain.data.splits import read_class_names, read_datalist, refuse_other_classes
from monai_brain.evaluation.baselines import copies_among, nearest_neighbors, thumbnails
from monai_brain.evaluation.intervals import DRAWS, NO_INTERVAL, interval_over_groups, with_interval
from monai_brain.evaluation.metrics import classification_metrics, macro_f1
from monai_brain.evaluation.sources import by_group, by_source, tumor_classes
from monai_brain.io.write import manifest, write_csv, write_json
from monai_brain.labels import CLASS_NAMES, in_words, index_of_no_tumor
from monai_brain.report.figures import draw_confusion_matrix, draw_roc_curves
from monai_brain.report.folds import InvalidFolds, identity_of, network_of, refuse_no_fold
from monai_brain.report.html import Figure, Table, write_page

logger = logging.getLogger(__name__)

SEEN_CORRELATION = 0.95
"""Thumbnails that correlate this much with a training image are counted as (nearly) seen in training."""

NEIGHBOR = "nearest_neighbor"
"""Column of predictions.csv with the baseline's class."""

GROUP, FOLD = "group", "fold"
"""Columns of predictions.csv: what is never in two folds, and of a cross-validation the fold that tested the slice."""


def write_evaluation(
    folder: str | Path,
    items: Sequence[Mapping[str, Any]],
    probabilities: np.ndarray,
    references: Sequence[Mapping[str, Any]],
    *,
    part: str,
    options: Mapping[str, Any],
    seconds: float = 0.0,
    class_names: Sequence[str] = CLASS_NAMES,
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
        class_names: K names.

    Returns:
        What stands in `metrics.json`.
    """
    guessed = None
    if references:
        learned, scored = (thumbnails([item["image"] for item in own]) for own in (references, items))
        nearest, similarity = nearest_neighbors(learned, scored)
        guessed = np.array([references[index]["label"] for index in nearest])
    metrics = score_classes(items, probabilities, guessed, part, class_names)
    if guessed is not None:
        right = probabilities.argmax(axis=1) == [item["label"] for item in items]
        metrics[NEIGHBOR]["model_accuracy_by_likeness"] = _by_likeness(right, similarity)
        metrics["copies_of_training"] = copies_among(learned, scored)
        _warn_of_copies(metrics["copies_of_training"], len(items))
    rate = {"images_per_second": round(len(items) / seconds, 2)} if seconds else {}
    _write(Path(folder), items, probabilities, guessed, metrics, manifest("evaluation", options) | {"result": rate})
    return metrics


def write_pooled_classes(folder: str | Path, runs: Sequence[Path]) -> dict[str, Any]:
    """Put the test parts of a classifier's cross-validation together: every image once.

    Args:
        folder: gets what `write_evaluation` writes.
        runs: trained on the folds, each evaluated on its test part.

    Returns:
        What stands in `metrics.json`.

    Raises:
        InvalidFolds: as `report.folds.refuse_no_fold`, or an image was tested twice.
    """
    class_names = read_class_names(runs[0] / "datalist.json")
    items: list[dict[str, Any]] = []
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for number, run in enumerate(runs, 1):
        refuse_no_fold(run, "predictions.csv")
        refuse_other_classes(class_names, run / "datalist.json")
        tested = [{"fold": number, **item} for item in read_datalist(run / "datalist.json")["test"]]
        with (run / "evaluation_test" / "predictions.csv").open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
        items += tested
        twice = seen & {item["image"] for item in tested}
        if twice or len(rows) != len(items):
            raise InvalidFolds(f"{run}: {min(twice, default='its datalist')} was tested by another run too")
        seen |= {item["image"] for item in tested}
    probabilities = np.array([[float(row[f"prob_{name}"]) for name in class_names] for row in rows])
    guessed = np.array([class_names.index(row[NEIGHBOR]) for row in rows]) if all(r[NEIGHBOR] for r in rows) else None
    metrics = score_classes(items, probabilities, guessed, f"test parts of {len(runs)} runs", class_names)
    options = {"runs": [identity_of(run) for run in runs], "network_def": network_of(runs)}
    _write(Path(folder), items, probabilities, guessed, metrics, manifest("pooling", options))
    return metrics


def _warn_of_copies(copies: int, images: int) -> None:
    if copies:
        logger.warning(
            "%d of the %d images are copies or mirror images of training images: the figures measure memory; "
            "monai-brain audit shows the pairs, and index makes a split without them",
            copies,
            images,
        )


def score_classes(
    items: Sequence[Mapping[str, Any]],
    probabilities: np.ndarray,
    guessed: np.ndarray | None,
    part: str,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """All figures of an evaluation.

    Args:
        items: images with `label` and, where known, `group`, `source` and `sequence`; N of them.
        probabilities: (N, K), in their order.
        guessed: the nearest neighbor's class indices, (N,); None: there is no baseline.
        part: name of the evaluated part.
        class_names: K names.
    """
    labels = np.array([item["label"] for item in items])
    groups = [item.get("group", index) for index, item in enumerate(items)]
    predicted = probabilities.argmax(axis=1)
    no_tumor = index_of_no_tumor(class_names)
    metrics: dict[str, Any] = {
        "part": part,
        "groups": len(set(groups)),
        "model": _with_intervals(labels, probabilities, groups, class_names),
        "tumor_classes": tumor_classes(labels, predicted, groups, no_tumor),
        "by_source": by_source(items, predicted, no_tumor),
        "by_group": by_group(labels, probabilities, groups),
        "bootstrap": f"95% percentile intervals, {DRAWS} resamples of groups within their class; {NO_INTERVAL}",
    }
    if guessed is not None:
        metrics[NEIGHBOR] = _neighbor_metrics(labels, guessed, groups, class_names)
    return metrics


def _write(
    folder: Path,
    items: Sequence[Mapping[str, Any]],
    probabilities: np.ndarray,
    guessed: np.ndarray | None,
    metrics: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "run.json", run)
    model, part = metrics["model"], metrics["part"]
    names = list(model["per_class"])
    _write_predictions(folder / "predictions.csv", items, probabilities, guessed, names)
    title = f"Confusion matrix, {part}"
    draw_confusion_matrix(model["confusion_matrix"], names, folder / "confusion_matrix.png", title)
    auc = {name: figures["auc"] for name, figures in model["per_class"].items()}
    draw_roc_curves(np.array([item["label"] for item in items]), probabilities, auc, folder / "roc.png")
    write_page(folder / "report.html", f"Evaluation on {part}", evaluation_blocks(metrics))


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
            *(_figure(source, key) for key in ("accuracy", "macro_f1", "macro_auc")),
        ]
        for name, source in (("model", model), ("1-nearest-neighbor on thumbnails", metrics.get("nearest_neighbor")))
        if source
    ]
    copies = metrics.get("copies_of_training")
    leak = f"; {copies} are copies or mirror images of training images: the figures measure memory" if copies else ""
    without = ", ".join(map(in_words, model.get("absent_classes", ())))
    absent = f"; classes without images: {without}" if without else ""
    return [
        Table(
            f"{model['images']} images in {metrics['groups']} groups ({metrics['bootstrap']}){absent}{leak}",
            ["", "accuracy", "macro-F1", "macro-AUC"],
            summary,
        ),
        Table("Results for each class", *_per_class_table(model)),
        *_source_tables(metrics),
        Figure("Confusion matrix", f"{figures}confusion_matrix.png"),
        Figure("ROC curves", f"{figures}roc.png"),
    ]


def _source_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Slices with tumor, stacks, and sources: nothing of an older evaluation, or where it is not known."""
    tables = []
    tumors, stacks = metrics.get("tumor_classes"), metrics.get("by_group")
    rows = (
        [["slices with tumor", str(tumors["images"]), with_interval(tumors["accuracy"], tumors["interval"])]]
        if tumors
        else []
    )
    if stacks:
        rows.append(
            ["groups of several slices", str(stacks["groups"]), with_interval(stacks["accuracy"], stacks["interval"])]
        )
    if rows:
        tables.append(
            Table(
                "Accuracy on slices with tumor, and on groups by their mean probability",
                ["", "number", "accuracy"],
                rows,
            )
        )
    if metrics.get("by_source"):
        sources = [
            [
                row["source"],
                row["sequence"],
                "tumor" if row["tumor"] else "no tumor",
                str(row["images"]),
                f"{row['accuracy']:.3f}",
                f"{row['called_tumor']:.3f}",
            ]
            for row in metrics["by_source"]
        ]
        columns = ["source", "sequence", "reference", "images", "right class", "called a tumor"]
        tables.append(
            Table(
                "Results by source of the images. A model that has learned to recognize the source instead of the "
                "tumor would show up here",
                columns,
                sources,
            )
        )
    return tables


def _per_class_table(model: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = ["images", "sensitivity", "specificity", "precision", "f1", "auc"]
    rows = [
        [in_words(name), str(scores["images"]), *(_shown(scores[column]) for column in columns[1:])]
        for name, scores in model["per_class"].items()
    ]
    return ["class", *columns[:-2], "F1", "AUC"], rows


def _figure(source: Mapping[str, Any], key: str) -> str:
    intervals = source["intervals"]
    return with_interval(source[key], intervals[key]) if key in intervals else _shown(source[key])


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _with_intervals(
    labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[Any], class_names: Sequence[str]
) -> dict[str, Any]:
    metrics = classification_metrics(labels, probabilities, class_names)
    predicted, strata = probabilities.argmax(axis=1), labels.tolist()
    intervals = {
        "accuracy": interval_over_groups(lambda i: float((predicted[i] == labels[i]).mean()), groups, strata=strata),
        "macro_f1": interval_over_groups(lambda i: macro_f1(labels[i], predicted[i]), groups, strata=strata),
    }
    return {**metrics, "intervals": intervals}


def _neighbor_metrics(
    labels: np.ndarray, guessed: np.ndarray, groups: Sequence[Any], class_names: Sequence[str]
) -> dict[str, Any]:
    """The baseline's figures."""
    metrics = _with_intervals(labels, np.eye(len(class_names))[guessed], groups, class_names)
    metrics["tumor_classes"] = tumor_classes(labels, guessed, groups, index_of_no_tumor(class_names))
    metrics["macro_auc"] = None  # its guesses have no order
    for scores in metrics["per_class"].values():
        scores["auc"] = None
    return metrics


def _by_likeness(right: np.ndarray, similarity: np.ndarray) -> dict[str, Any]:
    """How the model does by likeness to the nearest training image."""
    seen = similarity >= SEEN_CORRELATION
    return {
        f"correlation >= {SEEN_CORRELATION}": {"images": int(seen.sum()), "accuracy": _mean(right[seen])},
        f"correlation < {SEEN_CORRELATION}": {"images": int((~seen).sum()), "accuracy": _mean(right[~seen])},
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _write_predictions(
    path: Path,
    items: Sequence[Mapping[str, Any]],
    probabilities: np.ndarray,
    guessed: np.ndarray | None,
    class_names: Sequence[str],
) -> None:
    rows = (
        {
            "path": item["image"],
            "reference": class_names[item["label"]],
            "label": class_names[int(row.argmax())],
            **{f"prob_{name}": f"{value:.6f}" for name, value in zip(class_names, row, strict=True)},
            NEIGHBOR: "" if guessed is None else class_names[int(guessed[place])],
            GROUP: str(item.get("group", item["image"])),
            FOLD: item.get("fold", ""),
        }
        for place, (item, row) in enumerate(zip(items, probabilities, strict=True))
    )
    write_csv(
        path, ["path", "reference", "label", *(f"prob_{name}" for name in class_names), NEIGHBOR, GROUP, FOLD], rows
    )
