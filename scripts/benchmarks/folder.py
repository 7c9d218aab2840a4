"""Folder inference, file to table, against the usual way: one image at a time through ONNX Runtime.

python scripts/benchmarks/folder.py IMAGES --datalist SPLIT --vgg RUN [--mobilenet RUN] [--repeats 3] [--limit N]

The test part's files are classified by every engine as users run it, in turn, several times; the usual way (Pillow
opens a file, it is resized and normalized, ONNX Runtime computes it in float32, a row is kept) goes first in each
turn, and ratios are of one turn. Seconds are those from the first file to the finished table; the start of Python and
the building of engines, which happens once, are left out. `of the network alone`: beside the same engine's rate on
batches that lie ready.
"""

import argparse
import csv
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import PIL.Image
import torch
from monai.bundle import ConfigWorkflow
from record import record

from monai_brain.data.splits import load_datalist
from monai_brain.inference.apply import predict_folder
from monai_brain.inference.engines import make_engine
from monai_brain.inference.engines.onnx_engine import OnnxEngine, exported
from monai_brain.io.weights import find_weights
from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES
from monai_brain.transforms.intensity import IMAGENET_MEAN, IMAGENET_STD

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "bundles" / "brain_tumor_classification" / "configs" / "inference.yaml"
ENGINES = (("torch", "fp32"), ("torch", "bf16"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
INT8 = ("openvino", "int8")
SECONDS_ALONE = 10.0


class Contestant(NamedTuple):
    """A network in an engine; `engine` is None for the usual way."""

    network: str
    run: Path
    engine: tuple[str, str] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--vgg", type=Path, required=True, help="run folder, or the bundle")
    parser.add_argument("--mobilenet", type=Path, help="run folder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, help="of files, for a quick look")
    options = parser.parse_args()
    runs = {"VGG16": options.vgg} | ({"MobileNetV2": options.mobilenet} if options.mobilenet else {})
    contestants = [Contestant(name, run, engine) for name, run in runs.items() for engine in (None, *ENGINES, INT8)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        labels = copy_files(load_datalist(options.datalist, options.images, "test")[: options.limit], folder / "scans")
        for one in contestants:  # engines are built
            classify(one, folder / "scans", folder / "warm")
        rates: dict[Contestant, list[float]] = {one: [] for one in contestants}
        right: dict[Contestant, float] = {}
        for turn in range(options.repeats):
            for one in contestants:
                rate, found = classify(one, folder / "scans", folder / "out")
                rates[one].append(rate)
                right[one] = float(np.mean([found[name] == label for name, label in labels.items()]))
                print(f"turn {turn}: {one.network} {one.engine or 'one at a time'}: {rate:.1f} images/s", flush=True)
        alone = {one: network_alone(one, folder / "scans") for one in contestants if one.engine}
    report(contestants, rates, right, alone, len(labels))


def copy_files(items: list[dict[str, Any]], scans: Path) -> dict[str, str]:
    """The reference class of each file by its new name."""
    scans.mkdir()
    labels = {}
    for number, item in enumerate(items):
        name = f"{number:04d}{Path(item['image']).suffix}"
        shutil.copyfile(item["image"], scans / name)
        labels[name] = CLASS_NAMES[item["label"]]
    return labels


def classify(one: Contestant, scans: Path, output: Path) -> tuple[float, dict[str, str]]:
    """Images a second, and the class of every file."""
    if one.engine is None:
        return one_at_a_time(one.run, scans)
    kind, precision = one.engine
    predict_folder(scans, output, weights=str(one.run), engine=kind, precision=precision, overwrite=True)
    rate = json.loads((output / "run.json").read_text(encoding="utf-8"))["this_session"]["cases_per_second"]
    with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return float(rate), {row["path"]: row["label"] for row in csv.DictReader(file)}


def one_at_a_time(run: Path, scans: Path) -> tuple[float, dict[str, str]]:
    """What a script does."""
    network, size, digest = load(run)
    path = exported(OnnxEngine(), network, digest, torch.zeros(1, 3, size, size))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    mean, std = (np.float32(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    began, found = time.perf_counter(), {}
    for file in sorted(scans.iterdir()):
        with PIL.Image.open(file) as picture:
            image = np.asarray(picture.convert("RGB").resize((size, size)), np.float32).transpose(2, 0, 1) / 255
        logits = session.run(["pred"], {"image": ((image - mean) / std)[None]})[0]
        found[file.name] = CLASS_NAMES[int(logits[0].argmax())]
    return len(found) / (time.perf_counter() - began), found


def load(run: Path) -> tuple[torch.nn.Module, int, str]:
    """A run's network with its weights, its input size, and the hash of the weights."""
    workflow = ConfigWorkflow(config_file=str(CONFIG), workflow_type="infer", logging_file=False, weights=str(run))
    workflow.initialize()
    workflow.parser["run"] = ["$adopt(@weights)", "$load_weights(@network, @weights)"]
    workflow.run()
    network = workflow.parser.get_parsed_content("network").eval()
    return network, int(workflow.parser.get_parsed_content("image_size")), sha256_of(find_weights(run))


def network_alone(one: Contestant, scans: Path) -> float:
    """Images a second of an engine on a batch that lies ready."""
    assert one.engine is not None
    network, size, digest = load(one.run)
    engine = make_engine(*one.engine)
    batch = torch.rand(32, 3, size, size)
    engine.build(network, digest, batch)
    with torch.no_grad():
        engine(batch, network)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS_ALONE:
            engine(batch, network)
            count += len(batch)
    return count / (time.perf_counter() - began)


def report(
    contestants: list[Contestant],
    rates: dict[Contestant, list[float]],
    right: dict[Contestant, float],
    alone: dict[Contestant, float],
    files: int,
) -> None:
    usual = rates[contestants[0]]
    rows = []
    for one in contestants:
        ratio = statistics.median(mine / theirs for mine, theirs in zip(rates[one], usual, strict=True))
        share = f"{statistics.median(rates[one]) / alone[one]:.2f}" if one in alone else ""
        how = " ".join(one.engine) if one.engine else "ONNX Runtime fp32, one at a time"
        rows.append(
            [one.network, how, f"{statistics.median(rates[one]):.1f}", f"{ratio:.1f}", share, f"{right[one]:.4f}"]
        )
    record(
        "Folder inference",
        ["network", "engine", "images/s", "times the first", "of the network alone", "accuracy"],
        rows,
        f"Medians of {len(usual)} turns over {files} test files, file to table.",
        ["torch", "onnxruntime", "openvino", "nncf", "monai"],
        "IMAGES --datalist SPLIT --vgg RUN",
    )


if __name__ == "__main__":
    main()
