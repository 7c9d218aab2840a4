"""Score predictions of any software against labels: metrics.json, figures and one page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_brain.evaluation.calibration import brier_score, calibration_error, reliability
from monai_brain.evaluation.compare import mcnemar
from monai_brain.evaluation.intervals import DRAWS, FEWEST_GROUPS, with_interval
from monai_brain.evaluation.joining import USUAL_NAMES, Joined, Names, join
from monai_brain.evaluation.resampling import Estimate, class_estimates, mean_estimate
from monai_brain.evaluation.selective import coverage_curve, coverage_points, measured_sets
from monai_brain.evaluation.subgroups import subgroups
from monai_brain.io.tables import InvalidTable, read_table
from monai_brain.io.write import manifest, sha256_of, write_json
from monai_brain.labels import in_words, index_of_no_tumor
from monai_brain.report.figures import draw_confusion_matrix, draw_roc_curves
from monai_brain.report.html import Block, Figure, Table, write_page
from monai_brain.report.score_figures import draw_coverage, draw_reliability

PER_CLASS = ("sensitivity", "specificity", "precision", "f1", "auc")
OVERALL = ("accuracy", "macro_f1", "macro_sensitivity", "macro_precision", "macro_auc")

INTERVALS = (
    f"95% intervals: {DRAWS} bootstrap resamples of whole groups, standard error on the logit scale; "
    f"none below {FEWEST_GROUPS} groups, as so few do not show how far patients differ"
)

NOT_SHOWN = (
    "Not shown, as it needs the images: copies between training and test (monai-brain audit) and a nearest-neighbor "
    "baseline (monai-brain evaluate RUN)"
)


def score_predictions_of_classes(
    predictions: Path,
    references: Path,
    output: Path,
    *,
    names: Names = USUAL_NAMES,
    classes: Sequence[str] = (),
    by: Sequence[str] = (),
    against: Path | None = None,
) -> dict[str, Any]:
    """Score one table of predictions; see `evaluation.joining.join` for what it may hold.

    Args:
        predictions: CSV of any software.
        references: CSV with a class for each case.
        output: gets `metrics.json`, `run.json`, figures and `report.html`.
        names: of columns, where they have other names than usual.
        classes: their names and order; by default those that the tables show.
        by: columns whose values are subgroups.
        against: CSV of another software's predictions, for a paired comparison.

    Returns:
        What stands in `metrics.json`.

    Raises:
        InvalidTable: naming what is missing, unknown or there twice, and the way out.
    """
    joined = join(read_table(predictions), read_table(references), names, classes)
    if not joined.answered.any():
        raise InvalidTable(f"{predictions}: no case has an answer; status and class are empty, or say so")
    metrics = _metrics(joined, by)
    if against is not None:
        other = join(read_table(against), read_table(references), names, joined.class_names)
        metrics["paired"] = _paired(joined, other, against.name)
    options = {"predictions_sha256": sha256_of(predictions), "labels_sha256": sha256_of(references), "by": list(by)}
    write_json(output / "metrics.json", metrics)
    write_json(output / "run.json", manifest("evaluation", options))
    _draw(joined, metrics, output)
    write_page(output / "report.html", f"Evaluation of {predictions.name}", _blocks(joined, metrics))
    return metrics


def figures_of_classes(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The main figures of `metrics.json`, for the command line."""
    model, answered = metrics["model"], metrics["answered"]
    return [
        ["cases answered", f"{model['images']} of {metrics['flow']['labeled cases']}"],
        *([readable(name), shown(model[name])] for name in ("accuracy", "macro_f1", "macro_auc")),
        ["accuracy, unanswered counted as wrong", shown(answered["accuracy_unanswered_wrong"])],
        [always(metrics["majority_class"]["class"]), shown(metrics["majority_class"]["accuracy"])],
    ]


