"""Index a folder of class folders: who belongs to which class, group and part."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
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
from monai_brain.data.splits import DEFAULT_FRACTIONS, PART_FOLDERS, PARTS, class_names_of, split_groups
from monai_brain.io import Case, Skipped, find_cases
from monai_brain.io.cases import is_litter
from monai_brain.labels import CLASS_NAMES, FOLDER_NAMES, check_class_names, class_of_folder

OTHER_CLASS = "other_class"
"""Code of folders that are left out because their class is none of those that were asked for."""

VALIDATION_SHARE = 0.15
"""Of training, where a split that is kept has no validation part."""

KNOWN_NAMES = "; ".join(f"{name}: {', '.join(known)}" for name, known in FOLDER_NAMES.items())
WAYS_OUT = (
    "Rename or move folders, or name your own classes, which are those of the folders, with --classes A,B,...; without "
    f"it, known names are {KNOWN_NAMES}"
)
"""Where folders do not fit the classes."""


class UnusableFolder(ValueError):
    """A folder that cannot be indexed, with the way out."""


class Index(NamedTuple):
    """An indexed folder."""

    datalist: dict[str, Any]
    """MONAI's datalist of the readable images, paths relative to the folder."""
    refused: dict[str, str]
    """Relative path of each file that is in no part: its code."""
    duplicates: "Duplicates"
    divided_groups: int = 0
    """Groups that a split which was kept has in more than one part."""


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
    class_names: Sequence[str] | None = None,
    keep_split: bool = False,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    workers: int = 2,
) -> Index:
    """Index class folders and split them 70/15/15, grouped and stratified; or keep the split that they have.

    Args:
        folder: holds one folder per class, see `labels.class_of_folder`; or folders such as `Training` and `Testing`
            that hold these.
        patient_pattern: regular expression on the path relative to `folder`; its first group (or the whole
            match) is the patient. Without it, groups are clusters of slices that look alike.
        class_names: other classes than the default ones; folders of none of them are left out.
        keep_split: the folder's own split. Where it has no validation part, some groups of training become it.
        fractions: of training, validation and test.
        seed: of the split.
        workers: processes that read the images.

    Raises:
        UnusableFolder: a class folder is missing, empty or unknown; a path has no patient; or the folder has a split
            and it is not to be kept, or the other way round.
    """
    names = check_class_names(class_names or CLASS_NAMES)
    part_of = part_folders(folder, keep_split)
    labels_of: dict[Path, int] = {}
    refused: dict[str, str] = {}
    for place in part_of or [folder]:
        found, others = class_folders(place, names, leave_out=class_names is not None)
        labels_of |= found
        refused |= {f"{path.relative_to(folder).as_posix()}/": OTHER_CLASS for path in others}
    _refuse_missing(labels_of, names, folder, part_of)
    cases, labels, skipped = _cases_by_class(folder, labels_of)
    refused |= skipped
    prints = fingerprints(cases, workers)
    for case, own in zip(cases, prints, strict=True):
        if own.refusal:
            refused[case.id] = own.refusal.code
    readable = [i for i, own in enumerate(prints) if own.refusal is None]
    cases, labels = [cases[i] for i in readable], [labels[i] for i in readable]
    prints = [prints[i] for i in readable]
    parts = [part_of.get(folder / PurePosixPath(case.id).parts[0], "training") for case in cases]
    _refuse_empty(labels, parts, names, folder)
    groups, grouping = _groups(cases, prints, patient_pattern)
    divided = sum(count > 1 for count in Counter(group for group, _ in set(zip(groups, parts, strict=True))).values())
    if not part_of:
        parts = split_groups(labels, groups, fractions=fractions, seed=seed, class_names=names)
    elif "validation" not in parts:
        _draw_validation(parts, labels, groups, seed, names)
    datalist: dict[str, Any] = {
        "name": folder.resolve().name,
        "class_names": list(names),
        "grouping": grouping,
        **({"split": f"kept, of the folders {', '.join(path.name for path in part_of)}"} if part_of else {}),
        "seed": seed,
        **{part: [] for part in PARTS},
    }
    for case, label, group, own, part in zip(cases, labels, groups, prints, parts, strict=True):
        datalist[part].append({"image": case.id, "label": label, "group": group, "sha256": own.sha256})
    return Index(datalist, refused, count_duplicates(prints, labels), divided)


