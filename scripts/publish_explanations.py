"""Write docs/explanations.md from what scripts/benchmarks/outlines.py measured, and from explained runs.

python scripts/publish_explanations.py --chosen VALIDATION --tested TEST... [--note FILE] [FOLDER...]

Folders are what configs/explain.yaml and explain_masks.yaml wrote.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from publishing import network_of, table_section

from monai_brain.evaluation.intervals import group_bootstrap
from monai_brain.explain.trust import LOOKS_OUTSIDE
from monai_brain.report.explanations import METHOD_NAMES, explanation_table
from monai_brain.report.html import Table
from monai_brain.report.localization import localization_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanations.md"
INTRODUCTION = """# How far explanations can be trusted

Most tumor slices in the public set come from a source with hand-drawn outlines of every tumor. Here, each slice was
explained for its predicted class, by a network that saw no slice of its patient. The metrics are:

- **mass inside the outline**: share of the map's mass. For a map spread evenly over the head, this would be the
  outline's share of the head (chance).
- **hottest pixel inside**: the pointing game (J. Zhang et al., IJCV 2018).
- **IoU at matched area**: IoU of the outline and an equal number of the hottest pixels.
- **drop**: how far the probability drops when the hottest tenth of the pixels is blackened. If it is near 0, the map
  does not show what the network relied on.
- **outside the head**: correctly classified slices whose map has less than half of its mass inside the head; `predict`
  and the page then warn (`evidence_outside_head`). The warning concerns the map, not the class.

Commands:
```
python scripts/benchmarks/outlines.py RUN IMAGES cheng_outlines.jsonl -o VALIDATION --part validation --per-class 15 \\
  --methods gradcam gradcam++ --layers features.18 features.17.conv.0 features.14.conv.0
python scripts/benchmarks/outlines.py RUN IMAGES cheng_outlines.jsonl -o TEST --per-class 60 --methods gradcam gradcam++
python scripts/benchmarks/outlines.py RUN IMAGES cheng_outlines.jsonl -o TEST_5 --per-class 5 --methods occlusion
python scripts/publish_explanations.py --chosen VALIDATION --tested TEST TEST_5 --note NOTE
```
RUN is one fold of the study in [patient-level results](patients_apart.md). Slices are drawn at random, a fixed number
per class.
"""
COLUMNS = ["slices", "mass inside", "chance", "hottest pixel inside", "IoU at matched area", "drop", "outside the head"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="*")
    parser.add_argument("--chosen", type=Path, nargs="*", default=[])
    parser.add_argument("--tested", type=Path, nargs="*", default=[])
    parser.add_argument("--note", type=Path, help="what the tables say, in words")
    options = parser.parse_args()
    text = INTRODUCTION + (f"\n{options.note.read_text(encoding='utf-8')}" if options.note else "")
    for path in options.chosen:
        found = read(path)
        text += table_section(f"Methods and layers of {found['network']}", choice_table(found))
    for path in options.tested:
        found = read(path)
        methods = ", ".join(dict.fromkeys(METHOD_NAMES[row["method"]] for row in found["rows"]))
        heading = f"Patients unseen by {found['network']}, by class: {methods}"
        text += table_section(heading, class_table(found))
    for folder in options.folder:
        is_located = (folder / "localization.json").is_file()
        text += localization_section(folder) if is_located else section(folder)
    PAGE.write_text(text, encoding="utf-8")


def choice_table(found: Mapping[str, Any]) -> Table:
    """Methods and layers, means over all slices with a tumor."""
    rows = [
        [METHOD_NAMES[method], layer or "", *figures(own)] for (method, layer), own in by_map(found["rows"]).items()
    ]
    return Table(f"Means, {found['part']} part; {about(found)}", ["method", "layer", *COLUMNS], rows)


def class_table(found: Mapping[str, Any]) -> Table:
    """Methods by class, with intervals over stacks."""
    rows = []
    for (method, layer), own in by_map(found["rows"]).items():
        name = f"{METHOD_NAMES[method]}, `{layer}`" if layer else METHOD_NAMES[method]
        for label, class_name in enumerate(found["class_names"]):
            rows.append([name, class_name, *figures([row for row in own if row["label"] == label], intervals=True)])
        rows.append([name, "all", *figures(own, intervals=True)])
    caption = f"Means (95% bootstrap intervals over stacks of slices), {found['part']} part; {about(found)}"
    return Table(caption, ["method", "class", *COLUMNS], rows)


def by_map(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str | None], list[Mapping[str, Any]]]:
    """Rows by method and layer."""
    found: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["method"], row["layer"]), []).append(row)
    return found


def about(found: Mapping[str, Any]) -> str:
    """What was explained, in words."""
    return (
        f"{found['run']}, {found['slices']} slices, at most {found['per_class']} per class; "
        'the class "no tumor" has no outlines'
    )


def figures(rows: Sequence[Mapping[str, Any]], intervals: bool = False) -> list[str]:
    """The columns of some slices' maps."""
    right = [row for row in rows if row["answer"] == row["label"]]
    outside = sum(LOOKS_OUTSIDE in row["warnings"] for row in right)
    with_interval = ("inside_outline", "peak_in_outline", "iou") if intervals else ()
    measures = ("inside_outline", "outline_of_head", "peak_in_outline", "iou", "drop")
    means = [mean_of(rows, name, name in with_interval) for name in measures]
    return [str(len(rows)), *means, f"{outside / max(1, len(right)):.1%} of {len(right)}"]


def mean_of(rows: Sequence[Mapping[str, Any]], name: str, interval: bool) -> str:
    """Of those slices that have it."""
    known = [row for row in rows if row.get(name) is not None]
    if not known:
        return ""
    values = np.array([float(row[name]) for row in known])
    if not interval:
        return f"{values.mean():.3f}"
    low, high = group_bootstrap(lambda drawn: float(values[drawn].mean()), [row["group"] for row in known])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


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
