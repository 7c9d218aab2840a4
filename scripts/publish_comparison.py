"""Write docs/comparison.md from what `monai-brain compare` made.

python scripts/publish_comparison.py COMPARISON --study STUDY.yaml [--note TEXT]
"""

import argparse
import shutil
from pathlib import Path

from publishing import LEAKY, without_folders

from monai_brain.data.splits import LEAKY_SPLITS

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES = {
    "macro_f1.png": "Test macro-F1",
    "validation.png": "Validation macro-F1 by epoch",
    "confusion_matrices.png": "Confusion matrices on the test part",
}

TESTS = "## McNemar"
"""Heading of a table of all pairs, too long for the page."""

NOTE_OF_TESTS = (
    "`monai-brain compare` also writes McNemar's exact test for every pair of runs. The p-values "
    "above are from this test; "
    "they treat images as independent and are not corrected.\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder of compare")
    parser.add_argument("--study", type=Path, required=True, help="the study that trained most of the runs")
    parser.add_argument("--note", default="", help="what the table says, in words")
    options = parser.parse_args()
    tables, _, _ = (options.folder / "comparison.md").read_text(encoding="utf-8").partition(TESTS)
    study = options.study.read_text(encoding="utf-8")
    lines = ["# Comparison of classifiers", "", *([LEAKY, ""] if any(name in study for name in LEAKY_SPLITS) else [])]
    lines += [options.note, ""] if options.note else []
    lines += ["Commands:", "```", "monai-brain study study.yaml -o STUDY", "monai-brain compare RUN... -o COMPARISON"]
    lines += ["python scripts/publish_comparison.py COMPARISON --study study.yaml", "```", "with this `study.yaml`:"]
    lines += ["```yaml", without_folders(study).strip(), "```", ""]
    for name, title in FIGURES.items():
        shutil.copyfile(options.folder / name, DOCS / "images" / f"comparison_{name}")
        lines += [f"![{title}](images/comparison_{name})", ""]
    (DOCS / "comparison.md").write_text("\n".join([*lines, tables.strip(), "", NOTE_OF_TESTS]), encoding="utf-8")


if __name__ == "__main__":
    main()
