"""Cases by the values of a column: sex, plane, institution, age."""

from collections.abc import Mapping, Sequence

import numpy as np

from monai_brain.io.tables import InvalidTable, plain

MOST_VALUES = 8
"""Numeric columns with more distinct values are split into thirds."""

MISSING = "not given"


def subgroups(columns: Mapping[str, Sequence[str]], column: str) -> list[tuple[str, list[int]]]:
    """Places of the cases for each value; numbers in thirds, empty cells last.

    Args:
        columns: cells by column.
        column: its name; case, spaces and underscores do not matter.

    Raises:
        InvalidTable: there is no such column, or it has a different value for almost every case.
    """
    own = next((name for name in columns if plain(name) == plain(column)), None)
    if own is None:
        raise InvalidTable(f"no column {column!r} to make subgroups of; the tables have {', '.join(columns)}")
    cells = list(columns[own])
    values = sorted({cell for cell in cells if cell})
    if len(values) > MOST_VALUES and all(_is_number(value) for value in values):
        cells = _thirds(cells)
        values = sorted({cell for cell in cells if cell}, key=lambda text: float(text.split(" to ")[0]))
    if len(values) > max(MOST_VALUES, len(cells) // 2):
        raise InvalidTable(f"column {own!r} has {len(values)} values for {len(cells)} cases: too many for subgroups")
    found = [(value, [place for place, cell in enumerate(cells) if cell == value]) for value in values]
    missing = [place for place, cell in enumerate(cells) if not cell]
    return [*found, (MISSING, missing)] if missing else found


def _thirds(cells: Sequence[str]) -> list[str]:
    numbers = np.array([float(cell) if cell else np.nan for cell in cells])
    cuts = np.nanquantile(numbers, [1 / 3, 2 / 3])
    third = np.digitize(numbers, cuts, right=True)
    names = {}
    for index in range(3):
        own = numbers[(third == index) & ~np.isnan(numbers)]
        if len(own):
            names[index] = f"{own.min():g} to {own.max():g}"
    return ["" if np.isnan(number) else names[int(index)] for number, index in zip(numbers, third, strict=True)]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
