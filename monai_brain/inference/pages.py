"""The pages of a folder run: a worklist, and on request a review."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_brain.inference.patients import Verdict
from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.sets import SET_COLUMNS
from monai_brain.inference.task import Task
from monai_brain.inference.thumbnails import name_of
from monai_brain.labels import SET_SEPARATOR, set_in_words
from monai_brain.report.worklist import Case, Patient, write_review, write_worklist

REPORT, REVIEW = "report.html", "review.html"

DEFAULT_CASES = 300
"""Of each kind, results, abstentions, failures and skipped files: a page stays quick to open; the table has all."""


def write_pages(
    folder: Path,
    rows: Callable[[], Iterable[Prediction]],
    task: Task | type[Task],
    counts: Mapping[str, Any],
    cases: int = DEFAULT_CASES,
    review: bool = False,
    patients: Sequence[Verdict] = (),
) -> None:
    """Write the worklist, and the review page.

    Args:
        folder: of the run.
        rows: gives all rows in order; called several times.
        task: whose results they are.
        counts: the `summary` of all.
        cases: at most so many results, abstentions, failures and skipped files stand on a page.
        review: write the review page too.
        patients: that the cases are of, where they are known; at most so many stand on the page too.
    """
    results, abstained, errors, skipped = (
        heapq.nsmallest(cases, (row for row in rows() if row.status == status), key=lambda row: row.certainty)
        for status in ("ok", ABSTAINED, "error", "skipped")
    )
    shown = [_on_page(folder, row, task) for row in (*results, *abstained, *errors, *skipped)]
    write_worklist(
        folder / REPORT,
        "Predictions",
        shown,
        counts,
        counts["cases"],
        task.on_page,
        task.labels,
        note=task.page_note,
        patients=[_row_of(own, any(other.set for other in patients)) for own in patients[:cases]],
        all_patients=len(patients),
        review=REVIEW if review else "",
    )
    if review:
        own = [case for case in shown if case.thumbnail and case.status == "ok"]
        write_review(folder / REVIEW, "Review", own, task.labels, counts["status"].get("ok", 0))
    else:
        (folder / REVIEW).unlink(missing_ok=True)


def _on_page(folder: Path, row: Prediction, task: Task | type[Task]) -> Case:
    more = [_cell(row.values, name) for name in task.on_page]
    thumbnail = name_of(row)
    return Case(
        row.path,
        row.status,
        row.code,
        row.label,
        row.certainty if row.status == "ok" else None,
        more,
        row.warnings,
        thumbnail if row.status in (ABSTAINED, "ok") and (folder / thumbnail).is_file() else "",
        row.overlay,
    )


def _cell(values: Mapping[str, Any], name: str) -> str:
    """A cell for people: a set of one class says no more than the class."""
    cell = str(values.get(name, ""))
    if name != SET_COLUMNS[0]:
        return cell
    return set_in_words(cell) if SET_SEPARATOR in cell else ""


def _row_of(verdict: Verdict, has_sets: bool) -> Patient:
    return Patient(
        verdict.patient,
        verdict.cases,
        verdict.label or "No class: most pictures were refused.",
        None if verdict.probabilities is None else float(verdict.probabilities.max()),
        verdict.agreement,
        set_in_words(verdict.set.get(SET_COLUMNS[0], "")) if has_sets else None,
    )
