"""Write docs/calibration.md from the pooled folds of a cross-validation with patients apart.

python scripts/publish_calibration.py POOLED [--heads EVALUATION]

POOLED is what `monai-brain study` with folds, or `monai-brain pool`, wrote. EVALUATION is an evaluation of weights on
slices of whole heads that they did not learn from (held_out.json of `monai-brain label-slices`), scaled by the
temperature of all folds.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from publishing import table_section

from monai_brain.evaluation.calibration import BINS, fit_temperature, scaled
from monai_brain.evaluation.calibration_file import VERDICT_RULE, together
from monai_brain.evaluation.cross_fitting import Labeled, figures_by_folds
from monai_brain.evaluation.intervals import with_interval
from monai_brain.evaluation.site import bounded_mean
from monai_brain.evaluation.verdict import LEAST_TUMOR_SHARE, RULES
from monai_brain.labels import in_words, index_of_no_tumor
from monai_brain.report.figures import draw_reliability
from monai_brain.report.html import Table
from monai_brain.report.labeled import read_labeled, read_pooled

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, FIGURE = DOCS / "calibration.md", DOCS / "images" / "reliability.png"

INTRODUCTION = f"""\
# Calibration, prediction sets and per-patient results

This page shows how well the classifier's probabilities are calibrated on unseen patients. All results are for slices
whose patient was used neither to train the network nor to fit the calibration: each fold is scored by a network trained
without it, and calibrated with the temperature and thresholds of the other folds. The shipped calibration is fitted on
all of these folds together.

- **Calibration error** (ECE): predictions are put into {BINS} bins of equal width by their highest probability; ECE is
  the gap between the mean probability and the accuracy of a bin, averaged over bins weighted by their number of
  predictions. It is never negative, so even perfect probabilities do not reach 0.
- **Brier score**: squared error of the probabilities, summed over classes; from 0 to 2.
- **Sets**: a class is in the set if its probability reaches the threshold that gives this class the requested coverage
  (class-conditional split conformal prediction). Each group counts once, however many slices it has, because slices of
  a patient are alike. For a slice from a new patient of a class, the set then contains that class with at least the
  requested probability, provided that the patient comes from the same population as the folds. This does not cover all
  slices of a patient jointly, nor other scanners, sequences and clinics: for those, use `monai-brain calibrate --site`.
- Each fold's network was trained on part of the data. The shipped weights use the same recipe but were trained on all
  of it, so their own calibration cannot be measured on this data; it is assumed to be that of the folds.

