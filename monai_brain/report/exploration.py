"""Look at a data set before training on it: counts, examples, sizes, intensities, preprocessing, augmentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.transforms import Compose
from monai.transforms.transform import Transform

from monai_brain.data.splits import PARTS, InvalidDatalist, load_datalist, read_class_names, read_datalist
from monai_brain.io.read import read_image
from monai_brain.labels import in_words
from monai_brain.report.figures import draw_class_counts, draw_histograms
from monai_brain.report.html import Block, Figure, Table, write_page
from monai_brain.report.slice_figures import draw_picture_grid
from monai_brain.transforms.load import to_8_bits, to_channels

EXAMPLES = 6
"""Slices per class, and augmented versions of a slice, that are shown."""

MEASURED = 2000
"""Slices, drawn at random, whose size and mean intensity are measured."""


class ImageStatistics(NamedTuple):
    """What is read from one slice."""

    class_name: str
    height: int
    width: int
    mean: float


def write_exploration(folder: Path, datalist: Path, dataset_dir: Path, configs: Sequence[Path], seed: int = 0) -> None:
    """Write `exploration.html` and its figures.

    Args:
        folder: where to.
        datalist: the split; every part that it has is counted.
        dataset_dir: folder that its paths are relative to.
        configs: train.yaml, and an overlay if there is one: their transforms are shown.
        seed: of what is drawn at random.

    Raises:
        InvalidDatalist: as `data.splits`.
    """
    set_track_meta(False)
    parts = {part: load_datalist(datalist, dataset_dir, part) for part in PARTS if read_datalist(datalist).get(part)}
    names = read_class_names(datalist)
    items = [item for part in parts.values() for item in part]
    if not all(isinstance(item.get("label"), int) for item in items):
        raise InvalidDatalist(f"{datalist}: has items without a label; exploring needs one for each image")
    random = np.random.default_rng(seed)
    counts = {
        part: [sum(item["label"] == index for item in own) for index in range(len(names))]
        for part, own in parts.items()
    }
    draw_class_counts(counts, names, folder / "classes.png")
    draw_picture_grid(_examples(items, names, random), folder / "examples.png")
    measured = [_measure(items[i], names) for i in random.permutation(len(items))[:MEASURED]]
    by_class = {name: [m for m in measured if m.class_name == name] for name in names}
    draw_histograms(
        {n: [m.mean for m in own] for n, own in by_class.items()}, "mean intensity, 0 to 255", folder / "means.png"
    )
    draw_histograms(
        {n: [m.width for m in own] for n, own in by_class.items()}, "width in pixels", folder / "widths.png"
    )
    deterministic, augmentation = _transforms(configs)
    draw_picture_grid(_steps(items, deterministic, random), folder / "preprocessing.png")
    draw_picture_grid(_augmented(items, names, deterministic, augmentation, random, seed), folder / "augmentation.png")
    write_page(folder / "exploration.html", f"Data of {datalist.name}", _blocks(counts, names, measured, augmentation))


def _blocks(
    counts: Mapping[str, Sequence[int]],
    class_names: Sequence[str],
    measured: Sequence[ImageStatistics],
    augmentation: Sequence[Any],
) -> list[Block]:
    rows = [[part, *map(str, own), str(sum(own))] for part, own in counts.items()]
    sizes: dict[tuple[int, int], int] = {}
    for slice_ in measured:
        sizes[slice_.height, slice_.width] = sizes.get((slice_.height, slice_.width), 0) + 1
    common = sorted(sizes.items(), key=lambda pair: -pair[1])[:8]
    blocks: list[Block] = [
        Table("Images per part and class", ["part", *map(in_words, class_names), "all"], rows),
        Figure("Class distribution", "classes.png"),
        Figure("Examples of every class", "examples.png"),
        Table(
            f"Most common sizes among {len(measured)} images drawn at random ({len(sizes)} in all)",
            ["height", "width", "images"],
            [[str(height), str(width), str(number)] for (height, width), number in common],
        ),
        Figure("Widths", "widths.png"),
        Figure("Mean intensities: where they differ by class, a network can learn the source instead", "means.png"),
        Figure("Preprocessing, step by step", "preprocessing.png"),
    ]
    if augmentation:
        blocks.append(Figure("Augmented versions of a slice of every class", "augmentation.png"))
    return blocks


def _examples(
    items: Sequence[Mapping[str, Any]], class_names: Sequence[str], random: np.random.Generator
) -> list[list[tuple[str, np.ndarray]]]:
    rows = []
    for index, name in enumerate(class_names):
        own = [item for item in items if item["label"] == index]
        chosen = [own[i] for i in random.permutation(len(own))[:EXAMPLES]]
        rows.append([(in_words(name) if not number else "", _gray(item)) for number, item in enumerate(chosen)])
    return [row for row in rows if row]


def _measure(item: Mapping[str, Any], class_names: Sequence[str]) -> ImageStatistics:
    gray = _gray(item)
    return ImageStatistics(class_names[item["label"]], gray.shape[0], gray.shape[1], float(gray.mean()))


def _gray(item: Mapping[str, Any]) -> np.ndarray:
    return to_channels(to_8_bits(read_image(Path(item["image"])).pixels), gray=True)[0]


def _transforms(configs: Sequence[Path]) -> tuple[list[Transform], list[Transform]]:
    parser = ConfigParser()
    parser.read_config([str(path) for path in configs])
    return (
        parser.get_parsed_content("deterministic_transforms"),
        parser.get_parsed_content("train::random_transforms"),
    )


def _steps(
    items: Sequence[Mapping[str, Any]], transforms: Sequence[Transform], random: np.random.Generator
) -> list[list[tuple[str, np.ndarray]]]:
    rows = []
    for item in _one_of_each(items, random):
        value: Any = dict(item)
        row = []
        for transform in transforms:
            value = transform(value)
            row.append((type(transform).__name__.removesuffix("d"), _shown(value["image"])))
        rows.append(row)
    return rows


def _augmented(
    items: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    deterministic: Sequence[Transform],
    augmentation: Sequence[Any],
    random: np.random.Generator,
    seed: int,
) -> list[list[tuple[str, np.ndarray]]]:
    first, augment = Compose(deterministic), Compose(augmentation).set_random_state(seed)
    rows = []
    for item in _one_of_each(items, random):
        prepared = first(dict(item))
        row = [(f"{in_words(class_names[item['label']])}, as it is", _shown(prepared["image"]))]
        row += [("", _shown(augment(dict(prepared))["image"])) for _ in range(EXAMPLES - 1)]
        rows.append(row)
    return rows


def _one_of_each(items: Sequence[Mapping[str, Any]], random: np.random.Generator) -> list[Mapping[str, Any]]:
    firsts: dict[int, Mapping[str, Any]] = {}
    for place in random.permutation(len(items)):
        firsts.setdefault(items[place]["label"], items[place])
    return [firsts[label] for label in sorted(firsts)]


def _shown(image: Any) -> np.ndarray:
    array = np.asarray(torch.as_tensor(image).float())[0]
    return np.clip(array, 0, 255).astype(np.uint8)
