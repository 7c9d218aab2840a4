"""Write environment.yml from constraints.txt, so that conda and pip users get the same versions.

python scripts/pins.py            writes it
python scripts/pins.py --check    fails when it is not up to date
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Made by scripts/pins.py from constraints.txt; conda env create -f environment.yml
name: monai-brain
channels: [conda-forge]
dependencies:
- python=3.11
- pip
- pip:
"""


def environment() -> str:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    return HEADER + "".join(f"  - {pin}\n" for pin in pins) + "  - -e .[app,demo,onnx,openvino,dev]\n"


def main() -> int:
    target = ROOT / "environment.yml"
    if "--check" in sys.argv[1:]:
        same = target.is_file() and target.read_text(encoding="utf-8") == environment()
        print("environment.yml is up to date" if same else "environment.yml is stale: python scripts/pins.py")
        return 0 if same else 1
    target.write_text(environment(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
