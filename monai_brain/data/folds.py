"""Cross-validation: read folds files, and make the datalist of one fold."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_brain.data.splits import InvalidDatalist, OtherClasses, class_names_of
from monai_brain.labels import InvalidClasses

KEPT = ("image", "label", "group", "fold", "sha256", "source", "sequence", "tumor", "mirrored", "cheng_index")
"""Keys of a folds file's items that are copied to a datalist, if present."""


LARGEST_GAP = 3
"""Slices of the Cheng set that are numbered at most this far apart can be of one stack: some are missing."""


class InvalidFolds(InvalidDatalist):
    """A folds file that cannot be used; the message says what to do."""


def read_folds(path: str | Path) -> dict[str, Any]:
    """A folds file: JSON with `class_names` and `items`, each with `image`, `label`, `group` and `fold`.

    Folds are numbered from 1. Items may have `copy_of`: copies or mirror images of another item.

    Raises:
        InvalidFolds: the file is missing or malformed, its classes are invalid, or a group is in two folds.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFolds(f"{path}: no such folds file; monai-brain index --folds 5 makes one")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidFolds(f"{path}: not JSON ({error})") from None
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(items, list) or not all({"image", "label", "group", "fold"} <= set(item) for item in items):
        raise InvalidFolds(f"{path}: expected a list `items`, each with image, label, group and fold")
    try:
        class_names_of(content)
    except InvalidClasses as error:
        raise InvalidFolds(f"{path}: {error}") from None
    _refuse_divided_groups(items, path)
    return content


def fold_datalist(folds: Mapping[str, Any], test: int | None) -> dict[str, Any]:
    """The datalist that tests on one fold, validates on the next one and trains on the others.

    Each distinct slice appears once: items with `copy_of` are left out.

    Args:
        folds: as read.
        test: number of the fold, from 1; None: no test part, and the first fold validates, for final weights that are
            trained on both parts.

    Raises:
        InvalidFolds: there is no such fold, or there are fewer than three.
    """
    items = with_stacks([item for item in folds["items"] if "copy_of" not in item])
    numbers = sorted({item["fold"] for item in items})
    if (test is not None and test not in numbers) or len(numbers) < 3:
        raise InvalidFolds(f"fold {test} of folds {numbers}; expected one of them, and at least three")
    part_of = dict.fromkeys(numbers, "training")
    if test is not None:
        part_of[test] = "test"
    part_of[numbers[0] if test is None else numbers[(numbers.index(test) + 1) % len(numbers)]] = "validation"
    datalist: dict[str, Any] = {
        "name": f"{folds.get('name', 'folds')}_{'all_folds' if test is None else f'fold_{test}'}",
        "class_names": list(class_names_of(folds)),
        "grouping": folds.get("grouping", "by the folds file"),
        **{part: [] for part in ("training", "validation", "test")},
    }
    for item in items:
        datalist[part_of[item["fold"]]].append({key: item[key] for key in KEPT if key in item})
    return datalist


def with_stacks(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same items; those of the Cheng set get the stack of their slice as `group`, as far as it is known.

    The set numbers its slices stack by stack: neighbors in that order with one fold and one label, at most
    `LARGEST_GAP` apart, are taken for slices of one patient. Two patients side by side can be one stack, and a
    patient can have several: one for each plane.
    """
    stacks: dict[int, str] = {}
    last: Mapping[str, Any] | None = None
    for item in sorted((item for item in items if "cheng_index" in item), key=lambda item: int(item["cheng_index"])):
        index = int(item["cheng_index"])
        same = last is not None and index - last["cheng_index"] <= LARGEST_GAP
        if same and last is not None and (last["fold"], last["label"]) == (item["fold"], item["label"]):
            stacks[index] = stacks[int(last["cheng_index"])]
        else:
            stacks[index] = f"cheng-stack-{index}"
        last = item
    return [
        {**item, "group": stacks[int(item["cheng_index"])]} if "cheng_index" in item else dict(item) for item in items
    ]


def add_items(datalist: dict[str, Any], folds: Mapping[str, Any], test: int | None, folder: str) -> None:
    """Add another set's training and validation items of the same fold; its test items are left out.

    Args:
        datalist: of `fold_datalist`; changed.
        folds: of the other set, as read.
        test: number of the fold; None: as `fold_datalist`.
        folder: of the other set's images, as seen from the datalist's.

    Raises:
        OtherClasses: the other set has other classes.
    """
    other = fold_datalist(folds, test)
    if other["class_names"] != datalist["class_names"]:
        mine, theirs = (", ".join(one["class_names"]) for one in (datalist, other))
        raise OtherClasses(f"{folds.get('name', folder)}: its classes are {theirs}, those of the first set {mine}")
    datalist["name"] += f"_with_{folds.get('name', 'another_set')}"
    for part in ("training", "validation"):
        datalist[part] += [item | {"image": f"{folder}/{item['image']}"} for item in other[part]]


def _refuse_divided_groups(items: list[dict[str, Any]], path: Path) -> None:
    fold_of: dict[Any, int] = {}
    for item in items:
        first = fold_of.setdefault(item["group"], item["fold"])
        if first != item["fold"]:
            raise InvalidFolds(f"{path}: group {item['group']} is in folds {first} and {item['fold']}; give it one")
