"""Match predictions with references, by ids or file names."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from monai_brain.io.tables import InvalidTable

MASK_WORDS = re.compile(r"[-_. ]?(mask|seg|segm|segmentation|label|labels|pred|prediction|gt)$", re.IGNORECASE)
"""Suffixes that mask names add to the name of their scan."""


class NamedCases(NamedTuple):
    """Cases of a table or a folder."""

    source: Path
    names: Sequence[str]
    places: Sequence[str]
    """Where each is, for messages: its line, or the file."""


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _file_name(name: str) -> str:
    return PurePosixPath(_with_slashes(name)).name


def _scan_of(name: str) -> str:
    return MASK_WORDS.sub("", _file_name(name).split(".")[0])


def _scan_with_folder(name: str) -> str:
    return (PurePosixPath(_with_slashes(name)).parent / _scan_of(name)).as_posix()


RULES: dict[str, Callable[[str], str]] = {
    "id": _with_slashes,
    "path without ending": _scan_with_folder,
    "file name": _file_name,
    "file name without ending": _scan_of,
}
"""From the strictest on; the first rule that matches any two cases is used for all."""


def match_names(predictions: NamedCases, references: NamedCases, option: str) -> tuple[dict[int, int], str]:
    """Match cases by `RULES`.

    Args:
        predictions: N of them.
        references: M of them.
        option: of the command line that tells cases apart, for the message.

    Returns:
        Place of the prediction by place of the reference, and the rule in words.

    Raises:
        InvalidTable: an id is there twice, or none is in both.
    """
    for rule, key in RULES.items():
        wanted = [key(name) for name in references.names]
        given = [key(name) for name in predictions.names]
        if not set(wanted) & set(given):
            continue
        for cases, keys in ((predictions, given), (references, wanted)):
            _refuse_twice(cases, keys, rule, option)
        places = {name: place for place, name in enumerate(given)}
        return {place: places[name] for place, name in enumerate(wanted) if name in places}, rule
    raise InvalidTable(
        f"{predictions.source} and {references.source} have no case in common: {predictions.names[0]!r} against "
        f"{references.names[0]!r}. Give the cases the same names, or name the column that holds them with {option}"
    )


def _refuse_twice(cases: NamedCases, keys: Sequence[str], rule: str, option: str) -> None:
    twice = next((key for key, number in Counter(keys).items() if number > 1), None)
    if twice is not None:
        places = [place for place, key in zip(cases.places, keys, strict=True) if key == twice]
        raise InvalidTable(
            f"{cases.source}: {twice!r} ({rule}) is there {len(places)} times ({', '.join(places[:5])}); keep one per "
            f"case, or name the column that tells them apart with {option}"
        )
