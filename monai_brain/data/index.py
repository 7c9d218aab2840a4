"""Index a folder of class folders: the class, group and part of every image."""

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
from monai_brain.data.grouping import BY_PROVENANCE, Provenance, find_provenance
from monai_brain.data.similarity import NEIGHBOR
from monai_brain.data.splits import DEFAULT_FRACTIONS, PART_FOLDERS, PARTS, class_names_of, split_groups
from monai_brain.io import Case, Skipped, find_cases
from monai_brain.io.cases import is_clutter
from monai_brain.labels import CLASS_NAMES, FOLDER_NAMES, check_class_names, class_of_folder

OTHER_CLASS = "other_class"
"""Code of folders that are left out because their class was not requested."""

VALIDATION_SHARE = 0.15
"""Share of training that becomes validation if a kept split has no validation part."""

KNOWN_NAMES = "; ".join(f"{name}: {', '.join(known)}" for name, known in FOLDER_NAMES.items())
WAYS_OUT = (
    "Rename or move folders, or name your own classes (the folder names) with --classes A,B,...; without it, "
    f"known names are {KNOWN_NAMES}"
)
"""Ends the message if folders do not match the classes."""


class InvalidFolder(ValueError):
    """A folder that cannot be indexed, with the way out."""


class Index(NamedTuple):
    """An indexed folder."""

    datalist: dict[str, Any]
    """MONAI's datalist, or a folds file, of the readable images; paths relative to the folder."""
    refused: dict[str, str]
    """Code of each file that is in no part, by relative path."""
    duplicates: "Duplicates"
    divided_groups: int = 0
    """Groups that a kept split has in more than one part."""
    provenance: Provenance | None = None
    """Provenance of the readable images, if requested."""


class Duplicates(NamedTuple):
    """Counts of duplicates in a data set."""

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
    folds: int | None = None,
    provenance: bool = False,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    workers: int = 2,
) -> Index:
    """Index class folders and split them 70/15/15 or into folds, grouped and stratified, or keep their own split.

    Args:
        folder: contains one folder per class, see `labels.class_of_folder`; or folders such as `Training` and
            `Testing` that contain the class folders.
        patient_pattern: regular expression on the path relative to `folder`; its first group (or the whole
            match) is the patient. Without it, groups are clusters of similar slices.
        class_names: classes to use instead of the default ones; other folders are left out.
        keep_split: keep the folder's own split. If it has no validation part, some training groups become one.
        folds: number of folds to make instead of parts; the result is a folds file, see `data.folds.read_folds`.
        provenance: group slices of public sets by their known patients, see `data.grouping`, and leave copies out.
        fractions: of training, validation and test.
        seed: of the split.
        workers: number of processes that read the images.

    Raises:
        InvalidFolder: a class folder is missing, empty or unknown; the pattern finds no patient in a path; or
            `keep_split` does not match whether the folder has a split.
    """
    names = check_class_names(class_names or CLASS_NAMES)
    part_of = part_folders(folder, keep_split, dissolve=folds is not None)
    labels_of, refused = _classes_of(folder, list(part_of) or [folder], names, leave_out=class_names is not None)
    if folds is not None:
        part_of = {}
    _refuse_missing(labels_of, names, folder, part_of)
    cases, labels, prints, unreadable = _readable(folder, labels_of, workers)
    refused |= unreadable
    parts = [part_of.get(folder / PurePosixPath(case.id).parts[0], "training") for case in cases]
    _refuse_empty(labels, parts, names, folder)
    facts = find_provenance(prints) if provenance else None
    groups, grouping = _groups(cases, prints, patient_pattern) if facts is None else ([], BY_PROVENANCE)
    header: dict[str, Any] = {"name": folder.resolve().name, "class_names": list(names), "grouping": grouping}
    items: list[dict[str, Any]] = [
        {"image": case.id, "label": label, "sha256": own.sha256}
        for case, label, own in zip(cases, labels, prints, strict=True)
    ]
    if folds is not None:
        content = {**header, "seed": seed, "items": _items_of_folds(items, groups, facts, folds, seed, names)}
        return Index(content, refused, count_duplicates(prints, labels), provenance=facts)
    if facts is not None:
        groups = facts.fold_groups(labels)
    divided = sum(count > 1 for count in Counter(group for group, _ in set(zip(groups, parts, strict=True))).values())
    if not part_of:
        parts = split_groups(labels, groups, fractions=fractions, seed=seed, class_names=names)
    elif "validation" not in parts:
        _draw_validation(parts, labels, groups, seed, names)
    datalist: dict[str, Any] = {
        **header,
        **({"split": f"kept, of the folders {', '.join(path.name for path in part_of)}"} if part_of else {}),
        "seed": seed,
        **{part: [] for part in PARTS},
    }
    for number in range(len(items)) if facts is None else facts.distinct():
        known = facts.facts(number) if facts else {}
        datalist[parts[number]].append({**items[number], "group": groups[number], **known})
    return Index(datalist, refused, count_duplicates(prints, labels), divided, facts)


