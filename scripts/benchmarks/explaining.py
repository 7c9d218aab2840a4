"""What explanations cost: a folder with `--explain`, beside the same folder without.

python scripts/benchmarks/explaining.py IMAGES --datalist SPLIT RUN...

The test part's first 500 files go through torch in fp32 as users run it, file to table; explained runs compute the
map, measure it, and write an overlay per file. Both go in turn, several times; ratios are of one turn.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

from record import record

from monai_brain.data.splits import load_datalist
from monai_brain.inference.apply import predict_folder

FILES = 500
TARGET = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("run", type=Path, nargs="+", help="run folder, or the bundle")
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, default=FILES)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        scans, output = Path(scratch) / "scans", Path(scratch) / "out"
        scans.mkdir()
        items = load_datalist(options.datalist, options.images, "test")[: options.limit]
        for number, item in enumerate(items):
            shutil.copyfile(item["image"], scans / f"{number:04d}{Path(item['image']).suffix}")
        for run in options.run:
            seconds: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(options.repeats):
                for explain, times in seconds.items():
                    times.append(timed(scans, output, run, explain, options.method))
                    print(
                        f"{run.name}, turn {turn}, {'explained' if explain else 'plain'}: {times[-1]:.1f} s", flush=True
                    )
            ratios = [mine / plain for mine, plain in zip(seconds[True], seconds[False], strict=True)]
            plain, explained = (f"{statistics.median(seconds[explain]):.1f}" for explain in (False, True))
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append([network_of(run), plain, explained, spread])
    record(
        f"Explained folders, {options.method}",
        ["network", "plain, s", "explained, s", "explained / plain, median (range)"],
        rows,
        f"{len(items)} test files, {options.repeats} rounds. Target: at most {TARGET:g} times.",
        ["torch", "monai"],
        "IMAGES --datalist SPLIT RUN...",
    )


def timed(scans: Path, output: Path, run: Path, explain: bool, method: str) -> float:
    """Seconds from the first file to the finished table."""
    predict_folder(scans, output, weights=str(run), explain=explain, method=method, overwrite=True)
    return float(json.loads((output / "run.json").read_text(encoding="utf-8"))["this_session"]["seconds"])


def network_of(run: Path) -> str:
    place = run if (run / "run.json").is_file() else run / "models"
    return str(json.loads((place / "run.json").read_text(encoding="utf-8"))["options"]["name"])


if __name__ == "__main__":
    main()
