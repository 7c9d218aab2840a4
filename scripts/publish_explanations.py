"""Write docs/explanations.md from runs whose explanations were measured (configs/explain.yaml, explain_masks.yaml).

python scripts/publish_explanations.py RUN/explanation_test_gradcam... RUN/localization_PAIRS_gradcam... [--note TEXT]
"""

import argparse
import json
from pathlib import Path
from typing import Any

from publishing import network_of, table_section

from monai_brain.report.explanations import explanation_table
from monai_brain.report.localization import localization_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanations.md"
INTRODUCTION = """# How far explanations can be trusted

Every image of the run's test part, or of what a heading names, was explained for the class that the network gave it. A
map is worth something if its mass lies in the head, if the probability falls when its hottest tenth of the pixels is
blackened (more than it falls without a region of the same shape at a random place), and if it changes when the
network's weights are shuffled (rank correlation near 0; J. Adebayo et al., NeurIPS 2018). None of these says that the
map shows the tumor.

Made by
```
python -m monai.bundle run explaining --dataset_dir IMAGES --run_dir RUN --method METHOD \\
  --config_file "['configs/train.yaml','configs/evaluate.yaml','configs/explain.yaml']"
python scripts/publish_explanations.py RUN/explanation_test_METHOD... RUN/localization_PAIRS_METHOD...
```
Another data set is named by `--external DATALIST --external_dir IMAGES`.
"""
LOCALIZATION = """
# How much of the evidence lies inside the tumor

Slices of another data set, with reference masks of their tumors, were explained for the class that the network gave
them. A map that knew nothing and covered the head evenly would have the mask's share of the head inside the mask:
chance. The hottest pixel would hit the mask as often (pointing game; J. Zhang et al., IJCV 2018). Color slices, such as
three sequences in one picture, are seen in gray, which is not what the network was trained on: answers and maps are
those of a network on unusual slices.

Made by
```
python -m monai.bundle run explaining --run_dir RUN --external PAIRS.json --external_dir SLICES --method METHOD \\
  --config_file "['configs/train.yaml','configs/evaluate.yaml','configs/explain_masks.yaml']"
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--note", default="", help="what the tables say, in words")
    options = parser.parse_args()
    located = [folder for folder in options.folder if (folder / "localization.json").is_file()]
    sections = [section(folder) for folder in options.folder if folder not in located]
    if located:
        sections += [LOCALIZATION, *(localization_section(folder) for folder in located)]
    note = f"\n{options.note}\n" if options.note else ""
    PAGE.write_text(INTRODUCTION + note + "".join(sections), encoding="utf-8")


def section(folder: Path) -> str:
    """One run by one method."""
    about = read(folder / "run.json")["options"]
    where = ""
    if about.get("external"):  # its parts are none of the run's
        where = f", on {about['part'].replace('+', ', ')} of {about['external']}"
    elif about["part"] != "test":
        where = f", on the {about['part'].replace('+', ', ')} part"
    return table_section(title(folder) + where, explanation_table(read(folder / "explanations.json")))


def localization_section(folder: Path) -> str:
    """Likewise, on slices with masks."""
    about = read(folder / "run.json")["options"]
    words = f"{title(folder)}, on {about['part'].replace('+', ', ')} of {about['external']}"
    return table_section(words, localization_table(read(folder / "localization.json")))


def title(folder: Path) -> str:
    """Network, seed and method."""
    training = read(folder.parent / "run.json")
    return (
        f"{network_of(training)}, seed {training['options']['seed']}, {read(folder / 'run.json')['options']['method']}"
    )


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
