"""Deterministic preprocessing of JPEGs on one core, against the plain loop that a notebook writes.

python scripts/benchmarks/preprocessing.py IMAGES [--images 1000] [--rounds 7]

Both sides read the files, cut 12 pixels of border, resize to 224x224, equalize (CLAHE), sharpen, scale and
normalize, and end with a float32 array of (3, 224, 224). The plain loop works on color, as notebooks do. Ours
is measured twice: gray, as the bundle's configs have it, and in color.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import torch
from monai.data import set_track_meta
from monai.transforms import Compose
from record import record

from monai_brain.transforms.intensity import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EqualizeLocalContrastd,
    NormalizeChannelsd,
    ScaleToUnitd,
    SharpenGaussiand,
)
from monai_brain.transforms.load import LoadSliced
from monai_brain.transforms.spatial import CropBorderd, ResizeSliced

SIZE = 224
TARGET = 0.75


def plain(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        image = np.asarray(picture.convert("RGB"))[12:-12, 12:-12]
    image = cv2.resize(image, (SIZE, SIZE))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
    image = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    image = cv2.addWeighted(image, 1.5, cv2.GaussianBlur(image, (0, 0), 1.0), -0.5, 0)
    scaled = (image.astype(np.float32) / 255 - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def ours(gray: bool) -> Callable[[Path], torch.Tensor]:
    chain = Compose(
        [
            LoadSliced("image", gray=gray),
            CropBorderd("image"),
            ResizeSliced("image", SIZE),
            EqualizeLocalContrastd("image"),
            SharpenGaussiand("image"),
            ScaleToUnitd("image"),
            NormalizeChannelsd("image"),
        ]
    )
    return lambda path: chain({"image": path})["image"]


def seconds(process: Callable[[Path], object], paths: list[Path]) -> float:
    began = time.perf_counter()
    for path in paths:
        process(path)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of JPEGs, searched with everything below it")
    parser.add_argument("--images", dest="number", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    set_track_meta(False)
    everything = sorted(options.images.rglob("*.jpg"))
    paths = everything[:: max(1, len(everything) // options.number)][: options.number]
    sides = {"plain loop": plain, "ours, gray": ours(gray=True), "ours, color": ours(gray=False)}
    for side in sides.values():
        seconds(side, paths)  # files into the system's memory, libraries warm
    taken = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            taken[name].append(seconds(side, paths))
    rows = []
    for name, times in taken.items():
        ratios = [base / own for base, own in zip(taken["plain loop"], times, strict=True)]
        rate = len(paths) / statistics.median(times)
        rows.append([name, f"{rate:.0f}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"])
    record(
        "Deterministic preprocessing of 224x224 JPEGs, one core",
        ["", "images/s", "relative to the plain loop, median (range)"],
        rows,
        f"{len(paths)} images, {options.rounds} interleaved rounds. Target: at least {TARGET} of the plain loop.",
        ["opencv-python-headless", "pillow", "numpy", "torch", "monai"],
    )


if __name__ == "__main__":
    main()
