"""The whole job on synthetic patients: make data, split, train, evaluate, predict with explanations.

python scripts/demo.py                  about four minutes after the set-up
python scripts/demo.py --short          a quick look that everything works; its figures mean nothing
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bootstrap import ROOT, is_ready, prepare, python

MARKER = ".made_by_the_demo"
BUNDLE = Path("bundles") / "brain_tumor_classification"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "demo_output", help="replaced at every run")
    parser.add_argument("--short", action="store_true", help="few patients, few epochs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    if not is_ready() or Path(sys.prefix).resolve() != python().parent.parent.resolve():
        interpreter = prepare()
        return subprocess.run([str(interpreter), __file__, *sys.argv[1:]], check=False).returncode
    return demonstrate(options.output.resolve(), seed=options.seed, short=options.short)


def demonstrate(output: Path, *, seed: int, short: bool) -> int:
    """Run every step as a user would type it; stop at the first that fails."""
    began = time.monotonic()
    patients, slices, epochs = (16, 3, 2) if short else (120, 5, 120)
    if output.exists():
        if not (output / MARKER).is_file():
            sys.exit(f"{output}: was not made by this demo, so it is left alone; give another --output")
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / MARKER).touch()
    images, datalist, run, predictions = (output / n for n in ("slices", "datalist.json", "run", "predictions"))
    command = [sys.executable, "-m", "monai_brain"]
    bundle = [sys.executable, "-m", "monai.bundle", "run"]
    train, evaluate = BUNDLE / "configs" / "train.yaml", BUNDLE / "configs" / "evaluate.yaml"
    cnn = BUNDLE / "configs" / "networks" / "cnn_64.yaml"
    step([*command, "demo-data", images, "--patients", patients, "--slices", slices, "--seed", seed])
    step([*command, "index", images, "-o", datalist, "--patient-pattern", r"patient_(\d+)", "--seed", seed])
    step(
        [*bundle, "training", "--config_file", f"['{train.as_posix()}','{cnn.as_posix()}']"]
        + ["--dataset_dir", images, "--datalist", datalist, "--output_dir", run]
        + ["--max_epochs", epochs, "--seed", seed]
    )
    step(
        [*bundle, "evaluating", "--config_file", f"['{train.as_posix()}','{evaluate.as_posix()}']"]
        + ["--dataset_dir", images, "--run_dir", run]
    )
    unseen = copy_test_part(images, datalist, output / "unseen")
    step([*command, "predict", unseen, "-o", predictions, "--bundle", BUNDLE, "--weights", run, "--explain"])
    page = write_demo_page(output)
    print(f"\nDone in {time.monotonic() - began:.0f} s. Open {page}")
    return 0


def step(command: list[object]) -> None:
    words = [str(word) for word in command]
    shown = " ".join(f'"{word}"' if " " in word or "'" in word or "(" in word else word for word in words[1:])
    print(f"\n$ python {shown}", flush=True)
    done = subprocess.run(words, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"this step failed with exit code {done.returncode}")


def copy_test_part(images: Path, datalist: Path, folder: Path) -> Path:
    """The test patients' slices in a folder of their own, as a user's folder of new scans would be."""
    for item in json.loads(datalist.read_text(encoding="utf-8"))["test"]:
        target = folder / Path(item["image"]).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images / item["image"], target)
    return folder


def write_demo_page(output: Path) -> Path:
    """One page with what came out, and the summary on the terminal."""
    import csv

    from rich.console import Console
    from rich.table import Table as TerminalTable

    from monai_brain.report.evaluation import evaluation_blocks
    from monai_brain.report.html import Figure, Gallery, write_page

    metrics = json.loads((output / "run" / "evaluation_test" / "metrics.json").read_text(encoding="utf-8"))
    blocks = evaluation_blocks(metrics, figures="run/evaluation_test/")
    table = TerminalTable(title="Test patients (synthetic)")
    for column in blocks[0].columns:
        table.add_column(column)
    for row in blocks[0].rows:
        table.add_row(*row)
    Console().print(table)
    with (output / "predictions" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["overlay"]][::7]
    pictures = [(f"predictions/{row['overlay']}", f"{row['path']}: {row['label']}") for row in rows]
    write_montage([output / path for path, _ in pictures[:8]], output / "overlays.png")
    gallery = Gallery("Predictions on synthetic test patients, with Grad-CAM", pictures)
    page = output / "report.html"
    curves = Figure("Training", "run/curves.png")
    write_page(page, "Demo on synthetic patients", [blocks[0], curves, *blocks[1:], gallery])
    return page


def write_montage(paths: list[Path], target: Path) -> None:
    """The first overlays, two in a row, as one picture (the README's)."""
    import cv2
    import numpy as np

    from monai_brain.io.write import write_png

    panels = [cv2.imread(str(path))[..., ::-1] for path in paths]
    rows = [np.hstack(pair) for pair in zip(panels[::2], panels[1::2], strict=False)]
    if rows:
        body = cv2.resize(np.vstack(rows), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        header = np.zeros((26, body.shape[1], 3), np.uint8)
        notice = "Synthetic patients that the network never saw; right of each slice: Grad-CAM"
        cv2.putText(header, notice, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        write_png(target, np.vstack([header, body]))


if __name__ == "__main__":
    sys.exit(main())
