"""Transfer learning with cached features, against the plain PyTorch loop that a notebook writes.

python scripts/benchmarks/training.py IMAGES --datalist SPLIT --weights VGG16 [--seeds 3]

VGG16 with the small head: features frozen for 8 epochs, then block 5 trained too for 6, on 2,026 slices, validated
after every epoch. Ours is the shipped overlay `vgg16_finetuned`, run as users run it, from a cold cache each time,
the start of Python included. The plain loop decodes every file in every epoch and computes in float32; one of
its epochs of each phase, over a share of the slices, is timed per seed, between our runs, and scaled to all slices
and to 8 and 6 epochs. Its macro-F1 comes from a
whole training in float32 that is the same but for one thing: the outputs of its frozen layers, which are the
same in every epoch, are computed once, for otherwise it would take hours.
"""

import argparse
import contextlib
import csv
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from monai.transforms import Compose
from record import record
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from monai_brain.evaluation.metrics import macro_f1
from monai_brain.io.write import write_json
from monai_brain.networks.vgg import VGG
from monai_brain.training.feature_scale import tame_features
from monai_brain.training.reproducibility import CachedSlices
from monai_brain.transforms.intensity import IMAGENET_MEAN, IMAGENET_STD

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "brain_tumor_classification" / "configs"
TRAINING_SLICES = 2026
FROZEN_EPOCHS, FINE_EPOCHS, BATCH = 8, 6, 32
BLOCK_5 = 24
TARGET, TOLERANCE = 10.0, 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="VGG16's features as safetensors")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.25, help="of the slices, for the plain loop's timed epochs")
    parser.add_argument("--folder", type=Path, help="keeps what was measured, so that a stop loses little")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        measure(options, folder)


def measure(options: argparse.Namespace, folder: Path) -> None:
    datalist = subset(options.datalist, folder / "datalist.json")
    found = []
    for seed in range(options.seeds):
        mine = kept(folder / f"ours_{seed}.json", lambda seed=seed: ours(options, folder, seed))
        plain = kept(folder / f"plain_{seed}.json", lambda seed=seed: plain_epochs(options, datalist, seed))
        found.append((*mine, *plain))
        print(
            f"seed {seed}: ours {mine[0]:.0f} s, {mine[1]:.4f}; plain {plain[0]:.0f} and {plain[1]:.0f} s an epoch",
            flush=True,
        )
    seconds, scores, frozen, fine = (list(column) for column in zip(*found, strict=True))
    plain_scores = []
    for seed in range(options.seeds):
        score = kept(folder / f"score_{seed}.json", lambda seed=seed: [plain_score(options, datalist, folder, seed)])
        print(f"seed {seed}: plain {score[0]:.4f}", flush=True)
        plain_scores += score
    report({"ours": seconds, "frozen": frozen, "fine": fine}, {"ours": scores, "plain": plain_scores}, options.share)


def kept(path: Path, measured: Callable[[], Sequence[float]]) -> list[float]:
    """What was measured before a stop, or is measured now."""
    if not path.is_file():
        write_json(path, list(measured()))
    return json.loads(path.read_text(encoding="utf-8"))


def subset(path: Path, target: Path) -> dict[str, Any]:
    """The first 2,026 training slices of a fixed shuffle, and the whole validation part."""
    datalist = json.loads(path.read_text(encoding="utf-8"))
    order = np.random.default_rng(0).permutation(len(datalist["training"]))[:TRAINING_SLICES]
    datalist["training"] = [datalist["training"][index] for index in order]
    write_json(target, datalist)
    return datalist


