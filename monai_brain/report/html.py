"""Static pages that work offline: tables, figures and galleries, every name escaped."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from monai_brain.io.write import atomic


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
    environment = Environment(loader=PackageLoader("monai_brain.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters["address"] = _address
    text = environment.get_template("page.html").render(title=title, blocks=blocks)
    with atomic(path) as file:
        file.write(text)


def _address(path: str) -> str:
    """A relative path as a link, also where its bytes are no UTF-8."""
    return quote(os.fsencode(path))
