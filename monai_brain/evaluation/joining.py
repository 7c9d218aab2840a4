"""Match predictions from any software with labels, case by case, and account for every row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monai_brain.evaluation.matching import NamedCases, match_names
from monai_brain.io.tables import InvalidTable, Table, find_column, need_column, plain
from monai_brain.labels import class_of_folder

ID_COLUMNS = ("path", "image", "id", "case", "case_id", "image_id", "file", "filename", "file_name", "name", "study")
REFERENCE_COLUMNS = ("reference", "label", "truth", "ground_truth", "class", "diagnosis", "target", "y_true")
PREDICTED_COLUMNS = (
    "label",
    "prediction",
    "predicted",
    "pred",
    "class",
    "predicted_label",
    "predicted_class",
    "y_pred",
)
GROUP_COLUMNS = ("group", "patient", "patient_id", "subject", "subject_id", "participant_id")
STATUS_COLUMNS = ("status",)
SET_COLUMNS = ("set", "prediction_set", "conformal_set")
PROBABILITY_PREFIXES = ("prob", "probability", "proba", "score", "p")

LARGEST_ROUNDING = 0.02
"""Tolerance for the sum of probabilities: tables from other software have two decimals."""

ANSWERED = ("", "ok", "warning")
"""Values of `status` for an answered case."""

UNANSWERED_LABELS = ("", "abstain", "abstained", "unsure", "unknown", "none", "nan", "na")
"""Labels that mean no answer, unless a class has this name."""


class Names(NamedTuple):
    """Columns named by the user; None: found by their usual names."""

    case: str | None = None
    reference: str | None = None
    predicted: str | None = None
    group: str | None = None


USUAL_NAMES = Names()


class Joined(NamedTuple):
    """N labeled cases with their predictions."""

    cases: Sequence[str]
    class_names: Sequence[str]
    labels: np.ndarray
    """Class indices of the reference, (N,)."""
    predicted: np.ndarray
    """Class indices of the prediction, (N,); -1: not answered."""
    probabilities: np.ndarray | None
    """(N, K), rows that add up to 1, NaN where a case has none; None: the software gave labels only."""
    sets: Sequence[frozenset[int] | None]
    """Of classes, where the prediction names a set."""
    groups: Sequence[str]
    grouped_by: str | None
    """The column; None: every case is a group of its own."""
    columns: Mapping[str, Sequence[str]]
    """Cells of all columns, the label file's first, N each."""
    flow: Mapping[str, int]
    """From rows to analyzed cases."""

    @property
    def answered(self) -> np.ndarray:
        """Bool (N,)."""
        return self.predicted >= 0


def join(predictions: Table, references: Table, names: Names = USUAL_NAMES, classes: Sequence[str] = ()) -> Joined:
    """Match predictions with labels.

    Args:
        predictions: a row per case: its id, a class or one probability per class, perhaps a status and a set.
        references: a row per case: its id and its class.
        names: of columns, where they have other names than usual.
        classes: their names and order; by default those of the probability columns, else of the labels.

    Raises:
        InvalidTable: naming what is missing, unknown or there twice, and the way out.
    """
    matched, rule = match_cases(predictions, references, names.case)
    truth = need_column(references, REFERENCE_COLUMNS, "the reference class", "--label-column", names.reference)
    own = find_column(predictions, PREDICTED_COLUMNS, names.predicted)
    class_names = list(classes) or _class_names(predictions, references, truth)
    columns = _probability_columns(predictions, class_names)
    if own is None and columns is None:
        raise InvalidTable(
            f"{predictions.path}: neither a class ({', '.join(PREDICTED_COLUMNS)}) nor a probability for each of "
            f"{', '.join(class_names)} (such as prob_{class_names[0]}); it has {', '.join(predictions.columns)}. "
            "Name the column of the class with --prediction-column"
        )
    labeled = [place for place, row in enumerate(references.rows) if row[truth]]
    labels = np.array([_index(references, place, truth, class_names) for place in labeled])
    rows = [matched.get(place) for place in labeled]
    probabilities = _probabilities(predictions, rows, columns) if columns else None
    predicted, why = _predicted(predictions, rows, own, class_names, probabilities)
    grouped_by, groups = _groups(predictions, references, rows, labeled, names.group)
    identity = need_column(references, ID_COLUMNS, "the case", "--id-column", names.case)
    counts = {"labeled cases": len(labeled), **why, "answered and analyzed": int((predicted >= 0).sum())}
    flow = _flow(predictions, references, rows, counts, rule)
    every = {
        column: [_cell(predictions, references, column, row, place) for row, place in zip(rows, labeled, strict=True)]
        for column in dict.fromkeys([*references.columns, *predictions.columns])
    }
    return Joined(
        [references.rows[place][identity] for place in labeled],
        class_names,
        labels,
        predicted,
        probabilities,
        _sets(predictions, rows, class_names),
        groups,
        grouped_by,
        every,
        flow,
    )


