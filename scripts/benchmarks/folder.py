"""Folder inference, file to table, against the usual way: one image at a time through ONNX Runtime.

python scripts/benchmarks/folder.py --images IMAGES --datalist SPLIT --vgg RUN [--mobilenet RUN]
python scripts/benchmarks/folder.py --images SLICES --datalist FOLD --unet RUN

The test part's files go through every engine as users run it, in turn, several times; the usual way (Pillow opens a
file, it is resized and normalized, ONNX Runtime computes it in float32, a row is kept) goes first in each turn, int8
next, and ratios are of one turn. Seconds are those from the first file to the finished table, of the segmenter with all
masks written; the start of Python and the building of engines, which happens once, are left out. `of the network
alone`: beside the same engine's rate on batches that lie ready, right after the folder. `of peak`: multiplications and
additions of the network a second, beside those of a large matrix product in the same precision.
"""

import argparse
import csv
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime
import PIL.Image
import torch
from monai.bundle import ConfigWorkflow
from record import record

from monai_brain.data.splits import load_datalist
from monai_brain.evaluation.segmentation import overlap, overlap_by_group
from monai_brain.inference.apply import predict_folder
from monai_brain.inference.engines import make_engine
from monai_brain.inference.engines.base import CALIBRATION_SLICES
from monai_brain.inference.engines.onnx_engine import OnnxEngine, exported
from monai_brain.io.weights import find_weights
from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES
from monai_brain.networks.cost import build_without_weights, multiply_adds
from monai_brain.transforms.intensity import IMAGENET_MEAN, IMAGENET_STD

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
ENGINES = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
SECONDS_ALONE = 5.0
CLASSIFYING = (
    " Targets: VGG16 int8 3.3 times, MobileNetV2 int8 25 times, 0.85 of the network alone, accuracy within 0.2 points."
)
SEGMENTING = " Targets: int8 4 times, Dice within 0.003."
PRODUCT = 4096
"""Rows and columns of the matrices that the peak is measured with."""


class Contestant(NamedTuple):
    """A network in an engine; `engine` is None for the usual way."""

    network: str
    run: Path
    engine: tuple[str, str] | None

    @property
    def name(self) -> str:
        """As the tables have it."""
        return " ".join(self.engine) if self.engine else "ONNX Runtime fp32, one at a time"


class Finding(NamedTuple):
    """Of one pass over all files."""

    rate: float
    """Files a second."""
    score: float
    """Accuracy, or mean Dice of patients."""
    seconds: dict[str, float]
    """By what they went for; empty of the usual way."""
    alone: float = 0.0
    """Images a second of the network alone, right after."""


