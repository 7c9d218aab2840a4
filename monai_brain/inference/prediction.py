"""One row of a result table; what a whole table comes to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from monai_brain.labels import CLASS_NAMES
from monai_brain.report.html import Gallery, Table

COLUMNS = (
    "path",
    "status",
    "code",
    "label",
    *(f"prob_{name}" for name in CLASS_NAMES),
    "warnings",
    "overlay",
)

PICTURES_ON_PAGE = 60
"""The report stays quick to open; the table has all cases."""


class Prediction(NamedTuple):
    """One row of the result table."""

    path: str
    status: str
    """`ok`, `error` or `skipped`."""
    code: str = ""
    label: str = ""
    probabilities: tuple[float, ...] = ()
    """In the order of `labels.CLASS_NAMES`; empty unless `ok`."""
    warnings: tuple[str, ...] = ()
    overlay: str = ""
    """Path of the explanation, relative to the output folder."""

    def row(self) -> dict[str, str]:
        """As written to `predictions.csv`."""
        shown = [f"{value:.6f}" for value in self.probabilities] or [""] * len(CLASS_NAMES)
        return {
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "label": self.label,
            **{f"prob_{name}": value for name, value in zip(CLASS_NAMES, shown, strict=True)},
            "warnings": " ".join(self.warnings),
            "overlay": self.overlay,
        }


def summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Counts of cases, and of each status, label and code."""
    return {
        "cases": len(predictions),
        "status": dict(Counter(prediction.status for prediction in predictions)),
        "label": dict(Counter(prediction.label for prediction in predictions if prediction.label)),
        "code": dict(Counter(prediction.code for prediction in predictions if prediction.code)),
    }


def page_blocks(predictions: Sequence[Prediction], counts: Mapping[str, Any]) -> list[Table | Gallery]:
    """What the page of a folder run shows: counts, overlays, and the rows to look at first."""
    counted = [[kind, name, str(n)] for kind in ("status", "label", "code") for name, n in sorted(counts[kind].items())]
    first = sorted(predictions, key=lambda p: (p.status == "ok", max(p.probabilities, default=0.0)))[:PICTURES_ON_PAGE]
    rows = [[p.path, p.status, p.code, p.label, _percent(p), " ".join(p.warnings)] for p in first]
    blocks: list[Table | Gallery] = [Table(f"{counts['cases']} files", ["", "", "number"], counted)]
    pictures = [(p.overlay, f"{p.path}: {p.label} {_percent(p)}") for p in first if p.overlay]
    if pictures:
        blocks.append(Gallery("What the network saw, and where it found its evidence; least certain first", pictures))
    caption = f"Failures and least certain first ({len(first)} of {counts['cases']}; all are in predictions.csv)"
    return [*blocks, Table(caption, ["path", "status", "code", "label", "probability", "warnings"], rows)]


def _percent(prediction: Prediction) -> str:
    return f"{max(prediction.probabilities):.1%}" if prediction.probabilities else ""