def _flow(
    predictions: Table, references: Table, rows: Sequence[int | None], counts: Mapping[str, int], rule: str
) -> dict[str, int]:
    """What became of every row of both tables."""
    matched = len([row for row in rows if row is not None])
    return {
        "rows in the labels": len(references.rows),
        "left out: no reference class": len(references.rows) - counts["labeled cases"],
        **counts,
        "rows in the predictions": len(predictions.rows),
        "left out: predictions without a label": len(predictions.rows) - matched,
        f"matched by {rule}": matched,
    }


def match_cases(predictions: Table, references: Table, asked: str | None = None) -> tuple[dict[int, int], str]:
    """As `match_names`, for the ids of two tables."""
    return match_names(_named(predictions, asked), _named(references, asked), "--id-column")


def _named(table: Table, asked: str | None) -> NamedCases:
    column = need_column(table, ID_COLUMNS, "the case", "--id-column", asked)
    lines = [f"line {table.line(place)}" for place in range(len(table.rows))]
    for line, row in zip(lines, table.rows, strict=True):
        if not row[column]:
            raise InvalidTable(f"{table.path}, {line}: no id in the column {column!r}")
    return NamedCases(table.path, [row[column] for row in table.rows], lines)


def _class_names(predictions: Table, references: Table, truth: str) -> list[str]:
    labels = sorted({row[truth] for row in references.rows if row[truth]})
    different = list({plain(label): label for label in reversed(labels)}.values())[::-1]
    usual = [class_of_folder(label) for label in different]
    if all(usual) and len(set(usual)) == len(usual):  # else two labels would become one class
        different = [name for name in usual if name]
    named = [name for column in predictions.columns if (name := _class_of_column(column))]
    if len(named) >= 2 and all(class_of_folder(label, named) for label in different):
        return named
    return different


def _class_of_column(column: str) -> str | None:
    prefix, _, name = column.replace(" ", "_").partition("_")
    return name if name and plain(prefix) in PROBABILITY_PREFIXES else None


def _probability_columns(table: Table, class_names: Sequence[str]) -> list[str] | None:
    """One column for each class, in their order; None if a class has none."""
    found: dict[str, str] = {}
    for column in table.columns:
        known = class_of_folder(_class_of_column(column) or "", class_names)
        if known is not None:
            found[known] = column
    if len(found) < len(class_names):  # columns may be called as the classes are
        found = {name: own for name in class_names if (own := find_column(table, [name]))}
    return [found[name] for name in class_names] if len(found) == len(class_names) else None


