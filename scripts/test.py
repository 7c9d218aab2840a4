"""Set everything up and run all checks: style, types, layers, tests.

python scripts/test.py                  everything
python scripts/test.py -m "not slow"    what follows goes to pytest
"""

import subprocess
import sys

from bootstrap import ROOT, prepare

CHECKS = {
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
}


def main() -> int:
    interpreter = str(prepare())
    commands = {name: [interpreter, "-m", *command] for name, command in CHECKS.items()}
    commands["pins"] = [interpreter, "scripts/pins.py", "--check"]
    commands["tests"] = [interpreter, "-m", "pytest", *sys.argv[1:]]
    failed = []
    for name, command in commands.items():
        print(f"== {name}: {' '.join(command[1:])}", flush=True)
        if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(f"{name} (status {status})")  # a signal's number, negative, where nothing else was said
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
