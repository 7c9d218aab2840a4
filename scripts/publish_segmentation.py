"""Write docs/segmentation.md from scored masks of the weights that come with the bundle: figures, pictures, commands.

python scripts/publish_segmentation.py SCORED [--engine SCORED...] [--note FILE] [--evidence FILE]
python scripts/publish_segmentation.py --evidence FILE    # replaces this section only

SCORED is the output of `monai-brain evaluate OUT --datalist D -o SCORED` for masks written by `monai-brain predict`,
with --against for the comparison with other weights; --engine adds masks from other engines, for the same patients or a
subset; --evidence is the output of scripts/benchmarks/mask_evidence.py.
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from publishing import table_section

from monai_brain.evaluation.intervals import group_bootstrap, with_interval
from monai_brain.explain.trust import LOOKS_OUTSIDE
from monai_brain.report.explanations import METHOD_NAMES
from monai_brain.report.html import Table
from monai_brain.report.segmentation import every_patient, lesion_table, patient_table, read_patients

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = 2
"""Patients in each of best, middle and worst."""

INTRODUCTION = """# Segmentation

This page shows the quality of the masks that `monai-brain predict --bundle bundles/brain_tumor_segmentation` writes
with the bundled weights. Each of the 31 patients held out by the split `segmentation_v2` of the public LGG set was
segmented once, and the masks were scored at the reference's own resolution. Neither these patients nor any other
patient of the institutions FG and EZ were used in training. Dice is computed over all slices of a patient together, so
a large tumor does not count more because it spans more slices. The data and the split are not part of the repository;
with other data, results will differ.
"""
GALLERY = """
## Pictures
The best, middle and worst patients, each with the slice that shows the most tumor. Reference orange, prediction blue.
Images: LGG Segmentation Dataset (M. Buda and others, 2019; The Cancer Genome Atlas Low Grade Glioma collection),
CC BY-NC-SA 4.0; this picture has the same license.

![Slices with the outlines of reference and prediction](images/segmentation_gallery.jpg)
"""
AREAS = """
![Difference of predicted and reference areas of slices against their mean](images/segmentation_areas.png)
"""
EVIDENCE = "Evidence inside the reference"
EVIDENCE_COMMANDS = """
```
monai-brain index-pairs SLICES -o held_out.json --split segmentation_v2.json --held-out
python scripts/benchmarks/mask_evidence.py SLICES held_out.json -o EVIDENCE.json --number 31
python scripts/publish_segmentation.py --evidence EVIDENCE.json
```
"""
COMMANDS = """
## Commands
```
monai-brain index-pairs SLICES -o held_out.json --split segmentation_v2.json --held-out
monai-brain predict SCANS -o OUT --bundle bundles/brain_tumor_segmentation
monai-brain evaluate OUT --dataset-dir SLICES --datalist held_out.json -o SCORED --against BEFORE
monai-brain predict SCANS -o OUT_INT8 --bundle bundles/brain_tumor_segmentation --engine openvino --precision int8
python scripts/publish_segmentation.py SCORED --engine SCORED_INT8 --note NOTE
```
SCANS contains the slices of the held-out patients without their masks, under the same paths as in SLICES. BEFORE is the
output of `evaluate` for masks from other weights.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scored", type=Path, nargs="?")
    parser.add_argument("--engine", type=Path, nargs="*", default=[])
    parser.add_argument("--note", type=Path, help="text below the tables: what they say, and the worst cases")
    parser.add_argument("--evidence", type=Path, help="of explanations")
    options = parser.parse_args()
    if options.scored is None:
        replace_evidence(DOCS / "segmentation.md", options.evidence)
        return
    (DOCS / "segmentation.md").write_text(
        page(options.scored, options.engine, options.note, options.evidence), encoding="utf-8"
    )
    write_gallery(DOCS / "images" / "segmentation_gallery.jpg", options.scored)
    shutil.copy(options.scored / "areas.png", DOCS / "images" / "segmentation_areas.png")


def page(scored: Path, engines: list[Path], note: Path | None = None, evidence: Path | None = None) -> str:
    metrics, patients = read(scored / "metrics.json"), read_patients(scored / "patients.csv")
    text = INTRODUCTION + table_section("Patients", patient_table(metrics))
    text += table_section("By size of the tumor", size_table(metrics))
    text += "".join(table_section("Distances, sizes and lesions", table) for table in lesion_table(metrics))
    text += table_section("Areas", area_table(metrics)) + AREAS
    text += table_section("Engines", engine_table([scored, *engines]))
    if "paired" in metrics:
        text += table_section("Against other weights", paired_table(metrics))
    text += note.read_text(encoding="utf-8") if note else ""
    text += evidence_section(evidence) if evidence else ""
    return text + GALLERY + table_section("Every patient", every_patient(patients)) + COMMANDS


