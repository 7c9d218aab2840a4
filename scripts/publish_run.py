"""Write docs/results.md from training runs and their evaluations: commands, figures, tables of epochs.

python scripts/publish_run.py [--note TEXT] RUN...
"""

import argparse
import csv
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from publishing import LEAKY, network_of, workflow_command

from monai_brain.data.splits import LEAKY_SPLITS
from monai_brain.report.comparison import baseline_label

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
TRAIN, EVALUATE = "configs/train.yaml", "configs/evaluate.yaml"
PLACEHOLDERS = {"--dataset_dir": "IMAGES", "--datalist": "SPLIT", "--output_dir": "RUN", "--features_dir": "CACHE"}


class Run(NamedTuple):
    """What one run folder says."""

    name: str
    seed: int
    training: dict[str, Any]
    datalist: dict[str, Any]
    metrics: dict[str, Any]
    epochs: list[dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", type=Path, nargs="+", help="folder of a training run that was evaluated on its test part"
    )
    parser.add_argument("--note", default="", help="what must be known of how they were run")
    options = parser.parse_args()
    runs = [read(folder) for folder in options.run]
    first = {run.name: run for run in reversed(runs)}
    lines = [*heading(runs), *([options.note, ""] if options.note else []), *table(runs)]
    for name in dict.fromkeys(run.name for run in runs):
        lines += [f"## {name}, seed {first[name].seed}", "", *command(first[name]), *figures(first[name].metrics)]
        lines += history(first[name].epochs)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(folder: Path) -> Run:
    training = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    datalist = json.loads((folder / "datalist.json").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "evaluation_test" / "metrics.json").read_text(encoding="utf-8"))
    scored = json.loads((folder / "evaluation_test" / "run.json").read_text(encoding="utf-8"))["options"]
    if scored["weights_sha256"] != training["result"]["weights_sha256"]:
        raise SystemExit(f"{folder}: was trained on after its evaluation; evaluate it again")
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    options = training["options"]
    name = network_of(training)
    if options.get("training_part", "training") != "training":
        name += f", trained on {options['training_part']}"
    return Run(name, options["seed"], training, datalist, metrics, epochs)


def heading(runs: list[Run]) -> list[str]:
    datalist, versions = runs[0].datalist, runs[0].training["versions"]
    if len({run.training["datalist_sha256"] for run in runs}) > 1:
        raise SystemExit("these runs are of different splits; publish those of one split together")
    counts = ", ".join(f"{len(datalist[part])} {part}" for part in ("training", "validation", "test"))
    return [
        "# Results",
        "",
        *([LEAKY, ""] if datalist["name"] in LEAKY_SPLITS else []),
        f"Split `{datalist['name']}`: {counts}. Grouping: {datalist['grouping']}.",
        f"SHA-256 {runs[0].training['datalist_sha256']}. Python {versions['python']}, torch {versions['torch']}, monai "
        f"{versions['monai']}, {runs[0].training['machine']['cores']} cores. Epochs and schedules were",
        "chosen on validation; the test part was looked at once per run. Minutes count everything from the first",
        "epoch's start, the filling of the feature cache too, unless an earlier run had filled it.",
        "",
        f"Made by `python scripts/publish_run.py RUN...` from {len(runs)} run(s).",
        "Commands are run in `bundles/brain_tumor_classification`. Split and ImageNet weights are not part of the",
        "repository; with others the figures differ.",
        "",
    ]


def table(runs: list[Run]) -> list[str]:
    lines = ["| network | seed | minutes | epochs | validation macro-F1 | test macro-F1 | test accuracy | AUC |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for run in runs:
        result, model = run.training["result"], run.metrics["model"]
        low, high = model["intervals"]["macro_f1"]
        lines.append(
            f"| {run.name} | {run.seed} | {result['seconds'] / 60:.0f} | {result['epochs']} | "
            f"{validation_score(run)} | {model['macro_f1']:.4f} ({low:.3f} to {high:.3f}) | "
            f"{model['accuracy']:.4f} | {shown(model['macro_auc'], 4)} |"
        )
    by_part: dict[str, Any] = {}
    for run in runs:  # neighbors are looked up in what a run was trained on
        by_part.setdefault(run.training["options"].get("training_part", "training"), run.metrics["nearest_neighbor"])
    for part, nearest in by_part.items():
        scores = f"{nearest['macro_f1']:.4f} | {nearest['accuracy']:.4f}"
        lines.append(f"| {baseline_label(part)} | | | | | {scores} | undefined |")
    for name in dict.fromkeys(run.name for run in runs):
        scores = [run.metrics["model"]["macro_f1"] for run in runs if run.name == name]
        if len(scores) > 1:
            mean, deviation = statistics.mean(scores), statistics.stdev(scores)
            lines += ["", f"{name}: test macro-F1 {mean:.4f}, standard deviation {deviation:.4f}, {len(scores)} seeds."]
    return [*lines, ""]


def validation_score(run: Run) -> str:
    """Undefined where the validation part was trained on."""
    if "validation" in run.training["options"].get("training_part", ""):
        return "undefined"
    return f"{run.training['result']['best_val_macro_f1']:.4f}"


def shown(value: float | None, decimals: int = 3) -> str:
    return "undefined" if value is None else f"{value:.{decimals}f}"


def command(run: Run) -> list[str]:
    result = run.training["result"]
    return [
        "```",
        workflow_command(run.training["command"], PLACEHOLDERS),
        f"python -m monai.bundle run evaluating --config_file \"['{TRAIN}','{EVALUATE}']\" --dataset_dir IMAGES "
        "--run_dir RUN",
        "```",
        f"Best validation macro-F1 {validation_score(run)}; weights of epoch {result['best_epoch']}, SHA-256 "
        f"{result['weights_sha256']}.",
        "",
    ]


def figures(metrics: dict[str, Any]) -> list[str]:
    lines = [
        f"Test part: {metrics['model']['images']} images in {metrics['groups']} groups; {metrics['bootstrap']}.",
        "",
    ]
    lines += ["| | accuracy | macro-F1 | macro-AUC |", "|---|---|---|---|"]
    for key, name in (("model", "model"), ("nearest_neighbor", "1-nearest-neighbor on thumbnails")):
        scores = metrics[key]
        columns = [
            f"{scores[s]:.4f} ({scores['intervals'][s][0]:.3f} to {scores['intervals'][s][1]:.3f})"
            for s in ("accuracy", "macro_f1")
        ]
        auc = f"{scores['macro_auc']:.4f}" if scores["macro_auc"] is not None else "undefined"
        lines.append(f"| {name} | {' | '.join(columns)} | {auc} |")
    lines += [
        "",
        "| class | images | sensitivity | specificity | precision | F1 | AUC |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, s in metrics["model"]["per_class"].items():
        values = " | ".join(shown(s[key]) for key in ("sensitivity", "specificity", "precision", "f1", "auc"))
        lines.append(f"| {name} | {s['images']} | {values} |")
    lines.append("")
    for name, scores in metrics["nearest_neighbor"]["model_accuracy_by_likeness"].items():
        accuracy = "undefined" if scores["accuracy"] is None else f"{scores['accuracy']:.3f}"
        lines.append(f"- Nearest training thumbnail at {name}: {scores['images']} images, accuracy {accuracy}")
    return [*lines, ""]


def history(epochs: list[dict[str, str]]) -> list[str]:
    columns = list(epochs[0])
    rows = [f"| {' | '.join(row.values())} |" for row in epochs]
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *rows, ""]


if __name__ == "__main__":
    main()
