"""Pictures by which the input check is fitted and measured, as thumbnails: heads by sequence, and what is no head."""

import csv
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from monai_brain.data.folds import read_folds
from monai_brain.evaluation.input_check import thumbnail
from monai_brain.io import UnreadableCase
from monai_brain.io.read import read_image
from monai_brain.labels import CLASS_NAMES
from monai_brain.transforms.load import to_8_bits, to_channels

BY_EYE = Path(__file__).with_name("sequences_by_eye.csv")
"""Slices of the public set whose sequence is plain: fluid is bright on T2, and dark on FLAIR with lesions bright."""

PLANES_BY_EYE = Path(__file__).with_name("planes_by_eye.csv")
"""Slices of Cheng's set, drawn at random, and their planes."""

SEQUENCES = ("t1", "flair", "t1c")
"""Channels of an LGG slice."""

LEAST_TISSUE, AIR = 0.1, 10
"""Share of a slice's pixels that are brighter than air, of 255: with less, no head shows."""

LEAST_DIFFERENCE = 1.0
"""Mean difference of two channels, below which one replaces the other, which is missing."""

PHOTOGRAPHS = (
    ("skimage", "data"),
    ("sklearn", "datasets/images"),
    ("matplotlib", "mpl-data/sample_data"),
    ("gradio", "media_assets/images"),
)
"""Packages, and where their pictures are."""


class Picture(NamedTuple):
    """A thumbnail, and what it is known to show."""

    pixels: np.ndarray
    kind: str
    """One of `KINDS`; empty where it is not known."""
    source: str
    group: str
    """The patient, or what comes nearest."""
    fold: int
    """1 to 5; 0: held out of all fitting."""
    label: str = ""
    """Class of tumor, where it is known."""
    path: str = ""
    """Of the file, of LGG slices."""
    plane: str = ""
    """One of `PLANES`, where it is known."""


def public_slices(images: Path, folds: Path) -> Iterator[Picture]:
    """The distinct slices of the public set; those of Cheng's are T1 with contrast, few others are known by eye."""
    by_eye, planes = read_column(BY_EYE, "sequence"), read_column(PLANES_BY_EYE, "plane")
    for item in read_folds(folds)["items"]:
        if "copy_of" in item:
            continue
        kind = "t1c" if item["source"] == "cheng" else by_eye.get(item["image"], "")
        pixels = thumbnail(gray_of(images / item["image"]))
        own = kind, item["source"], item["group"], item["fold"], CLASS_NAMES[item["label"]]
        yield Picture(pixels, *own, plane=planes.get(item["image"], ""))


def read_column(table: Path, name: str) -> dict[str, str]:
    """A column of a table, by its column `image`."""
    with table.open(encoding="utf-8") as file:
        return {row["image"]: row[name] for row in csv.DictReader(file)}


def lgg_slices(folder: Path, split: Path) -> Iterator[Picture]:
    """The three sequences of the slices of patients who have all; folds as in the split, counted from 1."""
    folds = json.loads(split.read_text(encoding="utf-8"))["folds"]
    for patient in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = [path for path in sorted(patient.glob("*.tif")) if "mask" not in path.name]
        slices = [read_image(path).pixels for path in paths]
        if any(_is_copy(slices, one, other) for one, other in ((0, 1), (0, 2), (1, 2))):
            continue
        fold = folds[patient.name] + 1 if patient.name in folds else 0
        for path, channels in zip(paths, slices, strict=True):
            if (channels > AIR).mean(axis=(1, 2)).min() >= LEAST_TISSUE:
                for sequence, own in zip(SEQUENCES, channels, strict=True):
                    yield Picture(thumbnail(own), sequence, "lgg", patient.name, fold, path=str(path), plane="axial")


def demo_slices(folder: Path) -> Iterator[Picture]:
    """Rendered heads, T1 with contrast: what `monai-brain demo-data` wrote."""
    for number, path in enumerate(sorted(folder.glob("*/*.png"))):
        patient, plane, _ = path.stem.rsplit("_", 2)
        yield Picture(thumbnail(gray_of(path)), "t1c", "demo", patient, number % 5 + 1, plane=plane)


def other_pictures(count: int, seed: int) -> Iterator[Picture]:
    """Photographs in many cuts, noise, shapes, text and charts."""
    photographs = list(_photographs())
    random = np.random.default_rng(seed)
    makers = (("noise", _noise), ("shapes", _shapes), ("text", _text), ("chart", _chart))
    for number in range(count):
        source, image = "photograph", None
        if random.random() < 0.45:
            source, make = makers[int(random.integers(len(makers)))]
            image = make(random)
        if image is None or image.max() == image.min():
            source, image = "photograph", _cut(photographs[int(random.integers(len(photographs)))], random)
        yield Picture(thumbnail(image), "not_a_head", source, source, number % 5 + 1)


def gray_of(path: Path) -> np.ndarray:
    """A picture as the check sees it, uint8 (H, W)."""
    return to_channels(to_8_bits(read_image(path).pixels), gray=True)[0]


