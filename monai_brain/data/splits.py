"""Splits: which group goes to which part; datalists written, read and checked."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from monai_brain.io.write import sha256_of
from monai_brain.labels import CLASS_NAMES, InvalidClasses, check_class_names

PARTS = ("training", "validation", "test")
DEFAULT_FRACTIONS = (0.70, 0.15, 0.15)

PART_FOLDERS = {"train": "training", "val": "validation", "valid": "validation", "testing": "test"} | {
    part: part for part in PARTS
}
"""Folder names that stand for a part of a split, in lower case."""

LEAKY_SPLITS = {
    "classification_v1": "nearly every tumor slice of its test part has a neighbor of the same patient in training; "
    "use folds with patients apart for new figures"
}
"""Published splits that turned out to have patients in several parts: warning by name."""

TCGA_PATIENT = re.compile(r"TCGA[-_]([A-Z0-9]{2})[-_]([A-Z0-9]{4})(?![A-Z0-9])")
"""Institution and patient, regardless of a date or folder around them."""


class InvalidDatalist(ValueError):
    """A datalist that does not fit the data or the classes."""


class OtherClasses(InvalidDatalist):
    """A datalist whose classes are not those of the weights, or of another datalist."""


class InvalidSplit(ValueError):
    """The requested split cannot be made."""


def split_groups(
    labels: Sequence[int],
    groups: Sequence[Any],
    *,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    class_names: Sequence[str] = CLASS_NAMES,
    parts: Sequence[Any] = PARTS,
    fixed: Mapping[Any, Any] = MappingProxyType({}),
) -> list[Any]:
    """A part for every image: stratified by class, no group in two parts.

    Groups go, the largest first, to the part that lacks most of their class; equal ones in an order drawn
    with `seed`. A group of several classes counts as its most frequent one.

    Args:
        labels: class index per image, (N,).
        groups: group per image, (N,), hashable.
        fractions: share of the images in each of the parts; they add up to 1.
        seed: of the order.
        class_names: for messages.
        parts: training, validation and test; or others, such as the numbers of folds.
        fixed: groups whose part is given.

    Returns:
        One of `parts` per image, (N,).

    Raises:
        InvalidSplit: the fractions do not add up, or a class has fewer groups than there are parts to fill.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise InvalidSplit(f"fractions {tuple(fractions)} do not add up to 1")
    part_of_group: dict[Any, Any] = {}
    members: dict[Any, list[int]] = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(group, []).append(label)
    random = np.random.default_rng(seed)
    for class_index in sorted(set(labels)):
        own = [group for group, classes in members.items() if Counter(classes).most_common(1)[0][0] == class_index]
        order = sorted(random.permutation(len(own)), key=lambda i: (own[i] not in fixed, -len(members[own[i]])))
        part_of_group |= _fill([own[i] for i in order], members, fractions, class_names[class_index], parts, fixed)
    return [part_of_group[group] for group in groups]


def _fill(
    groups: Sequence[Any],
    members: Mapping[Any, Sequence[int]],
    fractions: Sequence[float],
    class_name: str,
    parts: Sequence[Any],
    fixed: Mapping[Any, Any],
) -> dict[Any, Any]:
    wanted = sum(fraction > 0 for fraction in fractions)
    if len(groups) < wanted:
        raise InvalidSplit(f"class {class_name}: {len(groups)} group(s) for {wanted} parts; add patients of this class")
    total = sum(len(members[group]) for group in groups)
    targets = np.array(fractions) * total
    filled = np.zeros(len(fractions))
    chosen = {}
    for group in groups:
        with np.errstate(divide="ignore", invalid="ignore"):
            lacking = np.where(targets > 0, (targets - filled) / targets, -np.inf)
        part = parts.index(fixed[group]) if group in fixed else int(np.argmax(lacking))
        filled[part] += len(members[group])
        chosen[group] = parts[part]
    return chosen


def read_datalist(path: str | Path) -> dict[str, Any]:
    """A datalist file, checked for its form.

    Raises:
        InvalidDatalist: missing, no JSON, without parts, or with classes or labels that cannot be.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidDatalist(
            f"{path}: no such datalist; make one: monai-brain index <folder of class folders> -o {path}"
        )
    try:
        datalist = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidDatalist(f"{path}: not JSON ({error}); make it again with monai-brain index") from None
    if not isinstance(datalist, dict) or not any(isinstance(datalist.get(part), list) for part in PARTS):
        raise InvalidDatalist(f"{path}: has none of {', '.join(PARTS)}; is it a MONAI datalist?")
    try:
        names = class_names_of(datalist)
    except InvalidClasses as error:
        raise InvalidDatalist(f"{path}: {error}") from None
    labels = {item["label"] for part in PARTS for item in datalist.get(part, []) if isinstance(item.get("label"), int)}
    if unknown := labels - set(range(len(names))):
        raise InvalidDatalist(f"{path}: label {min(unknown)} is not an index of its classes, {', '.join(names)}")
    return datalist


def class_names_of(datalist: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes of a datalist or folds file, in their order; the default ones if it names none.

    Raises:
        InvalidClasses: they cannot be.
    """
    return check_class_names(datalist.get("class_names", CLASS_NAMES))


