"""The journal of a folder run: a line per case, as soon as it is known; what a resumed run goes on from."""

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from monai_brain.inference.prediction import Prediction
from monai_brain.io import Case, Skipped
from monai_brain.io.write import named

SECONDS_BETWEEN_SYNCS = 5.0
"""How much work a power failure may cost; a killed process loses nothing that was written."""

SAME_CONTENT = "same_content_as_before"
"""Warning of a case whose files another case had too."""


PASSING = ("vanished", "changed", "no_permission", "unreadable")
"""Codes of troubles that may be over: these cases are tried again."""


class Journal:
    """Rows on disk, found again by their case.

    Args:
        path: `predictions.jsonl`.
        found: every case and every skipped file, in the order of the table.
    """

    def __init__(self, path: Path, found: Sequence[Case | Skipped]) -> None:
        self.path = path
        self.found = found
        self.cases = {entry.id: entry for entry in found if isinstance(entry, Case)}
        self.places: dict[str, int] = {}
        self.synced = time.monotonic()

    def begin(self, *, keep: bool) -> list[Prediction]:
        """Open it for writing.

        Args:
            keep: go on after the rows that are there; a last line that was cut off is dropped. Rows of cases that are
                gone, whose files are others by now, or that could not be reached, are not used.

        Returns:
            Rows of cases that are to be done again.
        """
        if not keep or not self.path.is_file():
            self.path.write_bytes(b"")
        again: dict[str, Prediction] = {}
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                row = parsed(line)
                if row is None:
                    break
                case = self.cases.get(row.path)
                if case is not None and row.code not in PASSING and row.stamp == stamp_of(case):
                    self.places[row.path] = end
                    again.pop(row.path, None)
                elif case is not None:
                    self.places.pop(row.path, None)
                    again[row.path] = row
                end += len(line)
        with self.path.open("r+b") as file:
            file.truncate(end)
        self.file = self.path.open("ab")
        return list(again.values())

    def add(self, rows: Iterable[Prediction]) -> None:
        """Write rows down; afterwards a kill does not lose them.

        Raises:
            FileNotFoundError: the file was removed, so that nobody would find the rows.
        """
        if os.fstat(self.file.fileno()).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        for own in rows:
            row = own._replace(stamp=stamp_of(self.cases[own.path]))
            self.places[row.path] = self.file.tell()
            self.file.write(json.dumps(row._asdict(), ensure_ascii=True).encode("ascii") + b"\n")
        with named(self.path):
            self.file.flush()
        if time.monotonic() - self.synced > SECONDS_BETWEEN_SYNCS:
            os.fsync(self.file.fileno())
            self.synced = time.monotonic()

    def done(self) -> Iterator[Prediction]:
        """Rows of the cases that were done before; right after `begin`."""
        with self.path.open("rb") as file:
            for place in self.places.values():
                file.seek(place)
                row = parsed(file.readline())
                assert row is not None  # `begin` read it
                yield row

    def rows(self) -> Iterator[Prediction]:
        """One row for every case and skipped file, in order; a content that was there before gets its warning."""
        seen: set[bytes] = set()
        with self.path.open("rb") as file:
            for entry in self.found:
                if isinstance(entry, Skipped):
                    yield Prediction(entry.id, "skipped", entry.code)
                    continue
                file.seek(self.places[entry.id])
                row = parsed(file.readline())
                assert row is not None  # it was written by this class
                yield marked(row, seen)

    def end(self) -> None:
        """Bring everything to disk."""
        os.fsync(self.file.fileno())
        self.file.close()


def stamp_of(case: Case) -> str:
    """What a case is told from others by, without opening its files.

    It differs when a file was added or written, or when finding the case warns of something else.
    """
    digest = hashlib.sha256("".join(case.warnings).encode())
    for path in case.files:
        try:
            about = path.stat()
        except OSError:
            digest.update(b"?")
            continue
        digest.update(f"{path.name}\n{about.st_size}\n{about.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def marked(row: Prediction, seen: set[bytes]) -> Prediction:
    """The row, with a warning if its content is among those seen; else it is added to them."""
    if not row.sha256:
        return row
    digest = bytes.fromhex(row.sha256)[:16]
    if digest in seen:
        return row._replace(warnings=(*row.warnings, SAME_CONTENT))
    seen.add(digest)
    return row


def parsed(line: bytes) -> Prediction | None:
    """The row of a whole line; None for one that was cut."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
        return Prediction(**{**row, "warnings": tuple(row["warnings"])})
    except (ValueError, TypeError, KeyError):
        return None
