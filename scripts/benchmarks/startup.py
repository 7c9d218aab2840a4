"""Measure how long a command takes before it does anything, and which imports it waits for.

python scripts/benchmarks/startup.py [--bundle BUNDLE] [--repeats 3]

Each command is a new process. `predict` of one slice is timed from its start until the slice is read by the network:
that is when the first row is in the journal. Imports are those of -X importtime, by the package that they belong to.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
from record import record

from monai_brain.data.demo import write_demo_slices

PACKAGES = (
    "torch",
    "monai",
    "ignite",
    "sklearn",
    "scipy",
    "matplotlib",
    "cv2",
    "pandas",
    "itk",
    "pydicom",
    "highdicom",
)
PACKAGES += ("nibabel", "numpy", "typer", "rich", "jinja2", "PIL", "monai_brain")


def seconds_of(words: list[str], repeats: int) -> tuple[float, float]:
    """Medians of wall-clock and processor time, after one run that warms the disk's cache."""
    taken = []
    for _ in range(repeats + 1):
        began, used = time.perf_counter(), processor_seconds()
        subprocess.run([sys.executable, *words], capture_output=True, check=False)
        taken.append((time.perf_counter() - began, processor_seconds() - used))
    return statistics.median(wall for wall, _ in taken[1:]), statistics.median(own for _, own in taken[1:])


def until_first_row(words: list[str], journal: Path, repeats: int) -> tuple[float, float]:
    """Median time until the journal has a case; processor time of the whole command."""
    taken = []
    for number in range(repeats + 1):
        output = journal / str(number)
        began, used = time.perf_counter(), processor_seconds()
        process = subprocess.Popen([sys.executable, *words, "-o", str(output)], stdout=subprocess.DEVNULL)
        while process.poll() is None and not _has_case(output / "predictions.jsonl"):
            time.sleep(0.02)
        wall = time.perf_counter() - began
        process.wait()
        taken.append((wall, processor_seconds() - used))
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} ended with exit code {process.returncode}")
    return statistics.median(wall for wall, _ in taken[1:]), statistics.median(own for _, own in taken[1:])


def processor_seconds() -> float:
    """That ended child processes used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _has_case(journal: Path) -> bool:
    return journal.is_file() and b'"path"' in journal.read_bytes()


def imports_of(words: list[str]) -> dict[str, float]:
    """Seconds that each package's own modules took to import, the slowest first."""
    result = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=False)
    found: dict[str, float] = defaultdict(float)
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)", result.stderr):
        package = name.partition(".")[0]
        found[package if package in PACKAGES else "other"] += int(own) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo_slices(folder / "demo", patients=1, slices_per_patient=1, workers=1)
        (folder / "one").mkdir()
        picture = next((folder / "demo").rglob("*.png"))
        cv2.imwrite(str(folder / "one" / "slice.png"), cv2.imread(str(picture)))
        bundle = ["--bundle", str(options.bundle)] if options.bundle else []
        predict = [
            "-m",
            "monai_brain",
            "predict",
            str(folder / "one"),
            *bundle,
            "--workers",
            "0",
        ]
        missing = ["-m", "monai_brain", "predict", str(folder / "nowhere"), "-o", str(folder / "out")]
        commands = {
            "import monai_brain.cli": ["-c", "import monai_brain.cli"],
            "monai-brain --help": ["-m", "monai_brain", "--help"],
            "predict with a missing folder": missing,
        }
        rows = [[what, *_shown(seconds_of(words, options.repeats)), _causes(words)] for what, words in commands.items()]
        first = until_first_row(predict, folder / "journals", options.repeats)
        causes = _causes([*predict, "-o", str(folder / "x")])
        rows.append(["predict with one slice, until its row", *_shown(first), causes])
    notes = f"Median of {options.repeats}. Processor seconds of predict cover the whole command. Shares of "
    notes += "imports count a package's own modules only."
    arguments = ("--bundle BUNDLE " if options.bundle else "") + f"--repeats {options.repeats}"
    if load := os.getloadavg()[0] if hasattr(os, "getloadavg") else 0:
        notes += f" Machine load at the end: {load:.1f}."
    record(
        "Start-up",
        ["command", "seconds", "processor seconds", "shares of imports"],
        rows,
        notes,
        ["torch", "monai"],
        arguments,
    )


def _shown(seconds: tuple[float, float]) -> list[str]:
    return [f"{own:.2f}" for own in seconds]


def _causes(words: list[str]) -> str:
    found = imports_of(words)
    total = sum(found.values())
    return ", ".join(f"{name} {own / total:.0%}" for name, own in list(found.items())[:6])


if __name__ == "__main__":
    main()