def replace_evidence(page: Path, evidence: Path) -> None:
    """Put the section of explanations before the pictures, in place of an earlier one."""
    text = re.sub(rf"\n## {EVIDENCE}\n.*?(?=\n## |\Z)", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    before, heading, after = text.partition("\n## Pictures\n")
    page.write_text(before.rstrip("\n") + "\n" + evidence_section(evidence) + heading + after, encoding="utf-8")


def evidence_section(evidence: Path) -> str:
    """Shares of explanations' mass, means over slices with 95% intervals over patients, and how they were measured."""
    found = read(evidence)
    missed = sum(not row["found"] for row in found["rows"])
    rows = []
    for method in dict.fromkeys(row["method"] for row in found["rows"] if row["found"]):
        own = [row for row in found["rows"] if row.get("method") == method]
        empty = sum(row["inside_reference"] is None for row in own)
        known = [row for row in own if row["inside_reference"] is not None]
        names = ("inside_reference", "reference_of_head", "peak_in_reference", "inside_found", "inside_head")
        outside = sum(LOOKS_OUTSIDE in row["warnings"] for row in own)
        shares = [interval_of(known, name) for name in names]
        rows.append([METHOD_NAMES[method], str(len(own)), str(empty), *shares, str(outside)])
    patients = len({row["group"] for row in found["rows"]})
    drawn = len({row["image"] for row in found["rows"]})
    caption = (
        f"{drawn} slices with tumor were drawn at random from the {patients} held-out patients; in {missed} of them no "
        "tumor is found, and nothing is explained. Values are means (95% bootstrap intervals over patients) for the "
        f"layer `{found['layer']}`"
    )
    columns = ["method", "explained", "empty maps", "mass in the reference", "the reference's share of the head"]
    columns += ["hottest pixel in the reference", "mass in the predicted mask", "mass in the head", "outside the head"]
    return table_section(EVIDENCE, Table(caption, columns, rows)) + EVIDENCE_COMMANDS


def interval_of(rows: list[dict[str, Any]], name: str) -> str:
    values = np.array([float(row[name]) for row in rows])
    low, high = group_bootstrap(lambda drawn: float(values[drawn].mean()), [row["group"] for row in rows])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def size_table(metrics: dict[str, Any]) -> Table:
    rows = [
        [
            name,
            str(own["number"]),
            "{} to {}".format(*own["reference_pixels"]),
            with_interval(own["mean_dice"], own["mean_interval"]),
            f"{own['mean_size_bias']:+.3f}",
        ]
        for name, own in metrics["by_size"].items()
    ]
    caption = "Patients are split into thirds by the number of tumor pixels in the reference, over all slices"
    return Table(caption, ["tumor", "patients", "pixels", "mean Dice", "size bias"], rows)


def area_table(metrics: dict[str, Any]) -> Table:
    own = metrics["areas"]
    caption = f"Predicted minus reference area (Bland and Altman): {own['unit']}"
    row = [str(own["number"]), f"{own['bias']:+.0f}", f"{own['low']:.0f} to {own['high']:.0f}"]
    return Table(caption, ["slices", "bias", "limits of agreement"], [row])


def engine_table(scored: list[Path]) -> Table:
    """Engines on the patients that all of them segmented."""
    tables = [{row["patient"]: row["dice"] for row in read_patients(folder / "patients.csv")} for folder in scored]
    shared = sorted(set.intersection(*map(set, tables)))
    rows = []
    for folder, own in zip(scored, tables, strict=True):
        options = read(folder / "run.json")["options"]
        dice = np.array([own[patient] for patient in shared])
        rows.append([f"{options['engine']} {options['precision']}", f"{dice.mean():.4f}", f"{np.median(dice):.4f}"])
    caption = f"Dice over the {len(shared)} patients, each segmented with every engine"
    return Table(caption, ["engine", "mean", "median"], rows)


def paired_table(metrics: dict[str, Any]) -> Table:
    own = metrics["paired"]
    caption = (
        "The bundled weights compared with those shipped previously, paired by patient; 95% bootstrap interval of the "
        "mean difference in Dice"
    )
    row = [
        str(own["patients"]),
        f"{own['mean_dice']:.3f}",
        f"{own['other_mean_dice']:.3f}",
        with_interval(own["mean"], own["interval"], "+"),
        str(own["better"]),
    ]
    return Table(caption, ["patients", "mean Dice", "other weights", "difference", "patients who improve"], [row])


def write_gallery(path: Path, scored: Path) -> None:
    """A JPEG of the panels of the best, middle and worst patients; an evaluation draws some of its patients only."""
    patients = read_patients(scored / "patients.csv")
    places = [scored / "pictures" / f"{row['patient']}.png" for row in patients]
    drawn = [place for place in places if place.is_file()]
    middle = len(drawn) // 2 - SHOWN // 2
    rows = [drawn[:SHOWN], drawn[middle : middle + SHOWN], drawn[-SHOWN:]]
    pictures = [np.hstack([np.asarray(PIL.Image.open(place)) for place in row]) for row in rows]
    PIL.Image.fromarray(np.vstack(pictures)).save(path, quality=85)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
