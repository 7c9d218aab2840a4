"""One row of a result table; what a whole table comes to."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

FIRST_COLUMNS, LAST_COLUMNS = ("path", "status", "code", "label"), ("warnings", "overlay")
"""Of every table; a task's own stand between them."""

FILE_COLUMNS = ("mask", "dicom_mask")
"""Of a task's own, those that name files."""

ABSTAINED = "abstained"
"""Status of a case that was read and computed, and for which no class is given; its code says why, see
`report.reasons`."""

SEQUENCE_SOURCE = "sequence_source"
"""Column of a classifier: `BY_FILE` or `BY_PICTURE`."""

BY_FILE, BY_PICTURE = "file", "picture"
"""Whether the header or the name states the sequence, or the input check detected it."""

COUNTED = ("status", "label", "code", "warning")
"""What a summary counts."""


class Prediction(NamedTuple):
    """One row of the result table."""

    path: str
    status: str
    """`ok`, `abstained`, `error` or `skipped`."""
    code: str = ""
    label: str = ""
    certainty: float = 0.0
    """In [0, 1]; the least certain are shown first."""
    values: Mapping[str, Any] = {}
    """A task's own columns, by name; empty of errors and of what was skipped."""
    warnings: tuple[str, ...] = ()
    overlay: str = ""
    """Path of the picture, relative to the output folder."""
    sha256: str = ""
    """Of the case's files; in the journal only."""
    stamp: str = ""
    """Of their names, sizes and times, by which a resumed run knows whether they are still the same; likewise."""

    patient: str = ""
    """Of DICOM cases, a hash of who it is; likewise."""

    @property
    def files(self) -> list[str]:
        """That the run wrote for the case, relative to the output folder."""
        own = (self.overlay, *(self.values.get(name, "") for name in FILE_COLUMNS))
        return [str(path) for path in own if path]

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