def ours(options: argparse.Namespace, folder: Path, seed: int) -> tuple[float, float]:
    """Seconds of a whole training from a cold cache, and its last validation macro-F1."""
    run = folder / f"run_{seed}"
    files = [str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / "vgg16_finetuned.yaml")]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    command += ["--dataset_dir", str(options.images), "--datalist", str(folder / "datalist.json")]
    command += ["--weights", str(options.weights), "--output_dir", str(run), "--seed", str(seed)]
    cold = folder / f"features_{seed}"
    for rest in (run, cold):  # of a measurement that was stopped
        shutil.rmtree(rest, ignore_errors=True)
    command += ["--features_dir", str(cold)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    seconds = time.perf_counter() - began
    shutil.rmtree(cold)
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FROZEN_EPOCHS + FINE_EPOCHS
    return seconds, float(rows[-1]["val_macro_f1"])


class Files(Dataset):
    """What a notebook's Dataset does."""

    def __init__(self, folder: Path, items: list[dict[str, Any]]) -> None:
        self.folder, self.items = folder, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with PIL.Image.open(self.folder / self.items[index]["image"]) as picture:
            image = np.asarray(picture.convert("RGB").resize((224, 224)), np.float32) / 255
        image = (image - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
        return torch.from_numpy(image).permute(2, 0, 1), self.items[index]["label"]


def looked_at(images: Path, datalist: dict[str, Any]) -> CachedSlices:
    """The training slices as the plain loop sees them, for the scale of the starting weights' features."""
    files = Files(images, datalist["training"])
    places = [{"image": place, "label": item["label"]} for place, item in enumerate(datalist["training"])]
    return CachedSlices(places, Compose([lambda item: {**item, "image": files[item["image"]][0]}]), 0)


def plain_network(weights: Path, seed: int, slices: CachedSlices) -> VGG:
    torch.manual_seed(seed)
    network = VGG(16, 4, "small")
    public = {name: tensor.float() for name, tensor in load_file(weights).items()}
    missing, unexpected = network.load_state_dict(public, strict=False)
    if unexpected or not all(name.startswith("classifier.") for name in missing):
        sys.exit(f"{weights}: expected torchvision's keys of VGG16's features")
    tame_features(network, slices)  # as the overlay does
    return network.requires_grad_(False)


def plain_epochs(options: argparse.Namespace, datalist: dict[str, Any], seed: int) -> tuple[float, float]:
    """Seconds of one epoch of each phase with validation, everything as a notebook does it; scaled to all slices."""
    network = plain_network(options.weights, seed, looked_at(options.images, datalist))
    parts = {part: datalist[part][: round(options.share * len(datalist[part]))] for part in ("training", "validation")}
    training, validation = (Files(options.images, items) for items in parts.values())
    scale = sum(len(datalist[part]) for part in parts) / sum(len(items) for items in parts.values())
    seconds = []
    for trained in (network.classifier, nn.ModuleList([network.classifier, network.features[BLOCK_5:]])):
        trained.requires_grad_(True)
        began = time.perf_counter()
        train_epoch(network, adam(network), DataLoader(training, BATCH, shuffle=True))
        score(network, DataLoader(validation, BATCH))
        seconds.append(scale * (time.perf_counter() - began))
    return seconds[0], seconds[1]


def plain_score(options: argparse.Namespace, datalist: dict[str, Any], folder: Path, seed: int) -> float:
    """Last validation macro-F1 of the plain training, its frozen layers computed once."""
    network = plain_network(options.weights, seed, looked_at(options.images, datalist))
    stored = {
        part: frozen_outputs(network, Files(options.images, datalist[part]), folder / f"{part}.pt")
        for part in ("training", "validation")
    }
    labels = {part: torch.tensor([item["label"] for item in datalist[part]]) for part in stored}
    result = 0.0
    for first, epochs, last in (("all", FROZEN_EPOCHS, False), ("block_4", FINE_EPOCHS, True)):
        trained = [network.classifier, network.features[BLOCK_5:]] if last else [network.classifier]
        nn.ModuleList(trained).requires_grad_(True)
        optimizer = adam(network, 1e-4 if last else 1e-3)
        start = BLOCK_5 if last else len(network.features)
        data = {part: torch.utils.data.TensorDataset(stored[part][first], labels[part]) for part in stored}
        for _ in range(epochs):
            train_epoch(network, optimizer, DataLoader(data["training"], BATCH, shuffle=True), start)
        result = score(network, DataLoader(data["validation"], BATCH), start)
    return result


def frozen_outputs(network: VGG, files: Files, path: Path) -> dict[str, Tensor]:
    """Outputs of block 4 and of all features, float32; they do not depend on the seed."""
    if not path.is_file():
        batches: dict[str, list[Tensor]] = {"block_4": [], "all": []}
        with torch.no_grad():
            for images, _ in DataLoader(files, BATCH):
                batches["block_4"].append(network.features[:BLOCK_5](images))
                batches["all"].append(network.features[BLOCK_5:](batches["block_4"][-1]))
        torch.save({name: torch.cat(parts) for name, parts in batches.items()}, path)
    return torch.load(path, weights_only=True)


def adam(network: nn.Module, rate: float = 1e-3) -> torch.optim.Adam:
    return torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=rate, weight_decay=1e-4)


def train_epoch(network: VGG, optimizer: torch.optim.Adam, batches: DataLoader, first: int = 0) -> None:
    network.train()
    for images, labels in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images, first=first), labels).backward()
        optimizer.step()


def score(network: VGG, batches: DataLoader, first: int = 0) -> float:
    network.eval()
    with torch.no_grad():
        pairs = [(network(images, first=first).argmax(1), labels) for images, labels in batches]
    guessed, labels = (torch.cat(column).numpy() for column in zip(*pairs, strict=True))
    return macro_f1(labels, guessed)


def report(times: dict[str, list[float]], scores: dict[str, list[float]], share: float) -> None:
    plain = [FROZEN_EPOCHS * a + FINE_EPOCHS * b for a, b in zip(times["frozen"], times["fine"], strict=True)]
    ratios = [b / a for a, b in zip(times["ours"], plain, strict=True)]
    difference = statistics.mean(scores["ours"]) - statistics.mean(scores["plain"])
    rows = [
        ["ours, cold cache", *summary(times["ours"], scores["ours"])],
        ["plain loop", *summary(plain, scores["plain"])],
    ]
    notes = (
        f"{TRAINING_SLICES} training slices, {len(plain)} seeds; one epoch of each phase of the plain loop, over "
        f"{share:.0%} of the slices, measured per seed and scaled. Ours is {statistics.median(ratios):.1f} times "
        "faster in wall-clock time (median; "
        f"{min(ratios):.1f} to {max(ratios):.1f}; target {TARGET:.0f}); mean macro-F1 differs by "
        f"{100 * difference:+.2f} points (target within {100 * TOLERANCE:.1f}). Part of the gain comes "
        "from bf16 instead of fp32. Ours crops borders and converts to gray, as its configs do, and "
        "keeps Adam's state in "
        "the second phase; the plain loop starts with a new Adam, and loads files in its own process."
    )
    columns = ["training", "seconds per seed", "validation macro-F1 per seed", "mean"]
    record(
        "Transfer learning, VGG16", columns, rows, notes, ("torch", "monai"), "IMAGES --datalist SPLIT --weights VGG16"
    )


def summary(seconds: list[float], values: list[float]) -> Iterator[str]:
    yield ", ".join(f"{value:.0f}" for value in seconds)
    yield ", ".join(f"{value:.4f}" for value in values)
    yield f"{statistics.mean(values):.4f}"


if __name__ == "__main__":
    main()
