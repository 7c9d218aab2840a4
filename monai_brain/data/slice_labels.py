"""Label single slices of segmented heads: tumor if the mask shows one, no tumor if it is far away."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from monai_brain.data.matching import InvalidPairs
from monai_brain.data.pairs import Pair, Split
from monai_brain.io.read import read_image
from monai_brain.io.write import sha256_of, write_png
from monai_brain.labels import CLASS_NAMES

SEQUENCES = ("t1", "flair", "t1c")
"""Channels of an LGG slice: pre-contrast, FLAIR, post-contrast."""

LEAST_TUMOR = 0.01
"""Share of the slice's pixels from which a slice counts as one with tumor; smaller tumors get no label."""

LEAST_DISTANCE = 2
"""Slices between a slice without tumor and the nearest one with tumor, at least; closer ones get no label."""

LEAST_TISSUE = 0.1
"""Share of pixels brighter than air (10 of 255) that a slice without tumor needs."""

AIR = 10

LEAST_DIFFERENCE = 1.0
"""Mean difference in gray values below which a channel is a copy of another: its sequence is missing."""


class LabeledSlices(NamedTuple):
    """The labeled slices of a folder, split by patient."""

    folds: dict[str, Any]
    """A folds file, see `data.folds.read_folds`, of the patients that have a fold."""
    held_out: dict[str, Any]
    """A datalist with only a test part: the patients that the split holds out."""
    without_sequence: list[str]
    """Patients whose sequence is missing."""


def label_slices(
    folder: Path, pairs: Sequence[Pair], split: Split, output: Path, *, sequence: str = "t1c", tumor: str = "glioma"
) -> LabeledSlices:
    """Write one sequence of each slice whose class is certain as `output/CLASS/NAME.png`.

    Args:
        folder: holds the pairs.
        pairs: slices of three channels (`SEQUENCES`) with masks; the digits that end a name order a patient's slices.
        split: fold of every patient, counted from 0 there and from 1 in what is returned; and who is held out.
        output: gets the images; `image` of an item is relative to it.
        sequence: one of `SEQUENCES`.
        tumor: class of the slices with tumor.

    Raises:
        InvalidPairs: a slice has other than three channels or no number, or no slice could be labeled.
    """
    items: dict[str, list[dict[str, Any]]] = defaultdict(list)
    missing = []
    by_patient = defaultdict(list)
    for pair in pairs:
        by_patient[pair.patient].append(pair)
    for patient, own in sorted(by_patient.items()):
        own.sort(key=lambda pair: _number(pair.image))
        channels = [_channels(folder / pair.image) for pair in own]
        wanted = SEQUENCES.index(sequence)
        if any(_is_copy(channels, wanted, other) for other in range(len(SEQUENCES)) if other != wanted):
            missing.append(patient)
            continue
        for index, class_name in _certain(own, [pixels[wanted] for pixels in channels], tumor):
            name = f"{class_name}/{PurePosixPath(own[index].image).stem}.png"
            write_png(output / name, channels[index][wanted])
            items[patient].append(
                {
                    "image": name,
                    "label": CLASS_NAMES.index(class_name),
                    "sha256": sha256_of(output / name),
                    "group": patient,
                    "source": "lgg",
                    "sequence": sequence,
                    "tumor": own[index].tumor_pixels > 0,
                }
            )
    if not items:
        raise InvalidPairs(f"{folder}: no slice can be labeled with certainty; are these LGG slices with masks?")
    common = {"class_names": list(CLASS_NAMES), "grouping": "patient"}
    in_folds = [item | {"fold": split.folds[p] + 1} for p, own in items.items() if p in split.folds for item in own]
    held_out = [item for p, own in items.items() if p in split.held_out for item in own]
    return LabeledSlices(
        {"name": f"lgg_{sequence}", **common, "items": in_folds},
        {"name": f"lgg_{sequence}_held_out", **common, "test": held_out},
        missing,
    )


def count_classes(items: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Slices of each class."""
    return Counter(CLASS_NAMES[item["label"]] for item in items)


def _certain(pairs: Sequence[Pair], slices: Sequence[np.ndarray], tumor: str) -> Iterator[tuple[int, str]]:
    """Index and class of the slices of one patient, in order, whose class is certain."""
    with_tumor = [index for index, pair in enumerate(pairs) if pair.tumor_pixels]
    for index, (pair, pixels) in enumerate(zip(pairs, slices, strict=True)):
        if pair.tumor_pixels:
            if pair.tumor_pixels > LEAST_TUMOR * pixels.size:
                yield index, tumor
        elif (
            all(abs(index - other) >= LEAST_DISTANCE for other in with_tumor) and (pixels > AIR).mean() >= LEAST_TISSUE
        ):
            yield index, "notumor"


def _channels(path: Path) -> np.ndarray:
    pixels = read_image(path).pixels
    if pixels.shape[0] != len(SEQUENCES):
        raise InvalidPairs(f"{path}: {pixels.shape[0]} channel(s); expected three: {', '.join(SEQUENCES)}")
    return pixels


def _is_copy(slices: Sequence[np.ndarray], one: int, other: int) -> bool:
    differences = [np.abs(pixels[one].astype(float) - pixels[other]).mean() for pixels in slices]
    return bool(np.mean(differences) < LEAST_DIFFERENCE)


def _number(image: str) -> int:
    found = re.search(r"(\d+)$", PurePosixPath(image).stem)
    if not found:
        raise InvalidPairs(f"{image}: its name does not end in a number, so its neighbors are unknown")
    return int(found[1])
