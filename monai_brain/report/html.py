"""Static pages that work offline: tables, figures and galleries, every name escaped."""

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from monai_brain.io.write import atomic
from monai_brain.labels import in_words
from monai_brain.report.reasons import reason

SEPARATORS = re.compile(r"(?<=[/_.|-])(?=[^\W\d_])|(?<=[/_|])(?=\d)")
"""Where a path or a long name may go on in a new line: between its parts, not inside a word or a number."""

LONG_CHARACTERS = 24
"""Longer names may go on in a new line, and their columns are not made narrow."""

NUMBER = re.compile(r"[-+<>]?\d[\d.,]*(e[-+]?\d+)?")
"""As cells have it; beside it may stand an interval, which is never torn apart."""

BESIDE_NUMBERS = ("", "to", "no", "interval", "undefined")


class Table(NamedTuple):
    """A table under a caption."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "table"


class Figure(NamedTuple):
    """A picture under a caption; its path is relative to the page."""

    caption: str
    path: str
    kind: str = "figure"


class Gallery(NamedTuple):
    """Small pictures side by side, each a (path relative to the page, caption)."""

    caption: str
    pictures: Sequence[tuple[str, str]]
    kind: str = "gallery"


Block = Table | Figure | Gallery


def write_page(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write one page; nothing in it is fetched from elsewhere.

    Args:
        path: the `.html` file.
        title: heading.
        blocks: from top to bottom.
    """
    write_from_template(path, "page.html", title=title, blocks=blocks)


def write_from_template(path: Path, template: str, *, script: str = "", **values: Any) -> None:
    """Write a page from one of the templates.

    Args:
        path: the `.html` file.
        template: its file in `templates/`.
        script: file there that the page may run; its content alone, by a hash in the page's policy.
        values: that the template asks for.
    """
    environment = Environment(loader=PackageLoader("monai_brain.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"address": address, "breakable": breakable, "in_words": in_words, "reason": reason}
    environment.filters["kind_of_cell"] = kind_of_cell
    assert environment.loader is not None
    text = environment.loader.get_source(environment, script)[0] if script else ""
    values |= {"script": text, "script_hash": _hash(text)}
    content = environment.get_template(template).render(**values)
    with atomic(path) as file:
        file.write(content)


def _hash(script: str) -> str:
    """As a content security policy names it (W3C, CSP Level 3, section 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def address(path: str) -> str:
    """A relative path as a link, also where its bytes are no UTF-8."""
    return quote(os.fsencode(path))


def breakable(name: str) -> Markup:
    """A path or a name as HTML that may go on in a new line between its parts."""
    parts = SEPARATORS.split(name) if len(name) > LONG_CHARACTERS else [name]
    return Markup("<wbr>").join(map(escape, parts))


def kind_of_cell(cell: str) -> str:
    """How a cell may be laid out: `number`, in one line; `long`, in several; else an empty text."""
    words = [word.strip("(),;%") for word in cell.split()]
    if words and all(word in BESIDE_NUMBERS or NUMBER.fullmatch(word) for word in words):
        return "number"
    return "long" if len(cell) > LONG_CHARACTERS else ""
