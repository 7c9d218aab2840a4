"""Replace patient identifiers in DICOM outputs, and keep the re-identification key apart from them."""

import csv
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from monai_brain.io.dicom_source import DicomSource, patient_in
from monai_brain.io.write import safe_cell

COLUMNS = ("kind", "original", "replacement")
PRIVATE = 0o600
"""Permissions of the key file: only its owner can read and write it."""


class InvalidKey(ValueError):
    """The key file exists but cannot be used; the message says what to do."""


class DeidentificationKey:
    """Replaces identifiers consistently, across cases and resumed runs.

    Replacements are keyed hashes (HMAC-SHA-256): without the key file, nobody can recover an original by guessing.

    Args:
        path: a CSV file created with the first replacement, readable by its owner only; an existing file is extended
            and never replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secret = b""
        self.known: set[tuple[str, str]] = set()

    def replaced(self, source: DicomSource) -> DicomSource:
        """The source with patient and UIDs replaced, and with dates and everything else removed.

        Raises:
            InvalidKey: the key file is damaged.
        """
        self._open()
        identity = {name: "" for name in source.identity}
        patient = patient_in(source.identity)
        identity["PatientID"] = self._note("patient", patient, self._patient(patient))
        identity["PatientName"] = f"{identity['PatientID']}^"  # a family name; without ^ it is the retired form
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            identity[name] = self._uid(source.identity[name])
        instances = [own._replace(sop_instance_uid=self._uid(own.sop_instance_uid)) for own in source.instances]
        return source._replace(identity=identity, instances=tuple(instances))

    def _patient(self, original: str) -> str:
        return f"ANON-{self._digest('patient', original).hex()[:16].upper()}"

    def _uid(self, original: str) -> str:
        """A UID made of a UUID (PS3.5, B.2); nothing for nothing."""
        if not original:
            return ""
        number = int.from_bytes(self._digest("uid", original)[:16], "big")
        return self._note("uid", original, f"2.25.{number}")

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self.secret, f"{kind}:{original}".encode(), hashlib.sha256)

    def _note(self, kind: str, original: str, replacement: str) -> str:
        if (kind, replacement) not in self.known:
            self.known.add((kind, replacement))
            self._append((kind, original, replacement))
        return replacement

    def _open(self) -> None:
        if self.secret:
            return
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
        except FileExistsError:
            self._read()
            return
        self.secret = secrets.token_bytes(32)
        self._append(COLUMNS)
        self._append(("secret", "", self.secret.hex()))

    def _read(self) -> None:
        """Raises InvalidKey."""
        with self.path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS)]
        try:
            self.secret = next(bytes.fromhex(row[2]) for row in rows if row[0] == "secret")
        except (StopIteration, ValueError):
            raise InvalidKey(f"{self.path}: holds no secret; move it away, or give another output folder") from None
        self.known = {(row[0], row[2]) for row in rows}

    def _append(self, row: tuple[str, ...]) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([safe_cell(cell) for cell in row])
            file.flush()
            os.fsync(file.fileno())
