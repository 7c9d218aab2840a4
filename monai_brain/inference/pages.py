"""The pages of a folder run: a worklist, and on request a review."""

import heapq
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.task import Task
from monai_brain.inference.thumbnails import name_of
from monai_brain.report.worklist import Case, write_review, write_worklist

REPORT, REVIEW = "report.html", "review.html"

DEFAULT_CASES = 300
"""Of each kind, failures, abstentions and results: a page stays quick to open; the table has all."""


def write_pages(
    folder: Path,
    rows: Callable[[], Iterable[Prediction]],
    task: Task | type[Task],
    counts: Mapping[str, Any],
    cases: int = DEFAULT_CASES,
    review: bool = False,
) -> None:
    """Write the worklist, and the review page.

    Args:
        folder: of the run.
        rows: gives all rows in order; called several times.
        task: whose results they are.
        counts: the `summary` of all.
        cases: at most so many failures, abstentions and results stand on a page.
        review: write the review page too.
    """
    with_result = (ABSTAINED, "ok")
    failures = heapq.nsmallest(
        cases, (row for row in rows() if row.status not in with_result), key=lambda row: row.status
    )
    abstained, results = (
        heapq.nsmallest(cases, (row for row in rows() if row.status == status), key=lambda row: row.certainty)
        for status in with_result
    )
    shown = [_on_page(folder, row, task) for row in (*failures, *abstained, *results)]
    write_worklist(folder / REPORT, "Predictions", shown, counts, counts["cases"], task.on_page, task.labels)
    if review:
        own = [case for case in shown if case.thumbnail and case.status == "ok"]
        write_review(folder / REVIEW, "Review", own, task.labels, counts["status"].get("ok", 0))
    else:
        (folder / REVIEW).unlink(missing_ok=True)


def _on_page(folder: Path, row: Prediction, task: Task | type[Task]) -> Case:
    more = [str(row.values.get(name, "")) for name in task.on_page]
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
