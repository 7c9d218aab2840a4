"""Write docs/volumes.md: results of the slice classifier on whole heads.

python scripts/publish_volumes.py LGG [--weights RUN]

LGG is the folder `kaggle_3m` of the LGG segmentation data: low-grade gliomas, so every head should be called glioma.
The slices of each head are stacked into one NIfTI volume per sequence.
"""

import argparse
import collections
import csv
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image

from monai_brain.inference.apply import predict_folder
from monai_brain.inference.classification import VOLUME_RULE
from monai_brain.labels import in_words

PAGE = Path(__file__).resolve().parents[1] / "docs" / "volumes.md"
SEQUENCES = {"Post-contrast T1 (where it was not acquired, the set has FLAIR in its place)": 2, "FLAIR": 1}
"""Of the channels of a slice: before contrast, FLAIR, after contrast."""

AS_SHOWN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Columns run to the patient's left and rows to the back, as radiologists look at slices; the spacing is not known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="run folder; default: the bundled weights")
    options = parser.parse_args()
    lines = [
        "# Whole heads",
        "",
        f"The classifier was trained on single slices. A volume gets the {VOLUME_RULE}.",
        "No labeled volumes were available for training or tuning, so this is experimental. Below are its results on",
        "heads with a low-grade glioma from other hospitals than the training slices: all of them should be `glioma`.",
        "",
        "Made by `python scripts/publish_volumes.py LGG`.",
        "",
    ]
    for name, channel in SEQUENCES.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "scans").mkdir()
            for patient, volume in heads(options.folder, channel):
                nib.save(nib.Nifti1Image(volume, AS_SHOWN), folder / "scans" / f"{patient}.nii.gz")
            weights = str(options.weights) if options.weights else None
            predict_folder(folder / "scans", folder / "out", weights=weights, answer_anyway=True)
            with (folder / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
                lines += section(name, list(csv.DictReader(file)))
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def heads(folder: Path, channel: int) -> Iterator[tuple[str, np.ndarray]]:
    """Patients, and one sequence of each, uint8 (W, H, D)."""
    for patient in sorted(path for path in folder.iterdir() if path.is_dir()):
        slices = sorted(
            (path for path in patient.glob("*.tif") if not path.stem.endswith("_mask")),
            key=lambda path: int(re.findall(r"\d+", path.stem)[-1]),
        )
        yield patient.name, np.stack([np.asarray(PIL.Image.open(path))[..., channel].T for path in slices], axis=2)


def section(name: str, rows: list[dict[str, str]]) -> list[str]:
    good = [row for row in rows if row["status"] == "ok"]
    counts = collections.Counter(row["label"] for row in good)
    lines = [f"## {name}", f"{len(rows)} heads, {len(good)} with a result.", ""]
    lines += ["| class | heads | share | agreeing slices, median |", "|---|---|---|---|"]
    for label, count in counts.most_common():
        agreement = statistics.median(float(row["agreement"]) for row in good if row["label"] == label)
        lines.append(f"| {in_words(label)} | {count} | {count / len(good):.2f} | {agreement:.2f} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
