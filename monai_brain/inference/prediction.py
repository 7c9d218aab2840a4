"""One row of a result table; what a whole table comes to."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from monai_brain.report.html import Gallery, Table

FIRST_COLUMNS, LAST_COLUMNS = ("path", "status", "code", "label"), ("warnings", "overlay")
"""Of every table; a task's own stand between them."""

COUNTED = ("status", "label", "code", "warning")
"""What a summary counts."""

PICTURES_ON_PAGE = 60
"""The report stays quick to open; the table has all cases."""


class Prediction(NamedTuple):
    """One row of the result table."""

    path: str
    status: str
    """`ok`, `error` or `skipped`."""
    code: str = ""
    label: str = ""
    certainty: float = 0.0
    """In [0, 1]; the least certain are shown first."""
    values: Mapping[str, Any] = {}
    """A task's own columns, by name; empty unless `ok`."""
    warnings: tuple[str, ...] = ()
    overlay: str = ""
    """Path of the picture, relative to the output folder."""
    sha256: str = ""
    """Of the case's files; in the journal only."""

    def row(self, columns: Sequence[str]) -> dict[str, Any]:
        """As written to `predictions.csv`.

        Args:
            columns: the task's own.
        """
        return {
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "label": self.label,
            **{name: self.values.get(name, "") for name in columns},
            "warnings": " ".join(self.warnings),
            "overlay": self.overlay,
        }


def summary(predictions: Iterable[Prediction]) -> dict[str, Any]:
    """Counts of cases, and of each status, label, code and warning."""
    counts: dict[str, Counter] = {kind: Counter() for kind in COUNTED}
    cases = 0
    for prediction in predictions:
        cases += 1
        counts["status"][prediction.status] += 1
        counts["label"].update([prediction.label] if prediction.label else [])
        counts["code"].update([prediction.code] if prediction.code else [])
        counts["warning"].update(prediction.warnings)
    return {"cases": cases, **{kind: dict(sorted(own.items())) for kind, own in counts.items()}}


def page_blocks(
    first: Sequence[Prediction], counts: Mapping[str, Any], shown: Sequence[str], pictures_caption: str
) -> list[Table | Gallery]:
    """What the page of a folder run shows: counts, pictures, and the rows to look at first.

    Args:
        first: failures and the least certain.
        counts: the `summary` of all.
        shown: those of the task's columns that stand on the page.
        pictures_caption: what the pictures show.
    """
    counted = [[kind, name, str(number)] for kind in COUNTED for name, number in counts[kind].items()]
    rows = [
        [p.path, p.status, p.code, p.label, _percent(p), *(str(p.values.get(n, "")) for n in shown), *_codes(p)]
        for p in first
    ]
    blocks: list[Table | Gallery] = [Table(f"{counts['cases']} files", ["", "", "number"], counted)]
    pictures = [(p.overlay, f"{p.path}: {p.label} {_percent(p)}") for p in first if p.overlay]
    if pictures:
        blocks.append(Gallery(f"{pictures_caption}; least certain first", pictures))
    caption = f"Failures and least certain first ({len(first)} of {counts['cases']}; all are in predictions.csv)"
    columns = ["path", "status", "code", "label", "probability", *(name.replace("_", " ") for name in shown)]
    return [*blocks, Table(caption, [*columns, "warnings"], rows)]


def _codes(prediction: Prediction) -> list[str]:
    return [" ".join(prediction.warnings)]


def _percent(prediction: Prediction) -> str:
    return f"{prediction.certainty:.1%}" if prediction.status == "ok" else ""