def part_folders(folder: Path, keep_split: bool) -> dict[Path, str]:
    """The folders inside `folder` that are parts of a split, with their part; none where it has no split.

    Raises:
        UnusableFolder: `folder` is missing; or it has a split, whole or not, that is not what was asked for.
    """
    if not folder.is_dir():
        raise UnusableFolder(f"{folder}: no such folder; give the one that holds the class folders")
    inside = _folders_inside(folder)
    found = {path: PART_FOLDERS[path.name.lower()] for path in inside if path.name.lower() in PART_FOLDERS}
    names = ", ".join(path.name for path in found)
    if found and not keep_split:
        raise UnusableFolder(
            f"{folder}: holds {names}, which is a split; give --keep-split to keep it, or make a new one without "
            f"copies in two parts: monai-brain audit {folder} -o AUDIT --split-to DATALIST"
        )
    if keep_split and not {"training", "test"} <= set(found.values()):
        raise UnusableFolder(
            f"{folder}: --keep-split needs folders for training and test, such as Training and Testing, with the class "
            f"folders inside; there is {names or 'none'}"
        )
    if found and (strange := [path.name for path in inside if path not in found]):
        raise UnusableFolder(f"{folder}: holds {', '.join(strange)} beside {names}; move it away, or into one of them")
    return found


def class_folders(
    folder: Path, class_names: Sequence[str] = CLASS_NAMES, *, leave_out: bool = False
) -> tuple[dict[Path, int], list[Path]]:
    """The class folders inside `folder`, with their class index; and the folders that are left out.

    Args:
        folder: holds them.
        class_names: classes that there are.
        leave_out: leave out folders of other classes, instead of refusing them.

    Raises:
        UnusableFolder: a class folder is unknown.
    """
    found = {path: class_of_folder(path.name, class_names) for path in _folders_inside(folder)}
    unknown = [path for path, name in found.items() if name is None]
    if unknown and not leave_out:
        raise UnusableFolder(f"{folder}: unknown class folder {', '.join(path.name for path in unknown)}. {WAYS_OUT}")
    return {path: class_names.index(name) for path, name in found.items() if name is not None}, unknown


def _folders_inside(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not (path.name.startswith(".") or is_litter(path.name))
    )


def _draw_validation(
    parts: list[str], labels: Sequence[int], groups: Sequence[Any], seed: int, class_names: Sequence[str]
) -> None:
    """Make some groups of training the validation part, stratified by class."""
    own = [place for place, part in enumerate(parts) if part == "training"]
    drawn = split_groups(
        [labels[place] for place in own],
        [groups[place] for place in own],
        fractions=(1 - VALIDATION_SHARE, VALIDATION_SHARE, 0),
        seed=seed,
        class_names=class_names,
    )
    for place, part in zip(own, drawn, strict=True):
        parts[place] = part


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
            for index, name in enumerate(class_names_of(datalist))
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


def _refuse_missing(
    labels_of: Mapping[Path, int], class_names: Sequence[str], folder: Path, part_of: Mapping[Path, str]
) -> None:
    """Refuse classes that no folder is there for, in training if there are parts."""
    there = {label for path, label in labels_of.items() if part_of.get(path.parent, "training") == "training"}
    missing = [name for index, name in enumerate(class_names) if index not in there]
    if missing:
        where = " for training" if part_of else ""
        raise UnusableFolder(f"{folder}: no folder of class {', '.join(missing)}{where}. {WAYS_OUT}")


def _refuse_empty(labels: Sequence[int], parts: Sequence[str], class_names: Sequence[str], folder: Path) -> None:
    there = {label for label, part in zip(labels, parts, strict=True) if part == "training"}
    empty = [name for index, name in enumerate(class_names) if index not in there]
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
