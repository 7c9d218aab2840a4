"""Write results atomically: a kill leaves the old file or the new one, never a partial one."""

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Characters that some CSV readers treat as a line end (`str.splitlines`)."""

FORMULA = re.compile(f"(^|[{LINE_BREAKS}])(?=[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20])")
"""Places where a spreadsheet could start a formula, including full-width signs (OWASP, CSV injection)."""

QUOTED = re.compile(f'[",{LINE_BREAKS}]')
"""Characters for which a cell is quoted."""

NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?")
"""Text that starts like a formula but is not one."""


UNFINISHED = ".writing-"
"""Prefix of files that are being written."""


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that appears under its name only when it is complete and on disk.

    Args:
        path: where it goes; missing folders are made.
        mode: `w` (UTF-8 text) or `wb`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}.part"
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "", "errors": "surrogateescape"}
    try:
        with named(path), temporary.open(mode.replace("w", "x"), **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def refuse_existing(*places: Path | None, overwrite: bool) -> None:
    """Raise early if a result would replace existing files.

    Args:
        places: files and folders that will be written; a folder may exist if it is empty.
        overwrite: replace files of the same names; others stay.

    Raises:
        FileExistsError: naming the place, and the way out.
    """
    for place in places:
        if overwrite or place is None or not place.exists():
            continue
        if not place.is_dir():
            raise FileExistsError(f"{place}: exists; give another name, or --overwrite to replace it")
        if any(place.iterdir()):
            raise FileExistsError(f"{place}: not empty; give a new folder, or --overwrite to replace files in it")


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Add the file name to system errors that lack one, such as those of a write."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove partial files of a killed process below a locked folder."""
    for path in folder.rglob(f"{UNFINISHED}*.part"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Indented JSON in ASCII, so that any file name survives.

    Raises:
        ValueError: the value holds NaN or infinity, which are not JSON.
    """
    text = json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)
    with atomic(path) as file:
        file.write(text + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A table with a header; cells that a spreadsheet would run as formulas are neutralized.

    Cells with any kind of line break are quoted, which `csv.writer` does for its own line end only.

    Raises:
        ValueError: a row has a column that the header lacks.
    """
    with atomic(path) as file:
        file.write(_line(columns))
        for row in rows:
            if unknown := row.keys() - set(columns):
                raise ValueError(f"{path}: columns {sorted(unknown)} are not in the header {list(columns)}")
            file.write(_line([row.get(column, "") for column in columns]))


def _line(values: Sequence[Any]) -> str:
    cells = ("" if value is None else str(safe_cell(value)) for value in values)
    return ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' if QUOTED.search(cell) else cell for cell in cells) + "\n"


def safe_cell(value: Any) -> Any:
    """Put an apostrophe before each place where a formula could start; negative numbers are not changed."""
    if not isinstance(value, str) or NEGATIVE_NUMBER.fullmatch(value):
        return value
    return FORMULA.sub(r"\1'", value)


def write_png(path: Path, image_rgb: np.ndarray) -> None:
    """Write an (H, W, 3) or (H, W) uint8 image, without any metadata."""
    content = encoded_png(image_rgb)
    with atomic(path, "wb") as file:
        file.write(content)


def encoded_png(image: np.ndarray) -> bytes:
    """A PNG file's content, without any metadata.

    Args:
        image: uint8 (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.

    Raises:
        ValueError: it is none of these.
    """
    orders = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's
    ordered = image[..., orders.get(image.shape[2], [])] if image.ndim == 3 else image
    if ordered.dtype != np.uint8 or not ordered.size:
        raise ValueError(f"{image.shape} {image.dtype} cannot be written as PNG; expected uint8, gray, RGB or RGBA")
    return cv2.imencode(".png", np.ascontiguousarray(ordered))[1].tobytes()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The start of a `run.json`: what was run, with which options, versions and machine.

    Args:
        kind: `training`, `evaluation` or `prediction`.
        options: what the user chose, as JSON values.
    """
    packages = (
        "monai-brain",
        "monai",
        "torch",
        "pytorch-ignite",
        "numpy",
        "opencv-python-headless",
        "pillow",
    )
    return {
        "kind": kind,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": dict(options),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "note": "Research use only; not a medical device.",
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