def _is_copy(slices: Sequence[np.ndarray], one: int, other: int) -> bool:
    return bool(np.mean([np.abs(own[one].astype(float) - own[other]).mean() for own in slices]) < LEAST_DIFFERENCE)


def _photographs() -> Iterator[np.ndarray]:
    for package, folder in PHOTOGRAPHS:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise SystemExit(f"{package} is not installed; its pictures are needed: pip install -e '.[app,dev]'")
        for path in sorted((Path(found.origin).parent / folder).rglob("*")):
            if path.suffix in (".png", ".jpg"):
                try:
                    yield gray_of(path)
                except UnreadableCase:
                    continue


def _cut(photograph: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A part of a photograph: as it is, inverted, in a round frame, or on black."""
    shorter = min(photograph.shape)
    side = max(24, int(shorter * random.uniform(0.25, 1)))
    top, left = (int(random.integers(0, size - side + 1)) for size in photograph.shape)
    part = photograph[top : top + side, left : left + side]
    way = random.random()
    if way < 0.35:
        return part * _round(side, random)
    if way < 0.45:
        return 255 - part
    return np.pad(part, int(side * random.uniform(0.1, 0.6))) if way < 0.6 else part


def _round(side: int, random: np.random.Generator) -> np.ndarray:
    """A turned ellipse, bool (side, side)."""
    down, across = np.mgrid[:side, :side] / side - 0.5
    turn, (half_width, half_height) = random.uniform(0, np.pi), random.uniform(0.25, 0.5, 2)
    along = across * np.cos(turn) + down * np.sin(turn)
    beside = down * np.cos(turn) - across * np.sin(turn)
    return (along / half_width) ** 2 + (beside / half_height) ** 2 < 1


def _noise(random: np.random.Generator) -> np.ndarray:
    side = int(random.integers(64, 257))
    grain = int(random.choice([1, 1, 4, 10, 30]))
    coarse = random.normal(random.uniform(20, 150), random.uniform(10, 90), (side // grain + 1,) * 2)
    method = int(random.choice([cv2.INTER_NEAREST, cv2.INTER_CUBIC]))
    image = cv2.resize(coarse.astype(np.float32), (side, side), interpolation=method)
    image = np.clip(image + random.normal(0, random.uniform(0, 30), image.shape), 0, 255).astype(np.uint8)
    return image * _round(side, random) if random.random() < 0.45 else image


def _shapes(random: np.random.Generator) -> np.ndarray:
    image = np.full((256, 256), int(random.choice([0, 0, 40, 255])), np.uint8)
    for _ in range(int(random.integers(1, 9))):
        gray, thickness = int(random.integers(20, 256)), int(random.choice([-1, 1, 3, 8]))
        first, second = ([int(v) for v in random.integers(0, 256, 2)] for _ in range(2))
        if random.random() < 0.6:
            axes = [int(v) for v in random.integers(5, 120, 2)]
            cv2.ellipse(image, first, axes, int(random.integers(180)), 0, 360, gray, thickness)
        else:
            cv2.rectangle(image, first, second, gray, thickness)
    if random.random() < 0.3:  # rings within rings, as a head's outline
        image[:] = 0
        axes = random.integers(60, 120, 2)
        for share in (1.0, 0.9, random.uniform(0.3, 0.8)):
            inner = [int(v) for v in axes * share]
            cv2.ellipse(image, (128, 128), inner, 0, 0, 360, int(random.integers(0, 256)), -1)
    return cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 6)) if random.random() < 0.4 else image


def _text(random: np.random.Generator) -> np.ndarray:
    words = ("patient", "report", "slice", "volume", "open", "save", "value", "table", "the", "MR", "12", "3.5", "2026")
    side, is_dark = int(random.integers(200, 500)), random.random() < 0.5
    image = np.full((side, side), 0 if is_dark else 255, np.uint8)
    top = 12
    while top < side:
        line = " ".join(random.choice(words, int(random.integers(1, 9))))
        font, scale = int(random.integers(0, 4)), random.uniform(0.3, 0.9)
        cv2.putText(image, line, (int(random.integers(2, 30)), top), font, scale, 255 if is_dark else 0, 1, cv2.LINE_AA)
        top += int(random.integers(12, 50))
    return image


def _chart(random: np.random.Generator) -> np.ndarray:
    image = np.full((256, 256), int(random.choice([0, 30, 255])), np.uint8)
    cv2.rectangle(image, (30, 20), (240, 220), 255 - int(image[0, 0]), 1)
    gray = int(random.integers(60, 200))
    kind = int(random.integers(3))
    if kind == 0:
        heights = np.clip(np.cumsum(random.normal(0, 5, 60)) + random.uniform(60, 180), 22, 218)
        cv2.polylines(image, [np.stack([np.linspace(32, 238, 60), heights], 1).astype(np.int32)], False, gray, 2)
    elif kind == 1:
        for left in range(34, 220, 20):
            cv2.rectangle(image, (left, int(random.integers(30, 210))), (left + 14, 219), gray, -1)
    else:
        for across, down in random.normal((135, 120), 35, (200, 2)).astype(int):
            cv2.circle(image, (int(across), int(down)), 2, gray, -1)
    return image
