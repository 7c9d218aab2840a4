"""Measure what an audit finds: known copies, planted ones by kind, false ones; and how long it takes.

python scripts/benchmarks/audit.py IMAGES FOLDS [--planted 300] [--scale 10000] [--search 100000] [--seed 0]

FOLDS is a folds file whose items say `copy_of` and `cheng_index`; slices with two different numbers are different.
--scale times a set of so many pictures, the images and planted copies of them. --search times the comparison alone,
of so many thumbnails made from those of the images: some thousands of them are compared with all, and the time of all
is estimated from that.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from monai_brain.data.duplicates import fingerprints
from monai_brain.data.folds import read_folds
from monai_brain.data.similarity import COPY, MIRRORED, NEAR_COPY, NEIGHBOR, THUMBNAIL_PIXELS, Pairs, alike, oriented
from monai_brain.io import Case
from monai_brain.io.write import write_png
from monai_brain.report.audit import audit, read_set

SAMPLE = 4096
"""Rows that are compared where a time is estimated."""


def crop(image: np.ndarray, share: float) -> np.ndarray:
    border = round(image.shape[0] * share)
    return cv2.resize(image[border:-border, border:-border], image.shape[::-1])


def turn(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 40": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [1, 40])[1], 0),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "rotated by 90 degrees and mirrored": lambda image: np.ascontiguousarray(np.rot90(image)[:, ::-1]),
    "20% and 10 gray levels brighter": lambda image: np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8),
    "gamma 0.8": lambda image: (255 * (image / 255.0) ** 0.8).astype(np.uint8),
    "noise, standard deviation 8": lambda image: np.clip(
        image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255
    ).astype(np.uint8),
    "resized to 512": lambda image: cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC),
    "cropped by 2%": lambda image: crop(image, 0.02),
    "rotated by 2 degrees": lambda image: turn(image, 2),
    "rotated by 5 degrees": lambda image: turn(image, 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--planted", type=int, default=300)
    parser.add_argument("--scale", type=int)
    parser.add_argument("--search", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    items = read_folds(options.folds)["items"]
    cases = [Case(item["image"], (options.images / item["image"],), "slice") for item in items]
    thumbnails = np.stack([found.thumbnail for found in fingerprints(cases, os.cpu_count() or 1)])
    known_copies(items, alike(thumbnails, NEAR_COPY))
    random = np.random.default_rng(options.seed)
    chosen = random.permutation(len(items))[: options.planted]
    pictures = [cv2.imread(str(cases[place].files[0]), cv2.IMREAD_GRAYSCALE) for place in chosen]
    print("\n| planted | found as a copy | found as a near copy |\n|---|---|---|")
    for kind, change in KINDS.items():
        own = np.stack([thumbnail(change(picture)) for picture in pictures])
        best = [best_correlation(thumbnails[place], planted) for place, planted in zip(chosen, own, strict=True)]
        print(f"| {kind} | {np.mean(np.array(best) >= COPY):.3f} | {np.mean(np.array(best) >= NEAR_COPY):.3f} |")
    if options.scale:
        time_audit(options.images, cases, options.scale, random)
    if options.search:
        time_search(thumbnails, options.search, random)


def known_copies(items: list[dict], pairs: Pairs) -> None:
    """Print recall on known copies, and the share of pairs that are two different slices."""
    place_of = {item["image"]: place for place, item in enumerate(items)}
    wanted = {tuple(sorted((place_of[i["image"]], place_of[i["copy_of"]]))) for i in items if "copy_of" in i}
    numbers = np.array([item.get("cheng_index", 0) for item in items])
    for name, least in (("copies", COPY), ("near copies", NEAR_COPY)):
        own = pairs.at_least(least)
        found = set(zip(own.first.tolist(), own.second.tolist(), strict=True))
        first, second = numbers[own.first], numbers[own.second]
        both = (first > 0) & (second > 0)
        false = int((both & (first != second)).sum())
        mirrored = int((own.orientation >= MIRRORED).sum())
        print(
            f"{name}: {len(wanted & found)} of {len(wanted)} known ones found; {len(found)} pairs, {mirrored} mirrored;"
            f" of {int(both.sum())} pairs of identified slices {false} are different slices"
        )


def thumbnail(image: np.ndarray) -> np.ndarray:
    standard = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    return cv2.resize(standard, (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), interpolation=cv2.INTER_AREA)


def best_correlation(first: np.ndarray, second: np.ndarray) -> float:
    looks = [oriented(second[None], orientation)[0] for orientation in range(8)]
    return max(float(np.corrcoef(first.ravel(), look.ravel())[0, 1]) for look in looks)


def time_audit(images: Path, cases: list[Case], scale: int, random: np.random.Generator) -> None:
    with tempfile.TemporaryDirectory() as folder:
        more = max(0, scale - len(cases))
        for number in range(more):
            picture = cv2.imread(str(cases[random.integers(len(cases))].files[0]), cv2.IMREAD_GRAYSCALE)
            planted = turn(crop(picture, random.uniform(0.01, 0.1)), random.uniform(-20, 20))
            write_png(Path(folder) / "planted" / f"{number}.png", planted)
        began = time.monotonic()
        entries = read_set(images, 0) + (read_set(Path(folder) / "planted", 1) if more else [])
        audit(entries[:scale], Path(folder) / "out", workers=os.cpu_count() or 1)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"\n{min(scale, len(entries))} pictures: {time.monotonic() - began:.0f} s, {memory:.1f} GB at most")


def time_search(thumbnails: np.ndarray, number: int, random: np.random.Generator) -> None:
    """Print how long a core compares so many thumbnails, turned at random, from a sample of rows."""
    chosen = thumbnails[random.integers(len(thumbnails), size=number)]
    many = np.stack([turn(own, degrees) for own, degrees in zip(chosen, random.uniform(-20, 20, number), strict=True)])
    began = time.process_time()
    alike(many[:SAMPLE], NEIGHBOR, against=many)
    seconds = (time.process_time() - began) * number / 2 / SAMPLE  # each pair is compared once
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{number} thumbnails: {seconds:.0f} s of one core, estimated, and {memory:.1f} GB at most")


if __name__ == "__main__":
    main()
