"""Write docs/patients_apart.md: one recipe on splits that let patients into both parts, and with patients apart.

python scripts/publish_patients_apart.py --protocol NAME=EVALUATION... --held-out NAME=EVALUATION... [--note FILE]

A protocol's EVALUATION is the evaluation_test of a run, or the pooled folds of a study; the last protocol is the one
with patients apart. --held-out names evaluations of weights on slices of segmented heads (held_out.json of
`monai-brain label-slices`), in the order in which the weights shipped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from monai_brain.report.evaluation import evaluation_blocks
from monai_brain.report.figures import draw_optimism
from monai_brain.report.html import Table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, FIGURE = DOCS / "patients_apart.md", DOCS / "images" / "optimism.png"

INTRODUCTION = """\
# Results on a patient-level split

In the most widely used public set of brain tumor slices (the Nickparvar set), every published split has the same
patients in training and test ([audit](audit.md)). Here, every test image was scored once by a network that saw no slice
of its patient, in five folds of the split `classification_v2`: slices of the Cheng set keep the patient folds published
by the set's author, and the other images stay with their look-alikes in any of eight orientations. Each distinct slice
counts once. For comparison, the first row of the table shows the same recipe on a split that does not separate
patients.
"""

ON_HEADS = """\
Post-contrast T1 slices of held-out patients with low-grade glioma (LGG). The target is 0.85 in both columns. Low-grade
gliomas often do not enhance, so a single post-contrast slice may show little of the tumor.
"""

COMMANDS = """\
## Commands
```
monai-brain index nickparvar_224 --keep-split -o public.json       # for a run on the leaky public split
monai-brain label-slices kaggle_3m -o HEADS --split segmentation_v2.json
monai-brain study study.yaml -o STUDY
monai-brain index nickparvar_224 --split classification_v2.json --all-folds --also HEADS/folds.json -o all.json
python -m monai.bundle run training --config_file "['configs/train.yaml','configs/networks/mobilenet_v2_t1c.yaml',
  'configs/final.yaml']" --datalist all.json --train::sampler::slices_per_epoch 4000 --val_interval 10
  --output_dir FINAL ...
python scripts/publish_weights.py FINAL BUNDLE
python scripts/publish_learned.py BUNDLE all.json nickparvar_224
git show 1f770af:bundles/brain_tumor_classification/models/model.safetensors > VGG16.safetensors
git show 9c7703e:bundles/brain_tumor_classification/models/model.safetensors > EARLIER.safetensors
monai-brain evaluate VGG16.safetensors --dataset-dir HEADS --datalist HEADS/held_out.json -o VGG16
monai-brain evaluate EARLIER.safetensors --dataset-dir HEADS --datalist HEADS/held_out.json -o EARLIER
monai-brain evaluate BUNDLE --dataset-dir HEADS --datalist HEADS/held_out.json -o AFTER
```
with `study.yaml`:
```yaml
dataset_dir: nickparvar_224
folds: classification_v2.json
also: [HEADS/folds.json]
networks: [mobilenet_v2_t1c]
options:
  weights: mobilenet_v2_imagenet_features_fp16.safetensors
  network_def::batch_norm_eps: 0.001
  network_def::padding: same
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", action="append", required=True, metavar="NAME=EVALUATION")
    parser.add_argument("--held-out", action="append", default=[], metavar="NAME=EVALUATION")
    parser.add_argument("--note", type=Path, help="text to go below the first table")
    options = parser.parse_args()
    protocols, held_out = (dict(map(read, words)) for words in (options.protocol, options.held_out))
    apart = list(protocols.values())[-1]
    bars = {name: (accuracy(m["model"]), accuracy(m["nearest_neighbor"])) for name, m in protocols.items()}
    draw_optimism(bars, FIGURE)
    lines = [INTRODUCTION, *table(optimism(protocols)), "", "![Accuracy by protocol](images/optimism.png)", ""]
    lines += [options.note.read_text(encoding="utf-8")] if options.note else []
    lines += ["## Patient-level split, class by class", ""]
    for block in evaluation_blocks(apart)[1:]:
        lines += [f"{block.caption}.", "", *table(block), ""] if isinstance(block, Table) else []
    if held_out:
        lines += ['## Does "no tumor" mean no tumor?', "", ON_HEADS, *table(on_heads(held_out)), ""]
    PAGE.write_text("\n".join([*lines, COMMANDS]), encoding="utf-8")


def read(word: str) -> tuple[str, dict[str, Any]]:
    name, _, folder = word.partition("=")
    return name, json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def accuracy(figures: dict[str, Any]) -> tuple[float, float, float]:
    """With its interval."""
    low, high = figures["intervals"]["accuracy"]
    return figures["accuracy"], low, high


def optimism(protocols: dict[str, dict[str, Any]]) -> Table:
    columns = ["split", "images", "accuracy", "macro-F1", "accuracy on tumors", "1-nearest-neighbor"]
    rows = []
    for name, metrics in protocols.items():
        model, tumors = metrics["model"], metrics["tumor_classes"]
        macro = [model["macro_f1"], *model["intervals"]["macro_f1"]]
        own = [accuracy(model), macro, [tumors["accuracy"], *tumors["interval"]], accuracy(metrics["nearest_neighbor"])]
        rows.append([name, str(model["images"]), *(f"{v:.3f} ({low:.3f} to {high:.3f})" for v, low, high in own)])
    return Table("", columns, rows)


def on_heads(held_out: dict[str, dict[str, Any]]) -> Table:
    """One row for each weights: slices with and without tumor of heads that are all of one source and sequence."""
    rows = []
    for name, metrics in held_out.items():
        by_tumor = {row["tumor"]: row for row in metrics["by_source"]}
        free, tumor = by_tumor[False], by_tumor[True]
        called_free = f"{1 - free['called_tumor']:.3f} of {free['images']}"
        rows.append([name, called_free, f"{tumor['called_tumor']:.3f} of {tumor['images']}"])
    return Table("", ["weights", "slices without tumor called no tumor", "slices with tumor called a tumor"], rows)


def table(block: Table) -> list[str]:
    rows = [block.columns, ["---"] * len(block.columns), *block.rows]
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    main()
