"""Set everything up and run all checks: style, types, layers, tests.

python scripts/test.py                  everything, in two halves beside each other
python scripts/test.py -m "not slow"    what follows goes to pytest
"""

import functools
import os
import subprocess
import sys
import tempfile

from bootstrap import ROOT, prepare

CHECKS = {
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
}

HALVES = (["tests", "--ignore=tests/bundles"], ["tests/bundles"])
"""Of the tests, about equally long."""

NO_TESTS = 5
"""Pytest's exit code where its arguments select nothing."""


def main() -> int:
    interpreter = str(prepare())
    commands = {name: [interpreter, "-m", *command] for name, command in CHECKS.items()}
    commands["pins"] = [interpreter, "scripts/pins.py", "--check"]
    failed = []
    for name, command in commands.items():
        print(f"== {name}: {' '.join(command[1:])}", flush=True)
        if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(f"{name} (status {status})")  # a signal's number, negative, where nothing else was said
    print(f"== tests: pytest {' '.join(sys.argv[1:])}", flush=True)
    failed += [f"tests (status {status})" for status in run_tests(interpreter, sys.argv[1:]) if status]
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return 1 if failed else 0


def run_tests(interpreter: str, arguments: list[str]) -> list[int]:
    """Exit codes of pytest: of both halves, each on its own cores, or of one run where `arguments` name tests."""
    command = [interpreter, "-m", "pytest", *arguments]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2 or any((ROOT / word.partition("::")[0]).exists() for word in arguments):
        return [subprocess.run(command, cwd=ROOT, check=False).returncode]
    shares = (cores[: len(cores) // 2], cores[len(cores) // 2 :])
    with tempfile.TemporaryFile("w+") as later:
        halves = [
            subprocess.Popen(
                [*command, *half],
                cwd=ROOT,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                preexec_fn=functools.partial(os.sched_setaffinity, 0, share),
            )
            for half, share, stdout in zip(HALVES, shares, (None, later), strict=True)
        ]
        statuses = [half.wait() for half in halves]
        later.seek(0)
        print(later.read(), flush=True)
    return statuses if all(status == NO_TESTS for status in statuses) else [s for s in statuses if s != NO_TESTS]


if __name__ == "__main__":
    sys.exit(main())
