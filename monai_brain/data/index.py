"""Index a folder of class folders: who belongs to which class, group and part."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_brain.data.duplicates import (
    NEAR_DUPLICATE_BITS,
    NEIGHBOR_BITS,
    Fingerprint,
    clusters,
    fingerprints,
    pairs_within,
)
from monai_brain.data.likeness import NEIGHBOR
from monai_brain.data.splits import DEFAULT_FRACTIONS, PARTS, split_groups
from monai_brain.io import Case, Skipped, find_cases
from monai_brain.io.cases import is_litter
from monai_brain.labels import CLASS_NAMES, FOLDER_NAMES, class_of_folder


class UnusableFolder(ValueError):
    """A folder that cannot be indexed, with the way out."""


class Index(NamedTuple):
    """An indexed folder."""

    datalist: dict[str, Any]
    """MONAI's datalist of the readable images, paths relative to the folder."""
    refused: dict[str, str]
    """Relative path of each file that is in no part: its code."""
    duplicates: "Duplicates"


class Duplicates(NamedTuple):
    """How much of a data set is there more than once."""

    exact: int
    """Images whose file exists elsewhere with the same content."""
    near: int
    """Images with another one within `NEAR_DUPLICATE_BITS`, exact copies included."""
    near_of_other_class: int
    """Of these, images whose twin has another label."""


def index_folder(
    folder: Path,
    *,
    patient_pattern: str | None = None,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    workers: int = 2,
) -> Index:
    """Index class folders and split them 70/15/15, grouped and stratified.

    Args:
        folder: holds one folder per class, under any of the public sets' names (`labels.FOLDER_NAMES`).
        patient_pattern: regular expression on the path relative to `folder`; its first group (or the whole
            match) is the patient. Without it, groups are clusters of slices that look alike.
        fractions: of training, validation and test.
        seed: of the split.
        workers: processes that read the images.

    Raises:
        UnusableFolder: a class folder is missing, empty or unknown; or a path has no patient.
    """
    cases, labels, refused = _cases_by_class(folder, class_folders(folder))
    prints = fingerprints(cases, workers)
    for case, found in zip(cases, prints, strict=True):
        if found.refusal:
            refused[case.id] = found.refusal.code
    readable = [i for i, found in enumerate(prints) if found.refusal is None]
    cases, labels = [cases[i] for i in readable], [labels[i] for i in readable]
    prints = [prints[i] for i in readable]
    _refuse_empty(labels, folder)
    groups, grouping = _groups(cases, prints, patient_pattern)
    parts = split_groups(labels, groups, fractions=fractions, seed=seed)
    datalist: dict[str, Any] = {
        "name": folder.resolve().name,
        "class_names": list(CLASS_NAMES),
        "grouping": grouping,
        "seed": seed,
        **{part: [] for part in PARTS},
    }
    for case, label, group, found, part in zip(cases, labels, groups, prints, parts, strict=True):
        datalist[part].append({"image": case.id, "label": label, "group": group, "sha256": found.sha256})
    return Index(datalist, refused, count_duplicates(prints, labels))


def class_folders(folder: Path) -> dict[Path, int]:
    """The class folders inside `folder`, with their class index.

    Raises:
        UnusableFolder: `folder` is missing, or a class folder is missing or unknown.
    """
    if not folder.is_dir():
        raise UnusableFolder(f"{folder}: no such folder; give the one that holds the class folders")
    inside = sorted(
        path for path in folder.iterdir() if path.is_dir() and not (path.name.startswith(".") or is_litter(path.name))
    )
    found = {path: class_of_folder(path.name) for path in inside}
    unknown = [path.name for path, name in found.items() if name is None]
    missing = [name for name in CLASS_NAMES if name not in found.values()]
    if unknown or missing:
        known = "; ".join(f"{name}: {', '.join(FOLDER_NAMES[name])}" for name in CLASS_NAMES)
        said = [f"unknown class folder {', '.join(unknown)}"] if unknown else []
        said += [f"no folder of class {', '.join(missing)}"] if missing else []
        raise UnusableFolder(f"{folder}: {'; '.join(said)}. Rename or move folders; known names are {known}")
    return {path: CLASS_NAMES.index(name) for path, name in found.items() if name is not None}


def count_duplicates(prints: Sequence[Fingerprint], labels: Sequence[int]) -> Duplicates:
    """Count images that are there more than once."""
    copies = Counter(found.sha256 for found in prints)
    pairs = pairs_within(np.stack([found.bits for found in prints]), NEAR_DUPLICATE_BITS)
    contrary = [pair for pair in pairs if labels[pair[0]] != labels[pair[1]]]
    return Duplicates(
        exact=sum(copies[found.sha256] > 1 for found in prints),
        near=len(np.unique(pairs)),
        near_of_other_class=len(set(chain.from_iterable(map(tuple, contrary)))),
    )


def count_by_class(datalist: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Images and groups per part (and `all`) and class: {part: {class: (images, groups)}}."""
    table = {}
    for part in (*PARTS, "all"):
        items = [item for p in PARTS if part in (p, "all") for item in datalist.get(p, [])]
        table[part] = {
            name: (
                sum(item["label"] == index for item in items),
                len({item.get("group") for item in items if item["label"] == index}),
            )
            for index, name in enumerate(CLASS_NAMES)
        }
    return table


def _cases_by_class(folder: Path, folders: Mapping[Path, int]) -> tuple[list[Case], list[int], dict[str, str]]:
    cases: list[Case] = []
    labels: list[int] = []
    skipped: dict[str, str] = {}
    for class_folder, label in folders.items():
        for found in find_cases(class_folder):
            identity = f"{class_folder.relative_to(folder).as_posix()}/{found.id}"
            if isinstance(found, Skipped):
                skipped[identity] = found.code
            else:
                cases.append(found._replace(id=identity))
                labels.append(label)
    return cases, labels, skipped


def _refuse_empty(labels: Sequence[int], folder: Path) -> None:
    empty = [name for index, name in enumerate(CLASS_NAMES) if index not in labels]
    if empty:
        raise UnusableFolder(
            f"{folder}: no readable image of class {', '.join(empty)}; fill the folder or fix its files"
        )


def _groups(cases: Sequence[Case], prints: Sequence[Fingerprint], pattern: str | None) -> tuple[list[Any], str]:
    if pattern is None:
        found = clusters(prints)
        how = (
            f"de-duplicated, not patient-level: single linkage of imagehash.phash <= {NEIGHBOR_BITS} of 256 bits and "
            f"of thumbnails in eight orientations, correlation >= {NEIGHBOR}"
        )
        return [int(group) for group in found], how
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UnusableFolder(f"patient pattern {pattern!r} is no regular expression ({error})") from None
    matches = [compiled.search(case.id) for case in cases]
    without = [case.id for case, match in zip(cases, matches, strict=True) if match is None]
    if without:
        raise UnusableFolder(
            f"{len(without)} path(s) have no patient by {pattern!r}, such as {without[0]}; widen the pattern"
        )
    return [match[1] if match.re.groups else match[0] for match in matches if match], f"patient by {pattern!r}"
