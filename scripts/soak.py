"""Long trials by hand: what must hold however often it is interrupted, and however long it runs.

python scripts/soak.py training [--kills 50] [--seed 0]
python scripts/soak.py folder [--cases 100000] [--kills 10] [--seed 0]
python scripts/soak.py faults
python scripts/soak.py page
python scripts/soak.py fuzz [--mutants 3000] [--seed 0]

Each is described in the file of its name in scripts/soaks/. Results of the long forms: docs/soak.md.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from soaks.fault_runs import soak_faults
from soaks.faults import FAULTS
from soaks.folder import soak_folder
from soaks.fuzz import soak_fuzz
from soaks.page import soak_page
from soaks.training import soak_training


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["training", "folder", "faults", "page", "fuzz"])
    parser.add_argument("--kills", type=int, help="50 of a training, 10 of a folder run")
    parser.add_argument("--cases", type=int, default=100_000, help="of a folder run")
    parser.add_argument("--mutants", type=int, default=3000, help="of a fuzz run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where runs go; by default temporary, and removed")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    draw = random.Random(options.seed)
    try:
        if options.what == "training":
            return soak_training(folder, 50 if options.kills is None else options.kills, draw)
        if options.what == "faults":
            return soak_faults(folder, FAULTS)
        if options.what == "page":
            return soak_page(folder)
        if options.what == "fuzz":
            return soak_fuzz(folder, options.mutants, draw)
        return soak_folder(folder, options.cases, 10 if options.kills is None else options.kills, draw)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
