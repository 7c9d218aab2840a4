"""Write docs/explanations.md from runs whose explanations were measured (configs/explain.yaml).

python scripts/publish_explanations.py RUN/explanation_test_gradcam...
"""

import argparse
import json
from pathlib import Path
from typing import Any

from monai_brain.report.explanations import explanation_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanations.md"
INTRODUCTION = """# How far explanations can be trusted

Every image of the test part was explained for the class that the network gave it. A map is worth something if its
mass lies in the head, if the probability falls when its hottest tenth of the pixels is blackened (more than it falls
without a tenth at random), and if it changes when the network's weights are shuffled (rank correlation near 0;
J. Adebayo et al., NeurIPS 2018). None of these says that the map shows the tumor.

Made by
```
python -m monai.bundle run explaining --dataset_dir IMAGES --run_dir RUN --method METHOD \\
  --config_file "['configs/train.yaml','configs/evaluate.yaml','configs/explain.yaml']"
python scripts/publish_explanations.py RUN/explanation_test_METHOD...
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+")
    options = parser.parse_args()
    sections = [section(folder) for folder in options.folder]
    PAGE.write_text(INTRODUCTION + "".join(sections), encoding="utf-8")


def section(folder: Path) -> str:
    """One run by one method."""
    found = read(folder / "explanations.json")
    about = read(folder / "run.json")["options"]
    training = read(folder.parent / "run.json")["options"]
    table = explanation_table(found)
    lines = [
        f"\n## {training['name']}, seed {training['seed']}, {about['method']}",
        f"{table.caption}.",
        "",
        f"| {' | '.join(table.columns)} |",
        f"|{'---|' * len(table.columns)}",
        *(f"| {' | '.join(row)} |" for row in table.rows),
        "",
    ]
    return "\n".join(lines)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
