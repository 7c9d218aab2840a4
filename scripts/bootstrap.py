"""Set up the project's own environment, with nothing but Python's standard library."""

import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / ".monai_brain_installed"
SUPPORTED = ((3, 11), (3, 13))


def python() -> Path:
    """The environment's interpreter."""
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_ready() -> bool:
    return STAMP.is_file() and python().is_file() and STAMP.read_text(encoding="utf-8") == _fingerprint()


def prepare() -> Path:
    """Make `.venv` and install the pinned versions into it; a second call finds everything and returns.

    Returns:
        The environment's interpreter.
    """
    if is_ready():
        return python()
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"Python {found} is not supported; run this with Python 3.11, 3.12 or 3.13")
    began = time.monotonic()
    print(f"Setting up {ENVIRONMENT} (once; a few minutes) ...", flush=True)
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():  # else this runs inside of it
        venv.create(ENVIRONMENT, with_pip=True, clear=False)
    pip = [
        str(python()),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        "constraints.txt",
    ]
    torch_pin = next(line for line in _read("constraints.txt").splitlines() if line.startswith("torch=="))
    _run([*pip, torch_pin])  # first and alone: nothing else may then ask for another build of it
    _run([*pip, "-e", ".[app,demo,onnx,openvino,dev]"])
    STAMP.write_text(_fingerprint(), encoding="utf-8")
    print(f"Set up in {time.monotonic() - began:.0f} s.", flush=True)
    return python()


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _fingerprint() -> str:
    content = _read("constraints.txt") + _read("pyproject.toml") + str(ROOT)
    return hashlib.sha256(content.encode()).hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(
            f"failed ({done.returncode}): {' '.join(command)}\nIs the package index reachable? Then run this again."
        )