def _probabilities(table: Table, rows: Sequence[int | None], columns: Sequence[str]) -> np.ndarray:
    values = np.full((len(rows), len(columns)), np.nan)
    for place, row in enumerate(rows):
        if row is None or not all(table.rows[row][column] for column in columns):
            continue
        try:
            values[place] = [float(table.rows[row][column].replace(",", ".")) for column in columns]
        except ValueError as error:
            raise InvalidTable(f"{table.path}, line {table.line(row)}: {error}; expected numbers") from error
        total = float(values[place].sum())
        if (values[place] < 0).any() or abs(total - 1) > LARGEST_ROUNDING:
            raise InvalidTable(
                f"{table.path}, line {table.line(row)}: probabilities add up to {total:.3f}, or one is below 0; "
                f"expected numbers from 0 to 1 that add up to 1, in {', '.join(columns)} (percent: divide by 100; "
                "logits: softmax)"
            )
    return values / values.sum(axis=1, keepdims=True)


def _predicted(
    table: Table,
    rows: Sequence[int | None],
    column: str | None,
    class_names: Sequence[str],
    probabilities: np.ndarray | None,
) -> tuple[np.ndarray, dict[str, int]]:
    """Class index of each case, -1 where it is not answered; and how many are not, by reason."""
    status_column = find_column(table, STATUS_COLUMNS)
    predicted = np.full(len(rows), -1)
    why: Counter[str] = Counter()
    for place, row in enumerate(rows):
        if row is None:
            why["not answered: no row in the predictions"] += 1
            continue
        status = table.rows[row][status_column].lower() if status_column else ""
        if status not in ANSWERED:
            why[f"not answered: status {status}"] += 1
            continue
        if column is None and probabilities is not None and not np.isnan(probabilities[place]).any():
            predicted[place] = probabilities[place].argmax()
        elif column is not None and _is_answer(table.rows[row][column], class_names):
            predicted[place] = _index(table, row, column, class_names)
        else:
            why["not answered: no class"] += 1
    return predicted, dict(sorted(why.items()))


def _is_answer(label: str, class_names: Sequence[str]) -> bool:
    return label.lower() not in UNANSWERED_LABELS or class_of_folder(label, class_names) is not None


def _index(table: Table, place: int, column: str, class_names: Sequence[str]) -> int:
    label = table.rows[place][column]
    name = class_of_folder(label, class_names)
    if name is None:
        raise InvalidTable(
            f"{table.path}, line {table.line(place)}: unknown class {label!r} in the column {column!r}; the classes "
            f"are {', '.join(class_names)}. Correct the name, or name all classes with --classes"
        )
    return list(class_names).index(name)


def _groups(
    predictions: Table, references: Table, rows: Sequence[int | None], labeled: Sequence[int], asked: str | None
) -> tuple[str | None, list[str]]:
    table = references
    column = None
    if asked is None or find_column(references, [asked]) is not None:
        column = find_column(references, GROUP_COLUMNS, asked)
    if column is None and (column := find_column(predictions, GROUP_COLUMNS, asked)) is not None:
        table = predictions
    alone = [f"case {place}" for place in range(len(rows))]
    if column is None:
        return None, alone
    places: Sequence[int | None] = labeled if table is references else rows
    cells = ["" if place is None else table.rows[place][column] for place in places]
    return column, [cell or own for cell, own in zip(cells, alone, strict=True)]


def _cell(predictions: Table, references: Table, column: str, row: int | None, place: int) -> str:
    if column in references.rows[place]:
        return references.rows[place][column]
    return "" if row is None else predictions.rows[row].get(column, "")


def _sets(table: Table, rows: Sequence[int | None], class_names: Sequence[str]) -> list[frozenset[int] | None]:
    column = find_column(table, SET_COLUMNS)
    if column is None:
        return [None] * len(rows)
    return [None if row is None else _set(table.rows[row][column], class_names) for row in rows]


def _set(cell: str, class_names: Sequence[str]) -> frozenset[int]:
    """Names with `|`, `;`, `,`, or the word "or" between them."""
    words = cell.replace(" or ", "|").replace(";", "|").replace(",", "|").split("|")
    names = [class_of_folder(word.strip(), class_names) for word in words if word.strip()]
    return frozenset(list(class_names).index(name) for name in names if name is not None)
