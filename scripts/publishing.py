"""What the scripts that write pages of docs share: tables, and paths that fit any machine."""

import re
from collections.abc import Mapping
from typing import Any

from monai_brain.report.html import Table

LEAKY = (
    "> **Leaky split.** Nearly every tumor slice of this test part has a neighboring slice of the "
    "same patient in training, and "
    "many have their own mirror image there ([audit](audit.md)). These results compare networks with each other; they "
    "do not show how well a network does on new patients."
)
"""Above figures of a split of `data.splits.LEAKY_SPLITS`."""

ABSOLUTE = re.compile(r"(?<![\w.])/(?:[^\s'\",/\]}]+/)*([^\s'\",/\]}]+)")
"""A path from the root on; its last part is kept."""


def without_folders(text: str) -> str:
    """A text whose absolute paths are only their last part."""
    return ABSOLUTE.sub(r"\1", text)


def network_of(training: Mapping[str, Any]) -> str:
    """Name of a training's network, from its `run.json`; runs of before 0.1 have it in their command only."""
    name = training["options"].get("name")
    return str(name or re.findall(r"networks/(\w+)\.yaml", " ".join(training["command"]))[-1])


def table_section(heading: str, table: Table) -> str:
    """A table as Markdown, under a heading."""
    lines = [
        f"\n## {heading}",
        f"{table.caption}.",
        "",
        f"| {' | '.join(table.columns)} |",
        f"|{'---|' * len(table.columns)}",
        *(f"| {' | '.join(row)} |" for row in table.rows),
        "",
    ]
    return "\n".join(lines)
