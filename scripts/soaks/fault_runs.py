"""How what a folder run makes of trouble is tried: one run for each fault, and a table of what became of it.

Each fault is one run of `monai-brain predict`. It must end by itself, with the expected exit code, a message and no
traceback, and leave a complete table or a run that the same command completes. Faults that need root (mounts, other
users) are left out elsewhere, and said to be.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from soaks.folder import EXIT_FINDINGS, ROOT, journaled, train_small, write_cases

CASES = 400
SECONDS_UNTIL_HANGING = 400


class Place(NamedTuple):
    """Where one fault is tried."""

    folder: Path
    scans: Path
    """`CASES` slices, one of a hundred broken; read by all, changed by none."""
    weights: Path

    @property
    def output(self) -> Path:
        """Of the run."""
        return self.folder / "out"

    def own_scans(self) -> Path:
        """A copy that may be changed."""
        return Path(shutil.copytree(self.scans, self.folder / "scans"))


class Ended(NamedTuple):
    """How a run ended."""

    code: int | None
    """None: it hung, and was killed."""
    said: str
    output: Path
    rows: int = CASES
    """That a table must have, if there is one."""
    again: str = ""
    """What became of the same command without the fault."""


class Fault(NamedTuple):
    """One kind of trouble."""

    name: str
    code: int
    """Expected."""
    attempt: Callable[[Place], Ended]
    needs_root: bool


def soak_faults(folder: Path, faults: Sequence[Fault]) -> int:
    """Try every fault and print a table; 1 if one of them was not borne."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # for other users
    scans, weights = write_cases(folder / "scans", CASES), train_small(folder)
    failed = 0
    print("| fault | exit code | last line of the error output | what remains | running the command again |")
    print("|---|---|---|---|---|", flush=True)
    for number, own in enumerate(faults):
        if own.needs_root and os.geteuid() != 0:
            print(f"| {own.name} | not tried: needs root | | | |", flush=True)
            continue
        place = Place(folder / f"fault_{number:02d}", scans, weights)
        place.folder.mkdir()
        ended = own.attempt(place)
        wrong = faults_of(own, ended)
        failed += bool(wrong)
        code = "hangs" if ended.code is None else ended.code
        last = last_line(ended.said).replace(str(folder), "...").replace("|", "\\|")
        print(f"| {own.name} | {code} | {last} | {left(ended.output)} | {ended.again} |", flush=True)
        for line in wrong:
            print(f"  NOT BORNE: {line}; see {place.folder}", flush=True)
    print(f"{len(faults)} faults, {failed} not borne")
    return min(failed, 1)


def faults_of(own: Fault, ended: Ended) -> list[str]:
    """What should not be."""
    wrong = [] if ended.code == own.code else [f"exit code {ended.code}, expected {own.code}"]
    if "Traceback" in ended.said:
        wrong.append("a traceback")
    if own.code not in (0, EXIT_FINDINGS, -signal.SIGKILL) and not last_line(ended.said):
        wrong.append("no message")
    rows = rows_of(ended.output)
    if own.code in (0, EXIT_FINDINGS) and not (rows == ended.rows and (ended.output / "report.html").is_file()):
        wrong.append(f"{rows} rows for {ended.rows} files, or no page")
    if own.code not in (0, EXIT_FINDINGS) and rows is not None:
        wrong.append("a table of a run that did not end")
    if own.code != -signal.SIGKILL and list(ended.output.rglob(".writing-*")):
        wrong.append("a file that was half written")
    if "differs" in ended.again:
        wrong.append("the table of the resumed run differs")
    return wrong


def last_line(said: str) -> str:
    """Of an error output, without progress bars and the libraries' warnings of every run."""
    lines = [line for line in said.splitlines() if line.strip() and "━" not in line and "WARNING" not in line]
    return lines[-1] if lines else ""


def rows_of(output: Path) -> int | None:
    """Of the table; None where there is none."""
    table = output / "predictions.csv"
    return table.read_bytes().count(b"\n") - 1 if table.is_file() else None


def left(output: Path) -> str:
    rows = rows_of(output)
    if rows is not None:
        return f"table of {rows} rows, {'page' if (output / 'report.html').is_file() else 'no page'}"
    return f"no table; journal of {journaled(output)} rows" if output.is_dir() else "nothing"


# running


def begin(
    place: Place,
    *options: str,
    scans: Path | None = None,
    environment: Mapping[str, str | None] | None = None,
    **how: object,
) -> subprocess.Popen:
    """Start a run, whose error output goes to a file beside its output."""
    command = [sys.executable, "-m", "monai_brain", "predict", str(scans or place.scans), "-o", str(place.output)]
    command += ["--weights", str(place.weights), "--workers", "1", "--batch-size", "8", *options]
    return launched(command, place.folder, environment, **how)


def launched(
    command: Sequence[str], folder: Path, environment: Mapping[str, str | None] | None = None, **how: object
) -> subprocess.Popen:
    set_up = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            command,
            cwd=ROOT,
            env={name: value for name, value in set_up.items() if value is not None},
            stdout=subprocess.DEVNULL,
            stderr=said,
            **how,
        )


def end(place: Place, process: subprocess.Popen, **about: object) -> Ended:
    """Wait for a run."""
    try:
        code = process.wait(SECONDS_UNTIL_HANGING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = None
    said = (place.folder / "said").read_text(encoding="utf-8", errors="replace")
    return Ended(code, said, place.output, **about)  # type: ignore[arg-type]


def run(place: Place, *options: str, **how: object) -> Ended:
    return end(place, begin(place, *options, **how))  # type: ignore[arg-type]


def then_again(place: Place, ended: Ended) -> Ended:
    """The same command without the fault; its table is compared with that of a run that nothing happened to.

    What the run with the fault left is described before, by its error output and a copy of its folder.
    """
    kept = place.folder / "left"
    shutil.copytree(place.output, kept, symlinks=True)
    again = run(place)
    same = (place.output / "predictions.csv").is_file() and table_of(place.output) == reference(place)
    words = f"{again.code}, table {'equal' if same else 'differs'}"
    return ended._replace(output=kept, again=words)


def table_of(output: Path) -> bytes:
    return (output / "predictions.csv").read_bytes()


def reference(place: Place) -> bytes:
    """The table of a run that nothing happened to."""
    undisturbed = Place(place.folder.parent / "undisturbed", place.scans, place.weights)
    if not undisturbed.folder.is_dir():
        undisturbed.folder.mkdir()
        run(undisturbed)
    return table_of(undisturbed.output)


def at_work(place: Place, process: subprocess.Popen, rows: int = 20) -> subprocess.Popen:
    """Wait until a run has written some rows."""
    while process.poll() is None and journaled(place.output) < rows:
        time.sleep(0.002)
    return process


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
