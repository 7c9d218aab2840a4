"""The cases of a patient put together: one class, one set, and how far the cases agree."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.evaluation.calibration_file import PATIENTS, VERDICT_RULE
from monai_brain.inference.prediction import ABSTAINED, BY_FILE, SEQUENCE_SOURCE, Prediction
from monai_brain.inference.sets import EMPTY_SET, SET_COLUMNS, Sets
from monai_brain.io.dicom_source import DicomSource, patient_in
from monai_brain.io.write import write_csv
from monai_brain.labels import index_of_no_tumor

PATIENTS_TABLE = "patients.csv"

PATIENT_REFUSED, FOLDER_REFUSED = "patient_refused", "folder_refused"
"""Warnings of a case with a class, most of whose patient's pictures were refused; or of its folder's, if the patient is
unknown."""


class InvalidPattern(ValueError):
    """A pattern that names no patient."""


class Verdict(NamedTuple):
    """A row of `patients.csv`."""

    patient: str
    cases: int
    """Cases that were not refused."""
    refused: int
    """Cases that the input check refused."""
    label: str
    """Empty if no case is left, or if more pictures were refused than answered; then nothing below is known."""
    agreement: float = 0.0
    """Share of the cases that have this class by themselves."""
    probabilities: np.ndarray | None = None
    """(K,)."""
    set: Mapping[str, Any] = {}
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
            *("patient", "cases", "refused", "label", *(f"prob_{name}" for name in class_names), "agreement"),
            *(SET_COLUMNS if sets else ()),
        )

    def names(self, rows: Iterable[Prediction]) -> dict[str, str]:
        """Patient of each case that has one, by the case's path."""
        numbers: dict[str, str] = {}
        found = {}
        for row in rows:
            if row.status not in ("ok", ABSTAINED):
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
        refused: Counter[str] = Counter()
        by_picture: Counter[str] = Counter()
        for row in rows:
            if row.path in names:
                own = cases.setdefault(names[row.path], [])
                if _is_refused(row):
                    refused[names[row.path]] += 1
                    by_picture[names[row.path]] += _is_by_picture(row)
                else:
                    own.append(np.array([float(row.values[f"prob_{name}"]) for name in self.class_names]))
        return [self._verdict(name, own, refused[name], by_picture[name]) for name, own in cases.items()]

    def write(self, folder: Path, verdicts: Sequence[Verdict]) -> None:
        """Write `patients.csv`; of an earlier run nothing stays where there is no patient."""
        if verdicts:
            write_csv(folder / PATIENTS_TABLE, self.columns, map(self._row, verdicts))
        else:
            (folder / PATIENTS_TABLE).unlink(missing_ok=True)

    def _verdict(self, name: str, cases: Sequence[np.ndarray], refused: int, by_picture: int) -> Verdict:
        if not cases or by_picture > len(cases):
            return Verdict(name, len(cases), refused, "")
        together = VERDICT_RULE(np.array(cases), index_of_no_tumor(self.class_names))
        chosen = int(together.argmax())
        agreement = float((np.argmax(cases, axis=1) == chosen).mean())
        own = self.sets.columns(together, PATIENTS) if self.sets else {}
        return Verdict(name, len(cases), refused, self.class_names[chosen], agreement, together, own)

    def _row(self, verdict: Verdict) -> dict[str, Any]:
        row = {"patient": verdict.patient, "cases": verdict.cases, "refused": verdict.refused, "label": verdict.label}
        if verdict.probabilities is None:
            return row
        shares = zip(self.class_names, verdict.probabilities, strict=True)
        return {
            **row,
            **{f"prob_{name}": f"{value:.6f}" for name, value in shares},
            "agreement": f"{verdict.agreement:.3f}",
            **verdict.set,
        }


def refused_folders(rows: Iterable[Prediction], patients: Mapping[str, str]) -> set[str]:
    """Folders in which more pictures of unknown patients were refused than answered.

    Args:
        rows: of the table.
        patients: of `Verdicts.names`.
    """
    excess: Counter[str] = Counter()
    for row in rows:
        if row.path not in patients and row.status in ("ok", ABSTAINED):
            excess[_folder(row)] += (1 if _is_by_picture(row) else 0) if _is_refused(row) else -1
    return {folder for folder, count in excess.items() if count > 0}


def with_doubt(
    row: Prediction, patients: Mapping[str, str], refused: Collection[str], folders: Collection[str]
) -> Prediction:
    """The row, with a warning if it has a class although most pictures of its patient or folder were refused.

    Args:
        row: of the table.
        patients: of `Verdicts.names`.
        refused: patients without a class.
        folders: of `refused_folders`.
    """
    if row.status != "ok":
        return row
    if row.path in patients:
        warning = PATIENT_REFUSED if patients[row.path] in refused else ""
    else:
        warning = FOLDER_REFUSED if _folder(row) in folders else ""
    return row._replace(warnings=(*row.warnings, warning)) if warning else row


def patient_of(source: DicomSource | None) -> str:
    """Who a DICOM case is of, as a hash; empty for other formats.

    Stands in the journal only. Whoever has a list of possible patients can find out which of them it is.
    """
    name = patient_in(source.identity) if source is not None else ""
    return hashlib.sha256(name.encode()).hexdigest()[:16] if name else ""


def _is_refused(row: Prediction) -> bool:
    """By the input check; a case with an empty set was read, and leaving out the doubtful would flatter the verdict."""
    return row.status == ABSTAINED and row.code != EMPTY_SET


def _is_by_picture(row: Prediction) -> bool:
    """A refusal of what the picture shows; one of a sequence that the file states casts no doubt on other files."""
    return row.values.get(SEQUENCE_SOURCE) != BY_FILE


def _folder(row: Prediction) -> str:
    return row.path.rpartition("/")[0]