class Test(NamedTuple):
    """What the files are, by their new names."""

    scans: Path
    classes: dict[str, str]
    """Of slices that are classified."""
    masks: dict[str, tuple[Path, Hashable]]
    """Reference mask and patient, of slices that are segmented."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--vgg", type=Path, help="run folder, or the bundle")
    parser.add_argument("--mobilenet", type=Path, help="run folder")
    parser.add_argument("--unet", type=Path, help="run folder, or the bundle; then the others are left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, help="of files, for a quick look")
    options = parser.parse_args()
    runs = {"VGG16": options.vgg, "MobileNetV2": options.mobilenet}
    if options.unet:
        runs = {"UNet-VGG16": options.unet}
    runs = {name: run for name, run in runs.items() if run}
    if not runs:
        parser.error("give --vgg, --mobilenet or --unet")
    usual = () if options.unet else (None,)
    contestants = [Contestant(name, run, engine) for name, run in runs.items() for engine in (*usual, *ENGINES)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        items = load_datalist(options.datalist, options.images, "test")[: options.limit]
        test = copy_files(items, folder / "scans")
        first = copy_files(items[:: -(-len(items) // CALIBRATION_SLICES)], folder / "first")
        for one in contestants:  # engines are built
            measure(one, first, folder / "warm")
        found: dict[Contestant, list[Finding]] = {one: [] for one in contestants}
        peaks: dict[str, list[float]] = {kind: [] for kind in ("fp32", "bf16", "int8")}
        for turn in range(options.repeats):
            for one in in_turn(contestants):
                finding = measure(one, test, folder / "out")
                found[one].append(finding._replace(alone=network_alone(one)))
                print(f"turn {turn}: {one.network} {one.name}: {finding.rate:.1f} files/s", flush=True)
            for kind, values in peaks.items():
                values.append(peak(kind))
    report(found, {kind: statistics.median(values) for kind, values in peaks.items()}, bool(options.unet))


def in_turn(contestants: list[Contestant]) -> list[Contestant]:
    """The first, and soon after it what it is compared with most: the quickest engines."""
    first, *others = contestants
    ranks = {engine: rank for rank, engine in enumerate((*ENGINES, None))}
    return [first, *sorted(others, key=lambda one: ranks[one.engine], reverse=True)]


def copy_files(items: list[dict[str, Any]], scans: Path) -> Test:
    scans.mkdir()
    test = Test(scans, {}, {})
    for number, item in enumerate(items):
        name = f"{number:04d}{Path(item['image']).suffix}"
        shutil.copyfile(item["image"], scans / name)
        if isinstance(item["label"], int):
            test.classes[name] = CLASS_NAMES[item["label"]]
        else:
            test.masks[name] = Path(item["label"]), item["group"]
    return test


def bundle_of(one: Contestant) -> Path:
    return BUNDLES / ("brain_tumor_segmentation" if one.network.startswith("UNet") else "brain_tumor_classification")


def measure(one: Contestant, test: Test, output: Path) -> Finding:
    if one.engine is None:
        return one_at_a_time(one, test)
    kind, precision = one.engine
    options: dict[str, Any] = {"weights": str(one.run), "engine": kind, "precision": precision, "overwrite": True}
    predict_folder(test.scans, output, bundle=bundle_of(one), **options)
    session = json.loads((output / "run.json").read_text(encoding="utf-8"))["this_session"]
    score = dice(test, output) if test.masks else accuracy(test, classes_of(output))
    seconds = session["seconds_of_this_process"] | session["seconds_beside_the_network"]
    return Finding(float(session["cases_per_second"]), score, {**seconds, "all": session["seconds"]})


def classes_of(output: Path) -> dict[str, str]:
    with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def accuracy(test: Test, found: Mapping[str, str]) -> float:
    return float(np.mean([found[name] == label for name, label in test.classes.items()]))


def dice(test: Test, output: Path) -> float:
    """Mean over patients, all slices of one together."""
    slices, patients = [], []
    for name, (path, patient) in test.masks.items():
        predicted = cv2.imread(str((output / "masks" / name).with_suffix(".png")), cv2.IMREAD_GRAYSCALE)
        reference = np.asarray(PIL.Image.open(path).convert("L"))
        slices.append(overlap(predicted > 0, reference > 0))
        patients.append(patient)
    return float(np.mean([whole.dice for whole in overlap_by_group(slices, patients).values()]))


def one_at_a_time(one: Contestant, test: Test) -> Finding:
    """What a script does."""
    network, size, digest = load(one)
    path = exported(OnnxEngine(), network, digest, torch.zeros(1, 3, size, size))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    mean, std = (np.float32(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    began, found = time.perf_counter(), {}
    for file in sorted(test.scans.iterdir()):
        with PIL.Image.open(file) as picture:
            image = np.asarray(picture.convert("RGB").resize((size, size)), np.float32).transpose(2, 0, 1) / 255
        logits = session.run(["pred"], {"image": ((image - mean) / std)[None]})[0]
        found[file.name] = CLASS_NAMES[int(logits[0].argmax())]
    return Finding(len(found) / (time.perf_counter() - began), accuracy(test, found), {})


def load(one: Contestant) -> tuple[torch.nn.Module, int, str]:
    """A run's network with its weights, its input size, and the hash of the weights."""
    config = bundle_of(one) / "configs" / "inference.yaml"
    workflow = ConfigWorkflow(str(config), workflow_type="infer", logging_file=False, weights=str(one.run))
    workflow.initialize()
    workflow.parser["run"] = ["$adopt(@weights)", "$load_weights(@network, @weights)"]
    workflow.run()
    network = workflow.parser.get_parsed_content("network").eval()
    return network, int(workflow.parser.get_parsed_content("image_size")), sha256_of(find_weights(one.run))