def _metrics(joined: Joined, by: Sequence[str]) -> dict[str, Any]:
    own = np.flatnonzero(joined.answered)
    labels, predicted = joined.labels[own], joined.predicted[own]
    groups = [joined.groups[place] for place in own.tolist()]
    probabilities = _complete(joined, own)
    estimates = class_estimates(labels, predicted, probabilities, groups, joined.class_names)
    right = (joined.predicted == joined.labels).astype(float)
    present = np.bincount(joined.labels, minlength=len(joined.class_names))
    metrics: dict[str, Any] = {
        "part": "the labeled cases",
        "class_names": list(joined.class_names),
        "flow": dict(joined.flow),
        "notes": _notes(joined, present),
        "groups": len(set(groups)),
        "grouped_by": joined.grouped_by,
        "model": {
            "images": len(own),
            **{name: _as_dict(estimates["all"][name]) for name in OVERALL},
            "per_class": {
                name: {"images": int((labels == index).sum())}
                | {figure: _as_dict(estimates[name][figure]) for figure in PER_CLASS}
                for index, name in enumerate(joined.class_names)
            },
            "confusion_matrix": _counts(labels, predicted, len(joined.class_names)),
        },
        "answered": {
            "share": _as_dict(mean_estimate(joined.answered.astype(float), joined.groups)),
            "accuracy_unanswered_wrong": _as_dict(mean_estimate(right, joined.groups)),
            "by_class": _answered_by_class(joined),
        },
        "majority_class": _majority(joined, present),
        "sets": _sets(joined),
        "subgroups": {
            column: [
                {"value": value, "cases": len(places), **_subgroup(joined, places)}
                for value, places in subgroups(joined.columns, column)
            ]
            for column in by
        },
        "bootstrap": INTERVALS,
    }
    if probabilities is not None:
        metrics |= _certainty(probabilities, labels, predicted, groups)
    return metrics


def _certainty(
    probabilities: np.ndarray, labels: np.ndarray, predicted: np.ndarray, groups: Sequence[str]
) -> dict[str, Any]:
    """How well probabilities (N, K) fit, and the accuracy of the surest cases."""
    points = coverage_points(probabilities.max(axis=1), predicted == labels, groups)
    return {
        "calibration": {
            "ece": calibration_error(probabilities, labels),
            "brier": brier_score(probabilities, labels),
            "bins": [one._asdict() for one in reliability(probabilities, labels)],
        },
        "coverage": [one._asdict() | {"accuracy": _as_dict(one.accuracy)} for one in points],
    }


def _complete(joined: Joined, own: np.ndarray) -> np.ndarray | None:
    """Probabilities of the answered cases, if each has them."""
    if joined.probabilities is None or np.isnan(joined.probabilities[own]).any():
        return None
    return joined.probabilities[own]


def _notes(joined: Joined, present: np.ndarray) -> list[str]:
    """What a reader must know before the figures, in sentences."""
    notes = []
    unmatched = joined.flow["left out: predictions without a label"]
    absent = [name for name, number in zip(joined.class_names, present, strict=True) if not number]
    if unmatched:
        notes.append(f"{unmatched} predictions have no label and were left out.")
    if joined.grouped_by is None:
        notes.append(
            "No column says which cases belong to one patient, so each counts as a patient of its own. Where patients "
            "have several cases, the intervals are too narrow: name the column with --group-by."
        )
    elif len(set(joined.groups)) < FEWEST_GROUPS:
        notes.append(
            f"{len(set(joined.groups))} groups: too few for an interval; at least {FEWEST_GROUPS} are needed. More "
            "cases of the same patients do not help, more patients do."
        )
    if (present > 0).sum() == 1:
        notes.append(
            f'All labels are "{in_words(joined.class_names[int(present.argmax())])}": accuracy is the sensitivity of '
            "that class; specificity and AUC are undefined. Add cases of another class."
        )
    elif absent:
        notes.append(f"Classes without a labeled case, which count in no mean: {', '.join(map(in_words, absent))}.")
    if joined.probabilities is None:
        notes.append("No probabilities, so no AUC, calibration or curve over coverage: add a column for each class.")
    elif _complete(joined, np.flatnonzero(joined.answered)) is None:
        notes.append("Some answered cases have no probabilities, so there is no AUC, calibration or curve.")
    elif (joined.probabilities.argmax(axis=1) != joined.predicted)[joined.answered].any():
        notes.append("For some cases the class is not the one with the highest probability; the class counts.")
    return notes


def _answered_by_class(joined: Joined) -> dict[str, Any]:
    answered = joined.answered.astype(float)
    return {
        name: _as_dict(mean_estimate(np.where(joined.labels == index, answered, np.nan), joined.groups))
        for index, name in enumerate(joined.class_names)
    }


