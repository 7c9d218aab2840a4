"""The allow-list of DICOM header fields, as text, that link a segmentation to its source.

A worker process parses the files and returns these small records; no other process opens untrusted files.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np

IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)
"""All header fields that are kept, besides geometry, class and instance UID."""

UIDS = tuple(name for name in IDENTITY if name.endswith("UID"))
DATES = ("PatientBirthDate", "StudyDate")
SEXES = ("M", "F", "O")

MULTI_FRAME_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image Storage",
}
"""Classes whose objects may have several frames; in other classes a frame cannot be referenced."""

LONGEST = 64
"""Characters of the text that is kept: the limit of LO and of each part of PN (PS3.5, table 6.2-1)."""


class Instance(NamedTuple):
    """One frame of the source: a file, or a frame of a file."""

    sop_class_uid: str
    sop_instance_uid: str
    frames: int
    """Of its file; 0 where the class has no frames."""
    frame: int
    """Its number there, from 1; 0 where the class has no frames."""
    position_mm: tuple[float, ...] | None
    """Center of its first pixel: left, posterior, superior; three numbers."""


class DicomSource(NamedTuple):
    """Data that a DICOM segmentation copies from its source."""

    identity: Mapping[str, str]
    """Of `IDENTITY`; empty text where a file says nothing, or nothing usable."""
    instances: tuple[Instance, ...]
    """In the order of the volume's slices as the file has them (`VolumeSource`); one for a slice."""
    rows: int
    columns: int
    directions: tuple[float, ...] | None
    """Six direction cosines; None where position, direction, spacing or thickness is not known."""
    spacing_mm: tuple[float, float] | None
    """Of rows, then columns."""
    thickness_mm: float | None
    """Of a volume whose files do not say, the distance of its slices."""


def identity_of(data: Any) -> dict[str, str]:
    """The allow-list's values of a parsed header (pydicom's Dataset); what the standard forbids is left empty."""
    found = {name: _text(data, name) for name in IDENTITY}
    for name in UIDS:
        found[name] = found[name] if is_uid(found[name]) else ""
    for name in DATES:
        found[name] = found[name] if _is_date(found[name]) else ""
    if not re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", found["StudyTime"]):
        found["StudyTime"] = ""
    if found["PatientSex"] not in SEXES:
        found["PatientSex"] = ""
    for name in ("StudyID", "AccessionNumber"):
        found[name] = found[name] if len(found[name]) <= 16 else ""  # SH
    return found


def patient_in(identity: Mapping[str, str]) -> str:
    """Identify a patient by ID and name, or else by the study, as two studies without a name may be different
    patients; empty if there is none either.

    Args:
        identity: as `identity_of` gives it.
    """
    patient = "^".join((identity["PatientID"], identity["PatientName"]))
    return identity["StudyInstanceUID"] if patient == "^" else patient


def instances_of(data: Any, positions_mm: Sequence[np.ndarray | None]) -> list[Instance]:
    """One record for each frame of a parsed file, in the file's order.

    Args:
        data: pydicom's Dataset.
        positions_mm: of its frames.
    """
    kind, uid = _text(data, "SOPClassUID"), _text(data, "SOPInstanceUID")
    frames = len(positions_mm) if kind in MULTI_FRAME_CLASSES else 0
    return [
        Instance(kind, uid, frames, index + 1 if frames else 0, None if own is None else tuple(map(float, own)))
        for index, own in enumerate(positions_mm)
    ]


def thickness_of(data: Any) -> float | None:
    """Thickness, or else the distance, of slices in millimeters, where the header says so in a usable way."""
    for name in ("SliceThickness", "SpacingBetweenSlices"):
        try:
            thickness = float(data.get(name))
        except (TypeError, ValueError):
            continue
        if np.isfinite(thickness) and thickness > 0:
            return thickness
    return None


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5, 9.1), leading zeros in its parts allowed, as some scanners write them."""
    return len(text) <= LONGEST and re.fullmatch(r"\d+(\.\d+)+", text) is not None


def _text(data: Any, name: str) -> str:
    value = data.get(name)
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else ""
    text = "".join(character for character in str(value or "") if character.isprintable() and character != "\\")
    return text.strip() if len(text.strip()) <= LONGEST else ""


def _is_date(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return re.fullmatch(r"\d{8}", text) is not None