def network_alone(one: Contestant) -> float:
    """Images a second of an engine on a batch that lies ready; 0 of the usual way."""
    if one.engine is None:
        return 0.0
    network, size, digest = load(one)
    engine = make_engine(*one.engine)
    batch = torch.rand(32, 3, size, size)
    engine.build(network, digest, batch)
    with torch.no_grad():
        return rate_of(lambda: engine(batch, network)) * len(batch)


def cost_of(one: Contestant) -> float:
    """GMAC of one image."""
    settings = json.loads((find_weights(one.run).parent / "run.json").read_text(encoding="utf-8"))["settings"]
    return multiply_adds(build_without_weights(settings["network_def"]), int(settings["image_size"]))


def peak(precision: str) -> float:
    """Of this machine, in 1e9 multiplications with addition a second (GMAC/s), by a product of square matrices."""
    if precision == "int8":
        left = torch.randint(-128, 127, (PRODUCT, PRODUCT), dtype=torch.int8)
        return rate_of(lambda: torch._int_mm(left, left)) * PRODUCT**3 / 1e9
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.rand(PRODUCT, PRODUCT).to(kind)
    return rate_of(lambda: left @ left) * PRODUCT**3 / 1e9


def rate_of(call: Callable[[], object]) -> float:
    """Calls a second, by the median, since a machine that is shared stumbles."""
    call()
    times = [time.perf_counter()]
    while times[-1] - times[0] < SECONDS_ALONE:
        call()
        times.append(time.perf_counter())
    return 1 / statistics.median(after - before for before, after in pairwise(times))


def report(
    found: Mapping[Contestant, list[Finding]],
    peaks: Mapping[str, float],
    segments: bool,
) -> None:
    first = next(iter(found))
    what = "slices" if segments else "images"
    turns = "One round" if len(found[first]) == 1 else f"Medians of {len(found[first])} rounds"
    rows = []
    for one, passes in found.items():
        ratio = statistics.median(mine.rate / usual.rate for mine, usual in zip(passes, found[first], strict=True))
        rate = statistics.median(own.rate for own in passes)
        row = [one.network, one.name, f"{rate:.1f}", f"{ratio:.1f}"]
        if one.engine:
            share = statistics.median(own.rate / own.alone for own in passes)
            of_peak = statistics.median(own.alone for own in passes) * cost_of(one) / peaks[one.engine[1]]
            row += [f"{share:.2f}", f"{of_peak:.2f}"]
        else:
            row += ["", ""]
        rows.append([*row, f"{passes[-1].score:.4f}", *shares(passes)])
    measured = ", ".join(f"{kind} {value:.0f}" for kind, value in peaks.items())
    record(
        "Segmentation of a folder" if segments else "Classification of a folder",
        [
            "network",
            "engine",
            f"{what}/s",
            "relative to the first row",
            "relative to the network alone",
            "relative to peak",
            "Dice" if segments else "accuracy",
            "network",
            "waiting for files",
            "waiting for results",
            "in parallel: reading",
            "preprocessing",
            "results",
        ],
        rows,
        f"{turns}, from file to table. The last columns are shares of the run's wall-clock "
        f"time; work in parallel with the network runs in other processes and threads. Peaks in GMAC/s: {measured}."
        + (SEGMENTING if segments else CLASSIFYING),
        ["torch", "onnxruntime", "openvino", "nncf", "monai"],
        ("--images SLICES --datalist FOLD --unet RUN" if segments else "--images IMAGES --datalist SPLIT --vgg RUN")
        + (" --mobilenet RUN" if any(one.network == "MobileNetV2" for one in found) else "")
        + f" --repeats {len(found[first])}",
    )


def shares(passes: list[Finding]) -> list[str]:
    """Of the wall-clock time of a pass, the median."""
    names = ("network", "waiting_for_files", "waiting_for_results", "reading", "preprocessing", "results")
    if not passes[0].seconds:
        return [""] * len(names)
    return [f"{statistics.median(own.seconds[name] / own.seconds['all'] for own in passes):.2f}" for name in names]


if __name__ == "__main__":
    main()