def _majority(joined: Joined, present: np.ndarray) -> dict[str, Any]:
    """What always naming the most frequent class would score."""
    most = int(present.argmax())
    return {
        "class": joined.class_names[most],
        "accuracy": _as_dict(mean_estimate((joined.labels == most).astype(float), joined.groups)),
    }


def _sets(joined: Joined) -> dict[str, Any] | None:
    found = measured_sets(joined.sets, joined.labels, joined.groups, joined.class_names)
    if found is None:
        return None
    by_class = {name: _as_dict(own) for name, own in found["by_class"].items()}
    return found | {"coverage": _as_dict(found["coverage"]), "by_class": by_class}


def _subgroup(joined: Joined, places: Sequence[int]) -> dict[str, Any]:
    own = np.array(places)
    groups = [joined.groups[place] for place in places]
    answered = joined.answered[own]
    right = np.where(answered, joined.predicted[own] == joined.labels[own], np.nan)
    found = {"groups": len(set(groups)), "accuracy": _as_dict(mean_estimate(right, groups))}
    found["answered"] = _as_dict(mean_estimate(answered.astype(float), groups))
    no_tumor = index_of_no_tumor(joined.class_names)
    if no_tumor is not None:
        tumor = joined.labels[own] != no_tumor
        called = joined.predicted[own] != no_tumor
        found["tumor_sensitivity"] = _as_dict(mean_estimate(np.where(answered & tumor, called, np.nan), groups))
        found["tumor_specificity"] = _as_dict(mean_estimate(np.where(answered & ~tumor, ~called, np.nan), groups))
    return found


def _paired(joined: Joined, other: Joined, name: str) -> dict[str, Any]:
    both = np.flatnonzero(joined.answered & other.answered)
    if not len(both):
        raise InvalidTable(f"{name}: answers none of the cases that the first predictions answer")
    first, second = (one.predicted[both] == one.labels[both] for one in (joined, other))
    groups = [joined.groups[place] for place in both.tolist()]
    difference = mean_estimate(first.astype(float) - second.astype(float), groups, share=False)
    return {
        "against": name,
        "cases": len(both),
        "accuracy": float(first.mean()),
        "other_accuracy": float(second.mean()),
        "difference": _as_dict(difference),
        "mcnemar": mcnemar(first, second)._asdict(),
    }


