"""Read tables from people and other software; separators, encodings and column names are detected."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SEPARATORS = ",;\t"
LARGEST_BYTES = 500_000_000


class InvalidTable(ValueError):
    """A table that cannot be used as it is; the message says what to do."""


class Table(NamedTuple):
    """Rows of a CSV file."""

    path: Path
    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    """A missing cell is an empty string."""

    def line(self, place: int) -> int:
        """Line of a row in the file, where no cell holds a line break."""
        return place + 2


def read_table(path: Path) -> Table:
    """Read a CSV file with a header: commas, semicolons or tabs; UTF-8, UTF-16 with a byte order mark, or Latin-1.

    Raises:
        InvalidTable: it is empty, has no second line, too many cells in a line, or one name for two columns.
        FileNotFoundError: there is no such file.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise InvalidTable(f"{path}: {path.stat().st_size} bytes; at most {LARGEST_BYTES} are read")
    text = _decoded(path.read_bytes())
    header = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=header.count)
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(line)]
    if len(lines) < 2:
        raise InvalidTable(f"{path}: no rows; expected a line with the names of the columns, then a line per case")
    columns = [name.strip() for name in lines[0]]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InvalidTable(f"{path}: two columns are called {twice[0]!r}; rename one of them")
    for number, line in enumerate(lines[1:], 2):
        if len(line) > len(columns):
            raise InvalidTable(
                f"{path}, line {number}: {len(line)} cells under {len(columns)} columns; quote cells with commas"
            )
    rows = [dict.fromkeys(columns, "") | dict(zip(columns, map(str.strip, line), strict=False)) for line in lines[1:]]
    return Table(path, columns, rows)


def find_column(table: Table, names: Iterable[str], asked: str | None = None) -> str | None:
    """The table's own spelling of a column; case, spaces, hyphens and underscores do not matter.

    Args:
        table: to look in.
        names: of the column, the best first.
        asked: the user's name for it, which must exist.

    Returns:
        None if no column has one of these names.

    Raises:
        InvalidTable: the column asked for is missing; the message lists those that exist.
    """
    by_key = {plain(column): column for column in table.columns}
    if asked is not None:
        if plain(asked) not in by_key:
            raise InvalidTable(f"{table.path}: no column {asked!r}; it has {', '.join(table.columns)}")
        return by_key[plain(asked)]
    return next((by_key[plain(name)] for name in names if plain(name) in by_key), None)


def need_column(table: Table, names: Sequence[str], what: str, option: str, asked: str | None = None) -> str:
    """As `find_column`, for a column that a table cannot do without.

    Args:
        table: to look in.
        names: of the column, the best first.
        what: it holds, for the message.
        option: of the command line that names it, for the message.
        asked: the user's name for it.

    Raises:
        InvalidTable: there is none.
    """
    found = find_column(table, names, asked)
    if found is None:
        raise InvalidTable(
            f"{table.path}: no column with {what} (looked for {', '.join(names)}); it has "
            f"{', '.join(table.columns)}. Name the column with {option}, or rename it"
        )
    return found


def plain(name: str) -> str:
    """Letters and digits of a name, in lower case."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # what spreadsheets in western Europe write
