"""The cases of a patient put together: one class, one set, and how far the cases agree."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.calibration_file import PATIENTS, VERDICT_RULE
from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.sets import EMPTY_SET, SET_COLUMNS, Sets
from monai_brain.io.dicom_source import DicomSource, patient_in
from monai_brain.io.write import write_csv
from monai_brain.labels import index_of_no_tumor

PATIENTS_TABLE = "patients.csv"


class InvalidPattern(ValueError):
    """A pattern that names no patient."""


class Verdict(NamedTuple):
    """A row of `patients.csv`."""

    patient: str
    cases: int
    label: str
    agreement: float
    """Share of the cases that have this class by themselves."""
    probabilities: np.ndarray
    """(K,)."""
    set: Mapping[str, Any]
    """Values of `SET_COLUMNS`; empty without a calibration."""


class Verdicts:
    """Knows whose a case is, and what its cases come to.

    A patient is what the pattern finds in a path; else of DICOM cases who their header says, under a number; else a
    volume is a patient of its own. Other slices have none.

    Args:
        class_names: K names.
        sets: for sets of patients; None: there are none.
        pattern: regular expression for the patient in a path: its first group, or all that it finds.

    Raises:
        InvalidPattern: it is no regular expression.
    """

    def __init__(self, class_names: Sequence[str], sets: Sets | None, pattern: str | None) -> None:
        self.class_names = tuple(class_names)
        self.sets = sets
        try:
            self.pattern = re.compile(pattern) if pattern is not None else None
        except re.error as error:
            raise InvalidPattern(f"--patient-pattern {pattern!r}: no regular expression ({error})") from None
        self.columns = (
            *("patient", "cases", "label", *(f"prob_{name}" for name in class_names), "agreement"),
            *(SET_COLUMNS if sets else ()),
        )

    def names(self, rows: Iterable[Prediction]) -> dict[str, str]:
        """Patient of each case that has one, by the case's path."""
        numbers: dict[str, str] = {}
        found = {}
        for row in rows:
            if not _has_probabilities(row):
                continue
            if self.pattern is not None:
                match = self.pattern.search(row.path)
                name = match[1 if self.pattern.groups else 0] if match else None
            elif row.patient:
                name = numbers.setdefault(row.patient, f"patient {len(numbers) + 1}")
            else:
                name = row.path if "slices" in row.values else None
            if name:
                found[row.path] = name
        return found

    def verdicts(self, rows: Iterable[Prediction], names: Mapping[str, str]) -> list[Verdict]:
        """One for each patient, in the order of their first cases.

        Args:
            rows: of the table.
            names: of `names`.
        """
        cases: dict[str, list[np.ndarray]] = {}
        for row in rows:
            if row.path in names:
                values = [float(row.values[f"prob_{name}"]) for name in self.class_names]
                cases.setdefault(names[row.path], []).append(np.array(values))
        return [self._verdict(name, np.array(own)) for name, own in cases.items()]

    def write(self, folder: Path, verdicts: Sequence[Verdict]) -> None:
        """Write `patients.csv`; of an earlier run nothing stays where there is no patient."""
        if verdicts:
            write_csv(folder / PATIENTS_TABLE, self.columns, map(self._row, verdicts))
        else:
            (folder / PATIENTS_TABLE).unlink(missing_ok=True)

    def _verdict(self, name: str, cases: np.ndarray) -> Verdict:
        together = VERDICT_RULE(cases, index_of_no_tumor(self.class_names))
        chosen = int(together.argmax())
        agreement = float((cases.argmax(axis=1) == chosen).mean())
        own = self.sets.columns(together, PATIENTS) if self.sets else {}
        return Verdict(name, len(cases), self.class_names[chosen], agreement, together, own)

    def _row(self, verdict: Verdict) -> dict[str, Any]:
        shares = zip(self.class_names, verdict.probabilities, strict=True)
        return {
            "patient": verdict.patient,
            "cases": verdict.cases,
            "label": verdict.label,
            **{f"prob_{name}": f"{value:.6f}" for name, value in shares},
            "agreement": f"{verdict.agreement:.3f}",
            **verdict.set,
        }


def patient_of(source: DicomSource | None) -> str:
    """Who a DICOM case is of, as a hash; empty for other formats.

    Stands in the journal only. Whoever has a list of possible patients can find out which of them it is.
    """
    name = patient_in(source.identity) if source is not None else ""
    return hashlib.sha256(name.encode()).hexdigest()[:16] if name else ""


def _has_probabilities(row: Prediction) -> bool:
    """Whether a case counts: one with an empty set does, as leaving out the doubtful would flatter the verdict."""
    return row.status == "ok" or (row.status == ABSTAINED and row.code == EMPTY_SET)
