"""Pages of many cases: a worklist that is sorted and filtered, and one to review them by keyboard."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai_brain.labels import colors_of, in_words
from monai_brain.report.html import address, write_from_template
from monai_brain.report.reasons import reason


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
    certainty: float | None
    """In [0, 1]; None where the patient has no class."""
    agreement: float
    """Share of the cases, in [0, 1]."""
    set: str | None
    """Of classes, in words; empty where no class is probable enough, None where there are no sets."""


COLUMNS = {
    "set": (
        "cannot be ruled out",
        "Every class that cannot be ruled out at the coverage that was asked for, where there are several.",
    ),
    "agreement": ("slices that agree", "Share of the volume's slices that have its class by themselves."),
    "evidence_in_head": ("heat inside the head", "Share of the explanation's heat that lies inside the head."),
    "evidence_at_border": ("heat at the border", "Share of the explanation's heat at the picture's border."),
    "evidence_drop": (
        "drop without the hottest part",
        "By how much the probability falls when the hottest part of the picture is removed: near 0, the explanation "
        "says little.",
    ),
    "evidence_in_mask": ("heat inside the mask", "Share of the explanation's heat that lies inside the mask."),
    "evidence_peak_in_mask": ("peak inside the mask", "Whether the hottest pixel lies inside the mask."),
    "tumor_pixels": ("tumor, pixels", "Pixels or voxels of the mask."),
    "tumor_area_mm2": ("tumor, mm²", "Area of the mask."),
    "tumor_volume_ml": ("tumor, mL", "Volume of the mask."),
}
"""Heading and meaning of a table's columns, for people."""

NO_RESULT = {"abstained": "No class.", "error": "No result."}
"""Instead of a class, by status."""


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
    review: str = "",
) -> None:
    """Write the page of a folder run: sorted, filtered and searched in the browser, readable without a script.

    Args:
        path: the `.html` file.
        title: heading.
        cases: in the order in which they are shown; skipped files are folded away below them.
        counts: number of cases by status and by label, of all.
        total: number of all cases.
        more: names of the columns that `Case.more` fills; those that no case fills are left out.
        labels: that answers are from, in their order.
        note: to be said above the table.
        patients: that are shown.
        all_patients: number of all.
        review: page on which the cases are reviewed, relative to this one; empty where there is none.
    """
    colors = colors_of(labels)
    known = [(name, counts["label"][name], colors[name]) for name in labels if name in counts["label"]]
    number = f"{total} files"
    if len(cases) < total:
        number = f"{len(cases)} of {total} files: the least certain results, abstentions, and failures"
    skipped = [case for case in cases if case.status == "skipped"]
    cases = [case for case in cases if case.status != "skipped"]
    filled = [index for index in range(len(more)) if any(case.more[index] for case in cases)]
    cases = [case._replace(more=[case.more[index] for index in filled]) for case in cases]
    own = [COLUMNS.get(more[index], (more[index].replace("_", " "), "")) for index in filled]
    write_from_template(
        path,
        "worklist.html",
        script="worklist.js",
        title=title,
        numbers=f"{number}. All are in predictions.csv.",
        statuses=[(name, number) for name, number in counts["status"].items() if name != "skipped"],
        labels=known,
        columns=["path", "class", "probability", *(name for name, _ in own), "warnings", "status"],
        meanings=[(name, words) for name, words in own if words],
        NO_RESULT=NO_RESULT,
        rows=cases,
        skipped=skipped,
        all_skipped=counts["status"].get("skipped", 0),
        note=note,
        patients=patients,
        all_patients=all_patients,
        review=review,
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
            "warnings": [reason(code) for code in case.warnings],
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
        data={
            "run": run.hexdigest()[:16],
            "cases": content,
            "labels": list(labels),
            "words": {name: in_words(name) for name in labels},
        },
    )
