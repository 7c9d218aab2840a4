"""Class names and their order, their colors, and the folder names under which the public sets keep them."""

import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

CLASS_NAMES = ("glioma", "meningioma", "notumor", "pituitary")
"""The default classes. Every datalist and every trained network says its own; their order is that of logits,
probabilities, table columns and figures.
"""

CLASS_COLORS = {
    "glioma": "#D55E00",
    "meningioma": "#0072B2",
    "notumor": "#009E73",
    "pituitary": "#CC79A7",
    "tumor": "#D55E00",
    "no tumor": "#009E73",
}
"""Okabe and Ito's palette (https://jfly.uni-koeln.de/color/): distinguishable by color-blind readers. The last two are
the segmenter's answers.
"""

MORE_COLORS = (
    *("#E69F00", "#56B4E9", "#000000", "#F0E442", "#D55E00", "#0072B2", "#009E73", "#CC79A7"),
    *("#882255", "#44AA99", "#999933", "#332288", "#AA4499", "#117733", "#DDCC77", "#661100"),
)
"""Of other classes: the rest of Okabe and Ito's first, then Paul Tol's muted palette."""

FOLDER_NAMES = {
    "glioma": ("glioma", "glioma_tumor", "astrocytoma", "astrocitoma", "glioblastoma", "oligodendroglioma"),
    "meningioma": ("meningioma", "meningioma_tumor"),
    "notumor": ("notumor", "no_tumor", "no", "normal", "healthy"),
    "pituitary": ("pituitary", "pituitary_tumor", "pituitary_adenoma"),
}
"""Folder names of the public sets (Nickparvar, SARTAJ, Br35H, those of 17 and 44 classes), as `class_of_folder`
compares them. Ependymoma and ganglioglioma are missing: not everybody counts them as gliomas.
"""

REMARK = re.compile(r"\(.*\)")
SEQUENCE = re.compile(r"[\W_]+(t1c?|t1ce|t1gd|t1w|t2|t2w|flair)\+?\W*$", re.IGNORECASE)
"""What a folder's name may have behind the class: `Glioma (Astrocitoma, ...) T1C+`."""

WORDS = {"notumor": "no tumor", "pituitary": "pituitary tumor"}
"""Class names for people, where they differ from those in tables."""

SET_SEPARATOR = "|"
"""Between the classes of a set in a table; no class name has it."""

CLASS_NAME = re.compile(r"\w[\w .,+&()-]*")
LONGEST_NAME_BYTES = 120
"""Names become columns, and parts of file names."""


class InvalidClasses(ValueError):
    """Class names that cannot be used, with the way out."""


def check_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names as given, if a data set can have these classes.

    Raises:
        InvalidClasses: fewer than two, one twice, one that is no name, or one without a letter, such as `1`.
    """
    if not isinstance(names, list | tuple) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise InvalidClasses(f"classes are {names!r}; expected at least two names")
    for name in names:
        if not CLASS_NAME.fullmatch(name) or name != name.strip() or len(name.encode()) > LONGEST_NAME_BYTES:
            raise InvalidClasses(
                f"class name {name!r}; expected letters, digits, spaces and _ . , + & ( ) -, a letter or digit first, "
                f"and at most {LONGEST_NAME_BYTES} bytes"
            )
        if not any(character.isalpha() for character in name):
            raise InvalidClasses(f"class name {name!r} does not say what it stands for; rename folder and class")
    squeezed = [_squeezed(name) for name in names]
    twice = [name for name, key in zip(names, squeezed, strict=True) if squeezed.count(key) > 1]
    if twice:
        raise InvalidClasses(f"classes {', '.join(twice)} have one name; give each its own")
    return tuple(names)


def class_names_from(text: str) -> tuple[str, ...]:
    """What `--classes` means: names with commas between, or a text file with one name a line.

    Raises:
        InvalidClasses: as `check_class_names`, or there is no such file.
    """
    path = Path(text)
    if path.is_file():
        names = path.read_text(encoding="utf-8-sig").splitlines()
    elif path.suffix == ".txt":
        raise InvalidClasses(f"{text}: no such file; give a text file with one class name a line, or names")
    else:
        names = text.split(",")
    return check_class_names([name.strip() for name in names if name.strip()])


def class_of_folder(folder_name: str, class_names: Sequence[str] = CLASS_NAMES) -> str | None:
    """The class that a folder's name stands for, or None.

    Case, spaces, hyphens and underscores do not matter: `No Tumor`, `no-tumor` and `notumor` are one. Nor does a
    remark in parentheses or a sequence at the end, unless classes differ in them.
    """
    by_key = {_squeezed(name): name for name in class_names}
    core = _squeezed(SEQUENCE.sub("", REMARK.sub("", folder_name)))
    synonym = next((name for name, known in FOLDER_NAMES.items() if core in map(_squeezed, known)), "")
    return next((by_key[key] for key in (_squeezed(folder_name), core, synonym) if key in by_key), None)


def index_of_no_tumor(class_names: Sequence[str]) -> int | None:
    """Index of the class without a tumor, by its name; None where no name says so."""
    return next((index for index, name in enumerate(class_names) if class_of_folder(name) == "notumor"), None)


def either(names: Sequence[str]) -> str:
    """Names as alternatives: "glioma, meningioma or pituitary tumor"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def in_words(class_name: str) -> str:
    """A class's name for people: `notumor` is "no tumor"."""
    return WORDS.get(class_name, class_name)


def set_in_words(cell: str) -> str:
    """A table's set of classes for people: `glioma|notumor` is "glioma or no tumor"; nothing for an empty set."""
    return either([in_words(name) for name in cell.split(SET_SEPARATOR)])


def colors_of(class_names: Sequence[str]) -> dict[str, str]:
    """A color for each class: the default classes keep theirs, others get those that are left, in their order."""
    taken = {CLASS_COLORS[name] for name in class_names if name in CLASS_COLORS}
    free = cycle([color for color in MORE_COLORS if color not in taken])
    colors: dict[str, str] = {}
    for name in class_names:
        own = CLASS_COLORS.get(name)
        colors[name] = own if own and own not in colors.values() else next(free)
    return colors


def _squeezed(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