def _classes_of(
    folder: Path, places: Sequence[Path], names: Sequence[str], leave_out: bool
) -> tuple[dict[Path, int], dict[str, str]]:
    """Class of each class folder in these places; and what is left out, with its code."""
    labels_of: dict[Path, int] = {}
    refused: dict[str, str] = {}
    for place in places:
        found, others = class_folders(place, names, leave_out=leave_out)
        labels_of |= found
        refused |= {f"{path.relative_to(folder).as_posix()}/": OTHER_CLASS for path in others}
    return labels_of, refused


def _readable(
    folder: Path, labels_of: Mapping[Path, int], workers: int
) -> tuple[list[Case], list[int], list[Fingerprint], dict[str, str]]:
    """Images that can be read, their classes and fingerprints; and the codes of all other files."""
    cases, labels, refused = _cases_by_class(folder, labels_of)
    prints = fingerprints(cases, workers)
    for case, own in zip(cases, prints, strict=True):
        if own.refusal:
            refused[case.id] = own.refusal.code
    places = [i for i, own in enumerate(prints) if own.refusal is None]
    return [cases[i] for i in places], [labels[i] for i in places], [prints[i] for i in places], refused


def _items_of_folds(
    items: Sequence[dict[str, Any]],
    groups: Sequence[Any],
    facts: Provenance | None,
    number: int,
    seed: int,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Every image with its fold; copies name their original and join its fold."""
    fixed: dict[Any, int] = {}
    if facts is not None:
        groups = facts.slice_groups()
        fixed = {group: fold for group, fold in zip(groups, facts.folds, strict=True) if fold is not None}
    folds = split_groups(
        [item["label"] for item in items],
        groups,
        fractions=[1 / number] * number,
        seed=seed,
        class_names=class_names,
        parts=range(1, number + 1),
        fixed=fixed,
    )
    placed = [{**item, "group": group, "fold": fold} for item, group, fold in zip(items, groups, folds, strict=True)]
    if facts is None:
        return placed
    return [
        {**item, **facts.facts(place), **({"copy_of": items[first]["image"]} if first != place else {})}
        for place, (item, first) in enumerate(zip(placed, facts.copies.tolist(), strict=True))
    ]


def part_folders(folder: Path, keep_split: bool, dissolve: bool = False) -> dict[Path, str]:
    """The folders inside `folder` that are parts of a split, with their part; none where it has no split.

    Args:
        folder: holds class folders, or folders of parts that hold these.
        keep_split: its split is asked for.
        dissolve: a split is allowed, and does not count.

    Raises:
        InvalidFolder: `folder` is missing; or it has a split, whole or not, that is not what was asked for.
    """
    if not folder.is_dir():
        raise InvalidFolder(f"{folder}: no such folder; give the one that holds the class folders")
    inside = _folders_inside(folder)
    found = {path: PART_FOLDERS[path.name.lower()] for path in inside if path.name.lower() in PART_FOLDERS}
    names = ", ".join(path.name for path in found)
    if found and not (keep_split or dissolve):
        raise InvalidFolder(
            f"{folder}: holds {names}, which is a split; give --keep-split to keep it, --folds 5 for folds of all of "
            "it, or make a new split without copies in two parts: "
            f"monai-brain audit {folder} -o AUDIT --split-to DATALIST"
        )
    if keep_split and not {"training", "test"} <= set(found.values()):
        raise InvalidFolder(
            f"{folder}: --keep-split needs folders for training and test, such as Training and Testing, with the class "
            f"folders inside; there is {names or 'none'}"
        )
    if found and (strange := [path.name for path in inside if path not in found]):
        raise InvalidFolder(f"{folder}: holds {', '.join(strange)} beside {names}; move it away, or into one of them")
    return found


def class_folders(
    folder: Path, class_names: Sequence[str] = CLASS_NAMES, *, leave_out: bool = False
) -> tuple[dict[Path, int], list[Path]]:
    """The class folders inside `folder`, with their class index; and the folders that are left out.

    Args:
        folder: holds them.
        class_names: the known classes.
        leave_out: leave out folders of other classes, instead of refusing them.

    Raises:
        InvalidFolder: a class folder is unknown.
    """
    found = {path: class_of_folder(path.name, class_names) for path in _folders_inside(folder)}
    unknown = [path for path, name in found.items() if name is None]
    if unknown and not leave_out:
        raise InvalidFolder(f"{folder}: unknown class folder {', '.join(path.name for path in unknown)}. {WAYS_OUT}")
    return {path: class_names.index(name) for path, name in found.items() if name is not None}, unknown


def _folders_inside(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not (path.name.startswith(".") or is_clutter(path.name))
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
    """Count duplicated images."""
    copies = Counter(found.sha256 for found in prints)
    pairs = pairs_within(np.stack([found.bits for found in prints]), NEAR_DUPLICATE_BITS)
    contrary = [pair for pair in pairs if labels[pair[0]] != labels[pair[1]]]
    return Duplicates(
        exact=sum(copies[found.sha256] > 1 for found in prints),
        near=len(np.unique(pairs)),
        near_of_other_class=len(set(chain.from_iterable(map(tuple, contrary)))),
    )


def count_by_class(datalist: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Images and groups per part or fold (and `all`) and class: {part: {class: (images, groups)}}."""
    parts = {part: datalist.get(part, []) for part in PARTS}
    if "items" in datalist:
        distinct = [item for item in datalist["items"] if "copy_of" not in item]
        parts = {
            f"fold {fold}": [item for item in distinct if item["fold"] == fold]
            for fold in sorted({item["fold"] for item in distinct})
        }
    table = {}
    for part in (*parts, "all"):
        items = [item for name, own in parts.items() if part in (name, "all") for item in own]
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
    """Refuse classes without a folder, in training if there are parts."""
    there = {label for path, label in labels_of.items() if part_of.get(path.parent, "training") == "training"}
    missing = [name for index, name in enumerate(class_names) if index not in there]
    if missing:
        where = " for training" if part_of else ""
        raise InvalidFolder(f"{folder}: no folder of class {', '.join(missing)}{where}. {WAYS_OUT}")


def _refuse_empty(labels: Sequence[int], parts: Sequence[str], class_names: Sequence[str], folder: Path) -> None:
    there = {label for label, part in zip(labels, parts, strict=True) if part == "training"}
    empty = [name for index, name in enumerate(class_names) if index not in there]
    if empty:
        raise InvalidFolder(
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
        raise InvalidFolder(f"patient pattern {pattern!r} is not a regular expression ({error})") from None
    matches = [compiled.search(case.id) for case in cases]
    without = [case.id for case, match in zip(cases, matches, strict=True) if match is None]
    if without:
        raise InvalidFolder(f"{len(without)} path(s) do not match {pattern!r}, such as {without[0]}; widen the pattern")
    return [match[1] if match.re.groups else match[0] for match in matches if match], f"patient by {pattern!r}"