def read_class_names(path: str | Path) -> list[str]:
    """The classes of a datalist file; the default ones where there is no file, so that networks are built without data.

    Raises:
        InvalidDatalist: as `read_datalist`.
    """
    return list(class_names_of(read_datalist(path)) if Path(path).is_file() else CLASS_NAMES)


def refuse_other_classes(class_names: Sequence[str], path: str | Path) -> None:
    """Raise if the classes of a datalist differ from those of the weights.

    Args:
        class_names: of the weights.
        path: of the datalist.

    Raises:
        OtherClasses: naming both.
    """
    theirs = class_names_of(read_datalist(path))
    if theirs != tuple(class_names):
        raise OtherClasses(
            f"{path}: its classes are {', '.join(theirs)}, those of the weights {', '.join(class_names)}; give weights "
            "and a datalist with the same classes in the same order"
        )


def load_datalist(path: str | Path, dataset_dir: str | Path, part: str) -> list[dict[str, Any]]:
    """Load one part of a datalist, with absolute paths of images and masks.

    Args:
        path: datalist file.
        dataset_dir: folder that the paths in the datalist are relative to.
        part: `training`, `validation`, `test`; or several joined by `+`.

    Raises:
        InvalidDatalist: the part is missing or empty, or its first image is not in `dataset_dir`.
    """
    datalist = read_datalist(path)
    items = []
    for name in part.split("+"):
        if not datalist.get(name):
            has = ", ".join(p for p in PARTS if datalist.get(p))
            raise InvalidDatalist(f"{path}: part {name!r} is missing or empty; it has {has}")
        items += [_with_paths(item, Path(dataset_dir)) for item in datalist[name]]
    if not Path(items[0]["image"]).is_file():
        raise InvalidDatalist(
            f"{items[0]['image']}: not there; give the folder that the datalist's paths are relative to "
            "as --dataset_dir (or MONAI_BRAIN_DATA)"
        )
    return items


def _with_paths(item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Image, and a label that is a mask, below the folder of the data."""
    paths = {key: str(folder / item[key]) for key in ("image", "label") if isinstance(item.get(key), str)}
    return {**item, **paths}


def identities(datalist: Mapping[str, Any], part: str) -> list[frozenset[str]]:
    """Digests that identify each slice of some parts independent of its location, without revealing names.

    The hash of its file, and its patient where that is one of The Cancer Genome Atlas; its path in the datalist where
    neither is known. A slice was seen if it shares any of them with one that was.

    Args:
        datalist: as read.
        part: one of `PARTS`, or several joined by `+`.
    """
    items = [item for name in part.split("+") for item in datalist.get(name, [])]
    return [frozenset(map(_digest, _words(item).values())) for item in items]


def seen_by_weights(datalist: Mapping[str, Any], part: str) -> list[str]:
    """Digests of the training slices to publish with weights: the best of `identities` for each slice."""
    items = [item for name in part.split("+") for item in datalist.get(name, [])]
    return sorted({_digest(list(_words(item).values())[-1]) for item in items})


def _words(item: Mapping[str, Any]) -> dict[str, str]:
    """The best last."""
    words = {}
    if "sha256" in item:
        words["content"] = str(item["sha256"])
    if "institution" in item:
        group = str(item["group"])
        found = TCGA_PATIENT.search(group)
        words["patient"] = f"TCGA_{found[1]}_{found[2]}" if found else group
    return words or {"path": str(item["image"])}


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()[:12]


def check_hashes(datalist: Mapping[str, Any], dataset_dir: Path) -> list[str]:
    """Problems with the files of a datalist, one line each: missing, or changed since the split was made."""
    problems = []
    for part in PARTS:
        for item in datalist.get(part, []):
            path = dataset_dir / item["image"]
            if not path.is_file():
                problems.append(f"{item['image']}: missing")
            elif "sha256" in item and sha256_of(path) != item["sha256"]:
                problems.append(f"{item['image']}: content differs from when the split was made")
    return problems


def class_weights(items: Sequence[Mapping[str, Any]], class_names: Sequence[str] = CLASS_NAMES) -> list[float]:
    """Loss weights that make every class count equally: N / (classes x images of the class).

    Raises:
        InvalidDatalist: a class has no image.
    """
    counts = Counter(int(item["label"]) for item in items)
    missing = [name for index, name in enumerate(class_names) if not counts[index]]
    if missing:
        raise InvalidDatalist(f"no training image of class {', '.join(missing)}")
    return [len(items) / (len(class_names) * counts[index]) for index in range(len(class_names))]