Groups are slice stacks in the Cheng set and clusters of look-alikes among the other images
([patient-level results](patients_apart.md)).
"""

COMMANDS = """\
## Commands
```
monai-brain study study.yaml -o STUDY          # as in patients_apart.md; or monai-brain pool RUN... -o POOLED
monai-brain calibrate STUDY/mobilenet_v2_t1c/pooled_seed_0
monai-brain evaluate BUNDLE --dataset-dir HEADS --datalist HEADS/held_out.json -o ON_HEADS
python scripts/publish_calibration.py STUDY/mobilenet_v2_t1c/pooled_seed_0 --heads ON_HEADS
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pooled", type=Path)
    parser.add_argument("--heads", type=Path)
    options = parser.parse_args()
    found, _ = read_pooled(options.pooled)
    figures = figures_by_folds(found)
    calibration = figures["calibration"]
    curves = {name.capitalize(): calibration[name]["reliability"] for name in ("before", "after")}
    draw_reliability({f"{name} scaling": bins for name, bins in curves.items()}, FIGURE)
    sections = [
        table_section("Before and after temperature scaling", scaling_table(calibration)),
        "![Accuracy by highest probability, before and after scaling](images/reliability.png)\n",
        table_section("Sets for slices", coverage_table(figures["sets_of_slices"], "slices")),
        table_section("Sets for groups", coverage_table(figures["sets_of_patients"], "groups")),
        table_section("Results for groups of several slices", verdict_table(figures["verdicts"])),
        f"`predict` uses the {rule_in_use()}.\n",
    ]
    if options.heads:
        temperature = fit_temperature(found.probabilities, found.labels)
        on_heads = heads_table(read_labeled(options.heads), temperature)
        sections.append(table_section("Results for whole heads", on_heads))
    PAGE.write_text("\n".join([INTRODUCTION, *sections, COMMANDS]), encoding="utf-8")


def rule_in_use() -> str:
    name = next(name for name, rule in RULES.items() if rule is VERDICT_RULE)
    return (
        f"{name} if these are at least {LEAST_TUMOR_SHARE:.0%} of all, and otherwise that of all slices"
        if "called a tumor" in name
        else name
    )


def scaling_table(calibration: Mapping[str, Any]) -> Table:
    temperatures = ", ".join(f"{own:.2f}" for own in calibration["temperatures"])
    number = len(calibration["temperatures"])
    caption = (
        f"{calibration['slices']} slices of {calibration['groups']} groups in {number} folds; temperatures applied to "
        f"the folds: {temperatures}"
    )
    rows = [
        [name, *(f"{calibration[name][key]:.4f}" for key in ("calibration_error", "brier_score"))]
        for name in ("before", "after")
    ]
    return Table(caption, ["", "calibration error", "Brier score"], rows)


def coverage_table(rows: Sequence[Mapping[str, Any]], unit: str) -> Table:
    names = [in_words(name) for name in rows[0]["by_class"]]
    caption = (
        f"Share of sets that contain the true class, mean over groups with 95% intervals; sets for "
        f"{unit}. The last two "
        "columns give the share of sets with one class and with none"
    )
    cells = [
        [
            f"{row['asked']:.0%}",
            *(with_interval(own["covered"], own["interval"]) for own in row["by_class"].values()),
            *(f"{row['mean_size']:.2f}", f"{row['single']:.3f}", f"{row['empty']:.3f}"),
        ]
        for row in rows
    ]
    counts = [f"{name} ({own['groups']} groups)" for name, own in zip(names, rows[0]["by_class"].values(), strict=True)]
    return Table(caption, ["requested", *counts, "mean size", "single", "empty"], cells)


def verdict_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = [in_words(name) for name in rows[0]["by_class"]]
    cells = [
        [
            row["rule"],
            with_interval(row["accuracy"], row["interval"]),
            *(f"{own['accuracy']:.3f} of {own['groups']}" for own in row["by_class"].values()),
        ]
        for row in rows
    ]
    caption = (
        "Accuracy on groups with more than one slice, overall and by true class (0.9 of 20: accuracy 0.9 on 20 groups)"
    )
    return Table(caption, ["rule", "accuracy", *names], cells)


def heads_table(found: Labeled, temperature: float) -> Table:
    """Heads that all have a tumor, with slices that do not show it; these alone stand for heads without a tumor."""
    no_tumor = index_of_no_tumor(found.class_names)
    calibrated = found._replace(probabilities=scaled(found.probabilities, temperature))
    free = calibrated.part(found.labels == no_tumor)
    rows = []
    for name, rule in RULES.items():
        whole, without = (
            together(own.probabilities, own.labels, own.groups, own.class_names, rule) for own in (calibrated, free)
        )
        chosen, alarms = (own.probabilities.argmax(axis=1) for own in (whole, without))
        shares = [chosen == whole.labels, chosen != no_tumor, alarms != no_tumor]
        rows.append([name, *("{:.3f} ({:.3f} to {:.3f})".format(*bounded_mean(own)) for own in shares)])
    shown = int(np.sum(found.labels != no_tumor))
    caption = (
        f"There are {len(set(found.groups))} held-out heads with a tumor, which {shown} of their "
        f"{len(found.labels)} slices "
        "show; intervals are 95%. No heads without a tumor were available; the last column uses only the "
        "slices above and below "
        "the tumors, which are harder than slices of healthy heads"
    )
    columns = ["rule", "right class", "called a tumor", "called a tumor from tumor-free slices"]
    return Table(caption, columns, rows)


if __name__ == "__main__":
    main()
