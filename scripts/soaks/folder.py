"""A folder run that is killed again and again ends like one that was not, and its memory stays flat.

Distinct synthetic slices, one of a hundred broken, are classified by a small network. Memory is that of the process
and of the workers that open the files, together.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "brain_tumor_classification" / "configs"

WARM_CASES = 1000
"""After which memory may not grow any more."""

LARGEST_GROWTH_MB = 200

PER_FOLDER = 1000
SIZE_PIXELS = 96
BROKEN_EVERY = 100
EXIT_FINDINGS = 3
SECONDS_BETWEEN_LOOKS = 0.2


def soak_folder(folder: Path, cases: int, kills: int, draw: random.Random) -> int:
    """One run that is left alone, and one that is killed; both tables must be equal.

    Raises:
        SystemExit: naming what did not hold.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    scans = write_cases(folder / "scans", cases)
    weights = train_small(folder)
    growth, seconds = left_alone(scans, folder / "whole", weights, cases)
    killed = killed_again_and_again(scans, folder / "killed", weights, kills, seconds, draw)
    one, other = (folder / name / "predictions.csv" for name in ("whole", "killed"))
    if one.read_bytes() != other.read_bytes():
        sys.exit("the table of the killed run differs from the other")
    rows = sum(1 for _ in one.open(encoding="utf-8")) - 1
    if rows != cases:
        sys.exit(f"{rows} rows for {cases} cases")
    print(
        f"{cases} cases, {cases / seconds:.0f} a second; memory grew by {growth:.0f} MB after the first {WARM_CASES}; "
        f"{killed} kills, tables equal; {time.monotonic() - began:.0f} s in all"
    )
    if growth > LARGEST_GROWTH_MB:
        sys.exit(f"memory grew by {growth:.0f} MB; at most {LARGEST_GROWTH_MB} are allowed")
    return 0


def write_cases(scans: Path, cases: int) -> Path:
    """Slices that all differ."""
    for number in range(cases):
        path = scans / f"{number // PER_FOLDER:04d}" / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        random_numbers = np.random.default_rng(number)
        image = random_numbers.integers(0, 25, (SIZE_PIXELS, SIZE_PIXELS), dtype=np.uint8)
        center = tuple(int(v) for v in random_numbers.integers(40, 56, 2))
        cv2.ellipse(image, center, (30, 36), 0, 0, 360, int(random_numbers.integers(90, 160)), -1)
        cv2.circle(image, center, int(random_numbers.integers(3, 12)), 230, -1)
        content = cv2.imencode(".png", image)[1].tobytes()
        path.write_bytes(content[:-30] if number % BROKEN_EVERY == 50 else content)
    return scans


def train_small(folder: Path) -> Path:
    """A run of a small network, trained for one epoch."""
    from monai_brain.data.demo import write_demo_slices
    from monai_brain.data.index import index_folder
    from monai_brain.io.write import write_json

    write_demo_slices(folder / "slices", patients=16, slices_per_patient=2)
    found = index_folder(folder / "slices", patient_pattern=r"patient_(\d+)")
    write_json(folder / "datalist.json", found.datalist)
    files = [str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / "ann_baseline.yaml")]
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "training",
        "--config_file",
        str(files),
        "--max_epochs",
        "1",
    ]
    command += ["--dataset_dir", str(folder / "slices"), "--datalist", str(folder / "datalist.json")]
    done = subprocess.run([*command, "--output_dir", str(folder / "run")], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return folder / "run"


def start(scans: Path, output: Path, weights: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "monai_brain", "predict", str(scans), "-o", str(output), "--weights", str(weights)]
    return subprocess.Popen(
        [*command, "--workers", "1"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def left_alone(scans: Path, output: Path, weights: Path, cases: int) -> tuple[float, float]:
    """Growth of memory after the first cases, MB, and seconds from the first row to the end."""
    process = start(scans, output, weights)
    warm = highest = began = 0.0
    while process.poll() is None:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if not began and journal_bytes(output):
            began = time.monotonic()
        used = memory_mb(process.pid)
        if not warm and journaled(output) >= min(WARM_CASES, cases // 2):
            warm = used
        highest = max(highest, used)
    if process.returncode != EXIT_FINDINGS:
        sys.exit(f"the run ended with {process.returncode}, not {EXIT_FINDINGS}")
    return max(0.0, highest - warm), time.monotonic() - began


def killed_again_and_again(
    scans: Path, output: Path, weights: Path, kills: int, seconds: float, draw: random.Random
) -> int:
    """Kill the run `kills` times at random moments, then let it end."""
    done = 0
    while done < kills:
        before = journal_bytes(output)
        process = start(scans, output, weights)
        deadline = time.monotonic() + 600
        while process.poll() is None and journal_bytes(output) <= before and time.monotonic() < deadline:
            time.sleep(0.01)  # a kill before the first new row would try out nothing
        time.sleep(draw.uniform(0, seconds / (2 * kills)))
        if process.poll() is not None:
            sys.exit(f"the run ended after {done} of {kills} kills (status {process.returncode}); give more cases")
        process.kill()
        process.wait()
        done += 1
        print(f"kill {done} of {kills} at {journaled(output)} cases", flush=True)
    if start(scans, output, weights).wait() != EXIT_FINDINGS:
        sys.exit("the resumed run failed")
    return done


def journaled(output: Path) -> int:
    path = output / "predictions.jsonl"
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def journal_bytes(output: Path) -> int:
    path = output / "predictions.jsonl"
    return path.stat().st_size if path.is_file() else 0


def memory_mb(process: int) -> float:
    """Resident memory of a process and of its children, from the system's files (Linux)."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines = (entry / "status").read_text(encoding="utf-8").splitlines()
            except OSError:
                continue
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            if int(entry.name) == process or int(status.get("PPid", "0")) == process:
                total += float(status.get("VmRSS", "0 kB").split()[0]) / 1024
    return total
