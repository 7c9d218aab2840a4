"""Measure how often the 95% intervals of `monai-brain evaluate` hold the truth, in data whose truth is known.

python scripts/benchmarks/intervals.py [--repetitions 1000] [--write]

Patients are drawn from an endless population: each has one of three classes, one to eight slices, and an effect of its
own on how its slices are called. The truth is the figure of 200,000 patients. --write puts the table into
docs/intervals.md.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monai_brain.evaluation.metrics import classification_metrics
from monai_brain.evaluation.resampling import class_estimates, mean_estimate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "intervals.md"
CLASSES = ("glioma", "meningioma", "notumor")
MOST_SLICES = 8
PATIENTS_OF_TRUTH = 200_000

SETTINGS = [(patients, signal) for signal in (1.5, 2.5, 3.5) for patients in (40, 100)]
"""Number of patients, and how far the classes lie apart."""

FIGURES = [("all", "accuracy"), ("all", "macro_f1"), ("all", "macro_auc")]
FIGURES += [("glioma", figure) for figure in ("sensitivity", "specificity", "precision", "f1", "auc")]


class Sample(NamedTuple):
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray


def draw(patients: int, signal: float, random: np.random.Generator) -> Sample:
    """Slices of patients; `signal` is the mean advantage of the right class's logit."""
    slices = random.integers(1, MOST_SLICES + 1, patients)
    of_patient = random.integers(len(CLASSES), size=patients)
    effect = random.normal(size=(patients, len(CLASSES)))
    place = np.repeat(np.arange(patients), slices)
    labels = of_patient[place]
    logits = effect[place] + random.normal(size=(len(place), len(CLASSES))) + signal * np.eye(len(CLASSES))[labels]
    powers = np.exp(logits)
    return Sample(labels, powers / powers.sum(axis=1, keepdims=True), place)


def coverage(patients: int, signal: float, repetitions: int, *, auc: bool = True, seed: int = 0) -> dict[str, float]:
    """Share of repetitions in which the interval holds the truth, by figure; also of a mean of Dice-like values."""
    random = np.random.default_rng(seed)
    everyone = draw(PATIENTS_OF_TRUTH, signal, random)
    truth = classification_metrics(everyone.labels, everyone.probabilities, CLASSES)
    held: dict[str, list[bool]] = defaultdict(list)
    dice = random.beta(6, 1.2, size=PATIENTS_OF_TRUTH).mean()
    for _ in range(repetitions):
        one = draw(patients, signal, random)
        scores = one.probabilities if auc else None
        found = class_estimates(one.labels, one.probabilities.argmax(axis=1), scores, one.patients.tolist(), CLASSES)
        for group, figure in FIGURES:
            true = truth[figure] if group == "all" else truth["per_class"][group][figure]
            interval = found[group][figure].interval
            if interval is not None:
                held[f"{figure}" if group == "all" else f"{figure}, one class"].append(
                    interval.low <= true <= interval.high
                )
        own = mean_estimate(random.beta(6, 1.2, size=patients), range(patients)).interval
        held["mean Dice"].append(own is not None and own.low <= dice <= own.high)
    return {figure: float(np.mean(values)) for figure, values in held.items() if len(values) > repetitions / 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    columns, rows = [], []
    for patients, signal in SETTINGS:
        found = coverage(patients, signal, options.repetitions)
        columns = columns or list(coverage(300, signal, 1))
        random = np.random.default_rng(1)
        sample = draw(20_000, signal, random)
        accuracy = (sample.probabilities.argmax(axis=1) == sample.labels).mean()
        shown = [f"{found[name]:.3f}" if name in found else "no interval" for name in columns]
        rows.append(f"| {patients} | {accuracy:.2f} | {' | '.join(shown)} |")
        print(rows[-1], file=sys.stderr, flush=True)
    header = f"| patients | simulated accuracy | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}"
    table = "\n".join([header, *rows])
    print(table)
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->")
        after = rest.partition("<!-- end of table -->")[2]
        PAGE.write_text(
            f"{before}<!-- table -->\n{table}\n\nEach value is from {options.repetitions} repetitions; "
            f"an ideal 95% interval would give 0.950 +- {1.96 * (0.95 * 0.05 / options.repetitions) ** 0.5:.3f}.\n"
            f"<!-- end of table -->{after}",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
