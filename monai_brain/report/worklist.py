"""Pages of many cases: a worklist that is sorted and filtered, and one to review them by keyboard."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai_brain.labels import colors_of
from monai_brain.report.html import address, write_from_template
from monai_brain.report.reasons import ABSTENTIONS


class Case(NamedTuple):
    """A case on a page."""

    path: str
    status: str
    code: str
    label: str
    certainty: float | None
    """In [0, 1]; None where there is no result."""
    more: Sequence[str]
    """Further cells of its row."""
    warnings: Sequence[str]
    thumbnail: str
    """Path of the plain slice, relative to the page; empty where there is none."""
    picture: str
    """Of the overlay, likewise."""


class Patient(NamedTuple):
    """A patient on a page."""

    name: str
    cases: int
    label: str
    certainty: float
    """In [0, 1]."""
    agreement: float
    """Share of the cases, in [0, 1]."""
    set: str | None
    """Of classes, in words; empty where no class is probable enough, None where there are no sets."""


def write_worklist(
    path: Path,
    title: str,
    cases: Sequence[Case],
    counts: Mapping[str, Mapping[str, int]],
    total: int,
    more: Sequence[str],
    labels: Sequence[str],
    *,
    note: str = "",
    patients: Sequence[Patient] = (),
    all_patients: int = 0,
) -> None:
    """Write the page of a folder run: sorted, filtered and searched in the browser, readable without a script.

    Args:
        path: the `.html` file.
        title: heading.
        cases: failures, abstentions and the least certain, in this order.
        counts: number of cases by status and by label, of all.
        total: number of all cases.
        more: names of the columns that `Case.more` fills; those that no case fills are left out.
        labels: that answers are from, in their order.
        note: to be said above the table.
        patients: that are shown.
        all_patients: number of all.
    """
    colors = colors_of(labels)
    known = [(name, counts["label"][name], colors[name]) for name in labels if name in counts["label"]]
    number = f"{total} files"
    if len(cases) < total:
        number = f"{len(cases)} of {total} files: failures, abstentions, and the least certain answers"
    filled = [index for index in range(len(more)) if any(case.more[index] for case in cases)]
    cases = [case._replace(more=[case.more[index] for index in filled]) for case in cases]
    more = [more[index] for index in filled]
    columns = ["path", "status", "code", "class", "probability", *(name.replace("_", " ") for name in more), "warnings"]
    write_from_template(
        path,
        "worklist.html",
        script="worklist.js",
        title=title,
        numbers=f"{number}. All are in predictions.csv.",
        statuses=list(counts["status"].items()),
        labels=known,
        columns=columns,
        reasons=ABSTENTIONS,
        rows=cases,
        note=note,
        patients=patients,
        all_patients=all_patients,
    )


def write_review(path: Path, title: str, cases: Sequence[Case], labels: Sequence[str], total: int) -> None:
    """Write a page on which a reader accepts, rejects or relabels cases, and exports the answers as CSV.

    Args:
        path: the `.html` file.
        title: heading.
        cases: that have a result, the least certain first.
        labels: that a reader can choose from.
        total: number of all cases that have a result.
    """
    content = [
        {
            "path": os.fsencode(case.path).decode("utf-8", "replace"),
            "label": case.label,
            "certainty": case.certainty,
            "warnings": list(case.warnings),
            "thumbnail": address(case.thumbnail),
            "picture": address(case.picture) if case.picture else "",
        }
        for case in cases
    ]
    run = hashlib.sha256(repr([(case["path"], case["label"], case["certainty"]) for case in content]).encode())
    write_from_template(
        path,
        "review.html",
        script="review.js",
        title=title,
        note=f"The {len(cases)} least certain of {total} results." if len(cases) < total else f"All {total} results.",
        labels=list(colors_of(labels).items()),
        data={"run": run.hexdigest()[:16], "cases": content, "labels": list(labels)},
    )