def _counts(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[list[int]]:
    flat = np.bincount(labels * classes + predicted, minlength=classes**2)
    return [[int(number) for number in row] for row in flat.reshape(classes, classes)]


def _as_dict(own: Estimate) -> dict[str, Any]:
    interval = None if own.interval is None else list(own.interval)
    return {"value": own.value, "interval": interval, "groups": own.groups}


def _draw(joined: Joined, metrics: Mapping[str, Any], output: Path) -> None:
    model, own = metrics["model"], np.flatnonzero(joined.answered)
    title = "Confusion matrix"
    draw_confusion_matrix(model["confusion_matrix"], joined.class_names, output / "confusion_matrix.png", title)
    probabilities = _complete(joined, own)
    if probabilities is None:
        return
    labels, predicted = joined.labels[own], joined.predicted[own]
    auc = {name: figures["auc"]["value"] for name, figures in model["per_class"].items()}
    if any(area is not None for area in auc.values()):
        draw_roc_curves(labels, probabilities, auc, output / "roc.png")
    draw_reliability(reliability(probabilities, labels), metrics["calibration"]["ece"], output / "reliability.png")
    share, accuracy = coverage_curve(probabilities.max(axis=1), predicted == labels)
    answered = metrics["answered"]["share"]["value"]
    point = None if answered == 1 else (answered, model["accuracy"]["value"])
    draw_coverage(share * answered, accuracy, point, output / "coverage.png")


def _blocks(joined: Joined, metrics: Mapping[str, Any]) -> list[Block]:
    model = metrics["model"]
    blocks: list[Block] = [
        Table("Which cases were analyzed", ["", "number"], [[k, str(v)] for k, v in metrics["flow"].items()])
    ]
    if metrics["notes"]:
        blocks.append(Table("Read this first", ["note"], [[note] for note in metrics["notes"]]))
    grouping = f"groups by the column {metrics['grouped_by']}" if metrics["grouped_by"] else "each case its own group"
    majority = metrics["majority_class"]
    blocks += [
        Table(
            f"{model['images']} answered cases in {metrics['groups']} groups, {grouping}. {INTERVALS}",
            ["", *(readable(name) for name in OVERALL)],
            [
                ["predictions", *(shown(model[name]) for name in OVERALL)],
                [always(majority["class"]), shown(majority["accuracy"]), *[""] * (len(OVERALL) - 1)],
            ],
        ),
        Table(
            "Class by class",
            ["class", "cases", *map(readable, PER_CLASS)],
            [
                [in_words(name), str(own["images"]), *(shown(own[figure]) for figure in PER_CLASS)]
                for name, own in model["per_class"].items()
            ],
        ),
        Figure("Confusion matrix", "confusion_matrix.png"),
        *_coverage_blocks(metrics),
        *_set_blocks(metrics),
        *_subgroup_blocks(metrics),
    ]
    if "calibration" in metrics:
        own = metrics["calibration"]
        caption = f"Calibration: expected calibration error {own['ece']:.3f}, Brier score {own['brier']:.3f} (0 to 2)"
        defined = any(one["auc"]["value"] is not None for one in model["per_class"].values())
        blocks += [Figure("ROC curves", "roc.png")] if defined else []
        blocks.append(Figure(caption, "reliability.png"))
    if "paired" in metrics:
        blocks.append(_paired_table(metrics["paired"]))
    return [*blocks, Table("What this page does not show", [""], [[NOT_SHOWN]])]


def readable(figure: str) -> str:
    """The name of a figure, for people."""
    return figure.replace("f1", "F1").replace("auc", "AUC").replace("macro_", "macro-").replace("_", " ")


def always(class_name: str) -> str:
    """The name of the rule that gives every case one class."""
    return f'always "{in_words(class_name)}"'


def shown(own: Mapping[str, Any]) -> str:
    """An estimate of `metrics.json` for people."""
    return with_interval(own["value"], own["interval"])


def _coverage_blocks(metrics: Mapping[str, Any]) -> list[Block]:
    answered = metrics["answered"]
    rows = [
        ["share answered", shown(answered["share"])],
        ["accuracy of the answered cases", shown(metrics["model"]["accuracy"])],
        ["accuracy if an unanswered case counts as wrong", shown(answered["accuracy_unanswered_wrong"])],
        *([f"share answered, {in_words(name)}", shown(own)] for name, own in answered["by_class"].items()),
    ]
    blocks: list[Block] = [Table("Answered cases", ["", ""], rows)]
    if "coverage" in metrics:
        points = [
            [f"{own['share']:.0%}", str(own["cases"]), f"{own['least_confidence']:.3f}", shown(own["accuracy"])]
            for own in metrics["coverage"]
        ]
        columns = ["of the answered cases", "cases", "confidence at least", "accuracy"]
        blocks += [
            Table("If only the surest cases were answered", columns, points),
            Figure("Accuracy against coverage", "coverage.png"),
        ]
    return blocks


def _set_blocks(metrics: Mapping[str, Any]) -> list[Block]:
    own = metrics["sets"]
    if own is None:
        return []
    rows = [["all", shown(own["coverage"])], *([in_words(name), shown(one)] for name, one in own["by_class"].items())]
    caption = f"Sets of classes: {own['cases']} cases, mean size {own['mean_size']:.2f}, {own['empty']} empty"
    return [Table(caption, ["class", "share of sets that hold the reference"], rows)]


def _subgroup_blocks(metrics: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for column, rows in metrics["subgroups"].items():
        figures = [key for key in ("accuracy", "answered", "tumor_sensitivity", "tumor_specificity") if key in rows[0]]
        blocks.append(
            Table(
                f"By {column}",
                [column, "cases", "groups", *map(readable, figures)],
                [
                    [row["value"], str(row["cases"]), str(row["groups"]), *(shown(row[key]) for key in figures)]
                    for row in rows
                ],
            )
        )
    return blocks


def _paired_table(own: Mapping[str, Any]) -> Table:
    difference, test = own["difference"], own["mcnemar"]
    row = [
        str(own["cases"]),
        f"{own['accuracy']:.3f}",
        f"{own['other_accuracy']:.3f}",
        with_interval(difference["value"], difference["interval"], "+"),
        f"{test['only_first_right']}, {test['only_second_right']}",
        f"{test['p_value']:.3g}",
    ]
    columns = ["cases", "accuracy", "of the other", "difference", "only one right", "McNemar's p"]
    return Table(
        f"Against {own['against']}, on cases that both answered; McNemar takes cases as independent", columns, [row]
    )
