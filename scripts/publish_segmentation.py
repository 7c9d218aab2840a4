"""Write docs/segmentation.md from a cross-validation of the segmenter: figures, pictures, commands.

python scripts/publish_segmentation.py RUN... --pooled POOLED [--first RUN...] [--source RUN...] [--final RUN]
  [--note TEXT]

POOLED is what `monai-brain pool RUN... -o POOLED` made. The runs of --first are those that these went on from, and
the runs of --source were trained by the source's recipe; all of them were evaluated on their test parts.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from publishing import table_section, workflow_command

from monai_brain.io.settings import CHOSEN_KEYS
from monai_brain.report.html import Table
from monai_brain.report.segmentation import every_patient, patient_table, read_patients

DOCS = Path(__file__).resolve().parents[1] / "docs"
MODELS = DOCS.parent / "bundles" / "brain_tumor_segmentation" / "models"
PLACEHOLDERS = {
    "--dataset_dir": "SLICES",
    "--dataset-dir": "SLICES",
    "--datalist": "FOLD",
    "--output_dir": "RUN",
    "--run_dir": "RUN",
    "evaluate": "RUN",
}
INDEX = "monai-brain index-pairs SLICES -o FOLD --fold N --split segmentation_v1.json"
SHOWN = 2
"""Patients in each of best, middle and worst."""

INTRODUCTION = """# Segmentation

Four folds of patients, frozen, even over institutions; in each, every patient of the test part is scored once, by a
model that never saw it, in the reference's own size. Weights and cutoffs are chosen on the validation patients. Dice
is of all slices of a patient together, so that one large tumor does not count by its number of slices. Commands are
run in `bundles/brain_tumor_segmentation`. The split (42 of the set's 110 patients) and ImageNet weights are not part
of the repository; with others the figures differ.
"""
GALLERY = """
## Pictures
Of the pooled patients the best, the middle and the worst; of each, the slice with the most tumor. Reference orange,
prediction blue. Images: LGG Segmentation Dataset (M. Buda and others, 2019; The Cancer Genome Atlas Low Grade Glioma
collection), CC BY-NC-SA 4.0; so is this picture.

![Slices with the outlines of reference and prediction](images/segmentation_gallery.jpg)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="trained on a fold, and evaluated on its test part")
    parser.add_argument("--pooled", type=Path, required=True)
    parser.add_argument("--first", type=Path, nargs="*", default=[])
    parser.add_argument("--source", type=Path, nargs="*", default=[])
    parser.add_argument("--final", type=Path, help="the run whose weights come with the bundle")
    parser.add_argument("--note", default="", help="what the tables say, in words")
    options = parser.parse_args()
    patients = read_patients(options.pooled / "patients.csv")
    text = INTRODUCTION + (f"\n{options.note}\n" if options.note else "")
    text += table_section("Cross-validation", patient_table(read(options.pooled / "metrics.json")))
    text += table_section("Runs", run_table([*options.run, *options.first, *options.source]))
    text += GALLERY + table_section("Patients", every_patient(patients))
    text += commands("Commands", [*options.first[:1], options.run[0], *options.source[:1]], options.first)
    if options.final:
        # trained on every patient: there is none to score it on
        settings = read(MODELS / "run.json")["settings"]
        text += commands("The bundle's weights", [options.final], options.first, published=settings)
    write_gallery(DOCS / "images" / "segmentation_gallery.jpg", options.run, patients)
    (DOCS / "segmentation.md").write_text(text, encoding="utf-8")


def run_table(runs: list[Path]) -> Table:
    rows = []
    for run in runs:
        training, scores = read(run / "run.json"), read(run / "evaluation_test" / "metrics.json")
        own, scored, result = scores["patients"], read(run / "evaluation_test" / "run.json"), training["result"]
        if scored["options"]["weights_sha256"] != result["weights_sha256"]:
            raise SystemExit(f"{run}: was trained on after its evaluation; evaluate it again")
        rows.append(
            [
                training["options"]["name"],
                read(run / "datalist.json")["name"],
                f"{result['epochs']}, {result['seconds'] / 60:.0f}",
                f"{result['best_val_patient_dice']:.3f}",
                f"{scored['options']['threshold']:g}",
                str(own["number"]),
                *(f"{own[f'{key}_dice']:.3f}" for key in ("mean", "median")),
            ]
        )
    columns = ["network", "fold", "epochs, minutes", "validation", "threshold", "patients", "mean", "median"]
    return Table("Dice of patients; minutes are those of a machine that did other work beside it", columns, rows)


def commands(
    heading: str, runs: list[Path], first: Sequence[Path] = (), published: dict[str, Any] | None = None
) -> str:
    """How runs were trained, `first` ones for others to go on from, and how they were scored; or with which settings
    one was published.
    """
    lines = [INDEX]
    names = {run.name: "FIRST" for run in first}
    for run in runs:
        own = {key: names.get(run.name, value) if value == "RUN" else value for key, value in PLACEHOLDERS.items()}
        trained = read(run / "run.json")["command"]
        lines.append(workflow_command([names.get(Path(word).name, word) for word in trained], own))
        if published is None:
            lines.append(workflow_command(read(run / "evaluation_test" / "run.json")["command"], own))
    if published is None:
        lines.append("monai-brain pool RUN... -o POOLED")
    else:
        words = ["python scripts/publish_weights.py RUN bundles/brain_tumor_segmentation"]
        for key in [key for key in CHOSEN_KEYS if key in published]:
            words += [f"--{key.replace('_', '-')}", *_words(published[key])]
        lines.append(" ".join(words))
    return "\n".join([f"\n## {heading}", "```", *lines, "```", ""])


def _words(value: Any) -> list[str]:
    """What follows an option; nothing after a switch."""
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one is not True]


def write_gallery(path: Path, runs: list[Path], patients: list[dict[str, Any]]) -> None:
    """A JPEG of the panels of the best, middle and worst patients; an evaluation draws some of its patients only."""
    places = [run / "evaluation_test" / "pictures" / f"{row['patient']}.png" for row in patients for run in runs]
    drawn = [place for place in places if place.is_file()]
    middle = len(drawn) // 2 - SHOWN // 2
    rows = [drawn[:SHOWN], drawn[middle : middle + SHOWN], drawn[-SHOWN:]]
    pictures = [np.hstack([np.asarray(PIL.Image.open(place)) for place in row]) for row in rows]
    PIL.Image.fromarray(np.vstack(pictures)).save(path, quality=85)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
