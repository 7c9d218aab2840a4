"""Write docs/results.md from a training run and its evaluation: commands, figures, table of epochs.

python scripts/publish_run.py RUN
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
TRAIN = "bundles/brain_tumor_classification/configs/train.yaml"
CNN = "bundles/brain_tumor_classification/configs/networks/cnn.yaml"
EVALUATE = "bundles/brain_tumor_classification/configs/evaluate.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a training run that was evaluated on its test part")
    run = parser.parse_args().run
    datalist = json.loads((run / "datalist.json").read_text(encoding="utf-8"))
    training = json.loads((run / "run.json").read_text(encoding="utf-8"))
    metrics = json.loads((run / "evaluation_test" / "metrics.json").read_text(encoding="utf-8"))
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    PAGE.write_text(
        "\n".join([*heading(training, datalist), *figures(metrics), *history(epochs)]) + "\n", encoding="utf-8"
    )


def heading(training: dict[str, Any], datalist: dict[str, Any]) -> list[str]:
    network, size = training["settings"]["network_def"], training["settings"]["image_size"]
    counts = ", ".join(f"{len(datalist[part])} {part}" for part in ("training", "validation", "test"))
    result, versions = training["result"], training["versions"]
    options = " ".join(f"--{key} {value}" for key, value in training["options"].items())
    return [
        "# Results",
        "",
        f"`{network['_target_']}` at {size}x{size}, started from {training['options'].get('weights', 'none')}, on the",
        f"split `{datalist['name']}`: {counts}. Grouping: {datalist['grouping']}.",
        f"Seed {training['options']['seed']}; one run.",
        "",
        "```",
        f"python -m monai.bundle run training --config_file \"['{TRAIN}','{CNN}']\" \\",
        f"  --dataset_dir IMAGES --datalist SPLIT --output_dir RUN {options}",
        f"python -m monai.bundle run evaluating --config_file \"['{TRAIN}','{EVALUATE}']\" \\",
        "  --dataset_dir IMAGES --run_dir RUN",
        "python scripts/publish_run.py RUN",
        "```",
        f"Split: SHA-256 {training['datalist_sha256']}. Weights: SHA-256 {result['weights_sha256']}.",
        f"{result['epochs']} epochs in {result['seconds'] / 60:.0f} minutes on "
        f"{training['machine']['cores']} cores; best validation macro-F1 {result['best_val_macro_f1']:.4f} in epoch "
        f"{result['best_epoch']}. Python {versions['python']}, torch {versions['torch']}, monai {versions['monai']}.",
        "",
    ]


def figures(metrics: dict[str, Any]) -> list[str]:
    lines = [
        f"## Test part: {metrics['model']['images']} images in {metrics['groups']} groups",
        f"{metrics['bootstrap']}.",
        "",
    ]
    lines += ["| | accuracy | macro-F1 | macro-AUC |", "|---|---|---|---|"]
    for key, name in (("model", "model"), ("nearest_neighbor", "1-nearest-neighbor on thumbnails")):
        scores = metrics[key]
        shown = [
            f"{scores[s]:.4f} ({scores['intervals'][s][0]:.3f} to {scores['intervals'][s][1]:.3f})"
            for s in ("accuracy", "macro_f1")
        ]
        auc = f"{scores['macro_auc']:.4f}" if scores["macro_auc"] is not None else "undefined"
        lines.append(f"| {name} | {' | '.join(shown)} | {auc} |")
    lines += [
        "",
        "| class | images | sensitivity | specificity | precision | F1 | AUC |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, s in metrics["model"]["per_class"].items():
        values = " | ".join(f"{s[key]:.3f}" for key in ("sensitivity", "specificity", "precision", "f1", "auc"))
        lines.append(f"| {name} | {s['images']} | {values} |")
    lines.append("")
    for name, scores in metrics["nearest_neighbor"]["model_accuracy_by_likeness"].items():
        accuracy = "undefined" if scores["accuracy"] is None else f"{scores['accuracy']:.3f}"
        lines.append(f"- Nearest training thumbnail at {name}: {scores['images']} images, accuracy {accuracy}")
    return [*lines, ""]


def history(epochs: list[dict[str, str]]) -> list[str]:
    columns = list(epochs[0])
    rows = [f"| {' | '.join(row.values())} |" for row in epochs]
    return ["## Epochs", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *rows]


if __name__ == "__main__":
    main()
